"""The laws of every coder: the integers are the encoding, gradients follow the stated rule, settings come back."""

from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.toolkit.coding import CODERS, Coder, make_coder
from spikeproof.toolkit.config import CODER_KEYS, CodingSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.train import seeded

CASES: dict[str, dict[str, Any]] = {
    "direct": {"name": "direct", "steps": 3},
    "phase": {"name": "phase", "steps": 10},
    "phase, weighted": {"name": "phase", "steps": 10, "weighted": True},
    "rate": {"name": "rate", "steps": 6},
    "rate, deterministic": {"name": "rate", "steps": 7, "stochastic": False},
    "latency": {"name": "latency", "steps": 5},
    "latency, dark last": {"name": "latency", "steps": 5, "dark": "last"},
    "delta": {"name": "delta", "steps": 4},
    "events": {"name": "events", "steps": 4},
}


@pytest.fixture(params=CASES)
def coder(request: pytest.FixtureRequest) -> Coder:
    return make_coder(CodingSettings(**CASES[request.param]))


def inputs(coder: Coder, samples: int = 6) -> np.ndarray:
    """Return random images or sequences in [0, 1], events for the events coder."""
    rng = np.random.default_rng(0)
    shape = (samples, coder.steps, 2, 4, 3) if coder.sequences else (samples, 2, 4, 3)
    x = rng.random(shape) * rng.integers(0, 2, shape)
    return np.rint(x).astype(np.float32) if coder.name == "events" else x.astype(np.float32)


def test_every_coder_and_every_key_is_covered() -> None:
    assert {case["name"] for case in CASES.values()} == set(CODERS.names()) == set(CODER_KEYS)
    for name, keys in CODER_KEYS.items():
        assert set(CODERS.get(name)(4).settings) == {"name", "steps", *keys}


def test_the_integers_are_the_encoding_in_messages(coder: Coder) -> None:
    x = inputs(coder)
    with seeded(3):
        encoded = coder.encode(torch.from_numpy(x)).numpy()
    with seeded(3):
        integers = coder.integers(x)
    assert encoded.shape == integers.shape == (coder.steps, len(x), *coder.encoded_shape((2, 4, 3)))
    assert integers.dtype == np.int32
    assert integers.min() == 0
    assert 0 < integers.max() <= coder.peak
    if coder.name == "direct":
        np.testing.assert_array_equal(integers, np.rint(encoded * np.float32(255)))
    else:
        np.testing.assert_array_equal(integers / np.float32(coder.levels), encoded)
    np.testing.assert_array_equal(coder.messages(encoded), integers)
    assert coder.image_shape(coder.encoded_shape((2, 4, 3))) == (2, 4, 3)


def test_what_the_host_rounds_changes_nothing(coder: Coder) -> None:
    x = inputs(coder)
    with seeded(3):
        integers = coder.integers(x)
    with seeded(3):
        np.testing.assert_array_equal(coder.integers(coder.on_grid(x)), integers)
    np.testing.assert_array_equal(coder.on_grid(coder.on_grid(x)), coder.on_grid(x))


def test_only_a_stochastic_coder_draws(coder: Coder) -> None:
    x = torch.from_numpy(inputs(coder))
    before = torch.get_rng_state()
    with seeded(1):
        first, second = coder.encode(x), coder.encode(x)
    assert torch.equal(first, second) != coder.stochastic
    assert torch.equal(torch.get_rng_state(), before)


def test_the_first_samples_are_encoded_alike_in_every_batch(coder: Coder) -> None:
    x = inputs(coder)
    with seeded(4):
        whole = coder.integers(x)
    with seeded(4):
        parts = [coder.integers(part) for part in (x[:1], x[1:4], x[4:])]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


def test_a_gradient_reaches_every_pixel_and_leaves_the_values_alone(coder: Coder) -> None:
    x = torch.from_numpy(inputs(coder))
    with seeded(3):
        plain = coder.encode(x)
    x.requires_grad_()
    with seeded(3):
        encoded = coder.encode(x)
    assert torch.equal(encoded, plain)
    weight = torch.from_numpy(np.random.default_rng(1).random(plain.shape)).float()
    (gradient,) = torch.autograd.grad((encoded * weight).sum(), x)
    assert gradient.shape == x.shape
    assert bool((gradient != 0).any())


def test_settings_come_back_as_the_same_coder(coder: Coder) -> None:
    again = make_coder(CodingSettings(**coder.settings))
    assert (type(again), again.settings, str(again)) == (type(coder), coder.settings, str(coder))
    assert coder.name in str(coder)
    assert coder.gradient in str(coder)


def test_what_it_cannot_take_is_refused_with_the_remedy(coder: Coder) -> None:
    x = inputs(coder)
    np.testing.assert_array_equal(coder.check(x, "x", (2, 4, 3)), x)
    other = x[:, 0] if coder.sequences else x[:, None]
    with pytest.raises(InputError, match=r"f\.npz: x: .*coding\.(name|steps)"):
        coder.check(other, "f.npz: x")
    with pytest.raises(InputError, match=r"f\.npz: x: values from .* to 2"):
        coder.check(x * 2 / x.max(), "f.npz: x")
    if coder.sequences:
        with pytest.raises(InputError, match=r"set coding\.steps"):
            coder.check(x[:, 1:], "x")
