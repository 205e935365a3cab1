"""QTDB: small files written by SciPy are read, cut and refused; windows are counted one by one."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import ecg, load_data
from spikeproof.toolkit.errors import FileError, InputError

TIME = 11


def arrays(recordings: int, seed: int = 0) -> dict[str, Any]:
    """Return what the published files hold, smaller; labels are missing here and there, and -1 marks the end."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (recordings, TIME, ecg.CHANNELS)).astype(np.int16)
    x[:, -1, 0] = -1
    y = np.eye(ecg.CLASSES, dtype=np.uint8)[rng.integers(0, ecg.CLASSES, (recordings, TIME))]
    y[rng.random((recordings, TIME)) < 0.2] = 0
    return {"x": x, "y": y, "t": np.arange(TIME), "max_i": np.full((recordings, 1), TIME)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder QTDB with 4 training and 3 test recordings, whose sums are taken for the published ones."""
    (tmp_path / "QTDB").mkdir()
    sums = {}
    for seed, (part, recordings) in enumerate((("train", 4), ("test", 3))):
        path = tmp_path / "QTDB" / ecg.FILES[part]
        savemat(path, arrays(recordings, seed), do_compression=True)
        sums[part] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(ecg, "MD5", sums)
    return tmp_path


def one_by_one(given: dict[str, Any], steps: int) -> list[tuple[list[list[int]], int]]:
    """Cut windows with Python's lists."""
    found = []
    for spikes, classes in zip(given["x"].tolist(), given["y"].tolist(), strict=True):
        for start in range(0, TIME - steps + 1, steps):
            last = classes[start + steps - 1]
            if 1 in last:
                rows = [[max(value, 0) for value in row] for row in spikes[start : start + steps]]
                found.append((rows, last.index(1)))
    return found


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 11])
def test_windows_are_those_that_are_cut_one_by_one(folder: Path, steps: int) -> None:
    data = load_data(DataSettings(name="qtdb", path=str(folder)), steps)
    for images, labels, given_arrays in (
        (data.train_images, data.train_labels, arrays(4, 0)),
        (data.test_images, data.test_labels, arrays(3, 1)),
    ):
        expected = one_by_one(given_arrays, steps)
        np.testing.assert_array_equal(images[..., 0, 0], [rows for rows, _ in expected])
        assert labels.tolist() == [label for _, label in expected]
    assert (data.kind, data.classes, data.shape) == ("events", 6, (4, 1, 1))


def test_a_cut_takes_the_first_windows_and_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROOF_DATA", str(folder))
    whole = load_data(DataSettings(name="qtdb"), 2)
    data = load_data(DataSettings(name="qtdb", train_samples=5, test_samples=2), 2)
    np.testing.assert_array_equal(data.train_images, whole.train_images[:5])
    assert data.provenance == (
        f"QTDB ECG windows, 5 of {len(whole.train_labels)} train, 2 of {len(whole.test_labels)} test"
    )


def test_whole_recordings_have_a_class_at_every_step_or_none(folder: Path) -> None:
    found = ecg.read_qtdb(str(folder), "train")
    made = arrays(4, 0)
    assert set(np.unique(found.spikes)) == {0, 1}
    assert not found.spikes[:, -1, 0].any()
    np.testing.assert_array_equal(found.labels == ecg.UNLABELLED, made["y"].sum(2) == 0)
    labelled = found.labels != ecg.UNLABELLED
    np.testing.assert_array_equal(np.eye(6, dtype=np.uint8)[found.labels[labelled]], made["y"][labelled])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"x": np.zeros((2, TIME, 3))}, r"x of shape \(2, 11, 3\)"),
        ({"x": np.full((2, TIME, 4), 2)}, "expected -1, 0 and 1"),
        ({"y": np.ones((2, TIME, 6))}, "at most one 1"),
        ({"y": None}, "no array named y"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {name: array for name, array in (arrays(2) | change).items() if array is not None})
    with pytest.raises(FileError, match=why):
        ecg.parse_recordings(path.read_bytes(), path)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(FileError, match=r"^f: "):
        ecg.parse_recordings(content, Path("f"))


def test_another_file_and_windows_that_do_not_fit_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DataSettings(name="qtdb", path=str(folder))
    with pytest.raises(InputError, match=r"no labelled window of 12 steps in 11; lower coding\.steps"):
        load_data(settings, 12)
    monkeypatch.setattr(ecg, "MD5", {"train": "0", "test": "0"})
    with pytest.raises(FileError, match=r"QTDB_train\.mat: is not the published file"):
        load_data(settings, 2)
    with pytest.raises(FileError, match=r"QTDB_train\.mat not found"):
        load_data(DataSettings(name="qtdb", path=str(folder / "none")), 2)


@pytest.mark.parametrize("steps", [2, 5, 11])
def test_sequences_keep_the_label_of_every_step(folder: Path, steps: int) -> None:
    data = load_data(DataSettings(name="qtdb-steps", path=str(folder)), steps)
    assert (data.task.name, data.classes, data.kind) == ("steps", ecg.CLASSES, "events")
    for images, labels, given_arrays in (
        (data.train_images, data.train_labels, arrays(4, 0)),
        (data.test_images, data.test_labels, arrays(3, 1)),
    ):
        found = []
        for spikes, classes in zip(given_arrays["x"].tolist(), given_arrays["y"].tolist(), strict=True):
            for start in range(0, TIME - steps + 1, steps):
                part = slice(start, start + steps)
                known = [row.index(1) if 1 in row else -1 for row in classes[part]]
                if set(known) != {-1}:
                    found.append(([[max(value, 0) for value in row] for row in spikes[part]], known))
        assert images[..., 0, 0].tolist() == [spikes for spikes, _ in found]
        assert labels.tolist() == [known for _, known in found]
    with pytest.raises(InputError, match="no labelled sequence of 12 steps in 11"):
        load_data(DataSettings(name="qtdb-steps", path=str(folder)), TIME + 1)
