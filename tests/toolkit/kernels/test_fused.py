import copy
from collections import OrderedDict
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from spikeproof.toolkit.kernels import fused, native, norm
from spikeproof.toolkit.kernels.norm import Norm
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, PLIF

STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def loops(need_loops: Callable[[native.Status], None]) -> None:
    need_loops(native.status())
    need_loops(norm.status())


def network(channels: int, neurons: nn.Module | None = None, pool: nn.Module | None = None) -> SpikingNetwork:
    """A convolution, batch norm with numbers of its own, neurons, a pool."""
    with torch.random.fork_rng():
        torch.manual_seed(channels)
        layers = OrderedDict(conv=nn.Conv2d(1, channels, 3, padding=1), norm=Norm(channels))
        layers["lif"] = LIF(0.5, 0.7, 2.0) if neurons is None else neurons
        layers["pool"] = nn.MaxPool2d(2) if pool is None else pool
        with torch.no_grad():
            layers["norm"].weight.uniform_(-1, 2)
            layers["norm"].bias.normal_()
    return SpikingNetwork(layers, STEPS, 1.0).train()


def answers(given_network: SpikingNetwork, x: Tensor) -> list[Tensor]:
    """Return spikes, gradients of everything, and what is remembered, after two batches; x is (time, batch, ...)."""
    found = []
    for _ in range(2):
        signal = x.clone().requires_grad_()
        sent = given_network.respond(signal)
        weights = torch.linspace(-1, 1, sent.numel()).view_as(sent)
        found += [sent.detach(), *torch.autograd.grad((sent * weights).sum(), [signal, *given_network.parameters()])]
    return [*found, *(buffer.clone() for buffer in given_network.buffers())]


def apart(made: SpikingNetwork) -> SpikingNetwork:
    """Return a copy whose layers run one after the other: PyTorch's batch norm, hooked neurons."""
    other = copy.deepcopy(made)
    plain = nn.BatchNorm2d(made.layers.norm.num_features)
    plain.load_state_dict(made.layers.norm.state_dict())
    other.layers.norm = plain.train()
    other.layers.lif.register_forward_hook(lambda *_: None)
    return other


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the fused passes."""
    found: list[int] = []
    own: Callable[..., Tensor] = fused.pooled
    monkeypatch.setattr(fused, "pooled", lambda *arguments: found.append(1) or own(*arguments))  # type: ignore[func-returns-value]
    return found


@given(
    st.tuples(st.integers(1, 5), st.integers(2, 11), st.integers(1, 6), st.integers(1, 9)),
    st.integers(0, 2**31),
    st.booleans(),
)
@settings(max_examples=60)
def test_the_bits_of_one_layer_after_the_other(shape: tuple[int, int, int, int], seed: int, checkpoint: bool) -> None:
    batch, channels, half_height, half_width = shape
    x = torch.rand(STEPS, batch, 1, 2 * half_height, 2 * half_width, generator=torch.Generator().manual_seed(seed))
    made = network(channels)
    expected = answers(apart(made), x)
    made.checkpointing = checkpoint
    assert all(torch.equal(*pair) for pair in zip(answers(made, x), expected, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_large_planes_and_threads(threads: int, passes: list[int]) -> None:
    x = torch.rand(STEPS, 16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        made = network(12)
        expected = answers(apart(made), x)
        assert not passes
        found = answers(made, x)
    finally:
        torch.set_num_threads(before)
    assert len(passes) == 2
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert 0.01 < float(found[0].mean()) < 0.99


def test_less_is_kept_than_by_one_after_the_other() -> None:
    x, kept = torch.rand(STEPS, 4, 1, 8, 8), []
    for made in (network(6), apart(network(6))):
        sizes: dict[int, int] = {}
        pack = lambda tensor, sizes=sizes: sizes.setdefault(tensor.data_ptr(), tensor.numel()) and tensor  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            alive = made.respond(x)
        assert alive.requires_grad
        kept.append(sum(sizes.values()))
    assert kept[1] - kept[0] >= STEPS * 4 * 6 * 8 * 8


def test_what_has_no_such_pass_runs_without(passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(STEPS, 2, 1, 8, 8)
    answers(network(4, neurons=PLIF(0.5, 0.7, 2.0)), x)
    answers(network(4, neurons=LIF(0.5, 0.7, 2.0, "triangular")), x)
    answers(network(4, pool=nn.MaxPool2d(3, 2)), x)
    answers(network(4, pool=nn.AvgPool2d(2)), x)
    made = network(4)
    made.wiring = {"pool": ("lif", "norm")}
    answers(made, x)
    network(4).eval().respond(x)
    network(4).respond(x, watch=lambda *_: None)
    monkeypatch.setattr(native, "library", lambda: None)
    answers(network(4), x)
    assert not passes


def test_one_step_for_all_stays_one_step(passes: list[int]) -> None:
    made, x = network(4), torch.rand(2, 1, 8, 8)
    made.once = True
    made.spikes(x)
    assert not passes
    made.once = False
    made.spikes(x)
    assert passes
