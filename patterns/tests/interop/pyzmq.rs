//! Majordomo in Python, written from the frames of 7/MDP: programmes for `python -c`.

/// A broker in a few lines: one request per worker, heartbeats to idle workers, MMI. Who is not known is sent away.
/// Argument: where to bind.
pub(crate) const BROKER: &str = r#"
import sys, time, zmq
from collections import deque
s = zmq.Context.instance().socket(zmq.ROUTER); s.bind(sys.argv[1])
print(s.last_endpoint.decode().rstrip('\0'), flush=True)
W, C = b'MDPW01', b'MDPC01'
service_of, idle, waiting = {}, {}, {}
beat = time.monotonic()
def dispatch(name):
    q, free = waiting.setdefault(name, deque()), idle.setdefault(name, deque())
    while q and free:
        client, body = q.popleft()
        s.send_multipart([free.popleft(), b'', W, b'\x02', client, b''] + body)
while True:
    if s.poll(50):
        f = s.recv_multipart()
        who, empty, header = f[:3]
        assert empty == b'', f
        if header == C:
            name, body = f[3], f[4:]
            assert body, f
            if name == b'mmi.service':
                code = b'200' if body[-1] in service_of.values() else b'404'
                s.send_multipart([who, b'', C, name, code])
            else:
                waiting.setdefault(name, deque()).append((who, body)); dispatch(name)
        else:
            assert header == W, f
            command = f[3]
            if command == b'\x01':
                assert who not in service_of and len(f) == 5, f
                service_of[who] = f[4]; idle.setdefault(f[4], deque()).append(who); dispatch(f[4])
                print('ready', f[4].decode(), flush=True)
            elif who not in service_of:
                if command != b'\x05': s.send_multipart([who, b'', W, b'\x05'])
            elif command == b'\x03':
                name = service_of[who]
                assert f[5] == b'' and len(f) >= 7, f
                s.send_multipart([f[4], b'', C, name] + f[6:])
                idle[name].append(who); dispatch(name)
            elif command == b'\x05':
                name = service_of.pop(who)
                if who in idle[name]: idle[name].remove(who)
                print('gone', name.decode(), flush=True)
            else:
                assert command == b'\x04', f
    if time.monotonic() - beat > 0.1:
        beat = time.monotonic()
        for free in idle.values():
            for worker in free: s.send_multipart([worker, b'', W, b'\x04'])
"#;

/// A worker of the service `echo`, which adds a frame that says who it is. It is sent away or hears nothing for two
/// seconds: it makes a new socket. Argument: the broker. Ends when its input does.
pub(crate) const WORKER: &str = r#"
import sys, threading, time, zmq
context, at = zmq.Context.instance(), sys.argv[1]
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
W = b'MDPW01'
while not stop.is_set():
    s = context.socket(zmq.DEALER); s.linger = 0; s.connect(at)
    s.send_multipart([b'', W, b'\x01', b'echo'])
    heard = beat = time.monotonic()
    while not stop.is_set() and time.monotonic() - heard < 2:
        if s.poll(50):
            f = s.recv_multipart()
            heard = time.monotonic()
            assert f[:2] == [b'', W], f
            if f[2] == b'\x05': break
            if f[2] == b'\x02':
                assert f[4] == b'' and len(f) > 5, f
                s.send_multipart([b'', W, b'\x03', f[3], b''] + f[5:] + [b'pyzmq'])
        if time.monotonic() - beat > 0.1:
            beat = time.monotonic()
            s.send_multipart([b'', W, b'\x04'])
    s.close()
"#;

/// A client that asks `echo` so many times, and again so many when a line is read, each until there is a reply; it
/// prints who replied. Arguments: the broker, how many.
pub(crate) const CLIENT: &str = r#"
import sys, zmq
context, at, calls = zmq.Context.instance(), sys.argv[1], int(sys.argv[2])
def fresh():
    s = context.socket(zmq.REQ); s.linger = 0; s.connect(at)
    return s
s = fresh()
for turn in range(2):
    who = set()
    for i in range(calls):
        ask = [b'MDPC01', b'echo', b'body', str(i).encode()]
        while True:
            s.send_multipart(ask)
            if s.poll(500): break
            s.close(); s = fresh()
        reply = s.recv_multipart()
        assert reply[:4] == ask and len(reply) == 5, reply
        who.add(reply[4].decode())
    print(' '.join(sorted(who)), flush=True)
    if turn == 0: sys.stdin.readline()
"#;
