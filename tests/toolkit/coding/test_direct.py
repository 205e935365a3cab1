import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given

from spikeproof.toolkit.coding import Direct, direct_integers, on_grid, spike_count_logits
from spikeproof.toolkit.coding.direct import direct

pixels = hnp.arrays(np.float32, (2, 1, 2, 3), elements=st.floats(0, 1, width=32))


def half_to_even(image: np.ndarray) -> list[int]:
    return [round(float(np.float32(255) * x)) for x in image.ravel()]


def test_direct_shows_the_same_image_at_each_step() -> None:
    image = torch.rand(2, 1, 3, 4)
    shown = direct(image, 5)
    assert shown.shape == (5, 2, 1, 3, 4)
    assert all(torch.equal(step, image) for step in shown)


@given(pixels)
def test_the_chip_receives_255_x_rounded_half_to_even_at_each_step(image: np.ndarray) -> None:
    sent = direct_integers(image, 3)
    assert (sent.shape, sent.dtype) == ((3, 2, 1, 2, 3), np.int32)
    for step in sent:
        assert step.ravel().tolist() == half_to_even(image)


@given(pixels, st.integers(2, 4000))
def test_with_other_levels_the_chip_receives_as_many(image: np.ndarray, levels: int) -> None:
    coder = Direct(3, levels=levels)
    expected = [round(float(np.float32(levels) * x)) for x in image.ravel()]
    assert coder.integers(image)[2].ravel().tolist() == expected
    assert coder.peak >= levels > coder.peak // 2
    assert np.array_equal(coder.integers(coder.on_grid(image)), coder.integers(image))


def test_levels_are_named_where_they_are_not_those_of_8_bits() -> None:
    assert Direct(3).settings == Direct(3, levels=255).settings == {"name": "direct", "steps": 3}
    assert str(Direct(3, levels=76)) == "direct coder, levels = 76, gradient exact"


def test_halves_between_two_levels_go_to_the_even_one() -> None:
    halves = np.array([0.5 / 255, 1.5 / 255, 2.5 / 255, 253.5 / 255], np.float32).reshape(1, 1, 2, 2)
    exact = halves[(halves * np.float32(255)) % 1 == np.float32(0.5)]
    assert exact.size
    assert not (direct_integers(exact.reshape(1, 1, 1, -1), 1) % 2).any()


def test_all_levels_of_8_bits_survive() -> None:
    levels = np.arange(256).reshape(1, 1, 16, 16)
    image = (levels / 255).astype(np.float32)
    np.testing.assert_array_equal(direct_integers(image, 1)[0], levels)
    np.testing.assert_array_equal(on_grid(image), image)


@given(pixels)
def test_the_grid_is_what_the_chip_receives_over_255(image: np.ndarray) -> None:
    expected = np.array(half_to_even(image), np.float32).reshape(image.shape) / np.float32(255)
    np.testing.assert_array_equal(on_grid(image), expected, strict=True)
    np.testing.assert_array_equal(on_grid(on_grid(image)), on_grid(image))


def test_logits_are_the_gain_times_the_share_of_steps_with_a_spike() -> None:
    spikes = (np.random.default_rng(0).random((4, 3, 10)) < 0.5).astype(np.float32)
    expected = np.float32(8) * spikes.sum(0) / 4
    np.testing.assert_array_equal(spike_count_logits(torch.from_numpy(spikes), 8.0).numpy(), expected)
