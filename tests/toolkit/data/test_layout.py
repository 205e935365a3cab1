"""Arrays that are not what they seem: axes, labels and scales of other tools are named, not guessed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.toolkit.data import check_events, check_images, check_labels, dataset, load_data
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.settings import DataSettings

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 3
IMAGES = RNG.random((12, 8, 9, 3)).astype(np.float32)


def arrays(x: Any, y: Any = LABELS) -> dict[str, Any]:
    return {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]}


def saved(tmp_path: Path, parts: dict[str, Any]) -> str:
    np.savez(tmp_path / "a.npz", **parts)
    return str(tmp_path / "a.npz")


def test_channels_that_seem_to_be_last_are_refused_and_can_be_said(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays(IMAGES))
    with pytest.raises(InputError, match=r'x_train: shape \(12, 8, 9, 3\).*layout = "channels-last"'):
        load_data(DataSettings(name="arrays", path=path))
    last = load_data(DataSettings(name="arrays", path=path, layout="channels-last"))
    assert last.shape == (3, 8, 9)
    np.testing.assert_array_equal(last.train_images, IMAGES.transpose(0, 3, 1, 2))
    first = load_data(DataSettings(name="arrays", path=path, layout="channels-first"))
    np.testing.assert_array_equal(first.train_images, IMAGES)


def test_the_face_takes_the_same_word() -> None:
    four = tuple(arrays(IMAGES).values())
    with pytest.raises(InputError, match="channels-last"):
        sp.load_data(arrays=four)
    assert sp.load_data(arrays=four, layout="channels-last").shape == (3, 8, 9)


def test_events_have_channels_too() -> None:
    events = (RNG.random((12, 4, 8, 9, 2)) > 0.5).astype(np.float32)
    with pytest.raises(InputError, match=r"samples, time, channels, height, width"):
        dataset("e", "e", arrays(events), steps=4, layout=None)
    assert dataset("e", "e", arrays(events), steps=4, layout="channels-last").train_images.shape == (12, 4, 2, 8, 9)


@pytest.mark.parametrize("shape", [(12, 3, 8, 9), (12, 1, 8, 3), (12, 16, 4, 4), (12, 2, 100, 1), (12, 8, 9)])
def test_channels_first_needs_no_word(shape: tuple[int, ...]) -> None:
    assert dataset("a", "a", arrays(RNG.random(shape)), layout=None).train_images.shape[-2:] == shape[-2:]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.eye(3)[LABELS], r"one-hot: give y.argmax\(1\)"),
        (np.eye(3, dtype=np.int64)[LABELS], "one-hot"),
        (RNG.random((12, 3)), r"several targets a sample .*sp\.load_data\(.*, task=Regression\(3\)\)"),
        (RNG.random((12, 1)), r"real numbers are .*sp\.load_data\(.*, task=Regression\(1\)\)"),
        (LABELS[:, None], r"give y\[:, 0\]"),
        (LABELS.astype(np.float64), r"whole numbers kept as floats: give y.astype\(int\)"),
        (
            RNG.normal(size=12),
            r"12 integers; real numbers are the targets of a regression: say so in Python: sp\.load_data\(.*, task=",
        ),
        (LABELS + 1, "labels from 1 to 3, expected from 0: give y - 1"),
    ],
)
def test_labels_of_another_form_are_named(labels: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        dataset("a", "a.npz", arrays(RNG.random((12, 1, 8, 8)), labels))


def test_labels_from_1_where_the_classes_are_known() -> None:
    with pytest.raises(InputError, match="count from 1 need y - 1"):
        check_labels(LABELS + 1, "y", 12, 3)
    with pytest.raises(InputError) as caught:
        check_labels(LABELS + 7, "y", 12, 3)
    assert "y - 1" not in str(caught.value)


def test_a_class_may_be_missing_in_training_without_being_from_1() -> None:
    labels = np.array([1, 2] * 5 + [0, 1])
    parts = {"x_train": RNG.random((10, 1, 8, 8)), "y_train": labels[:10]}
    assert dataset("a", "a", {**parts, "x_test": RNG.random((2, 1, 8, 8)), "y_test": labels[10:]}).classes == 3


@pytest.mark.parametrize("most", [1, 16, 31])
def test_bytes_that_are_no_256_levels_are_refused(most: int) -> None:
    images = RNG.integers(0, most, (4, 1, 8, 8), dtype=np.uint8, endpoint=True)
    images[0, 0, 0, 0] = most
    with pytest.raises(InputError, match=f"bytes from 0 to {most}, .* nearly black; give floats .* x / {most}"):
        check_images(images, "x")


def test_black_and_bright_bytes_are_images() -> None:
    assert check_images(np.zeros((1, 1, 2, 2), np.uint8), "x").max() == 0
    assert check_images(np.full((1, 1, 2, 2), 51, np.uint8), "x").max() == np.float32(0.2)


def test_counts_of_events_are_named() -> None:
    with pytest.raises(InputError, match="counts of events are divided by the largest"):
        check_events(np.full((2, 3, 2, 4, 4), 3), "x")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.npz", "check the path, which is looked for from"),
        ("C:\\Users\\ok.npz", "back-slashes separate folders on Windows only"),
        ("D:\new\test.npz", "line break or a tab"),
    ],
)
def test_missing_data_say_so(path: str, reason: str) -> None:
    with pytest.raises(FileError, match=reason) as caught:
        load_data(DataSettings(name="arrays", path=path))
    assert "step that writes" not in str(caught.value)
