"""Files of events, read block by block; what their binary formats share."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError, InputError
from .recording import Sensor, Stream

BLOCK = 2**22
"""Bytes that are read and decoded at a time."""
HEADER_LIMIT = 2**16

Opened = Callable[[BinaryIO, str, Sensor | None], Stream]
"""Reads the header of a file, and returns what is behind it as a stream. Takes the file, its name for messages, and the
sensor that the user named."""


def blocks(file: BinaryIO, source: str, word: int) -> Iterator[bytes]:
    """Yield the rest of a file in blocks of whole words.

    Args:
        file: read from where it stands.
        source: for messages.
        word: bytes of one.

    Raises:
        FileError: it ends within a word.
    """
    size = BLOCK - BLOCK % word
    while block := file.read(size):
        if len(block) % word:
            raise FileError(f"{source}: ends within an event: {len(block) % word} of {word} bytes; it is cut off")
        yield block


def header_lines(file: BinaryIO, source: str, mark: bytes, end: bytes | None = None) -> list[str]:
    """Return the lines at a file's head that begin with ``mark``, and leave it behind them.

    Args:
        file: at its beginning.
        source: for messages.
        mark: what lines of the header begin with.
        end: a line behind which the data begin, whatever they begin with.

    Raises:
        FileError: the header is longer than :data:`HEADER_LIMIT`.
    """
    lines: list[str] = []
    while True:
        here = file.tell()
        line = file.readline(HEADER_LIMIT)
        if not line.startswith(mark):
            file.seek(here)
            return lines
        if here + len(line) > HEADER_LIMIT or not line.endswith(b"\n"):
            raise FileError(f"{source}: header is cut off, or longer than {HEADER_LIMIT:,} bytes; not a recording")
        lines.append(line.decode("latin-1").strip())
        if end is not None and line.strip() == end:
            return lines


def chosen(found: Sensor | None, given: Sensor | None, source: str) -> Sensor:
    """Return the sensor that the user named or, if none, that of the file.

    Raises:
        InputError: neither is known.
    """
    sensor = given or found
    if sensor is None:
        raise InputError(f"{source}: does not say how large its sensor is; give sensor = (width, height)")
    return sensor


class Unwrapped:
    """A counter of so many bits that runs over, continued: half a turn backward or more is taken for a turn forward.

    Args:
        bits: of the counter.
    """

    def __init__(self, bits: int) -> None:
        self.turn, self.turns, self.last = 2**bits, 0, 0

    def __call__(self, counter: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the next values, with the turns before them."""
        if not counter.size:
            return counter
        turns = self.turns + np.cumsum(np.diff(counter, prepend=self.last) <= -self.turn // 2)
        self.turns, self.last = int(turns[-1]), int(counter[-1])
        found: NDArray[np.int64] = counter + turns * self.turn
        return found
