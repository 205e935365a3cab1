"""Networks of every framework become ours: each spike is the framework's own, also after a trip through a recipe."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.face.networks import lower, quantize, run
from spikeproof.eval.support.foreign import FOREIGN, STEPS, ready
from spikeproof.toolkit.adopt import adopt_module
from spikeproof.toolkit.attacks.gradient import FGSM
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.errors import DisagreementError, InputError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.models.layers import described
from spikeproof.toolkit.network import population

BATCH = 5


def sample(flat: bool, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 1, 8, 8, generator=generator)
    return images.flatten(1) if flat else images


def needs(name: str) -> None:
    pytest.importorskip(FOREIGN[name].framework, reason="run 'make setup'")


def reference(model: nn.Module, x: torch.Tensor, steps: int | None) -> torch.Tensor:
    """Return what a user of the framework would take for the logits, computed by the framework alone."""
    from spikeproof.toolkit.network.foreign import reset, stateful
    from spikeproof.toolkit.network.neurons import Neuron

    def first(answer: Any) -> torch.Tensor:
        found: torch.Tensor = answer[0] if isinstance(answer, tuple) else answer
        return found

    reset(model, stateful(model, Neuron))
    with torch.no_grad():
        found = first(model(x)) if steps is None else torch.stack([first(model(x)) for _ in range(steps)])
    return found.mean(0) if found.dim() == 3 else found


@pytest.mark.parametrize("name", FOREIGN)
def test_the_adopted_network_is_the_frameworks_own(name: str) -> None:
    needs(name)
    row = FOREIGN[name]
    model = ready(name)
    weights = copy.deepcopy(dict(model.named_parameters()))
    found = adopt_module(model, sample(row.flat), **row.options)
    assert found.proof.differing == 0
    assert sum(all for _, all in found.proof.spikes.values()) > 0
    assert (not found.reasons) == row.deploys
    # On samples that it was not adopted on, and by the framework's own run.
    x = sample(row.flat, seed=1)
    network = found.network
    assert all(torch.equal(part, weights[key]) for key, part in model.named_parameters())
    if row.framework in ("spikingjelly", "norse"):  # the others' spikes are float32 whatever their membranes are
        x, model, network = x.double(), model.double(), network.double()
    theirs = reference(model, x, row.options.get("steps"))
    ours = network(x.reshape(BATCH, *found.shape))
    assert torch.unique(theirs).numel() > 1
    torch.testing.assert_close(ours / ours.abs().max(), theirs / theirs.abs().max(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FOREIGN)
def test_it_is_written_into_a_recipe_and_built_again(name: str) -> None:
    needs(name)
    row = FOREIGN[name]
    network = adopt_module(ready(name), sample(row.flat), **row.options).network
    model = {"kind": "layers", "layers": described(network), "gain": network.gain}
    recipe = parse_recipe({"coding": network.coder.settings, "model": model}, "a test")
    again = build_network(recipe, (1, 8, 8), 10).eval()
    again.load_state_dict(network.state_dict())
    x = sample(False)
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize("name", ["conv-BN-LIF, multi-step", "RLeaky, reset subtract", "LIF cells"])
def test_it_has_gradients_for_training_and_attacks(name: str) -> None:
    needs(name)
    row = FOREIGN[name]
    network = adopt_module(ready(name), sample(row.flat), **row.options).network
    labels = torch.arange(BATCH) % 10
    nn.functional.cross_entropy(network(sample(False)), labels).backward()
    first = next(network.parameters())
    assert first.grad is not None
    assert bool(first.grad.abs().sum() > 0)
    images = sample(False).numpy()
    made = FGSM(epsilon=0.1)(network, images, labels.numpy())
    assert 0 < np.abs(made.images - images).max() <= 0.1 + 1e-6


def test_events_with_an_axis_of_time() -> None:
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(18, 10), snntorch.Leaky(beta=0.8, reset_mechanism="zero", threshold=0.2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem, told = self.lif.init_leaky(), []
            for now in x:
                spikes, mem = self.lif(self.fc(now.flatten(1)), mem)
                told.append(spikes)
            return torch.stack(told, 1)

    events = (torch.rand(6, BATCH, 2, 3, 3) < 0.4).float()
    found = adopt_module(Net().eval(), events, time=0)
    assert found.network.coder.name == "events"
    assert found.network.steps == 6
    assert found.proof.differing == 0
    with pytest.raises(InputError, match="no coder"):
        adopt_module(Net().eval(), 0.5 * events, time=0)


def test_layers_that_take_all_steps_get_the_image_repeated() -> None:
    needs("conv-BN-LIF, multi-step")
    inner = ready("conv-BN-LIF, multi-step").net
    assert isinstance(inner, nn.Module)
    found = adopt_module(inner, sample(False), steps=STEPS)
    whole = adopt_module(ready("conv-BN-LIF, multi-step"), sample(False))
    x = sample(False, seed=2)
    assert torch.equal(found.network(x), whole.network(x))


def test_one_dimensional_convolutions_are_two_dimensional_ones_of_height_1() -> None:
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1),
        snntorch.Leaky(beta=0.9, init_hidden=True, reset_mechanism="zero", threshold=0.2),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
        snntorch.Leaky(beta=0.9, init_hidden=True, reset_mechanism="zero", threshold=0.2),
    ).eval()
    found = adopt_module(model, torch.rand(BATCH, 2, 8), steps=5)
    assert (found.shape, found.proof.differing) == ((2, 1, 8), 0)
    assert not found.reasons


def test_a_wrong_reading_is_caught_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MLP of the tutorials, reset zero"
    charge = population.Population._charge

    def wrong(self: Any, v: torch.Tensor, u: Any, x: torch.Tensor) -> Any:
        return charge(self, 0.5 * v, u, x)

    monkeypatch.setattr(population.Population, "_charge", wrong)
    with pytest.raises(DisagreementError, match=r"layer 'cells_0' .* first at step 1, neuron \(\d+,\) of sample \d"):
        adopt_module(ready(name), sample(True))


def test_soft_resets_are_adopted_and_say_why_they_do_not_deploy() -> None:
    found = adopt_module(ready("MLP of the tutorials, reset subtract"), sample(True))
    assert set(found.reasons) == {"cells_0", "cells_2"}
    assert "subtraction does not exist on Loihi" in found.reasons["cells_0"]
    pooled = adopt_module(ready("conv net of the tutorials, reset zero"), sample(False))
    assert set(pooled.reasons) == {"pool", "pool_2"}
    with pytest.raises(UnsupportedError, match="subtraction"):
        dict(found.network.named_layers())["cells_0"].dynamics()


def test_weights_that_are_computed_at_every_step_are_one_layer() -> None:
    snntorch = pytest.importorskip("snntorch")

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.mask = nn.Parameter(torch.randn(3, 8)), (torch.rand(3, 8) < 0.5).float()
            self.lif = snntorch.Leaky(beta=0.8, reset_mechanism="zero", threshold=0.2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem, told = self.lif.init_leaky(), []
            for _ in range(4):
                spikes, mem = self.lif(nn.functional.linear(x, self.weight * self.mask), mem)
                told.append(spikes)
            return torch.stack(told).sum(0)

    torch.manual_seed(4)
    found = adopt_module(Masked().eval(), torch.rand(BATCH, 8))
    assert [name for name, _ in found.network.named_layers()] == ["flat", "linear", "lif"]
    assert found.proof.differing == 0


def test_a_max_pool_of_events_is_an_or_and_deploys() -> None:
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(5)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(32, 3), snntorch.Leaky(beta=0.8, reset_mechanism="zero", threshold=0.2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem, told = self.lif.init_leaky(), []
            for now in x:
                spikes, mem = self.lif(self.fc(nn.functional.max_pool2d(now, 2).flatten(1)), mem)
                told.append(spikes)
            return torch.stack(told).sum(0)

    events = (torch.rand(5, BATCH, 2, 8, 8) < 0.2).float()
    found = adopt_module(Net().eval(), events, time=0)
    assert not found.reasons
    quantized = quantize(found.network)
    program = lower(quantized, found.shape, check=found.images.numpy())
    trace = run(program, found.images.numpy(), coder=quantized)
    pooled = found.images.numpy().reshape(BATCH, 5, 2, 4, 2, 4, 2).max((4, 6)).transpose(1, 0, 2, 3, 4)
    (pool,) = [name for name in trace.spike_counts if "pool" in name]
    np.testing.assert_array_equal(trace.spike_counts[pool].reshape(BATCH, -1), pooled.sum(0).reshape(BATCH, -1))
