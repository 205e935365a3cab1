"""Samples of a graph: images or spikes, by the number of dimensions; everything else is refused with the remedy."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.agreement.samples import Samples, load_samples
from spikeproof.toolkit.errors import FileError, InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 2, 3), dtype=np.float32)
SPIKES = (RNG.random((4, 5, 2, 3)) > 0.5).astype(np.float32)
ALL = slice(None)


def load(tmp_path: Path, x: Any, y: Any = None, **options: Any) -> Samples:
    np.savez(tmp_path / "s.npz", x=x, **({} if y is None else {"y": y}))
    return load_samples(tmp_path / "s.npz", (2, 3), (2, 2), **options)


def test_images_are_shown_at_every_step_in_the_bits_asked_for(tmp_path: Path) -> None:
    found = load(tmp_path, IMAGES, np.array([0, 1, 2, 3, 3]), steps=4)
    assert (found.input_bits, found.real.shape) == (8, (4, 5, 2, 3))
    assert (found.real == IMAGES).all()
    np.testing.assert_array_equal(
        found.messages(slice(1, 3)), np.broadcast_to(np.rint(255 * IMAGES[1:3]), (4, 2, 2, 3))
    )
    np.testing.assert_array_equal(found.labels, [0, 1, 2, 3, 3])
    assert found.sha256 == hashlib.sha256((tmp_path / "s.npz").read_bytes()).hexdigest()
    four = load(tmp_path, IMAGES, steps=1, input_bits=4).messages(ALL)
    assert four.max() <= 15
    np.testing.assert_array_equal(four[0], np.rint(15 * IMAGES.astype(np.float64)))


def test_numbers_as_labels_are_refused_with_what_can_be_done_here(tmp_path: Path) -> None:
    for y in (RNG.random(5), RNG.random((5, 2))):
        with pytest.raises(InputError, match="only classes are known; leave y out") as refused:
            load(tmp_path, IMAGES, y, steps=4)
        assert "task=" not in str(refused.value)
    assert load(tmp_path, IMAGES, steps=4).labels is None


def test_spikes_keep_their_time(tmp_path: Path) -> None:
    for given in (SPIKES, SPIKES.astype(bool), SPIKES.astype(np.int64), SPIKES.astype(np.uint8)):
        found = load(tmp_path, given)
        assert found.input_bits == 0
        np.testing.assert_array_equal(found.messages(ALL), SPIKES)
        np.testing.assert_array_equal(found.real, SPIKES)
    assert load(tmp_path, SPIKES, samples=2).real.shape == (4, 2, 2, 3)
    assert load(tmp_path, SPIKES[:1, :, :, :], steps=1).real.shape == (1, 5, 2, 3)


def test_bytes_are_256_levels(tmp_path: Path) -> None:
    found = load(tmp_path, np.rint(255 * IMAGES).astype(np.uint8), steps=2)
    np.testing.assert_array_equal(found.messages(ALL)[1], np.rint(255 * IMAGES))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("bits", [None, 2, 8])
def test_counts_of_events_are_sent_as_they_are(tmp_path: Path, kind: Any, bits: int | None) -> None:
    counts = RNG.integers(0, 4, (4, 5, 2, 3))
    found = load(tmp_path, counts.astype(kind), input_bits=bits)
    assert (found.input_bits, found.levels) == (bits or 2, 1)
    np.testing.assert_array_equal(found.messages(ALL), counts)
    np.testing.assert_array_equal(found.real, counts)
    assert found.scale == f"counts up to 3, sent as they are in messages of {bits or 2} bits"


def test_how_values_were_read_is_told(tmp_path: Path) -> None:
    assert load(tmp_path, SPIKES).scale == "spikes"
    assert load(tmp_path, IMAGES, steps=2).scale == "numbers in [0, 1], as they are"
    assert load(tmp_path, np.rint(255 * IMAGES).astype(np.uint8), steps=2).scale == "bytes, divided by 255"


def test_graded_input_over_time(tmp_path: Path) -> None:
    found = load(tmp_path, np.stack([IMAGES, IMAGES / 2]), input_bits=8)
    np.testing.assert_array_equal(found.messages(ALL)[0], np.rint(255 * IMAGES))


def test_first_samples_with_their_labels(tmp_path: Path) -> None:
    found = load(tmp_path, IMAGES, np.arange(5) % 4, steps=2, samples=3)
    assert found.real.shape[1] == 3
    np.testing.assert_array_equal(found.labels, [0, 1, 2])


@pytest.mark.parametrize(
    ("x", "options", "reason"),
    [
        (IMAGES, {}, "say how many with --steps"),
        (SPIKES, {"steps": 3}, "4 time steps, but --steps 3"),
        (IMAGES[:, :, :2], {"steps": 4}, r"shape \(5, 2, 2\), but the graph's input is \(2, 3\)"),
        (IMAGES[0], {"steps": 4}, r"expected images \(samples, 2, 3\) or spikes \(time, samples, 2, 3\)"),
        (SPIKES[None], {}, "expected images"),
        (SPIKES[:, :0], {}, "expected images"),
        (SPIKES / 2, {}, r"values from 0 to 0.5 that are not all 0 or 1.*--input-bits 8"),
        (IMAGES, {"steps": 4, "input_bits": 0}, "not all 0 or 1"),
        (IMAGES * 2, {"steps": 4}, r"expected \[0, 1\]"),
        (-IMAGES, {"steps": 4}, r"expected \[0, 1\]"),
        (np.where(IMAGES > 0.5, np.nan, IMAGES), {"steps": 4}, "holds NaN"),
        (IMAGES.astype(complex), {"steps": 4}, "complex128, expected numbers"),
        ((IMAGES > 0.5).astype(np.uint8), {"steps": 4}, "nearly black; for spikes say --input-bits 0"),
        (np.rint(16 * IMAGES).astype(np.uint8), {"steps": 4}, "bytes from 0 to 16, .* nearly black; give floats"),
        (3 * SPIKES, {"input_bits": 1}, "counts up to 3 need 2 bits a message"),
        (3 * SPIKES, {"input_bits": 0}, "counts of events, sent as they are, are whole numbers"),
        (200 * SPIKES.astype(np.uint8), {}, "bytes are k/255 with --input-bits 8; counts of events"),
        (2**24 * SPIKES, {}, "a message has 24 bits at most"),
        (-3 * SPIKES, {}, "not all 0 or 1"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        load(tmp_path, x, **options)
    assert str(caught.value).startswith(f"{tmp_path / 's.npz'}: x")


@pytest.mark.parametrize(("y", "reason"), [([0, 1], "expected 5 integers"), ([0, 1, 2, 3, 4], "expected 0 to 3")])
def test_labels_are_checked(y: list[int], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        load(tmp_path, IMAGES, np.array(y), steps=4)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"PK")
    for name in ("s.npz", "absent.npz"):
        with pytest.raises(FileError, match=name):
            load_samples(tmp_path / name, (2,), (2,))


def test_a_batch_that_the_input_counts_may_be_left_out_of_the_samples(tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(0, 2, (12, 30, 5))
    np.savez(tmp_path / "x.npz", x=x)
    found = load_samples(tmp_path / "x.npz", (1, 5), (3,))
    assert found.real.shape == (12, 30, 1, 5)
    np.testing.assert_array_equal(found.real[:, :, 0], x)
