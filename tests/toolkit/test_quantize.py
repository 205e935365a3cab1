import math
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn

from spikeproof.toolkit.checkpoint import learned
from spikeproof.toolkit.coding import Direct, direct_integers
from spikeproof.toolkit.config import ModelSettings, QuantizeSettings, Recipe
from spikeproof.toolkit.errors import FileError, UnsupportedError
from spikeproof.toolkit.files import read_arrays, write_arrays
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, Integrator
from spikeproof.toolkit.quantize import (
    InputGrid,
    load_quantized,
    quantized_network,
    save_quantized,
    weight_step,
    weight_steps,
)

Make = Callable[..., SpikingNetwork]
peaks = st.floats(2.0**-20, 2.0**20, width=32)


def chain(**layers: nn.Module) -> SpikingNetwork:
    return SpikingNetwork(OrderedDict(layers), 3, 10.0).eval()


@given(peaks, st.integers(2, 8))
def test_the_step_is_the_smallest_power_of_two_that_covers_the_weights(peak: float, bits: int) -> None:
    step = weight_step(torch.tensor([peak / 2, -peak, 0.0]), bits)
    assert math.frexp(step)[0] == 0.5
    top = 2 ** (bits - 1) - 1
    assert Fraction(step) * top >= Fraction(peak) > Fraction(step) / 2 * top


def test_weights_that_are_all_zero_have_a_step() -> None:
    assert weight_step(torch.zeros(3), 8) == 1.0


@given(peaks, st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_weights_are_whole_multiples_of_the_step_inside_the_signed_range(peak: float, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    linear = nn.Linear(6, 5)
    linear.weight.data = torch.from_numpy((peak * rng.uniform(-1, 1, (5, 6))).astype(np.float32))
    network = quantized_network(chain(flatten=nn.Flatten(), linear=linear, lif=LIF(0.5, 1.0, 2.0)), bits)
    step = weight_steps(network)["linear"]
    found = dict(network.named_layers())["linear"].quant_weight().value.detach().double()
    levels = found / step
    assert math.frexp(step)[0] == 0.5
    assert torch.equal(levels, levels.round())
    assert levels.min() >= -(2 ** (bits - 1))
    assert levels.max() <= 2 ** (bits - 1) - 1
    assert (found - linear.weight.detach().double()).abs().max() <= step / 2


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_given_step_clips_at_both_ends_of_the_signed_range(bits: int) -> None:
    linear = nn.Linear(2, 1)
    linear.weight.data = torch.tensor([[-1e4, 1e4]])
    network = quantized_network(chain(linear=linear, lif=LIF(0.5, 1.0, 2.0)), bits, {"linear": 0.25})
    levels = dict(network.named_layers())["linear"].quant_weight().value / 0.25
    assert levels.tolist() == [[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]]


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_folding_batch_norm_keeps_the_function(random_network: Make, images: np.ndarray, pool: str) -> None:
    network, x = random_network(pool, (4, 3)), torch.from_numpy(images)
    folded = fold(network)
    before, after = (next(iter(n.layers))(x) for n in (network, folded))
    expected = network.layers.norm1(before)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(after, expected)
    with torch.no_grad():
        assert (folded.spikes(x) != network.spikes(x)).float().mean() < 1e-3


def test_folding_uses_the_running_statistics_even_of_a_network_in_training_mode(
    random_network: Make, images: np.ndarray
) -> None:
    network = random_network()
    expected = fold(network).state_dict()
    found = fold(network.train())
    assert not found.training
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("make", [fold, lambda network: quantized_network(network, 8)])
def test_the_float_network_is_left_alone(random_network: Make, make: Callable[[SpikingNetwork], Any]) -> None:
    network = random_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = make(network)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("layers", "name", "why"),
    [
        ({"conv": nn.Conv2d(1, 1, 3), "act": nn.GELU()}, "act", "GELU"),
        ({"drop": nn.Dropout()}, "drop", "Dropout"),
        ({"first": nn.BatchNorm2d(1)}, "first", "must follow a convolution"),
        ({"conv": nn.Conv2d(1, 1, 3), "lif": LIF(0.5, 1, 2), "late": nn.BatchNorm2d(1)}, "late", "must follow"),
        ({"fc": nn.Linear(2, 2), "norm": nn.LayerNorm(2)}, "norm", "LayerNorm"),
        ({"edge": nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")}, "edge", "padding"),
        ({"same": nn.Conv2d(1, 1, 3, padding="same")}, "same", "padding"),
        ({"up": nn.ConvTranspose2d(1, 1, 3)}, "up", "ConvTranspose2d"),
        ({"rnn": nn.RNN(2, 2)}, "rnn", "RNN"),
    ],
)
def test_a_layer_without_an_exact_form_is_named(layers: dict[str, nn.Module], name: str, why: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^layer '{name}': .*{why}"):
        quantized_network(chain(**layers), 8)


def test_the_reserved_name_of_the_input_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="layer 'input'"):
        quantized_network(chain(conv=nn.Conv2d(1, 2, 1), input=LIF(0.5, 1.0, 2.0)), 8)


def test_the_input_is_rounded_as_the_chip_receives_it(images: np.ndarray) -> None:
    x = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    rounded = InputGrid(Direct(1))(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(rounded, direct_integers(x, 1)[0].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(InputGrid(Direct(1))(torch.from_numpy(images)).numpy(), images)


def test_rounding_passes_gradients_through_unchanged() -> None:
    x = torch.rand(2, 1, 3, 3, requires_grad=True)
    (InputGrid(Direct(1))(x) * torch.arange(9.0).reshape(3, 3)).sum().backward()
    torch.testing.assert_close(x.grad, torch.arange(9.0).reshape(3, 3).expand(2, 1, 3, 3))


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_fine_tuning_can_move_every_weight(random_network: Make, images: np.ndarray, bits: int) -> None:
    network = quantized_network(random_network("avg"), bits).train()
    network(torch.from_numpy(images)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture(scope="module", params=[(8, "max"), (3, "avg")], ids=["8-max", "3-avg"])
def saved(
    request: pytest.FixtureRequest, random_network: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SpikingNetwork, Recipe]:
    bits, pool = request.param
    model = ModelSettings(pool=pool, channels=[4], threshold=0.5)
    recipe = Recipe(name="q", model=model, coding={"steps": 3}, quantize=QuantizeSettings(bits=bits))
    network = quantized_network(random_network(pool), bits)
    path = tmp_path_factory.mktemp("quantized") / "quantized.safetensors"
    save_quantized(path, network, recipe, (1, 8, 8), 10)
    return path, network, recipe


def test_a_quantized_network_comes_back_bit_for_bit(
    saved: tuple[Path, SpikingNetwork, Recipe], images: np.ndarray
) -> None:
    path, network, recipe = saved
    found, read = load_quantized(path)
    assert read == recipe
    assert weight_steps(found) == weight_steps(network)
    for name, tensor in learned(network).items():
        assert torch.equal(learned(found)[name], tensor), name
    with torch.no_grad():
        assert torch.equal(found(torch.from_numpy(images)), network(torch.from_numpy(images)))


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (None, "no weight steps for conv1, linear"),
        ({"conv1": 0.5}, "no weight steps"),
        ({"conv1": 0.5, "linear": 0.5, "other": 0.5}, "no weight steps"),
        ({"conv1": 0.3, "linear": 0.5}, "step 0.3 of 'conv1' is not a power of two"),
        ({"conv1": 0.5, "linear": -0.5}, "step -0.5 of 'linear'"),
        ({"conv1": 0.5, "linear": 1}, "step 1 of 'linear'"),
        ({"conv1": 2.0**60, "linear": 0.5}, "of 'conv1'"),
        ({"conv1": "0.5", "linear": 0.5}, "of 'conv1'"),
    ],
)
def test_steps_that_are_no_powers_of_two_are_refused(
    saved: tuple[Path, SpikingNetwork, Recipe], tmp_path: Path, steps: Any, why: str
) -> None:
    arrays, header = read_arrays(saved[0], "quantized")
    write_arrays(tmp_path / "bad", "quantized", arrays, {**header, "steps": steps})
    with pytest.raises(FileError, match=rf"bad: .*{why}"):
        load_quantized(tmp_path / "bad")


def test_a_float_model_is_not_taken_for_a_quantized_one(
    saved: tuple[Path, SpikingNetwork, Recipe], tmp_path: Path
) -> None:
    arrays, header = read_arrays(saved[0], "quantized")
    write_arrays(tmp_path / "model", "model", arrays, {**header, "kind": "model"})
    with pytest.raises(FileError, match="holds 'model', expected 'quantized'"):
        load_quantized(tmp_path / "model")


def test_batch_norm_after_a_linear_layer_is_folded_into_it() -> None:
    torch.manual_seed(1)
    norms = {"first": nn.BatchNorm1d(6), "second": nn.BatchNorm1d(3, affine=False)}
    for norm in norms.values():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    network = chain(
        flat=nn.Flatten(),
        one=nn.Linear(16, 6, bias=False),
        first=norms["first"],
        lif=LIF(0.5, 0.1, 2),
        two=nn.Linear(6, 3),
        second=norms["second"],
        last=Integrator(),
    ).double()
    folded = fold(network)
    assert [name for name, _ in folded.named_layers()] == ["flat", "one", "lif", "two", "last"]
    x = torch.rand(9, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x), rtol=1e-6, atol=1e-6)
        # y = (W x - mean) / sqrt(var + eps), by hand
        scale = 1 / np.sqrt(norms["second"].running_var.double().numpy() + 1e-5)
        by_hand = network.layers.two.weight.numpy() * scale[:, None]
        assert np.allclose(folded.layers.two.weight.numpy(), by_hand, rtol=1e-6)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ({"flat": nn.Flatten(), "norm": nn.BatchNorm1d(4)}, "must follow a linear layer"),
        ({"conv": nn.Conv2d(1, 4, 4), "flat": nn.Flatten(), "norm": nn.BatchNorm1d(4)}, "must follow a linear layer"),
        ({"linear": nn.Linear(4, 4), "norm": nn.BatchNorm2d(4)}, "must follow a convolution"),
        (
            {"linear": nn.Linear(4, 4), "norm": nn.BatchNorm1d(4, track_running_stats=False)},
            "without running statistics",
        ),
    ],
)
def test_other_places_of_a_norm_are_refused(layers: dict[str, nn.Module], why: str) -> None:
    with pytest.raises(UnsupportedError, match=f"layer 'norm': batch norm {why}"):
        quantized_network(chain(**layers), 8)


def test_batch_norm_of_a_sum_is_folded_into_every_part_of_it() -> None:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(3)
    assert norm.running_mean is not None
    norm.running_mean.uniform_(-1, 1)
    layers = {"one": nn.Conv2d(1, 3, 3, padding=1), "two": nn.Conv2d(1, 3, 1), "norm": norm, "lif": LIF(0.9, 0.1, 2)}
    wiring = {"two": ["input"], "norm": ["one", "two"]}
    network = SpikingNetwork(OrderedDict(layers), 3, 10.0, wiring).eval().double()
    folded = fold(network)
    assert [name for name, _ in folded.named_layers()] == ["one", "two", "lif"]
    x = torch.rand(5, 1, 6, 6, dtype=torch.float64)
    heard: dict[str, list[torch.Tensor]] = {"was": [], "is": []}
    for name, model in (("was", network), ("is", folded)):
        model.layers.lif.register_forward_pre_hook(lambda _, given, name=name: heard[name].append(given[0]))  # type: ignore[misc]
        with torch.no_grad():
            model.spikes(x)
    torch.testing.assert_close(heard["was"], heard["is"], rtol=1e-6, atol=1e-6)
