//! The other sides of what is our own, in Python: programmes for `python -c`, each with [`EXT`] in front if it needs
//! that. They are written from the pages of `docs/protocols` and from nothing else.

/// The extension header.
pub(crate) const EXT: &str = r#"
import sys, zmq
from collections import deque
SIZES = dict(id=16, dl=4, ttl=4, idem=1, att=2, prio=1, nb=8, op=1, pn=4, st=2, ra=4, slots=4)
TEXTS = ('tp', 'ct', 'tag', 'err')
CALL, PART, LAST, CANCEL = range(4)
def encode(**entries):
    out = b'\xaa\xae\x01' + len(entries).to_bytes(4, 'big')
    for name, value in entries.items():
        if isinstance(value, int): value = value.to_bytes(SIZES[name], 'big')
        if isinstance(value, str): value = value.encode()
        out += bytes([len(name)]) + name.encode() + len(value).to_bytes(4, 'big') + value
    assert len(out) <= 8192
    return out
def decode(frame):
    if frame[:3] != b'\xaa\xae\x01': return None
    assert len(frame) <= 8192
    entries, at = {}, 7
    for _ in range(int.from_bytes(frame[3:7], 'big')):
        end = at + 1 + frame[at]
        name = frame[at + 1:end].decode()
        at = end + 4
        end = at + int.from_bytes(frame[end:at], 'big')
        value = frame[at:end]
        at = end
        assert at <= len(frame) and name not in entries, frame
        if name in SIZES: assert len(value) == SIZES[name], frame
        if name in SIZES and name != 'id': value = int.from_bytes(value, 'big')
        if name in TEXTS: value = value.decode()
        entries[name] = value
    assert at == len(frame), frame
    return entries
def connected(kind, at):
    s = zmq.Context.instance().socket(kind); s.linger = 1000; s.rcvtimeo = 60000; s.connect(at)
    return s
def bound(kind):
    s = zmq.Context.instance().socket(kind); s.linger = 1000; s.rcvtimeo = 60000; s.bind('tcp://127.0.0.1:*')
    print(s.last_endpoint.decode().rstrip('\0'), flush=True)
    return s
"#;

/// A client of requests. Arguments: a server with room, and one that carries out one request and has one wait.
pub(crate) const RPC_CLIENT: &str = r#"
s = connected(zmq.DEALER, sys.argv[1])
names = iter(range(1 << 40, 1 << 41))
def ask(*body, s=s, name=None, **entries):
    name = name or next(names).to_bytes(8, 'big')
    s.send_multipart([name, b'', encode(**entries), *body])
    return name
def reply(s=s):
    f = s.recv_multipart()
    assert len(f) >= 3 and len(f[0]) == 8 and f[1] == b'', f
    return f[0], decode(f[2]), f[3:]
def expect(name, status, s=s):
    got, ext, body = reply(s)
    assert (got, ext['st'], ext['op']) == (name, status, LAST), (got, ext, body)
    return ext, body

# Any number at once, each with its own reply.
waiting = {}
for i in range(500):
    if len(waiting) == 64:
        name, ext, body = reply()
        assert (ext['st'], ext['op'], body) == (200, LAST, waiting.pop(name)) and 'pn' not in ext
    body = [b'body', str(i).encode()]
    waiting[ask(*body, dl=60000, idem=0, att=1)] = body
while waiting:
    name, ext, body = reply()
    assert body == waiting.pop(name)

# Without a header there is none in the reply; and behind one the body may look like one.
s.send_multipart([b'a name of any length', b'', b'plain'])
assert s.recv_multipart() == [b'a name of any length', b'', b'plain']
name = ask(b'\xaa\xae\x01')
assert expect(name, 200)[1] == [b'\xaa\xae\x01']
name = ask()
assert expect(name, 200)[1] in ([], [b''])

# Parts, in order and numbered.
name = ask(b'parts')
for number in range(3):
    got, ext, body = reply()
    assert (got, ext['op'], ext['pn'], body) == (name, PART, number, [str(number).encode()]), ext
ext, body = expect(name, 200)
assert (ext['pn'], body) == (3, [b'last'])

# What is declined, and what fails.
expect(ask(b'late', dl=0), 408)
expect(ask(b'of no use', dl=1000, ttl=0), 408)
expect(ask(b'early', nb=5000), 503)
assert expect(ask(b'fail'), 500)[0]['err'] == 'no luck'

# What the handler is told.
name = ask(b'headers', tp='00-1-2-01', ct='text/plain', tag='blue', key=b'account', own=b'mine', prio=7)
assert expect(name, 200)[1] == [b'00-1-2-01', b'text/plain', b'blue', b'account', b'mine']

# A key is carried out once: asked again under the same name, under another one, and for something else.
key = bytes(range(16))
name = ask(b'count', id=key, idem=1, att=1)
ext, body = expect(name, 200)
assert ext['id'] == key and body == [b'1'], body
assert expect(ask(b'count', name=name, id=key, idem=1, att=2), 200)[1] == [b'1']
assert expect(ask(b'count', id=key, idem=1, att=3), 200)[1] == [b'1']
expect(ask(b'another', id=key, idem=1, att=1), 409)
assert expect(ask(b'count', id=bytes(16), idem=1), 200)[1] == [b'2']

# What is refused has no answer: the next one to come is that of the next request.
good = encode(att=1)
for bad in (good[:-1], good + b'x', good[:3] + b'\0\0\0\2' + good[7:] * 2, good[:3] + b'\xff\xff\xff\xff' + good[7:],
            encode(op=PART), encode(idem=1), encode(idem=3), encode(prio=8), encode(op=9), b'\xaa\xae\x01' + b'\0' * 8192):
    s.send_multipart([b'refused!', b'', bad, b'body'])
s.send_multipart([b'no delimiter', b'body'])
s.send_multipart([b'no body', b''])
expect(ask(b'after that'), 200)
# Another version is no header but a body, and the reply has none then.
s.send_multipart([b'version2', b'', b'\xaa\xae\x02', b'body'])
assert s.recv_multipart() == [b'version2', b'', b'\xaa\xae\x02', b'body']

# One runs, one waits, and there is no room for more, until the first is given up.
s = connected(zmq.DEALER, sys.argv[2])
first = ask(b'hang', s=s, dl=60000)
assert reply(s)[1]['op'] == PART
second = ask(b'second', s=s, dl=60000)
third = ask(b'third', s=s, dl=60000)
assert expect(third, 429, s)[0]['ra'] == 100
s.send_multipart([first, b'', encode(op=CANCEL)])
assert expect(second, 200, s)[1] == [b'second']
print('done')
"#;

/// A server of requests, for one client. It ends with its input.
pub(crate) const RPC_SERVER: &str = r#"
import threading
s = bound(zmq.ROUTER)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
kept, seen = {}, {}
while not stop.is_set():
    if not s.poll(20): continue
    f = s.recv_multipart()
    at = f.index(b'', 1)
    envelope, ext, body = f[:at + 1], decode(f[at + 1]), f[at + 2:]
    name = envelope[1]
    assert ext is not None and len(name) == 8, f
    def tell(*body, **entries): s.send_multipart([*envelope, encode(**entries), *body])
    if ext.get('op', CALL) == CANCEL:
        print('cancelled', seen[name].decode(), flush=True)
        continue
    assert 0 < ext['dl'] <= 60000 and ext['idem'] in (0, 1, 2) and ext['att'] >= 1, ext
    assert name not in seen or ext['att'] > 1, 'an attempt has the name of its call'
    seen[name] = what = body[0]
    if what == b'parts':
        for number in range(3): tell(str(number).encode(), op=PART, pn=number, st=200)
        tell(b'not the next', op=PART, pn=7, st=200)
        tell(b'last', pn=3, op=LAST)
    elif what == b'fail': tell(op=LAST, st=500, err='no luck')
    elif what == b'odd': tell(op=LAST, st=599, err='as 500')
    elif what == b'busy' and ext['att'] == 1: tell(op=LAST, st=429, ra=1)
    elif what == b'not here' and ext['att'] == 1: tell(op=LAST, st=503)
    elif what == b'gone': tell(op=LAST, st=404)
    elif what == b'late': tell(op=LAST, st=408)
    elif what == b'hang': print('hangs', flush=True)
    elif what == b'headers':
        tell(ext['tp'].encode(), ext['ct'].encode(), ext['tag'].encode(), ext['key'], ext['own'], str(ext['prio']).encode(), op=LAST)
    elif what == b'key':
        assert ext['idem'] == 1
        if ext['id'] in kept: tell(kept[ext['id']], id=ext['id'], op=LAST, st=200)
        # The first reply is lost.
        else: kept[ext['id']] = str(len(kept) + 1).encode()
    elif what == b'once':
        assert ext['idem'] == 2 and ext['att'] == 1
        tell(b'once', st=200)
    else:
        # Rubbish, replies to nobody, and entries in another order with one that nobody knows.
        s.send_multipart([*envelope, b'\xaa\xae\x01\0\0\0\1', b'cut short'])
        s.send_multipart([envelope[0], b'somebody', b'', encode(st=200), b'another'])
        s.send_multipart([envelope[0], b'no delimiter'])
        tell(*body, **{'of a later version': b'x', 'st': 200, 'op': LAST})
"#;

/// A worker of two slots, for the service `echo`. Arguments: the broker, and the dialect. It takes what it is given two by
/// two, and answers the second first. Ends when its input does.
pub(crate) const MDP_WORKER: &str = r#"
import threading, time
first = sys.argv[2] == '1'
W = [b'', b'MDPW01'] if first else [b'MDPW02']
BEAT, BYE = (b'\x04', b'\x05') if first else (b'\x05', b'\x06')
s = connected(zmq.DEALER, sys.argv[1])
for feature, code in ((b'ext/1', b'200'), (b'slots', b'200'), (b'telepathy', b'404')):
    s.send_multipart([b'', b'MDPC01', b'mmi.features', feature])
    assert s.recv_multipart() == [b'', b'MDPC01', b'mmi.features', code]
s = connected(zmq.DEALER, sys.argv[1])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
s.send_multipart(W + [b'\x01', b'echo', encode(slots=2)])
def tell(address, *body, last=True):
    s.send_multipart(W + [b'\x04' if last and not first else b'\x03', address, b'', *body])
pair, beats, beat = [], 0, 0
while not stop.is_set():
    if time.monotonic() - beat > 0.05:
        beat = time.monotonic()
        s.send_multipart(W + [BEAT])
    if not s.poll(20): continue
    f = s.recv_multipart()
    assert f[:len(W)] == W, f
    f = f[len(W):]
    if f[0] == BEAT:
        beats += 1
        if beats == 3: print('heartbeats', flush=True)
        continue
    assert f[0] == b'\x02' and f[2] == b'' and len(f) > 3, f
    address, ext, body = f[1], decode(f[3]), f[3:]
    if ext is None:
        # Its client has none: what looks like one follows one.
        assert body == [b'plain'], body
        tell(address, encode(), b'\xaa\xae\x01 looks like one')
        continue
    body = body[1:]
    assert ext['att'] >= 1 and len(ext['id']) == 16 and 'ttl' not in ext, ext
    named = dict(id=ext['id'])
    if body[0] == b'parts':
        for number in range(3): tell(address, encode(**named, op=PART), str(number).encode(), last=False)
        tell(address, encode(**named, op=LAST), b'last')
    elif body[0] == b'fail': tell(address, encode(**named, op=LAST, st=500, err='no luck'), b'')
    elif body[0] == b'busy': tell(address, encode(**named, op=LAST, st=429, ra=1), b'')
    elif body[0] == b'headers':
        assert ext['idem'] == 1 and 0 < ext['dl'] <= 60000
        tell(address, encode(**named), ext['tag'].encode(), ext['own'])
    else:
        pair.append((address, ext, body))
        if len(pair) == 2:
            assert pair[0][0] != pair[1][0], 'an address for each'
            while pair:
                address, ext, body = pair.pop()
                tell(address, encode(id=ext['id'], op=LAST, st=200), *body)
s.send_multipart(W + [BYE])
"#;

/// A client of the services `echo` and `nobody`. Arguments: the broker, and the dialect.
pub(crate) const MDP_CLIENT: &str = r#"
first = sys.argv[2] == '1'
s = connected(zmq.DEALER, sys.argv[1])
ids = iter(range(1, 1 << 40))
def ask(service, *body, **entries):
    entries.setdefault('id', next(ids).to_bytes(16, 'big'))
    head = [b'', b'MDPC01'] if first else [b'MDPC02', b'\x01']
    s.send_multipart(head + [service, encode(**entries), *body])
    return entries['id']
def reply():
    f = s.recv_multipart()
    if first:
        assert f[:2] == [b'', b'MDPC01'], f
        service, ext, body = f[2], decode(f[3]), f[4:]
    else:
        assert f[0] == b'MDPC02' and f[1] in (b'\x02', b'\x03'), f
        service, ext, body = f[2], decode(f[3]), f[4:]
        assert (f[1] == b'\x02') == (ext['op'] == PART), f
    return service, ext, body
def expect(id, status):
    service, ext, body = reply()
    assert (ext['id'], ext['st'], ext['op']) == (id, status, LAST), (ext, body)
    return ext, body

# Any number at once over one connection, to one service.
waiting = {}
for i in range(200):
    if len(waiting) == 32:
        service, ext, body = reply()
        assert (service, ext['st'], ext['op'], body) == (b'echo', 200, LAST, waiting.pop(ext['id']))
    body = [b'body', str(i).encode()]
    waiting[ask(b'echo', *body, dl=60000, idem=0, att=1)] = body
while waiting:
    service, ext, body = reply()
    assert body == waiting.pop(ext['id'])

id = ask(b'echo', b'parts', dl=60000)
for number in range(3):
    service, ext, body = reply()
    assert (ext['id'], ext['op'], ext['pn'], body) == (id, PART, number, [str(number).encode()]), ext
ext, body = expect(id, 200)
assert (ext['pn'], body) == (3, [b'last'])

assert expect(ask(b'echo', b'fail'), 500)[0]['err'] == 'no luck'
expect(ask(b'echo', b'late', dl=0), 408)
expect(ask(b'echo', b'early', nb=1000), 503)
expect(ask(b'nobody', b'is there', dl=60000), 404)
assert expect(ask(b'mmi.service', b'echo'), 200)[1] == [b'200']
assert expect(ask(b'mmi.features', b'slots'), 200)[1] == [b'200']

# A key is carried out once while the broker knows it.
key = bytes(range(200, 216))
body = expect(ask(b'echo', b'count', id=key, idem=1, att=1), 200)[1]
assert expect(ask(b'echo', b'count', id=key, idem=1, att=2), 200)[1] == body
expect(ask(b'echo', b'another', id=key, idem=1), 409)

# What waits is forgotten, and what is refused has no answer: the next one to come is that of the next request.
id = ask(b'later', b'not any more', dl=60000)
ask(b'-', id=id, op=CANCEL)
ask(b'echo', b'body', op=PART)
ask(b'echo', b'body', op=9)
expect(ask(b'echo', b'after that'), 200)
print('done')
"#;

/// A client of tokens. Arguments: the server, which has the bucket `api`, that fills with a burst of 5 tokens.
pub(crate) const TOKEN_CLIENT: &str = r#"
import time
s = connected(zmq.REQ, sys.argv[1])
def ask(*request):
    s.send_multipart(request)
    return s.recv_multipart()
def number(n): return n.to_bytes(4, 'big')
def take(n): return ask(b'TAKE', b'api', number(n))
assert take(0)[:2] == [b'OK', number(0)]
# It is empty at first, and says when it is not.
have = 0
while have < 5:
    reply = take(5 - have)
    if reply[0] == b'NO':
        assert len(reply) == 2 and len(reply[1]) == 4
        wait = int.from_bytes(reply[1], 'big')
        assert 1 <= wait <= 1000, wait
        time.sleep(wait / 1000)
    else:
        ok, granted, lease = reply
        assert ok == b'OK' and lease == number(30000), reply
        assert 1 <= int.from_bytes(granted, 'big') <= 5 - have
        have += int.from_bytes(granted, 'big')
# What is given back is there at once.
assert ask(b'GIVE', b'api', number(3)) == [b'OK']
granted = take(3)
assert granted[:2] == [b'OK', number(3)], granted
assert ask(b'TAKE', b'another', number(1)) == [b'NO', number(100)]
assert ask(b'GIVE', b'another', number(1)) == [b'NO', number(100)]
for rubbish in ((b'TAKE',), (b'TAKE', b'api', b'1'), (b'TAKE', b'api', number(1), b''), (b'STEAL', b'api', number(1)), (b'',)):
    assert ask(*rubbish) == [b'NO', b'\xff' * 4], rubbish
print('done')
"#;

/// A server of tokens that grants no more than 4 at once and 10 in all, prints how many were given back, and ends.
pub(crate) const TOKEN_SERVER: &str = r#"
s = bound(zmq.REP)
left = 10
while True:
    verb, bucket, n = s.recv_multipart()
    n = int.from_bytes(n, 'big')
    assert bucket == b'api' and n > 0
    if verb == b'GIVE':
        s.send(b'OK')
        print('given', n, flush=True)
        break
    assert verb == b'TAKE' and n <= 10
    granted = min(n, 4, left)
    left -= granted
    if granted: s.send_multipart([b'OK', granted.to_bytes(4, 'big'), (3600000).to_bytes(4, 'big')])
    else: s.send_multipart([b'NO', (10000).to_bytes(4, 'big')])
s.close(); zmq.Context.instance().term()
"#;

/// A sender that sends 300 messages within its credit, and one that is larger than the window. Argument: the receiver.
pub(crate) const CREDIT_SENDER: &str = r#"
s = zmq.Context.instance().socket(zmq.DEALER); s.immediate = 1; s.linger = 60000; s.rcvtimeo = 60000; s.connect(sys.argv[1])
def hear():
    what, octets = s.recv_multipart()
    assert len(octets) == 8
    return what, int.from_bytes(octets, 'big')
what, window = hear()
assert what == b'WINDOW' and window > 0
credit, grants = window, 0
def send(*frames):
    global credit, grants
    cost = max(1, sum(map(len, frames)))
    while not (cost <= credit or credit == window):
        what, octets = hear()
        assert what == b'GRANT' and 0 < octets <= window - credit
        credit += octets; grants += 1
    credit = max(0, credit - cost)
    s.send_multipart(frames)
for i in range(300): send(str(i).encode(), b'x' * (i % 90), b'')
send(b'x' * (3 * window))
send(b'')
print('done', grants)
"#;

/// A receiver of one sender, which holds up to 1000 octets and grants when half of that is free. It takes as many messages
/// as its argument says, each the number of the one before and one more.
pub(crate) const CREDIT_RECEIVER: &str = r#"
s = bound(zmq.DEALER)
WINDOW = 1000
def tell(what, octets): s.send_multipart([what, octets.to_bytes(8, 'big')])
# It waits here for its sender.
tell(b'WINDOW', WINDOW)
granted, held = WINDOW, deque()
def consume():
    global granted
    held.popleft()
    free = WINDOW - granted - sum(held)
    # When nothing is held, all of it: the next may be large.
    if free >= WINDOW // 2 or not held:
        tell(b'GRANT', free)
        granted += free
for i in range(int(sys.argv[1])):
    # It holds as much as it has room for before it consumes anything.
    while held and not s.poll(1): consume()
    f = s.recv_multipart()
    assert int(f[0]) == i, f
    cost = max(1, sum(map(len, f)))
    assert cost <= granted or granted == WINDOW, 'beyond its credit'
    cost = min(cost, granted)
    granted -= cost
    held.append(cost)
    assert sum(held) <= WINDOW
print('done')
"#;
