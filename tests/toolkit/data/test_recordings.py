"""Data sets of recordings in the layouts of those who publish them, made here; splits by name; samples of Python."""

import struct
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import h5py
import numpy as np
import pytest
import torch

from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.data.cameras import NAMES, SPLITS
from spikeproof.toolkit.data.recordings import binned_samples
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.events.binning import Bins
from spikeproof.toolkit.events.read import read_recording
from spikeproof.toolkit.events.recording import Recording


def loaded(steps: int = 4, **settings: Any) -> Dataset:
    return load_data(parse_recipe({"data": settings}, "t").data, steps)


def lit(data: Dataset) -> list[list[tuple[int, ...]]]:
    """Return (step, channel, row, column) of every event of every training sample."""
    return [[tuple(map(int, place)) for place in np.argwhere(sample)] for sample in data.train_images]


def npz(path: Path, events: list[tuple[int, int, int, int]], **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    t, x, y, p = np.array(events).T
    np.savez(path, t=t, x=x, y=y, p=p, **more)


def aedat31(path: Path, events: list[tuple[int, int, int, int]]) -> None:
    head = b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(events), len(events), len(events))
    path.write_bytes(
        head + packet + b"".join(struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in events)
    )


def test_dvs_gesture_as_published(tmp_path: Path) -> None:
    root = tmp_path / "DvsGesture"
    root.mkdir()
    for part, user in (("train", "user01_led"), ("test", "user24_lab")):
        (root / f"trials_to_{part}.txt").write_text(f"{user}.aedat\n\n")
        (root / f"{user}_labels.csv").write_text("class,startTime_usec,endTime_usec\n2,100,200\n11,300,900\n")
        # The third event comes before the second one: put in order. The one at 200 and that at 250 are in no gesture.
        aedat31(root / f"{user}.aedat", [(100, 1, 2, 1), (199, 3, 4, 0), (150, 9, 9, 1), (200, 7, 7, 1), (250, 8, 8, 0),
                                         (300, 127, 0, 1), (899, 0, 127, 1)])  # fmt: skip
    data = loaded(name="dvsgesture", path=str(tmp_path))
    assert (data.classes, data.train_labels.tolist(), data.shape) == (11, [1, 10], (2, 128, 128))
    assert lit(data)[0] == [(0, 1, 2, 1), (2, 1, 9, 9), (3, 0, 4, 3)]
    assert lit(data)[1] == [(0, 1, 0, 127), (3, 1, 127, 0)]
    assert data.provenance == "DVS128 Gesture, 2 train, 2 test"
    small = loaded(name="dvsgesture", path=str(tmp_path), downsample=4, polarity="merged", train_samples=1)
    assert small.shape == (1, 32, 32)
    assert small.provenance == "DVS128 Gesture, 1 of 2 train, 2 test"
    timed = loaded(2, name="dvsgesture", path=str(tmp_path), microseconds=50)
    assert lit(timed)[0] == [(0, 1, 2, 1), (1, 0, 4, 3), (1, 1, 9, 9)]
    (root / "user01_led_labels.csv").write_text("class,a,b\n12,100,200\n")
    with pytest.raises(FileError, match=r"user01_led_labels\.csv: class 12 from 100"):
        loaded(name="dvsgesture", path=str(tmp_path))
    (root / "trials_to_train.txt").write_text("../user24_lab.aedat\n")
    with pytest.raises(FileError, match=r"trial '\.\./user24_lab\.aedat'"):
        loaded(name="dvsgesture", path=str(tmp_path))


def test_dvs_gesture_repackaged(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        place = tmp_path / "tonic" / f"ibmGesture{part}" / "user01_led"
        place.mkdir(parents=True)
        np.save(place / "3.npy", np.array([[5, 6, 1, 10], [7, 8, 0, 12]], np.float64))  # x, y, p, ms
        npz(tmp_path / "jelly/events_np" / part.lower() / "3" / "a_0.npz", [(10000, 5, 6, 1), (12000, 7, 8, 0)])
    tonic, jelly = (loaded(name="dvsgesture", path=str(tmp_path / kind)) for kind in ("tonic", "jelly"))
    assert tonic.sha256 == jelly.sha256
    assert lit(tonic) == [[(0, 1, 6, 5), (3, 0, 8, 7)]]
    assert tonic.train_labels.tolist() == [3]


def test_cifar10_dvs_has_named_splits(tmp_path: Path) -> None:
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        for number in (0, 1, 10, 99, 899, 900):
            event = struct.pack(">II", (127 - number % 100) << 8 | (127 - 5) << 1 | 0, 77)
            (folder / f"cifar10_{name}_{number}.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + event)
    tests = {"every-tenth": [0, 10, 0], "last-tenth": [0], "first-tenth": [0, 1, 10, 99]}
    for split, columns in tests.items():
        data = loaded(1, name="cifar10-dvs", path=str(tmp_path), split=split)
        assert [int(np.argwhere(sample)[0][3]) for sample in data.test_images[::10]] == columns
        assert data.test_labels[:10].tolist() == list(range(10))
        assert len(data.train_labels) + len(data.test_labels) == 60
    assert {split: sum(map(inside, range(1000))) for split, inside in SPLITS.items()} == dict.fromkeys(tests, 100)
    (tmp_path / "bird" / "copy.aedat").write_bytes(b"")
    with pytest.raises(FileError, match=r"copy\.aedat: expected a name that ends in _ and a number"):
        loaded(1, name="cifar10-dvs", path=str(tmp_path))


def test_the_dvs128_is_read_as_spikingjelly_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its module of data sets wants torchvision, of which its reader uses nothing.
    for name in (
        "torchaudio",
        "torchvision",
        "torchvision.datasets",
        "torchvision.datasets.utils",
        "torchvision.transforms",
    ):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, MagicMock())
    theirs = pytest.importorskip("spikingjelly.datasets.cifar10_dvs")
    rng, path = np.random.default_rng(0), tmp_path / "a.aedat"
    words = np.stack([rng.integers(0, 2**15, 500), np.sort(rng.integers(0, 10**6, 500))], 1).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# one more line\r\n" + words.tobytes())
    found, expected = read_recording(path), theirs._load_origin_data(path)
    for name in "txyp":
        np.testing.assert_array_equal(getattr(found, name), expected[name].astype(np.int64))


def test_n_caltech101(tmp_path: Path) -> None:
    for folder in ("accordion", "BACKGROUND_Google", "yin_yang"):
        (tmp_path / folder).mkdir()
        for number in (9, 10):
            word = 239 << 32 | 179 << 24 | 1 << 23 | number
            (tmp_path / folder / f"image_{number:04d}.bin").write_bytes(word.to_bytes(5, "big"))
    data = loaded(2, name="n-caltech101", path=str(tmp_path))
    assert (data.classes, data.shape, data.train_labels.tolist()) == (3, (2, 180, 240), [0, 1, 2])
    assert lit(data) == [[(0, 1, 179, 239)]] * 3


@pytest.mark.parametrize(("name", "classes"), [("shd", 20), ("ssc", 35)])
def test_heidelberg(name: str, classes: int, tmp_path: Path) -> None:
    for part in ("train", "test"):
        with h5py.File(tmp_path / f"{name}_{part}.h5", "w") as file:
            for key, kind, values in (
                ("times", np.float16, [[0.25, 0.5], [0.125, 0.0]]),
                ("units", np.uint16, [[699, 3], [0, 70]]),
            ):
                made = file.create_dataset(f"spikes/{key}", (2,), h5py.vlen_dtype(kind))
                for index, train in enumerate(values):
                    made[index] = np.array(train, kind)
            file["labels"] = np.array([classes - 1, 0])
    data = loaded(4, name=name, path=str(tmp_path))
    assert (data.classes, data.shape, data.train_labels.tolist()) == (classes, (1, 1, 700), [classes - 1, 0])
    assert lit(data) == [[(0, 0, 0, 699), (3, 0, 0, 3)], [(0, 0, 0, 70), (3, 0, 0, 0)]]
    timed = loaded(4, name=name, path=str(tmp_path), microseconds=125000, downsample=70)
    assert timed.shape == (1, 1, 10)
    assert lit(timed) == [[(2, 0, 0, 9)], [(0, 0, 0, 1), (1, 0, 0, 0)]]


@pytest.mark.parametrize("name", ["dvsgesture", "cifar10-dvs", "n-caltech101", "shd", "ssc"])
def test_what_is_missing_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=rf"data set '{name}': .* not found .*nothing is downloaded: get it from \w+"):
        loaded(name=name, path=str(tmp_path))


def test_a_folder_of_recordings_in_any_format(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for kind, x in (("left", 1), ("right", 6)):
            npz(tmp_path / part / kind / "a.npz", [(0, x, 2, 1), (9, x, 3, 0)], sensor=(8, 4))
    (tmp_path / "train" / "left" / "b.csv").write_text("t,x,y,p\n5,1,1,1\n3,2,2,0\n")
    settings: dict[str, Any] = {"name": "recordings", "path": str(tmp_path)}
    with pytest.raises(InputError, match=r"b\.csv: does not say how large its sensor is"):
        loaded(**settings)
    settings["sensor"] = [8, 4]
    with pytest.raises(InputError, match="time runs backward"):
        loaded(**settings)
    data = loaded(2, **settings, order="sort")
    assert (data.name, data.classes, data.train_labels.tolist()) == (tmp_path.name, 2, [0, 1, 0])
    assert lit(data)[2] == [(0, 0, 2, 2), (1, 1, 1, 1)]
    npz(tmp_path / "train" / "right" / "c.npz", [(0, 0, 0, 0)], sensor=(9, 9))
    (tmp_path / "train" / "left" / "b.csv").unlink()
    with pytest.raises(InputError, match=r"c\.npz: sensor of 9 x 9 pixels, others have 8 x 4"):
        loaded(name="recordings", path=str(tmp_path))
    (tmp_path / "train" / "right" / "c.npz").unlink()
    (tmp_path / "test" / "up").mkdir()
    with pytest.raises(FileError, match="class 'up' is not among those"):
        loaded(name="recordings", path=str(tmp_path))


class Tonic(torch.utils.data.Dataset[Any]):
    """As tonic's are: an attribute ``sensor_size``, structured arrays and labels."""

    sensor_size = (6, 5, 2)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        events = np.zeros(2, [("x", "<i2"), ("y", "<i2"), ("p", "?"), ("t", "<i8")])
        events["x"], events["y"], events["p"], events["t"] = (index, 5), (0, 4), (1, 0), (3, 10)
        return events, index % 2


def test_data_sets_of_python() -> None:
    arrays = binned_samples(Tonic(4), Tonic(2), Bins(count=2))
    assert arrays["x_train"].shape == (4, 2, 2, 5, 6)
    assert arrays["y_train"].tolist() == [0, 1, 0, 1]
    assert [tuple(place) for place in np.argwhere(arrays["x_train"][3])] == [(0, 1, 0, 3), (1, 0, 4, 5)]
    pairs = [Tonic(4)[index] for index in range(4)]
    with pytest.raises(InputError, match="give sensor"):
        binned_samples(pairs, pairs, Bins(count=2))
    given = binned_samples(pairs, pairs, Bins(count=2), (6, 5))
    np.testing.assert_array_equal(given["x_train"], arrays["x_train"])
    one = np.array([1])
    made = [(Recording(one, one, one, one, (6, 5)), 0)]
    assert binned_samples(made, made, Bins(microseconds=5, steps=3))["x_test"].shape == (1, 3, 2, 5, 6)
    wrong: list[tuple[Any, Any, Bins, str]] = [
        (pairs, [], Bins(count=2), "test: no recordings"),
        (pairs, pairs, Bins(events=2), "say steps"),
        ([(pairs[0][0], "cat")], pairs, Bins(count=2), "label 'cat'"),
        ([(3, 1)], pairs, Bins(count=2), "train: sample 0: .* expected a structured array"),
    ]
    for train, test, bins, why in wrong:
        with pytest.raises(InputError, match=why):
            binned_samples(train, test, bins, (6, 5))
