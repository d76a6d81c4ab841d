"""A pyzmq socket that does as it is told, a line each on standard input:

    open TYPE ID TOPIC      a new one in place of the last, bound; answers with its endpoint. "-": none
    send FRAME...           frames in hexadecimal; "-" is an empty one
    recv                    answers with the frames
    subscribe TOPIC, unsubscribe TOPIC

Each line is answered by one on standard output. The end of standard input ends it.
"""

import sys

import zmq

WATCHDOG = 60_000  # ms


def octets(text):
    return b"" if text == "-" else bytes.fromhex(text)


def main():
    context = zmq.Context()
    socket = None
    for line in sys.stdin:
        command, *words = line.split()
        frames = [octets(word) for word in words[1 if command == "open" else 0 :]]
        answer = "done"
        if command == "open":
            if socket:
                socket.close(0)
            socket = context.socket(getattr(zmq, words[0]))
            socket.linger, socket.rcvtimeo, socket.sndtimeo = 0, WATCHDOG, WATCHDOG
            name, topic = frames
            if name:
                socket.routing_id = name
            if topic:
                socket.setsockopt(zmq.SUBSCRIBE, topic)
            socket.bind("tcp://127.0.0.1:*")
            answer = socket.last_endpoint.decode()
        elif command == "send":
            socket.send_multipart(frames)
        elif command == "recv":
            answer = " ".join(frame.hex() or "-" for frame in socket.recv_multipart())
        elif command == "subscribe":
            socket.setsockopt(zmq.SUBSCRIBE, frames[0])
        elif command == "unsubscribe":
            socket.setsockopt(zmq.UNSUBSCRIBE, frames[0])
        print(answer, flush=True)


main()
