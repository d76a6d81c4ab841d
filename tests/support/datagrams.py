"""A pyzmq DGRAM socket that sends back what it receives.

    datagrams.py HOST:PORT

It says "hello" to that address first, as nobody knows its own: libzmq does not tell what a wildcard became.
It ends after "end", or when nothing comes any more. A release of libzmq makes such sockets (a draft there),
but has no name for them: type 18.
"""

import sys

import zmq

DGRAM = 18
WATCHDOG = 60_000  # ms


def main():
    target = sys.argv[1].encode()
    socket = zmq.Context().socket(DGRAM)
    socket.rcvtimeo = socket.sndtimeo = WATCHDOG
    socket.linger = 0
    socket.bind("udp://127.0.0.1:*")
    socket.send_multipart([target, b"hello"])
    body = b""
    while body != b"end":
        address, body = socket.recv_multipart()
        # The address ends in a NUL, which is no part of what is to be sent to.
        assert address == target + b"\0", address
        socket.send_multipart([address[:-1], body])


main()
