"""Damaged recordings of every format: refused by an error that names the file, or sound: sorted, inside the sensor.

Never may a reader raise anything else, or hang. Streams in small parts refuse or give what the whole gives.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.events.aer import parse_aer
from spikeproof.toolkit.events.binning import Bins
from spikeproof.toolkit.events.read import open_recording, read_recording
from spikeproof.toolkit.events.recording import Recording
from spikeproof.toolkit.events.tables import SpikeFile

CASES = 250
"""Of each format, in full; a fifth of them in the ordinary tests."""
OF_HDF5 = 50
"""Among more, some send the HDF5 library itself round and round in a damaged heap, which no reader of ours can end."""
SENSOR = (32, 24)
EVENTS = [(250 * i + i % 7, 5 * i % 32, 3 * i % 24, i % 2) for i in range(120)]


def evt2() -> bytes:
    words = b""
    for t, x, y, p in EVENTS:
        words += struct.pack("<II", 8 << 28 | t >> 6, p << 28 | t % 64 << 22 | x << 11 | y)
    return b"% evt 2.0\n% geometry 32x24\n% end\n" + words


def evt3() -> bytes:
    words = b""
    for t, x, y, p in EVENTS:
        pixels = (2 << 12 | p << 11 | x,) if x % 3 or x > 20 else (3 << 12 | p << 11 | x, 4 << 12 | 0x803, 5 << 12 | 0)
        state = (8 << 12 | t >> 12, 6 << 12 | t % 4096, y)
        words += b"".join(struct.pack("<H", word) for word in (*state, *pixels))
    return b"% format EVT3;height=24;width=32\n% end\n" + words


def dat() -> bytes:
    body = b"".join(struct.pack("<II", t, p << 28 | y << 14 | x) for t, x, y, p in EVENTS)
    return b"% Version 2\n% Width 32\n% Height 24\n\x0c\x08" + body


def aedat2() -> bytes:
    return b"#!AER-DAT2.0\r\n# x\r\n" + b"".join(struct.pack(">II", x << 8 | y << 1 | p, t) for t, x, y, p in EVENTS)


def aedat31() -> bytes:
    found = b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    for start in range(0, len(EVENTS), 30):
        found += struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 30, 30, 30)
        for t, x, y, p in EVENTS[start : start + 30]:
            found += struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t)
    return found


def text() -> bytes:
    return ("t,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in EVENTS)).encode()


def arrays(path: Path) -> bytes:
    t, x, y, p = np.array(EVENTS).T
    np.savez(path, t=t, x=x.astype(np.uint16), y=y.astype(np.uint16), p=p.astype(bool), sensor=SENSOR)
    return path.read_bytes()


def array(path: Path) -> bytes:
    np.save(path, np.array([(x, y, p, t) for t, x, y, p in EVENTS], np.float64))
    return path.read_bytes()


def aer() -> bytes:
    return b"".join((x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for t, x, y, p in EVENTS)


def trains(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            made = file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(kind))
            for index in range(3):
                made[index] = np.linspace(0, 1, 9).astype(kind)
        file["labels"] = np.array([0, 1, 2], np.uint16)
    return path.read_bytes()


MADE: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "evt2": (".raw", lambda path: evt2()),
    "evt3": (".raw", lambda path: evt3()),
    "dat": (".dat", lambda path: dat()),
    "aedat2": (".aedat", lambda path: aedat2()),
    "aedat31": (".aedat", lambda path: aedat31()),
    "csv": (".csv", lambda path: text()),
    "npz": (".npz", arrays),
    "npy": (".npy", array),
    "aer": (".bin", lambda path: aer()),
    "hdf5": (".h5", trains),
}


@pytest.fixture
def many(share: float, worker: Any) -> tuple[Callable[[Any], Any], Any]:
    """Run a law on damaged bytes: a share of :data:`CASES`."""
    options = settings(max_examples=int(CASES * share), suppress_health_check=list(HealthCheck), deadline=None)
    return options, worker.damaged


def sound(recording: Recording, sensor: tuple[int, int]) -> None:
    assert (np.diff(recording.t) >= 0).all()
    assert not len(recording) or recording.t[0] >= 0
    assert not len(recording) or (recording.x.max() < sensor[0] and recording.y.max() < sensor[1])
    assert set(np.unique(recording.p)) <= {0, 1}
    assert Bins(count=3, downsample=16).frames(recording).any() == bool(len(recording))


def read_all(kind: str, path: Path) -> list[Recording]:
    """Read a file in every way; a stream must agree with the whole."""
    if kind == "aer":
        return [parse_aer(path.read_bytes(), str(path), SENSOR, 10**6, "this")]
    if kind == "hdf5":
        with SpikeFile(path, 10) as file:
            return [file[index] for index in range(len(file))]
    sensor = (128, 128) if kind.startswith("aedat") else SENSOR
    whole = read_recording(path, sensor=sensor)
    with open_recording(path, sensor=sensor) as stream:
        parts = list(stream)
    assert sum(map(len, parts)) == len(whole)
    return [whole]


@pytest.mark.parametrize("kind", MADE)
def test_damaged_recordings_are_refused_by_name_or_sound(kind: str, many: Any, tmp_path: Path) -> None:
    suffix, make = MADE[kind]
    options, damaged = many
    if kind == "hdf5":
        options = settings(options, max_examples=min(OF_HDF5, options.max_examples))
    path = tmp_path / f"a{suffix}"
    content = make(path)
    path.write_bytes(content)
    sensor = (10, 1) if kind == "hdf5" else (128, 128) if kind.startswith("aedat") else SENSOR
    for recording in read_all(kind, path):
        sound(recording, sensor)
    outcomes = {"refused": 0, "read": 0}

    @options
    @given(st.data())
    def law(data: st.DataObject) -> None:
        path.write_bytes(data.draw(damaged(content)))
        try:
            found = read_all(kind, path)
        except InputError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            outcomes["refused"] += 1
            return
        outcomes["read"] += 1
        for recording in found:
            sound(recording, sensor)

    law()
    assert outcomes["refused"] > 0
