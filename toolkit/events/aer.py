"""The 40-bit events of N-MNIST and N-Caltech101 (.bin)."""

import numpy as np

from ..errors import FileError
from .recording import Columns, Recording, Sensor, ordered

BYTES = 5
OVERFLOW_ROW, OVERFLOW_TIME = 240, 2**13


def parse_aer(content: bytes, source: str, sensor: Sensor, most: int, kind: str) -> Recording:
    """Return the events of 40 bits each: x 8, y 8, polarity 1, time 23, most significant bit first.

    A row of 240 is no event: the clock ran over, and what follows is 2^13 microseconds later.
    (Orchard et al. 2015, Frontiers in Neuroscience 9:437, and the reader that its authors published.)

    Args:
        content: of the file.
        source: for messages.
        sensor: (width, height).
        most: events that a recording may hold.
        kind: of which data set it should be a file.

    Raises:
        FileError: it is something else, or holds no event.
    """
    if not content or len(content) % BYTES or len(content) > BYTES * most:
        raise FileError(f"{source}: {len(content):,} bytes are not 1 to {most:,} events of {BYTES} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(-1, BYTES).astype(np.int64)
    over = rows[:, 1] == OVERFLOW_ROW
    time = ((rows[:, 2] & 127) << 16) + (rows[:, 3] << 8) + rows[:, 4] + OVERFLOW_TIME * np.cumsum(over)
    x, y, p, time = rows[~over, 0], rows[~over, 1], rows[~over, 2] >> 7, time[~over]
    if not x.size or x.max() >= sensor[0] or y.max() >= sensor[1]:
        raise FileError(f"{source}: no events, or some outside of {sensor[0]}x{sensor[1]} pixels; not a file of {kind}")
    columns: Columns = (time, x, y, p)
    return ordered(columns, sensor, source, "sort")
