"""Prophesee's files: raw EVT2 and EVT3, and DAT, in NumPy from the published formats, docs.prophesee.ai."""

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from .blocks import Unwrapped, blocks, chosen, header_lines
from .recording import Columns, Sensor, Stream

EVT2_KNOWN = (0x0, 0x1, 0x8, 0xA, 0xE, 0xF)
EVT3_KNOWN = (0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)
DAT_TYPES = (0x00, 0x0C)
"""Event2d and EventCd."""
NO_EVENT = "holds no event with a time"


def open_raw(file: BinaryIO, source: str, sensor: Sensor | None) -> Stream:
    """Return the events of a raw file whose header says EVT2 or EVT3.

    Raises:
        FileError: its header names neither, or another order of bytes.
    """
    lines = header_lines(file, source, b"% ", b"% end")
    words = dict([*line[2:].split(" ", 1), ""][:2] for line in lines)
    kind = re.match(r"EVT(\d)(\d?)\b", words.get("format", "")) or re.match(r"(\d)\.(\d)", words.get("evt", ""))
    version = None if kind is None else (kind[1], kind[2] or "0")
    decoders = {("2", "0"): _evt2, ("3", "0"): _evt3}
    if version not in decoders:
        named = f"EVT{'.'.join(version)}" if version else "no encoding in its header"
        raise FileError(f"{source}: {named}, expected EVT2 or EVT3; convert it with Prophesee's tools")
    if words.get("endianness", "little") != "little":
        raise FileError(f"{source}: {words['endianness']}-endian words; only little-endian ones are read")
    size = re.match(r"(\d{1,9})x(\d{1,9})$", words.get("geometry", ""))
    if size is None:
        size = re.search(r"width=(\d{1,9});height=(\d{1,9})\b", words.get("format", ""))
    found = None if size is None else (int(size[1]), int(size[2]))
    if found is None and (turned := re.search(r"height=(\d{1,9});width=(\d{1,9})\b", words.get("format", ""))):
        found = int(turned[2]), int(turned[1])
    return Stream(chosen(found, sensor, source), decoders[version](file, source), source)


def _reserved(kind: NDArray[np.int64], known: tuple[int, ...], source: str, name: str) -> None:
    wrong = np.flatnonzero(~np.isin(kind, known))
    if wrong.size:
        raise FileError(
            f"{source}: a word of the reserved type {int(kind[wrong[0]]):#x}; it is damaged, not {name}, or big-endian"
        )


def _latest(where: NDArray[np.bool_], values: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """Return at every word the last of ``values`` that stood at one of the places ``where``; ``before`` at first."""
    index = np.maximum.accumulate(np.where(where, np.arange(1, len(where) + 1), 0))
    return np.where(index > 0, values[index - 1], before)


def _evt2(file: BinaryIO, source: str) -> Iterator[Columns]:
    """Yield the events of 32-bit words: type 4, then time 6, x 11, y 11, or the 28 higher bits of the time.

    Events before the first such word have no time, and are left out, as Prophesee's tools do.
    """
    unwrap, high, any_event = Unwrapped(28), -1, False
    for block in blocks(file, source, 4):
        word = np.frombuffer(block, "<u4").astype(np.int64)
        kind = word >> 28
        _reserved(kind, EVT2_KNOWN, source, "EVT2")
        times = kind == 0x8
        upper = np.zeros(len(word), np.int64)
        upper[times] = unwrap(word[times] & 0xFFFFFFF)
        upper = _latest(times, upper, high)
        high = int(upper[-1])
        event = (kind <= 1) & (upper >= 0)
        word, any_event = word[event], any_event or bool(event.any())
        yield (upper[event] << 6) | (word >> 22 & 0x3F), word >> 11 & 0x7FF, word & 0x7FF, kind[event]
    if not any_event:
        raise FileError(f"{source}: {NO_EVENT}")


def _evt3(file: BinaryIO, source: str) -> Iterator[Columns]:
    """Yield the events of 16-bit words, each of which changes a part of the state or uses it.

    Higher half of the time: its lower one is 0 until it comes. Vectors of 12 or 8 bits stand for neighbours in a row.
    Events before the first time are left out, as Prophesee's tools do.
    """
    unwrap, high, low, row, base, polarity, any_event = Unwrapped(12), -1, 0, 0, 0, 0, False
    for block in blocks(file, source, 2):
        word = np.frombuffer(block, "<u2").astype(np.int64)
        kind, rest = word >> 12, word & 0xFFF
        _reserved(kind, EVT3_KNOWN, source, "EVT3")
        upper = np.zeros(len(word), np.int64)
        upper[kind == 0x8] = unwrap(rest[kind == 0x8])
        upper = _latest(kind == 0x8, upper, high)
        risen = np.diff(upper, prepend=high) != 0
        lower = _latest(risen | (kind == 0x6), np.where(risen, 0, rest), low)
        rows = _latest(kind == 0x0, rest & 0x7FF, row)
        # A vector begins where the one before it ended, counted from the last word that said a base.
        width = np.select([kind == 0x4, kind == 0x5], [12, 8], 0)
        passed = np.cumsum(width) - width
        bases = kind == 0x3
        column = _latest(bases, (rest & 0x7FF) - passed, base) + passed
        signs = _latest(bases, rest >> 11, polarity)
        single = np.flatnonzero((kind == 0x2) & (upper >= 0))
        vectors = np.flatnonzero((width > 0) & (upper >= 0))
        bits = (rest[vectors, None] >> np.arange(12)) & (np.arange(12) < width[vectors, None]) & 1
        which, offset = np.nonzero(bits)
        many = vectors[which]
        place = np.concatenate((single, many))
        rank = np.argsort(place, kind="stable")
        x = np.concatenate((rest[single] & 0x7FF, column[many] + offset))[rank]
        p = np.concatenate((rest[single] >> 11, signs[many]))[rank]
        place, any_event = place[rank], any_event or bool(place.size)
        yield (upper[place] << 12) | lower[place], x, rows[place], p
        high, low, row, polarity = int(upper[-1]), int(lower[-1]), int(rows[-1]), int(signs[-1])
        base = int(column[-1] + width[-1])
    if not any_event:
        raise FileError(f"{source}: {NO_EVENT}")


def open_dat(file: BinaryIO, source: str, sensor: Sensor | None) -> Stream:
    """Return the events of a DAT file: 64 bits each, time 32, then polarity 4, y 14, x 14, little-endian.

    Raises:
        FileError: it holds events of another kind.
    """
    words = dict([*line[2:].split(" ", 1), ""][:2] for line in header_lines(file, source, b"% "))
    kind = file.read(2)
    if len(kind) < 2 or kind[0] not in DAT_TYPES or kind[1] != 8:
        raise FileError(f"{source}: events of type {kind.hex(' ') or 'none'}, expected 00 08 or 0c 08 (DAT, 2D or CD)")
    width, height = (re.fullmatch(r"\d{1,9}", words.get(name, "")) for name in ("Width", "Height"))
    found = (int(width[0]), int(height[0])) if width and height else None
    return Stream(chosen(found, sensor, source), _dat(file, source), source)


def _dat(file: BinaryIO, source: str) -> Iterator[Columns]:
    unwrap = Unwrapped(32)
    for block in blocks(file, source, 8):
        time, word = np.frombuffer(block, "<u4").astype(np.int64).reshape(-1, 2).T
        yield unwrap(time), word & 0x3FFF, word >> 14 & 0x3FFF, word >> 28
