"""What the peers say to each other; the same as tests/interop/traffic.rs, which explains it."""

import zlib

LARGEST = 4 * 1024 * 1024
LARGEST_EVERY = 50_000
PERIOD = 262_139
FRAMES = (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5)
KEPT = b"keep"
SYNC = b"keep.sync"
MASK = 0xFFFF_FFFF_FFFF_FFFF


def mix(n):
    x = (n + 0x9E37_79B9_7F4A_7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return x ^ (x >> 31)


class Traffic:
    def __init__(self, seed, tag):
        self.seed = seed
        self.tag = [tag.encode()] if tag else []
        period = b"".join(mix(n).to_bytes(8, "little") for n in range(PERIOD // 8 + 1))[:PERIOD]
        self.pool = (period * (LARGEST // PERIOD + 2))[: PERIOD + LARGEST]

    def message(self, n):
        """The frames of message n."""
        x = mix(self.seed ^ mix(n))
        kind = x & 0x7FFF
        if n % LARGEST_EVERY == LARGEST_EVERY // 2:
            size = LARGEST
        elif kind > 327:
            size = ((x >> 15) & 0xFF) * 201 >> 8
        elif kind > 0:
            size = ((x >> 15) & 0xFFFF) >> ((x >> 31) & 7)
        else:
            size = (x >> 15) & (LARGEST - 1)
        count = FRAMES[(x >> 34) & 15]
        at = (x >> 38) % PERIOD
        if count == 1:
            return [self.pool[at : at + size]]
        frames = []
        for i in range(1, count + 1):
            take = size if i == count else size // 2
            frames.append(self.pool[at : at + take])
            at += take
            size -= take
        return frames

    def topic(self, n):
        return KEPT if is_kept(n) else b"skip"


def is_kept(n):
    return n % 4 != 3


def add(checksum, frames):
    """The running checksum after one more message."""
    for frame in frames:
        checksum = zlib.crc32(frame, (checksum + len(frame) + 1) & 0xFFFF_FFFF)
    return (checksum * 31 + len(frames)) & 0xFFFF_FFFF
