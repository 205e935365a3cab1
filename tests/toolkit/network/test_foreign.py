"""Neurons of other frameworks under a chosen surrogate: the same as if their own framework had been given that one."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.toolkit.attacks.foreign import untaken
from spikeproof.toolkit.attacks.victim import fitted, predict, spiking
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.backward import Backward, attack_gradient
from spikeproof.toolkit.network.foreign import fires, framework
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Surrogate

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STEPS, BATCH, WIDTH = 5, 6, 4


def load(name: str) -> Any:
    pytest.importorskip(name.partition(".")[0], reason=f"{name} is not installed; run 'make setup'")
    return import_module(name)


class Net(nn.Module):
    """A layer, neurons (time first, batch first for sinabs, or step by step), a layer, mean over time."""

    def __init__(self, neurons: nn.Module, order: str = "time") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        torch.manual_seed(2)
        self.first, self.last, self.neurons, self.order = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 2), neurons, order
        for weights in (self.first.weight, self.last.weight):
            weights.data = torch.rand(weights.shape, generator=generator) * 2 - 0.5

    def forward(self, x: Tensor) -> Tensor:
        current = self.first(x).expand(STEPS, *x.shape[:-1], WIDTH)
        if self.order == "time":
            spikes = self.neurons(current)
        elif self.order == "batch":
            spikes = self.neurons(current.transpose(0, 1)).transpose(0, 1)
        else:
            given = [self.neurons(now) for now in current]
            spikes = torch.stack([now[0] if isinstance(now, tuple) else now for now in given])
        return self.last(spikes[0] if isinstance(spikes, tuple) else spikes).mean(0)


def inputs() -> Tensor:
    return 3 * torch.rand(BATCH, 3, generator=torch.Generator().manual_seed(0))


def look(model: nn.Module, backward: Backward | None = None) -> tuple[Tensor, Tensor]:
    with attack_gradient(model, backward):
        x = inputs().requires_grad_()
        out = model(x)
        return out.detach(), torch.autograd.grad((out * torch.tensor([1.0, -2.0])).sum(), x)[0]


def snn(name: str, **more: Any) -> Callable[[bool], nn.Module]:
    def make(other: bool) -> nn.Module:
        torch.manual_seed(0)
        grad = load("snntorch.surrogate").atan(alpha=2) if other else load("snntorch.surrogate").fast_sigmoid(slope=99)
        return Net(getattr(load("snntorch"), name)(spike_grad=grad, init_hidden=True, **more), "step")

    return make


def jelly(name: str, *given: Any, **more: Any) -> Callable[[bool], nn.Module]:
    def make(other: bool) -> nn.Module:
        torch.manual_seed(0)
        where = load("spikingjelly.activation_based.neuron")
        made = load("spikingjelly.activation_based.surrogate")
        function = made.ATan(alpha=2.0) if other else made.Sigmoid(alpha=100.0)
        neurons = getattr(where, name)(*given, surrogate_function=function, **more)
        if hasattr(neurons, "step_mode"):
            neurons.step_mode = "m"
        neurons.training = other  # One of them has derivatives in training only.
        return Net(neurons)

    return make


def norse(name: str, parameters: str) -> Callable[[bool], nn.Module]:
    def make(other: bool) -> nn.Module:
        torch.manual_seed(0)
        package = load("norse.torch")
        p = getattr(package, parameters)(method="triangle" if other else "super", alpha=torch.as_tensor(1.0))
        return Net(getattr(package, name)(p=p, dt=0.01))

    return make


def sinabs(name: str, **more: Any) -> Callable[[bool], nn.Module]:
    def make(other: bool) -> nn.Module:
        layers, ways = load("sinabs.layers"), load("sinabs.activation")
        grad = ways.Gaussian(mu=0.0, sigma=0.5) if other else ways.SingleExponential(grad_width=0.01)
        return Net(getattr(layers, name)(surrogate_grad_fn=grad, spike_fn=ways.SingleSpike, **more), "batch")

    return make


ARCTAN, TRIANGLE, GAUSS = (Surrogate(*each) for each in (("arctan", 2.0), ("triangular", 1.0), ("gaussian", 2.0)))
CASES: dict[str, tuple[Callable[[bool], nn.Module], Surrogate]] = {
    "snntorch.Leaky": (snn("Leaky", beta=0.8), ARCTAN),
    "snntorch.Lapicque": (snn("Lapicque", beta=0.8), ARCTAN),
    "snntorch.Synaptic": (snn("Synaptic", alpha=0.5, beta=0.8), ARCTAN),
    "snntorch.Alpha": (snn("Alpha", alpha=0.9, beta=0.5), ARCTAN),
    "snntorch.RLeaky": (snn("RLeaky", beta=0.8, V=0.3, all_to_all=False), ARCTAN),
    "snntorch.RSynaptic": (snn("RSynaptic", alpha=0.5, beta=0.8, V=0.3, all_to_all=False), ARCTAN),
    **{
        f"spikingjelly.{name}": (jelly(name), ARCTAN)
        for name in (
            "IFNode", "LIFNode", "ParametricLIFNode", "QIFNode", "EIFNode", "IzhikevichNode", "SimpleIFNode",
            "KLIFNode", "ComplementaryLIFNode", "HalfThresholdIFNode", "TernaryIFNode", "TernaryLIFNode", "RAFNode",
        )
    },
    "spikingjelly.SimpleLIFNode": (jelly("SimpleLIFNode", 2.0, True), ARCTAN),
    "spikingjelly.PSN": (jelly("PSN", T=STEPS), ARCTAN),
    "spikingjelly.SlidingPSN": (jelly("SlidingPSN", k=2), ARCTAN),
    "norse.LIF": (norse("LIF", "LIFParameters"), TRIANGLE),
    "norse.IAF": (norse("IAF", "IAFParameters"), TRIANGLE),
    "norse.LIFEx": (norse("LIFEx", "LIFExParameters"), TRIANGLE),
    "norse.LIFAdEx": (norse("LIFAdEx", "LIFAdExParameters"), TRIANGLE),
    "norse.LSNN": (norse("LSNN", "LSNNParameters"), TRIANGLE),
    "sinabs.LIF": (sinabs("LIF", tau_mem=5.0), GAUSS),
    "sinabs.IAF": (sinabs("IAF"), GAUSS),
    "sinabs.ALIF": (sinabs("ALIF", tau_mem=5.0, tau_adapt=5.0), GAUSS),
}  # fmt: skip


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, Surrogate]:
    make, surrogate = CASES[request.param]
    return make(False), make(True), surrogate


def test_a_swapped_surrogate_is_the_one_that_the_framework_would_have_been_given(
    case: tuple[nn.Module, nn.Module, Surrogate],
) -> None:
    given, wanted, surrogate = case
    assert spiking(given)
    before, own = look(given)
    out, found = look(given, Backward(surrogate=surrogate))
    (expected, derivative), _ = look(wanted), torch.testing.assert_close(out, before)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(found, derivative, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(own, found, rtol=1e-2)
    assert all(torch.equal(*pair) for pair in zip(look(given), (before, own), strict=True)), "something is left behind"


def test_adaptive_sharpness_reaches_all_of_them(case: tuple[nn.Module, nn.Module, Surrogate]) -> None:
    given = case[0]
    expected, own = look(given)
    out, found = look(given, Backward(surrogate=AdaptiveSharpness()))
    torch.testing.assert_close(out, expected)
    assert not torch.allclose(own, found, rtol=1e-2)
    assert untaken(given, inputs().numpy()) == []


def test_every_forward_pass_starts_from_the_first_state(case: tuple[nn.Module, nn.Module, Surrogate]) -> None:
    given, x = case[0], inputs().numpy()
    all_at_once, each = predict(given, x), [predict(given, part) for part in (x[:2], x[2:5], x[5:])]
    np.testing.assert_array_equal(np.concatenate(each), all_at_once)
    with attack_gradient(given), torch.no_grad():
        answers = [given(torch.from_numpy(x)) for _ in range(3)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_a_count_of_spikes_has_a_derivative_at_every_threshold() -> None:
    layer = load("sinabs.layers").IAF(spike_threshold=torch.tensor(0.5))
    v = torch.tensor([[[0.2, 0.5, 0.8, 1.1, 1.6]]])
    with attack_gradient(layer, Backward(surrogate=GAUSS)):
        x = v.clone().requires_grad_()
        spikes = layer(x)
        (found,) = torch.autograd.grad(spikes.sum(), x)
    np.testing.assert_array_equal(spikes.detach().numpy().ravel(), [0, 1, 1, 2, 3])
    nearest = np.array([0.5, 0.5, 1.0, 1.0, 1.5])  # of the multiples of the threshold, 0.5 the least
    expected = 2 * np.exp(-((2 * (v.numpy().ravel() - nearest)) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("pool", ["first", "ties", "average"])
def test_multi_step_pools_share_their_gradient_as_single_step_ones_do(pool: Any) -> None:
    make = load("spikingjelly.activation_based.layer").MaxPool2d
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 2, 2, 5, 6)).astype(np.float32))
    found = []
    for layer, given in ((make(2, step_mode="m"), x), (nn.MaxPool2d(2), x.flatten(0, 1))):
        with attack_gradient(layer, Backward(pool=pool)):
            y = given.clone().requires_grad_()
            out = layer(y)
            back = torch.arange(out.numel(), dtype=torch.float32).view_as(out)
            found.append(torch.autograd.grad(out, y, back)[0].reshape(x.shape))
    assert torch.equal(*found)


def test_ways_through_time_are_refused_for_neurons_that_are_not_ours() -> None:
    with pytest.raises(UnsupportedError, match="defined for LIF neurons only"):
        look(jelly("LIFNode")(False), Backward(time="rate"))


def test_nothing_is_made_of_what_is_no_step() -> None:
    cpu = torch.device("cpu")
    assert fires(lambda x: (x >= 0).float(), cpu)
    assert not fires(torch.relu, cpu)
    assert not fires(lambda x: x.clamp(0, 1), cpu)
    assert framework(nn.Linear(2, 2)) is None
    assert fitted(Backward(surrogate=ARCTAN), nn.Linear(2, 2)) is None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0.5).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Function(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = _Step.apply(x)  # type: ignore[no-untyped-call]
        return made


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        smooth = torch.sigmoid(4 * (x - 0.5))
        return smooth + ((x > 0.5).float() - smooth).detach()


class Compared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x > 0.5).float()


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trace = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        self.trace = [0.5 * self.trace[0] + x]
        return self.trace[0]


class Looks(nn.Module):
    """Keeps what it saw, which changes no answer."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.detach() * torch.rand(())
        return torch.relu(x)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Function(), r"it calls .*_Step, whose derivative cannot be chosen"),
        (Detached(), "its spikes have a derivative that cannot be chosen"),
        (Compared(), "its spikes have no derivative"),
        (Remembers(), "it keeps state from one sample to the next, which nothing resets"),
        (Looks(), None),
        (nn.ReLU(), None),
        (nn.Dropout(), None),
    ],
)
def test_what_cannot_be_taken_over_is_named(layer: nn.Module, reason: str | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), layer, nn.Linear(8, 2)).eval()
    found = untaken(model, inputs().numpy())
    if reason is None:
        assert found == []
        return
    assert [(one.module, one.kind) for one in found] == [("1", f"{type(layer).__module__}.{type(layer).__name__}")]
    (one,) = found
    assert re.fullmatch(reason, one.reason)


class OnWeights(nn.Linear):
    """A function of its own, on weights alone: no gradient passes it on the way to the input."""

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = _Step.apply(self.weight)  # type: ignore[no-untyped-call]
        return nn.functional.linear(x, weight)


def test_what_is_done_to_weights_is_no_matter() -> None:
    model = nn.Sequential(nn.Linear(3, 8), OnWeights(8, 2)).eval()
    assert untaken(model, inputs().numpy()) == []


def test_a_neuron_with_functions_of_its_own_is_named() -> None:
    model = Net(load("spikingjelly.activation_based.neuron").DSRIFNode(T=STEPS))
    (one,) = untaken(model, inputs().numpy())
    assert one.module == "neurons"
    assert one.kind == "spikingjelly.activation_based.neuron.dsr.DSRIFNode"
