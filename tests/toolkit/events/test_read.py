"""What conftest.py wrote is read back event by event, whole and as a stream; what is wrong is refused by name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.errors import FileError, InputError, MissingExtraError
from spikeproof.toolkit.events import blocks, tables
from spikeproof.toolkit.events.read import open_recording, read_recording
from spikeproof.toolkit.events.recording import Recording, Stream
from spikeproof.toolkit.events.tables import SpikeFile, from_array

Event = tuple[int, int, int, int]
"""Microseconds, x, y, polarity."""
Writers = dict[str, Callable[[Any, int, int], bytes]]
SIDE = 128
SENSOR = (SIDE, SIDE)
TIMES = st.one_of(st.integers(0, 40), st.integers(0, 2**14), st.integers(2**24 - 50, 2**24 + 50))
"""Around where EVT3's clock runs over, too."""
EVENTS = st.lists(
    st.tuples(TIMES, st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.integers(0, 1)), min_size=1, max_size=60
).map(sorted)


def rows(recording: Recording) -> list[Event]:
    return list(zip(*(getattr(recording, name).tolist() for name in "txyp"), strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.mark.parametrize("suffix", [".raw", ".RAW", ".dat", ".aedat", ".AEDAT", ".csv"])
def test_every_format_gives_back_what_was_written(suffix: str, place: Path, writers: Writers) -> None:
    path = place / f"a{suffix}"

    @given(EVENTS, st.sampled_from([16, 48, 2**22]))
    def law(events: list[Event], block: int) -> None:
        # The upper 12 bits of EVT3's time step one at a time in a camera; a jump of half a turn would be a turn.
        if suffix == ".RAW":
            ticks = [(tick << 12, 0, 0, 0) for tick in range(0, (events[-1][0] >> 12) + 1, 1024)]
            events = sorted([*events, *ticks])
        path.write_bytes(writers[suffix](events, SIDE, SIDE))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK", block)
            patch.setattr(tables, "BLOCK", 64 * block)
            sensor = SENSOR if suffix == ".csv" else None
            whole = read_recording(path, sensor=sensor)
            with open_recording(path, sensor=sensor) as stream:
                parts = [row for part in stream for row in rows(part)]
        assert rows(whole) == parts == events
        assert whole.sensor == SENSOR

    law()


@pytest.mark.parametrize(("suffix", "bits"), [(".raw", 34), (".RAW", 24), (".dat", 32), (".aedat", 32)])
def test_clocks_that_run_over_go_on(suffix: str, bits: int, tmp_path: Path, writers: Writers) -> None:
    """The counter starts again at 0; steps of a quarter of its range, twice around."""
    path = tmp_path / f"a{suffix}"
    events = [(step * 2**bits // 4 + step, step % 5, 3, step % 2) for step in range(10)]
    path.write_bytes(writers[suffix](events, SIDE, SIDE))
    assert rows(read_recording(path)) == events


@pytest.mark.parametrize("suffix", [".raw", ".RAW", ".dat", ".aedat", ".AEDAT"])
def test_time_that_runs_backward_is_refused_or_sorted_if_asked(suffix: str, tmp_path: Path, writers: Writers) -> None:
    path = tmp_path / f"a{suffix}"
    events = [(500, 1, 1, 0), (100, 2, 2, 1), (700, 3, 3, 1)]
    path.write_bytes(writers[suffix](events, SIDE, SIDE))
    with pytest.raises(InputError, match=r"event 1: at 100 microseconds, after one at 500: time runs backward"):
        read_recording(path)
    with open_recording(path) as stream, pytest.raises(InputError, match="runs backward"):
        list(stream)
    assert rows(read_recording(path, order="sort")) == sorted(events)


@pytest.mark.parametrize("suffix", [".raw", ".RAW", ".dat", ".aedat", ".AEDAT"])
def test_files_that_are_cut_off_or_turned_around_are_refused(suffix: str, tmp_path: Path, writers: Writers) -> None:
    path = tmp_path / f"a{suffix}"
    content = writers[suffix]([(t, t % 9 + 100, t % 7 + 90, t % 2) for t in range(0, 9000, 500)], SIDE, SIDE)
    path.write_bytes(content[:-1])
    with pytest.raises(FileError, match="cut off"):
        read_recording(path)
    head = content.index(b"\x0c\x08") + 2 if suffix == ".dat" else content.rindex(b"\n", 0, 120) + 1
    if suffix == ".aedat":
        head = content.index(b"now\r\n") + 5
    size = 2 if suffix == ".RAW" else 4
    body = np.frombuffer(content[head:], f"<u{size}")
    path.write_bytes(content[:head] + body.byteswap().tobytes())
    with pytest.raises(InputError):
        read_recording(path)


def test_pixels_outside_of_the_sensor_are_refused(tmp_path: Path, writers: Writers) -> None:
    for suffix, write in writers.items():
        if suffix == ".aedat":
            continue  # 7 bits each: there is none
        path = tmp_path / f"a{suffix}"
        path.write_bytes(write([(1, 5, 6, 1), (2, 100, 6, 1)], 64, 64))
        with pytest.raises(InputError, match=r"event 1: x = 100, expected 0 to 63"):
            read_recording(path, sensor=(64, 64))


def test_headers_say_what_is_wrong(tmp_path: Path) -> None:
    cases: list[tuple[str, bytes, str]] = [
        ("a.raw", b"% evt 2.1\n% end\n", "EVT2.1, expected EVT2 or EVT3"),
        ("a.raw", b"\0\0\0\0", "no encoding in its header"),
        ("a.raw", b"% evt 3.0\n% endianness big\n% geometry 4x4\n% end\n", "big-endian"),
        ("a.raw", b"% evt 3.0\n% end\n", "give sensor = "),
        ("a.raw", b"% evt 3.0\n% geometry 4x4\n% end\n", "no event with a time"),
        ("a.raw", b"% evt 2.0\n% geometry 4x4\n% end\n" + bytes(8), "no event with a time"),
        ("a.raw", b"% evt 3.0\n% geometry 4x4\n% end\n\x00\x10", "reserved type 0x1"),
        ("a.raw", b"% x" * 40000, "cut off, or longer"),
        ("a.dat", b"% Width 3\n% Height 3\n\x00", "events of type 00"),
        ("a.dat", b"% Width 0\n% Height 3\n\x00\x08", "each from 1 to"),
        ("a.dat", b"", "events of type none"),
        ("a.aedat", b"", "no line #!AER-DAT"),
        ("a.aedat", b"#!AER-DAT1.0\n", "#!AER-DAT1.0, expected"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n", "without #!END-HEADER"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#!END-HEADER\r\n", "give sensor = "),
        ("a.bin", b"", "recordings are known by .aedat"),
    ]
    for name, content, why in cases:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=why) as refusal:
            read_recording(path)
        assert str(refusal.value).startswith(f"{path}: ")
    with pytest.raises(FileError, match=r"none\.raw: no such file"):
        read_recording(tmp_path / "none.raw")
    (tmp_path / "folder.raw").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        read_recording(tmp_path / "folder.raw")


def test_text_needs_names_and_units(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0.001 3 4 1\n0.0025 5 6 0\n")
    with pytest.raises(InputError, match=r"its columns have no names"):
        read_recording(path, sensor=(10, 10))
    with pytest.raises(InputError, match=r"fractions of microseconds"):
        read_recording(path, sensor=(10, 10), columns="txyp")
    found = read_recording(path, sensor=(10, 10), columns="txyp", unit="s")
    assert rows(found) == [(1000, 3, 4, 1), (2500, 5, 6, 0)]
    path.write_text("x; y; polarity; timestamp\n3;4;-1;7\n\n")
    assert rows(read_recording(path, sensor=(10, 10))) == [(7, 3, 4, 0)]
    for wrong, why in (("1,2,3\n", "3 columns"), ("1,2,a,3\n", "not lines"), ("1,2,1e400,1\n", "not lines")):
        path.write_text(wrong)
        with pytest.raises(InputError, match=why):
            read_recording(path, sensor=(10, 10), columns="txyp")


@given(EVENTS)
def test_arrays_and_structured_arrays_are_recordings(events: list[Event]) -> None:
    t, x, y, p = np.array(events).T
    made = Recording(t, x, y, p, SENSOR)
    assert rows(from_array(made.structured(), SENSOR)) == events
    tonic = np.zeros(len(events), [("x", "<i2"), ("y", "<i2"), ("p", "?"), ("t", "<i8")])
    for name, column in zip("txyp", (t, x, y, p), strict=True):
        tonic[name] = column
    assert rows(from_array(tonic, SENSOR)) == events


def test_npz_and_npy(tmp_path: Path) -> None:
    events = [(1, 2, 3, 0), (5, 4, 3, 1)]
    t, x, y, p = np.array(events).T
    np.savez(tmp_path / "a.npz", t=t, x=x, y=y, p=p, sensor=(8, 9))
    found = read_recording(tmp_path / "a.npz")
    assert (rows(found), found.sensor) == (events, (8, 9))
    np.save(tmp_path / "a.npy", np.stack([x, y, p, t], 1).astype(np.float64))
    assert rows(read_recording(tmp_path / "a.npy", sensor=(8, 9))) == events
    assert read_recording(tmp_path / "a.npy", sensor=(8, 9), unit="ms").t.tolist() == [1000, 5000]
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(FileError, match=r"not a readable \.npy"):
        read_recording(tmp_path / "b.npy", sensor=(8, 9))
    np.savez(tmp_path / "b.npz", a=t)
    with pytest.raises(InputError, match="no column 't' among a"):
        read_recording(tmp_path / "b.npz", sensor=(8, 9))


def spikes(path: Path, trains: list[tuple[Any, Any]], labels: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, kind, part in (("times", np.float16, 0), ("units", np.uint16, 1)):
            made = file.create_dataset(f"spikes/{name}", (len(trains),), h5py.vlen_dtype(kind))
            for index, train in enumerate(trains):
                made[index] = np.array(train[part], kind)
        file["labels"] = labels
    return path


def test_spike_trains_of_shd(tmp_path: Path) -> None:
    path = spikes(tmp_path / "shd.h5", [([0.5, 0.25], [699, 3]), ([], [])], np.array([4, 19], np.uint16))
    with SpikeFile(path) as file:
        assert (len(file), file.labels.tolist(), file[0].sensor) == (2, [4, 19], (700, 1))
        assert rows(file[0]) == [(250000, 3, 0, 1), (500000, 699, 0, 1)]
        assert len(file[1]) == 0
    with SpikeFile(spikes(path, [([0.5], [700])], [0])) as file, pytest.raises(InputError, match="x = 700"):
        file[0]
    with SpikeFile(spikes(path, [([-0.5], [7])], [0])) as file, pytest.raises(InputError, match="t = -500000"):
        file[0]
    with SpikeFile(spikes(path, [([0.5, 1], [7])], [0])) as file, pytest.raises(FileError, match="train 0: times of"):
        file[0]
    with pytest.raises(FileError, match="1 times, 1 units, 2 labels"):
        SpikeFile(spikes(path, [([0.5], [7])], [0, 1]))
    with pytest.raises(FileError, match="no such file"):
        SpikeFile(tmp_path / "none.h5")


def test_hdf5_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    path = spikes(tmp_path / "shd.h5", [([0.5], [7])], [0])
    for link in (h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/spikes/units")):
        with h5py.File(path, "r+") as file:
            del file["labels"]
            file["labels"] = link
        with pytest.raises(FileError, match="no data set labels"):
            SpikeFile(path)
    with h5py.File(path, "r+") as file:
        del file["labels"]
        file.create_dataset("labels", (1,), "u1", external=[("/etc/passwd", 0, 1)])
    with pytest.raises(FileError, match="labels is not a data set"):
        SpikeFile(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c | {"t": c["t"][:1]}, "entries, but t has 1"),
        (lambda c: c | {"t": c["t"].astype(float)}, "t: float64"),
        (lambda c: c | {"t": c["t"] - 5}, "event 0: t = -5"),
        (lambda c: c | {"t": np.array([0, 2**63], np.uint64)}, "event 1: t = 9223372036854775808"),
        (lambda c: c | {"x": np.array([1, 8])}, "event 1: x = 8, expected 0 to 7"),
        (lambda c: c | {"y": np.array([-1, 8])}, "event 0: y = -1"),
        (lambda c: c | {"p": np.array([1, 2])}, "event 1: p = 2"),
        (lambda c: c | {"sensor": (0, 9)}, "sensor"),
        (lambda c: c | {"sensor": (2**16, 9)}, "sensor"),
        (lambda c: c | {"sensor": "ab"}, "sensor"),
        (lambda c: c | {"t": c["t"][::-1]}, "time runs backward"),
    ],
)
def test_a_recording_is_checked_when_it_is_made(change: Callable[[dict[str, Any]], dict[str, Any]], why: str) -> None:
    good: dict[str, Any] = {
        "t": np.arange(2),
        "x": np.arange(2),
        "y": np.arange(2),
        "p": np.arange(2),
        "sensor": (8, 9),
    }
    Recording(**good)
    with pytest.raises(InputError, match=why):
        Recording(**change(good))


def test_a_stream_holds_one_part_at_a_time() -> None:
    alive = 0

    def parts() -> Any:
        for start in range(0, 50, 5):
            nonlocal alive
            alive += 1
            yield tuple(np.arange(start, start + 5) % most for most in (1000, 8, 8, 2))

    stream = iter(Stream((8, 8), parts()))
    assert [next(stream).t[0] for _ in range(3)] == [0, 5, 10]
    assert alive == 3


@pytest.mark.parametrize("name", ["evt2.raw", "evt3.raw", "cd.dat", "dvs.aedat4", "events.csv"])
def test_files_that_faery_wrote(name: str) -> None:
    """As tests/golden/make_faery.py made them, event for event."""
    if name.endswith("aedat4"):
        pytest.importorskip("aedat")
    found = read_recording(Path(__file__).parents[2] / "golden" / f"faery_{name}")
    assert found.sensor == (320, 240)
    assert rows(found) == [(n * n * 280, n * 37 % 320, n * 53 % 240, n // 3 % 2) for n in range(300)]


def test_aedat4_without_its_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedat", None)
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n")
    with pytest.raises(MissingExtraError, match=r"spikeproof\[events\]"):
        read_recording(tmp_path / "a.aedat4")
