# The other side, with pyzmq. Arguments: the endpoints of a REP, a PULL and a PUB.
import sys
import zmq

context = zmq.Context.instance()
req, push, sub = (context.socket(kind) for kind in (zmq.REQ, zmq.PUSH, zmq.SUB))
sub.subscribe("oslo ")
for socket, endpoint in zip((req, push, sub), sys.argv[1:]):
    socket.connect(endpoint)
req.send(b"Hello")
push.send(req.recv())
push.send(sub.recv())
