"""A million events binned, and ten minutes of events streamed: seconds and memory. python benchmarks/events.py."""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from spikeproof.toolkit.events.binning import Bins
from spikeproof.toolkit.events.read import open_recording
from spikeproof.toolkit.events.recording import Recording

EVENTS, SIDE, MINUTES = 10**6, 128, 10


def memory() -> float:
    """Return the most memory that this process ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(bins: Bins, recording: Recording, times: int = 5) -> float:
    """Return the shortest of some runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        bins.frames(recording)
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 10**7, EVENTS))
    x, y, p = (rng.integers(0, most, EVENTS) for most in (SIDE, SIDE, 2))
    start = time.perf_counter()
    recording = Recording(t, x, y, p, (SIDE, SIDE))
    print(f"{EVENTS:,} events checked in {time.perf_counter() - start:.3f} s")
    for rule in ({"count": 100}, {"microseconds": 10**5}, {"events": 10**4}):
        for values in ("binary", "counts"):
            bins = Bins(**rule, values=values)  # type: ignore[arg-type]
            print(f"binned, {rule}, {values}: {seconds(bins, recording):.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.dat"
        with path.open("wb") as file:
            file.write(f"% Width {SIDE}\n% Height {SIDE}\n".encode() + b"\x0c\x08")
            for second in range(60 * MINUTES):
                words = np.stack([np.sort(rng.integers(0, 10**6, 10**5)) + second * 10**6, np.zeros(10**5, int)], 1)
                words[:, 1] = rng.integers(0, SIDE, 10**5) | rng.integers(0, SIDE, 10**5) << 14
                file.write(words.astype("<u4").tobytes())
        before, start, frames = memory(), time.perf_counter(), 0
        with open_recording(path) as stream:
            for _ in Bins(microseconds=10**4).stream(stream):
                frames += 1
        size = path.stat().st_size / 2**20
        print(
            f"{MINUTES} minutes, {MINUTES * 6 * 10**6:,} events, {size:.0f} MiB: {frames:,} frames in "
            f"{time.perf_counter() - start:.1f} s; memory {before:.0f} to {memory():.0f} MiB"
        )


if __name__ == "__main__":
    main()
