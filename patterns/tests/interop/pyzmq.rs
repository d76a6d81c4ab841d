//! Majordomo in Python, written from the frames of 7/MDP and 18/MDP: programmes for `python -c`. The last argument of each
//! is the dialect, 1 or 2.

use std::process::Command;

use sinew_patterns::mdp::Dialect;

use crate::process::python;
use crate::root;

/// This programme with these arguments and this dialect; `None` without a Python.
pub(crate) fn command(programme: &str, arguments: &[&str], dialect: Dialect) -> Option<Command> {
    let mut command = python(&root(), &[COMMON, programme].concat())?;
    command.args(arguments).arg(number(dialect));
    Some(command)
}

pub(crate) fn number(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V1 => "1",
        _ => "2",
    }
}

/// What the dialects call things. Frames in front of the commands of clients and workers, and the commands: in 7/MDP there is
/// an empty frame first, no command of clients, and no part of a reply.
const COMMON: &str = r#"
import sys, threading, time, zmq
from collections import deque
context, at, second = zmq.Context.instance(), sys.argv[1], sys.argv[-1] == '2'
READY, REQUEST = b'\x01', b'\x02'
if second:
    WORKER, CLIENT, ASK = [b'MDPW02'], [b'MDPC02'], [b'MDPC02', b'\x01']
    PART, REPLY, BEAT, BYE = b'\x03', b'\x04', b'\x05', b'\x06'
else:
    WORKER, CLIENT, ASK = [b'', b'MDPW01'], [b'', b'MDPC01'], [b'', b'MDPC01']
    PART, REPLY, BEAT, BYE = None, b'\x03', b'\x04', b'\x05'
def answer(last): return CLIENT + ([b'\x03' if last else b'\x02'] if second else [])
def without(head, f):
    assert f[:len(head)] == head, f
    return f[len(head):]
"#;

/// A broker in a few lines: one request per worker, heartbeats to idle workers, MMI. Who is not known is sent away.
/// Argument: where to bind.
pub(crate) const BROKER: &str = r#"
s = context.socket(zmq.ROUTER); s.bind(at)
print(s.last_endpoint.decode().rstrip('\0'), flush=True)
service_of, idle, waiting = {}, {}, {}
beat = time.monotonic()
def dispatch(name):
    q, free = waiting.setdefault(name, deque()), idle.setdefault(name, deque())
    while q and free:
        client, body = q.popleft()
        s.send_multipart([free.popleft(), *WORKER, REQUEST, client, b''] + body)
while True:
    if s.poll(50):
        who, *f = s.recv_multipart()
        if f[:len(CLIENT)] == CLIENT:
            name, *body = without(ASK, f)
            assert body, f
            if name == b'mmi.service':
                code = b'200' if body[-1] in service_of.values() else b'404'
                s.send_multipart([who, *answer(True), name, code])
            else:
                waiting.setdefault(name, deque()).append((who, body)); dispatch(name)
        else:
            command, *f = without(WORKER, f)
            if command == READY:
                assert who not in service_of and len(f) == 1, f
                service_of[who] = f[0]; idle.setdefault(f[0], deque()).append(who); dispatch(f[0])
                print('ready', f[0].decode(), flush=True)
            elif who not in service_of:
                if command != BYE: s.send_multipart([who, *WORKER, BYE])
            elif command in (PART, REPLY):
                name = service_of[who]
                client, empty, *body = f
                assert empty == b'' and body, f
                s.send_multipart([client, *answer(command == REPLY), name] + body)
                if command == REPLY: idle[name].append(who); dispatch(name)
            elif command == BYE:
                name = service_of.pop(who)
                if who in idle[name]: idle[name].remove(who)
                print('gone', name.decode(), flush=True)
            else:
                assert command == BEAT and not f, f
    if time.monotonic() - beat > 0.1:
        beat = time.monotonic()
        for free in idle.values():
            for worker in free: s.send_multipart([worker, *WORKER, BEAT])
"#;

/// A worker of the service `echo`, which adds a frame that says who it is; in 18/MDP the first frame of its reply is a part
/// of its own. It is sent away or hears nothing for two seconds: it makes a new socket. Arguments: the broker, its name.
/// Ends when its input does.
pub(crate) const WORKER: &str = r#"
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
me = sys.argv[2].encode()
while not stop.is_set():
    s = context.socket(zmq.DEALER); s.linger = 0; s.connect(at)
    s.send_multipart(WORKER + [READY, b'echo'])
    heard = beat = time.monotonic()
    while not stop.is_set() and time.monotonic() - heard < 2:
        if s.poll(50):
            command, *f = without(WORKER, s.recv_multipart())
            heard = time.monotonic()
            if command == BYE: break
            if command == REQUEST:
                client, empty, *body = f
                assert empty == b'' and body, f
                if PART: s.send_multipart(WORKER + [PART, client, b'', body.pop(0)])
                s.send_multipart(WORKER + [REPLY, client, b''] + body + [me])
            else: assert command == BEAT, command
        if time.monotonic() - beat > 0.1:
            beat = time.monotonic()
            s.send_multipart(WORKER + [BEAT])
    s.close()
"#;

/// A client that asks `echo` so many times, and again so many when a line is read, each until there is a reply; it
/// prints who replied. Arguments: the broker, how many.
pub(crate) const CLIENT: &str = r#"
calls = int(sys.argv[2])
def fresh():
    s = context.socket(zmq.DEALER); s.linger = 0; s.connect(at)
    return s
s = fresh()
for turn in range(2):
    who = set()
    for i in range(calls):
        body = [b'body', str(i).encode()]
        reply, over = [], False
        while not over:
            if not reply: s.send_multipart(ASK + [b'echo'] + body)
            if not s.poll(500):
                # What this one is still sent is not taken for the reply to the next.
                s.close(); s, reply = fresh(), []
                continue
            f = s.recv_multipart()
            over = f[:len(answer(True))] == answer(True)
            name, *part = without(answer(over), f)
            assert name == b'echo' and part, f
            reply += part
        assert reply[:2] == body and len(reply) == 3, reply
        who.add(reply[2].decode())
    print(' '.join(sorted(who)), flush=True)
    if turn == 0: sys.stdin.readline()
"#;
