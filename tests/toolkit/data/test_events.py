"""Event-camera recordings, written here event by event; the rule of the bins is counted in whole numbers."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import check_events, events, load_data, places
from spikeproof.toolkit.errors import FileError, InputError

Event = tuple[int, int, int, int]
"""x, y, polarity, microseconds."""

SIDES = st.integers(0, events.SIDE - 1)
RECORDINGS = st.lists(st.tuples(SIDES, SIDES, st.integers(0, 1), st.integers(0, 2**23 - 1)), min_size=1, max_size=30)


def aer(recording: Sequence[Event]) -> bytes:
    """Write 40 bits an event."""
    words = [x << 32 | y << 24 | polarity << 23 | time for x, y, polarity, time in recording]
    return b"".join(word.to_bytes(5, "big") for word in words)


def frames(recording: Sequence[Event], steps: int) -> np.ndarray:
    """Bin one event after the other, with Python's integers."""
    times = [time for *_, time in recording]
    found = np.zeros((steps, 2, events.SIDE, events.SIDE))
    for x, y, polarity, time in recording:
        found[steps * (time - min(times)) // (max(times) - min(times) + 1), polarity, y, x] = 1
    return found


@given(RECORDINGS, st.integers(1, 12))
def test_a_recording_is_read_and_binned_as_it_was_written(recording: list[Event], steps: int) -> None:
    parsed = events.parse(aer(recording), Path("f"))
    found = list(zip(parsed.x, parsed.y, parsed.p, parsed.t, strict=True))
    assert found == sorted(recording, key=lambda event: event[3])
    np.testing.assert_array_equal(events.binned([parsed], 1, steps)[0], frames(recording, steps))


@given(RECORDINGS, st.integers(1, 12))
def test_bins_are_binary_and_their_union_is_every_pixel_that_ever_fired(recording: list[Event], steps: int) -> None:
    parsed = events.parse(aer(recording), Path("f"))
    found = events.binned([parsed], 1, steps)
    assert set(np.unique(found)) <= {0.0, 1.0}
    np.testing.assert_array_equal(found.max(1), events.binned([parsed], 1, 1)[:, 0])
    assert found[:, 0].any()
    duration = int(parsed.t.max() - parsed.t.min()) + 1
    assert found[:, -1].any() or duration < steps


def test_a_clock_that_ran_over_moves_what_follows() -> None:
    over = (0, 240, 0, 0)
    parsed = events.parse(aer([(1, 2, 0, 5), over, (3, 4, 1, 7), over, (5, 6, 0, 1)]), Path("f"))
    assert list(parsed.t) == [5, 7 + 2**13, 1 + 2**14]
    assert list(parsed.x) == [1, 3, 5]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_recording_or_refused(content: bytes) -> None:
    try:
        parsed = events.parse(content, Path("f"))
    except FileError as error:
        assert str(error).startswith("f: ")  # noqa: PT017
    else:
        assert max(parsed.x.max(), parsed.y.max()) < events.SIDE
        assert events.binned([parsed], 1, 4).sum() >= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """N-MNIST with 5 training and 2 test recordings; recording n shows digit n % 3 and one event at (n, n)."""
    for part, numbers in (("Train", range(1, 6)), ("Test", range(1, 3))):
        for number in numbers:
            path = tmp_path / "N-MNIST" / part / str(number % 3) / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(aer([(number, number, 1, 10)]))
    return tmp_path


def test_recordings_come_in_the_order_of_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROOF_DATA", str(folder))
    data = load_data(DataSettings(name="n-mnist", train_samples=4), 3)
    assert (data.kind, data.classes, data.shape) == ("events", 10, (2, 34, 34))
    assert data.train_images.shape == (4, 3, 2, 34, 34)
    assert data.train_images.dtype == np.float32
    assert list(data.train_labels) == [1, 2, 0, 1]
    assert [tuple(np.argwhere(sample)[0]) for sample in data.train_images] == [(0, 1, n, n) for n in range(1, 5)]
    assert data.provenance == "N-MNIST, 4 of 5 train, 2 test"


def test_the_archives_are_checked_and_read_as_the_folders_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DataSettings(name="n-mnist", path=str(folder))
    unpacked = load_data(settings, 3)
    for part in ("Train", "Test"):
        where = folder / "N-MNIST" / part
        made = Path(shutil.make_archive(str(where), "zip", where.parent, part))
        shutil.rmtree(where)
        with pytest.raises(FileError, match=rf"{part}\.zip: is not the published file \(MD5 differs\); get it from"):
            load_data(settings, 3)
        monkeypatch.setitem(events.ARCHIVES, part, hashlib.md5(made.read_bytes()).hexdigest())
    packed = load_data(settings, 3)
    assert packed.sha256 == unpacked.sha256
    assert packed.provenance == unpacked.provenance
    monkeypatch.setattr(events, "EVENT_LIMIT", 0)
    with pytest.raises(FileError, match=r"Train\.zip: .*\.bin has 5 bytes; not a file of N-MNIST"):
        load_data(settings, 3)


def test_an_archive_of_something_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "N-MNIST" / "Train.zip"
    for content, why in ((b"not a zip", "cannot be read"), (b"PK\5\6" + bytes(18), "no recordings")):
        path.write_bytes(content)
        monkeypatch.setitem(events.ARCHIVES, "Train", hashlib.md5(content).hexdigest())
        with pytest.raises(FileError, match=rf"Train\.zip: .*{why}"):
            load_data(DataSettings(name="n-mnist", path=str(folder)), 3)


def test_a_damaged_or_missing_recording_is_named(folder: Path) -> None:
    settings = DataSettings(name="n-mnist", path=str(folder))
    (folder / "N-MNIST" / "Test" / "1" / "00001.bin").write_bytes(b"1234")
    with pytest.raises(FileError, match=r"00001\.bin: 4 bytes are not"):
        load_data(settings, 3)
    (folder / "N-MNIST" / "Test").rename(folder / "N-MNIST" / "test-part")
    with pytest.raises(FileError, match=r"Test: no recordings.*get them from .*n-mnist"):
        load_data(settings, 3)


def test_frames_that_would_not_fit_are_refused_before_they_are_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_BYTES", 4 * 5 * 3 * 2 * 34 * 34 - 1)
    with pytest.raises(InputError, match=r"n-mnist: Train: .*lower data\.train_samples"):
        load_data(DataSettings(name="n-mnist", path=str(folder)), 3)


def test_events_without_a_number_of_bins_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="say into how many time steps"):
        load_data(DataSettings(name="n-mnist", path=str(folder)))


@given(train=st.lists(RECORDINGS, min_size=1, max_size=3), steps=st.integers(1, 5))
def test_the_small_subset_is_the_same_events_in_one_file(
    tmp_path_factory: pytest.TempPathFactory, train: list[list[Event]], steps: int
) -> None:
    arrays: dict[str, np.ndarray] = {}
    test: list[list[Event]] = [[(0, 1, 0, 0)]]
    for part, recordings in (("train", [*train, *test]), ("test", test)):
        rows = np.array([event for recording in recordings for event in recording])
        for column, (name, dtype) in enumerate((("x", "u1"), ("y", "u1"), ("p", "u1"), ("t", "u4"))):
            arrays[f"{name}_{part}"] = rows[:, column].astype(dtype)
        arrays[f"offsets_{part}"] = np.cumsum([0, *map(len, recordings)])
        arrays[f"labels_{part}"] = (np.arange(len(recordings)) % 10).astype("u1")
    path = tmp_path_factory.mktemp("small") / events.SMALL
    np.savez_compressed(path, **arrays)
    settings = DataSettings(name="n-mnist-small", path=str(path.parent))
    with pytest.raises(FileError, match=r"MD5 differs\); get it from docs/data\.md"):
        load_data(settings, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "SMALL_MD5", hashlib.md5(path.read_bytes()).hexdigest())
        data = load_data(settings, steps)
    np.testing.assert_array_equal(data.train_images, [frames(recording, steps) for recording in [*train, *test]])
    assert data.provenance == f"N-MNIST small, {len(train) + 1} train, 1 test"


def npz(path: Path, **changes: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (6, 3, 2, 4, 5), dtype=np.uint8)
    np.savez(path, **({"x_train": x, "y_train": np.arange(6) % 3, "x_test": x[:2], "y_test": np.arange(2)} | changes))
    return path


def test_arrays_of_five_axes_are_events(tmp_path: Path) -> None:
    data = load_data(DataSettings(name="arrays", path=str(npz(tmp_path / "mine.npz"))), 3)
    assert (data.kind, data.shape, data.train_images.shape) == ("events", (2, 4, 5), (6, 3, 2, 4, 5))
    assert data.train_images.dtype == np.float32
    np.testing.assert_array_equal(data.train_images, np.load(tmp_path / "mine.npz")["x_train"])


def test_arrays_with_other_time_steps_than_the_recipe_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz")
    with pytest.raises(InputError, match=r"x_train has 3 time steps; set coding\.steps to it, not to 4"):
        load_data(DataSettings(name="arrays", path=str(path)), 4)
    npz(path, x_test=np.zeros((2, 3, 4, 5)))
    with pytest.raises(InputError, match=r"x_test: shape \(2, 3, 4, 5\), expected \(samples, time"):
        load_data(DataSettings(name="arrays", path=str(path)), 3)


GOOD = np.zeros((2, 3, 1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (GOOD[0], "shape"),
        (GOOD[:, :0], "shape"),
        (np.where(np.arange(24).reshape(GOOD.shape) == 7, np.nan, GOOD), "nan"),
        (GOOD + 1.5, r"1\.5"),
        (GOOD - 0.5, r"-0\.5"),
        (GOOD.astype(np.uint8) + 2, "from 2 to 2"),
        (GOOD.astype(complex), "complex"),
        (GOOD.astype(object), "object"),
    ],
)
def test_events_are_refused_with_their_source_and_the_reason(wrong: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=rf"^file: x: .*{why}"):
        check_events(wrong, "file: x")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_zeros_and_ones_of_any_type_are_events(dtype: type) -> None:
    array = np.arange(24).reshape(GOOD.shape) % 2
    np.testing.assert_array_equal(check_events(array.astype(dtype), "x"), array.astype(np.float32), strict=True)
