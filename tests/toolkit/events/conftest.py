"""Files of every format, written event by event with ``struct``; no code is shared with the readers."""

import struct
from collections.abc import Callable, Sequence

import pytest

Event = tuple[int, int, int, int]
"""Microseconds, x, y, polarity."""


def evt2(events: Sequence[Event], width: int, height: int) -> bytes:
    head = f"% date 2026-01-01 00:00:00\n% evt 2.0\n% geometry {width}x{height}\n% end\n".encode()
    words, high = [], None
    for t, x, y, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high % 2**28)
            words.append(10 << 28 | 1)  # a trigger
        words.append(p << 28 | t % 64 << 22 | x << 11 | y)
    return head + b"".join(struct.pack("<I", word) for word in words)


def evt3(events: Sequence[Event], width: int, height: int, vectors: bool = True) -> bytes:
    """Neighbours of one time, row and polarity become vectors of 12 or 8."""
    head = f"% format EVT3;height={height};width={width}\n% generation 4.2\n% end\n".encode()
    words: list[int] = []
    high = low = row = None
    at = 0
    while at < len(events):
        t, x, y, p = events[at]
        if t >> 12 != high:
            high = t >> 12
            low = None
            words.append(8 << 12 | high % 2**12)
        if t % 4096 != low:
            low = t % 4096
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(row)
        run = [x]
        while at + len(run) < len(events) and len(run) < 30:
            following = events[at + len(run)]
            if (following[0], following[2], following[3]) != (t, y, p) or not run[-1] < following[1] < x + 40:
                break
            run.append(following[1])
        if vectors and len(run) > 1:
            words.append(3 << 12 | p << 11 | x)
            base = x
            while base <= run[-1]:
                size = 8 if run[-1] - base < 8 else 12
                mask = sum(1 << place - base for place in run if base <= place < base + size)
                words.append((5 if size == 8 else 4) << 12 | mask)
                base += size
        else:
            words += [2 << 12 | p << 11 | x for x in run]
        words.append(0xE << 12 | 5)
        at += len(run)
    return head + b"".join(struct.pack("<H", word) for word in words)


def dat(events: Sequence[Event], width: int, height: int) -> bytes:
    head = f"% Data file containing CD events\n% Version 2\n% Width {width}\n% Height {height}\n".encode()
    body = b"".join(struct.pack("<II", t % 2**32, p << 28 | y << 14 | x) for t, x, y, p in events)
    return head + b"\x0c\x08" + body


def aedat2(events: Sequence[Event], width: int, height: int) -> bytes:
    body = b"".join(
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t % 2**32)
        + struct.pack(">II", 1 << 15, t % 2**32)
        for t, x, y, p in events
    )
    return b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# created now\r\n" + body


def aedat31(events: Sequence[Event], width: int, height: int, packet: int = 5) -> bytes:
    found = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    for start in range(0, len(events), packet):
        part = events[start : start + packet]
        overflow = part[0][0] >> 31
        same = [event for event in part if event[0] >> 31 == overflow]
        for turn, group in ((overflow, same), (overflow + 1, part[len(same) :])):
            # An invalid event, and a packet of another kind in front.
            rows = [(t % 2**31, x << 17 | y << 2 | p << 1 | 1) for t, x, y, p in group]
            rows.append((0, 127 << 17))
            found += struct.pack("<hhiiiiii", 0, 1, 8, 4, turn, 1, 1, 1) + bytes(8)
            found += struct.pack("<hhiiiiii", 1, 1, 8, 4, turn, len(rows), len(rows), len(group))
            found += b"".join(struct.pack("<Ii", word, t) for t, word in rows)
    return found


def text(events: Sequence[Event], width: int, height: int) -> bytes:
    return ("# made by hand\nt,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in events)).encode()


@pytest.fixture(scope="session")
def writers() -> dict[str, Callable[[Sequence[Event], int, int], bytes]]:
    """By suffix, in capitals where a format has two kinds of files."""
    return {".raw": evt2, ".RAW": evt3, ".dat": dat, ".aedat": aedat2, ".AEDAT": aedat31, ".csv": text}
