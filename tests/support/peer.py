"""A pyzmq peer of the interoperability tests, as a process.

    peer.py TYPE bind|connect ENDPOINT SEED FIRST COUNT TAG

It handles COUNT messages of the seed from number FIRST on: sends them (push, pub, req, dealer) or receives
them (pull, sub, rep, router) and checks every octet, of replies and echoes too. A dealer keeps WINDOW messages
under way; "dealerrep" is one that talks to a REP. A pair does as a dealer, a "pairecho" as a rep; xpub and
xsub do as pub and sub. A stream sends back the octets that come; a "streamasks" does as a dealer, in octets.
A router is called "theirs", and sends back what it receives. TAG: push sends it as a frame before those of
each message, if it is not empty.

On standard output, a line each:
    READY endpoint      bound (wildcards replaced) or connecting
    DONE checksum       all messages were sent or received
    FAILED why          then the process ends
On standard input, a line each:
    go      pub: the subscriber is there; until then it publishes SYNC again and again
    more FIRST COUNT    after DONE: the same with further messages
    close   after DONE: send what is queued, and end
The end of standard input ends the process at once.
"""

import os
import queue
import sys
import threading

import zmq

from traffic import KEPT, SYNC, Traffic, add, is_kept

WATCHDOG = 60_000  # ms
WINDOW = 100
TYPES = {"dealerrep": "dealer", "pairecho": "pair", "streamasks": "stream"}


def read_commands(commands):
    for line in sys.stdin:
        commands.put(line.split())
    os._exit(1)


def say(*words):
    print(*words, flush=True)


def expect(traffic, n, frames, wanted):
    if frames != wanted:
        sizes = [len(frame) for frame in frames]
        say("FAILED", f"message {n} is not what was sent: frames of {sizes} octets")
        sys.exit(1)


def push(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        frames = traffic.tag + traffic.message(n)
        checksum = add(checksum, frames)
        socket.send_multipart(frames)
    return checksum


def pull(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        frames = socket.recv_multipart()
        checksum = add(checksum, frames)
        expect(traffic, n, frames, traffic.message(n))
    return checksum


def req(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        request = traffic.message(n)
        socket.send_multipart(request)
        reply = socket.recv_multipart()
        checksum = add(checksum, reply)
        expect(traffic, n, reply, request)
    return checksum


def rep(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        request = socket.recv_multipart()
        checksum = add(checksum, request)
        expect(traffic, n, request, traffic.message(n))
        socket.send_multipart(request)
    return checksum


class Plain:
    """The only connection of a STREAM: what is sent together comes in pieces, which are sent back if it echoes."""

    def __init__(self, socket, echoes):
        self.socket = socket
        self.echoes = echoes
        self.identity = None
        self.octets = bytearray()

    def begin(self):
        """Waits until it is there."""
        self.identity, note = self.socket.recv_multipart()
        assert note == b"", note

    def send_multipart(self, frames):
        octets = b"".join(frames)
        # An empty message would end the connection.
        if octets:
            self.socket.send_multipart([self.identity, octets])

    def receive(self, wanted):
        """As many octets as the wanted frames have, cut as these are."""
        while len(self.octets) < sum(len(frame) for frame in wanted):
            _, octets = self.socket.recv_multipart()
            if not octets:
                say("FAILED", "the connection has ended")
                sys.exit(1)
            self.octets += octets
            if self.echoes:
                self.send_multipart([octets])
        frames = []
        for frame in wanted:
            frames.append(bytes(self.octets[: len(frame)]))
            del self.octets[: len(frame)]
        return frames


def converse(socket, traffic, numbers, envelope, receive=None):
    """Sends each message and checks the echo, with WINDOW of them under way."""
    checksum = 0

    def echo(n):
        nonlocal checksum
        wanted = envelope + traffic.message(n)
        expect(traffic, n, receive(wanted) if receive else socket.recv_multipart(), wanted)
        checksum = add(checksum, traffic.message(n))

    for n in numbers:
        socket.send_multipart(envelope + traffic.message(n))
        if n - WINDOW >= numbers[0]:
            echo(n - WINDOW)
    for n in numbers[-WINDOW:]:
        echo(n)
    return checksum


def dealer(socket, traffic, numbers):
    return converse(socket, traffic, numbers, [])


def dealerrep(socket, traffic, numbers):
    return converse(socket, traffic, numbers, [b""])


def stream(plain, traffic, numbers):
    checksum = 0
    for n in numbers:
        wanted = traffic.message(n)
        expect(traffic, n, plain.receive(wanted), wanted)
        checksum = add(checksum, wanted)
    return checksum


def streamasks(plain, traffic, numbers):
    return converse(plain, traffic, numbers, [], plain.receive)


def router(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        message = socket.recv_multipart()
        wanted = traffic.message(n)
        if len(message) == len(wanted):
            expect(traffic, n, message, [b"an envelope", *wanted])
        expect(traffic, n, message[-len(wanted):], wanted)
        checksum = add(checksum, wanted)
        socket.send_multipart(message)
    return checksum


def pub(socket, traffic, numbers):
    checksum = 0
    for n in numbers:
        frames = [traffic.topic(n), *traffic.message(n)]
        if is_kept(n):
            checksum = add(checksum, frames)
        socket.send_multipart(frames)
    return checksum


def sub(socket, traffic, numbers):
    checksum = 0
    for n in filter(is_kept, numbers):
        frames = socket.recv_multipart()
        checksum = add(checksum, frames)
        expect(traffic, n, frames, [KEPT, *traffic.message(n)])
    return checksum


pair = dealer
pairecho = rep
xpub = pub
xsub = sub


def synchronize(socket, commands):
    """Publishes until the subscriber is known to be there."""
    while True:
        socket.send(SYNC)
        try:
            command = commands.get(timeout=0.001)
        except queue.Empty:
            continue
        assert command == ["go"], command
        return


def main():
    kind, way, endpoint, seed, first, count, tag = sys.argv[1:]
    commands = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    traffic = Traffic(int(seed), tag)
    context = zmq.Context()
    socket = context.socket(getattr(zmq, TYPES.get(kind, kind).upper()))
    socket.linger = WATCHDOG
    socket.rcvtimeo = WATCHDOG
    socket.sndtimeo = WATCHDOG
    if kind in ("pub", "xpub"):
        socket.setsockopt(zmq.XPUB_NODROP, 1)
    if kind == "router":
        socket.routing_id = b"theirs"
    if kind == "sub":
        socket.subscribe(KEPT)
        # Its subscriptions would linger for a publisher that does not come back.
        socket.linger = 0
    if way == "bind":
        socket.bind(endpoint)
        endpoint = socket.last_endpoint.decode()
    else:
        socket.connect(endpoint)
    say("READY", endpoint)
    try:
        if kind == "pub":
            synchronize(socket, commands)
        if kind == "xpub":
            expect(traffic, 0, socket.recv_multipart(), [b"\x01" + KEPT])
        if kind == "xsub":
            socket.send(b"\x01" + KEPT)
        talker = socket
        if kind in ("stream", "streamasks"):
            talker = Plain(socket, kind == "stream")
            talker.begin()
        first, count = int(first), int(count)
        while True:
            say("DONE", globals()[kind](talker, traffic, range(first, first + count)))
            command = commands.get()
            if command[0] != "more":
                break
            first, count = int(command[1]), int(command[2])
    except zmq.Again:
        say("FAILED", f"a {kind.upper()} socket waited for {WATCHDOG} ms")
        sys.exit(1)
    socket.close()
    context.term()


main()
