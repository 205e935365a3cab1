"""Write the recordings that tests read, by faery 0.7.1 in its own Python: python make_faery.py."""

from pathlib import Path

import faery
import numpy as np

HERE = Path(__file__).parent
WIDTH, HEIGHT, COUNT = 320, 240, 300


def events() -> np.ndarray:
    """Return the events, which the test counts again: whole-number rules, over 25 seconds."""
    found = np.zeros(COUNT, faery.EVENTS_DTYPE)
    number = np.arange(COUNT)
    found["t"], found["x"], found["y"] = number**2 * 280, number * 37 % WIDTH, number * 53 % HEIGHT
    found[found.dtype.names[3]] = number // 3 % 2
    return found


for name, version in (("evt2.raw", "evt2"), ("evt3.raw", "evt3"), ("cd.dat", "dat2"), ("dvs.aedat4", None)):
    faery.events_stream_from_array(events(), (WIDTH, HEIGHT)).to_file(
        HERE / f"faery_{name}", version=version, zero_t0=False
    )
faery.events_stream_from_array(events(), (WIDTH, HEIGHT)).to_file(HERE / "faery_events.csv")
