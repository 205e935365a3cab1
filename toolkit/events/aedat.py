"""AEDAT of iniVation: 2 (jAER), 3.1 (cAER) in NumPy from the published formats, and 4 by the package ``aedat``."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import FileError
from ..extras import extra
from .blocks import Unwrapped, blocks, chosen, header_lines
from .recording import Columns, Sensor, Stream

DVS128: Sensor = (128, 128)
SENSORS: dict[str, Sensor] = {"DVS128": DVS128, "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DVXplorer": (640, 480)}
"""Sensors that the header of AEDAT 3.1 names, by the beginning of their name."""
PACKET = struct.Struct("<hhiiiiii")
POLARITY_EVENT = 1
PACKET_LIMIT = 2**26
END = b"#!END-HEADER"


def open_aedat(file: BinaryIO, source: str, sensor: Sensor | None) -> Stream:
    """Return the events of an AEDAT file of version 2, 3.1 or 4, as its first line says.

    Raises:
        FileError: it is of another version, or no AEDAT at all.
    """
    version = file.read(16).split(b"\n")[0].strip()
    file.seek(0)
    if version.startswith(b"#!AER-DAT2"):
        header_lines(file, source, b"#")
        if sensor not in (None, DVS128):
            raise FileError(f"{source}: AEDAT 2 is read of the DVS128 only, which has 128 x 128 pixels")
        return Stream(DVS128, _aedat2(file, source), source)
    if version == b"#!AER-DAT3.1":
        lines = header_lines(file, source, b"#", END)
        if not lines or lines[-1] != END.decode():
            raise FileError(f"{source}: header without {END.decode()}; it is cut off, or no AEDAT 3.1")
        named = next((size for name, size in SENSORS.items() for line in lines if f" {name}" in line), None)
        return Stream(chosen(named, sensor, source), _aedat31(file, source), source)
    if version.startswith(b"#!AER-DAT4"):
        return _aedat4(source, sensor)
    known = version.decode("latin-1") if version.startswith(b"#!AER-DAT") else "no line #!AER-DAT at its head"
    raise FileError(f"{source}: {known}, expected AEDAT 2, 3.1 or 4")


def _aedat2(file: BinaryIO, source: str) -> Iterator[Columns]:
    """Yield the events of a DVS128: address 32 and microseconds 32, big-endian.

    Of the address: bit 0 is 0 where it became brighter; bits 1-7 and 8-14 are counted from the far corner and turned,
    as CIFAR10-DVS's own reader takes them: x = 127 - bits 8-14, y = 127 - bits 1-7. Bit 15 marks what is no pixel.
    """
    unwrap = Unwrapped(32)
    for block in blocks(file, source, 8):
        address, time = np.frombuffer(block, ">u4").astype(np.int64).reshape(-1, 2).T
        if address.max(initial=0) >= 2**16:
            raise FileError(f"{source}: addresses of more than 16 bits; not of a DVS128, or little-endian")
        time, pixel = unwrap(time), address < 2**15
        address, time = address[pixel], time[pixel]
        yield time, 127 - (address >> 8 & 127), 127 - (address >> 1 & 127), 1 - (address & 1)


def _aedat31(file: BinaryIO, source: str) -> Iterator[Columns]:
    """Yield the valid polarity events, packet by packet; other packets are passed over.

    A packet's head is 28 bytes, little-endian: type and source 16 each; size of an event, offset of its time, how often
    31 bits of microseconds ran over, capacity, number and number of valid events, 32 each. An event is 32 bits (valid
    1, polarity 1, y 15, x 15, from the lowest) and its time 32.
    """
    while head := file.read(PACKET.size):
        if len(head) < PACKET.size:
            raise FileError(f"{source}: ends within the head of a packet; it is cut off")
        kind, _, size, offset, overflow, capacity, number, _ = PACKET.unpack(head)
        if kind < 0 or size < 1 or overflow < 0 or not 0 <= number <= capacity or size * capacity > PACKET_LIMIT:
            raise FileError(
                f"{source}: a packet of {number} events, {capacity} at most, of {size} bytes, type {kind}; it is "
                "damaged, or big-endian"
            )
        content = file.read(size * capacity)
        if len(content) < size * capacity:
            raise FileError(f"{source}: ends within a packet of {size * capacity} bytes; it is cut off")
        if kind != POLARITY_EVENT:
            continue
        if (size, offset) != (8, 4):
            raise FileError(f"{source}: polarity events of {size} bytes, their time at {offset}; expected 8 and 4")
        word, time = np.frombuffer(content, "<u4", 2 * number).astype(np.int64).reshape(-1, 2).T
        valid = (word & 1).astype(bool)
        word, time = word[valid], time[valid]
        if time.max(initial=0) >= 2**31:
            raise FileError(f"{source}: a negative time; it is damaged, or big-endian")
        yield time + (overflow << 31), word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1


def _aedat4(source: str, sensor: Sensor | None) -> Stream:
    """Return the events of an AEDAT 4 file's first stream of events, decoded by the package ``aedat``."""
    with extra("events"):
        import aedat
    try:
        decoder = aedat.Decoder(Path(source))
        streams: dict[int, dict[str, Any]] = decoder.id_to_stream()
    except Exception as error:  # the decoder raises several kinds of its own
        raise FileError(f"{source}: not a readable AEDAT 4 file ({error})") from error
    number = min((number for number, stream in streams.items() if stream["type"] == "events"), default=None)
    if number is None:
        raise FileError(f"{source}: holds no stream of events")
    found = streams[number]
    return Stream(chosen((found["width"], found["height"]), sensor, source), _packets(decoder, number, source), source)


def _packets(decoder: Any, number: int, source: str) -> Iterator[Columns]:
    while True:
        try:
            packet = next(decoder, None)
        except Exception as error:  # as above
            raise FileError(f"{source}: damaged AEDAT 4 file ({error})") from error
        if packet is None:
            return
        if packet["stream_id"] == number:
            events = packet["events"]
            yield events["t"], events["x"], events["y"], events[events.dtype.names[3]]
