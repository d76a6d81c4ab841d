# A worker of 7/MDP, with pyzmq. Argument: the endpoint of the broker.
import sys
import zmq

READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = (bytes([n]) for n in range(1, 6))

broker = zmq.Context.instance().socket(zmq.DEALER)
broker.connect(sys.argv[1])
broker.send_multipart([b"", b"MDPW01", READY, b"greet"])
while True:
    if not broker.poll(1000):
        broker.send_multipart([b"", b"MDPW01", HEARTBEAT])
        continue
    _, _, command, *rest = broker.recv_multipart()
    if command == DISCONNECT:
        break
    if command == REQUEST:
        client, _, whom = rest
        reply = b"Python greets " + whom
        broker.send_multipart([b"", b"MDPW01", REPLY, client, b"", reply])
