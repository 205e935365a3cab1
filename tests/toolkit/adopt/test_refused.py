"""What has no form here is refused by the name of its module, with the way out; nothing is adopted silently weaker."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeproof.toolkit.adopt import adopt_module
from spikeproof.toolkit.errors import InputError, UnsupportedError

snntorch = pytest.importorskip("snntorch")
X = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
Body = Callable[["Net", Tensor], Any]


class Net(nn.Module):
    """A linear layer and neurons, called as ``body`` says."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.lif = snntorch.Leaky(beta=0.9, reset_mechanism="zero", threshold=0.2)
        self.body = body

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def loop(net: Net, x: Tensor, between: Callable[[Tensor], Tensor] = lambda current: current) -> Tensor:
    mem, told = net.lif.init_leaky(), []
    for _ in range(3):
        spikes, mem = net.lif(between(net.fc(x)), mem)
        told.append(spikes)
    return torch.stack(told)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.5

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def sequential(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 10), *parts)


def cell(**options: Any) -> nn.Module:
    made: nn.Module = snntorch.Leaky(beta=0.9, init_hidden=True, **options)
    return made


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "a branch by values": (
        lambda: Net(lambda n, x: loop(n, x) if x.sum() > 9 else loop(n, 2 * x)),
        {},
        "in module 'Net': torch.sum over axes",
    ),
    "values as numbers": (lambda: Net(lambda n, x: loop(n, torch.tensor(x.tolist()))), {}, "looks at values"),
    "NumPy between": (lambda: Net(lambda n, x: loop(n, torch.from_numpy(x.numpy()))), {}, "looks at values"),
    "a custom function": (lambda: Net(lambda n, x: loop(n, x, _Step.apply)), {}, "module 'lif'.*|'Net'.*mul"),
    "a ReLU": (lambda: Net(lambda n, x: loop(n, x, torch.relu)), {}, "in module 'Net': relu has no form"),
    "a maximum over time": (lambda: Net(lambda n, x: loop(n, x).max(0)[0]), {}, "max has no form"),
    "spikes of the last step": (lambda: Net(lambda n, x: loop(n, x)[-1]), {}, "step 2 of 3; known are sums"),
    "a sum over the first steps": (lambda: Net(lambda n, x: sum(loop(n, x)[:2])), {}, "indexed"),
    "softmax": (lambda: Net(lambda n, x: loop(n, x).mean(0).softmax(1)), {}, "softmax has no form"),
    "dropout that is on": (lambda: Net(lambda n, x: loop(n, x, functional.dropout)), {}, "dropout that is on"),
    "chance": (lambda: Net(lambda n, x: loop(n, (x > torch.rand_like(x)).float())), {}, "gt has no form"),
    "a scaled signal": (lambda: Net(lambda n, x: loop(n, x * 2)), {}, "module 'fc' .* times 2"),
    "neurons called twice a step": (
        lambda: Net(lambda n, x: n.lif(n.lif(n.fc(x), n.lif.init_leaky())[0], n.lif.init_leaky())[0]),
        {},
        "module 'lif' .*one population",
    ),
    "membranes of neurons that reset": (
        lambda: Net(lambda n, x: torch.stack([n.lif(n.fc(x), n.lif.init_leaky())[1]]).sum(0)),
        {},
        "reads the membrane",
    ),
    "a sigmoid": (lambda: sequential(nn.Sigmoid(), cell()), {"steps": 3}, r"module '1' \(Sigmoid\)"),
    "no neurons": (lambda: sequential(), {}, "no spiking neurons"),
    "Alpha neurons": (lambda: sequential(snntorch.Alpha(0.9, 0.8, init_hidden=True)), {"steps": 3}, "Alpha has other"),
    "rounded states": (lambda: sequential(cell(state_quant=torch.round)), {"steps": 3}, "state_quant"),
    "graded spikes": (lambda: sequential(cell(graded_spikes_factor=2.0)), {"steps": 3}, "graded_spikes_factor"),
    "a padding by name": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 2, 3, padding="same"),
            nn.Flatten(),
            nn.Linear(128, 10),
            cell(),
        ),
        {"steps": 3},
        "padding must be numbers",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_form_is_refused_by_name(what: str) -> None:
    make, options, words = REFUSED[what]
    with pytest.raises(UnsupportedError, match=words):
        adopt_module(make().eval(), X, **options)


def test_models_in_another_state_are_refused_or_right() -> None:
    with pytest.raises(InputError, match=r"'Net' is in training mode; call model\.eval"):
        adopt_module(Net(loop).train(), X)
    with pytest.raises(InputError, match=r"half precision; give model\.float"):
        adopt_module(Net(loop).eval().half(), X)
    broken = Net(loop).eval()
    with torch.no_grad():
        broken.fc.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"'fc.weight' holds NaN"):
        adopt_module(broken, X)
    with pytest.raises(InputError, match="say how many with steps="):
        adopt_module(sequential(cell()).eval(), X)
    with pytest.raises(InputError, match=r"sample of shape \(4, 1, 8, 8\)"):
        adopt_module(Net(loop).eval(), X.reshape(4, 1, 8, 8))
    # In float64, and with hooks of its owner: the same spikes.
    wide = Net(loop).eval().double()
    hooked = Net(loop).eval()
    hooked.load_state_dict({key: value.float() for key, value in wide.state_dict().items() if "mem" not in key}, False)
    hooked.fc.register_forward_hook(lambda module, given, out: out + 0)
    first, second = (adopt_module(one, X) for one in (wide, hooked))
    assert first.proof.differing == second.proof.differing == 0
    assert torch.equal(first.network(X.reshape(4, 64, 1, 1)), second.network(X.reshape(4, 64, 1, 1)))


def test_state_that_was_left_over_does_not_count() -> None:
    model = sequential(cell(reset_mechanism="zero", threshold=0.2)).eval()
    with torch.no_grad():
        model(X)
    assert adopt_module(model, X, steps=3).proof.differing == 0


def test_surrogates_are_told_by_their_values_or_noted() -> None:
    known = adopt_module(sequential(cell(spike_grad=snntorch.surrogate.atan(alpha=3.0))).eval(), X, steps=2)
    (population,) = [layer for layer in known.network.layers if hasattr(layer, "spike_grad")]
    assert (population.surrogate, population.alpha) == ("arctan", pytest.approx(3.0))
    assert not known.notes
    other = adopt_module(sequential(cell(spike_grad=snntorch.surrogate.fast_sigmoid(slope=9))).eval(), X, steps=2)
    assert any("none of ours" in note for notes in other.notes.values() for note in notes)


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_inhibition_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"module '1' .*inhibition"):
        adopt_module(sequential(cell(inhibition=True)).eval(), X, steps=3)


class _Clamped(nn.Linear):
    """A layer of somebody's own, whose forward pass is not that of its base."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(max=0.5)


def _by_batch(net: Net, x: Tensor) -> Tensor:
    told = loop(net, x)
    return told if len(x) < 20 else told * 2


def _written_into(net: Net, x: Tensor) -> Tensor:
    x[:, :32] = 0
    return loop(net, x)


def _caught(net: Net, x: Tensor) -> Tensor:
    try:
        bright = bool(x.max() > 0.9999)
    except Exception:
        bright = False
    return loop(net, x) * 2 if bright else loop(net, x)


def _by_one(net: Net, x: Tensor) -> Tensor:
    told = loop(net, x)
    return told if len(x) > 1 else told[:1].repeat(3, 1, 1)


def _aside(net: Net, x: Tensor) -> Tensor:
    # Another view of the same values, of which torch tells nobody.
    return loop(net, x) if float(x.as_subclass(nn.Parameter).detach().max()) < 0.9999 else loop(net, x) * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda n, x: loop(n, x) if x.data.max() > 9 else loop(n, -x), "max has no form"),
        (lambda n, x: loop(n, x) if x.T.sum() > 9 else loop(n, -x), "T has no form"),
        (lambda n, x: loop(n, x) if "9.9" in repr(x) else loop(n, -x), "looks at values .*__repr__"),
        (lambda n, x: loop(n, x) if len(x.untyped_storage()) else loop(n, -x), "untyped_storage has no form"),
        (_written_into, "__setitem__ has no form"),
        (_by_batch, "on inputs other than the sample"),
        (_by_one, "on inputs other than the sample"),
        (_caught, "max has no form"),
        (_aside, "on inputs other than the sample|has no form"),
    ],
)
def test_a_model_that_decides_out_of_sight_is_not_adopted(body: Body, words: str) -> None:
    given = X.clone()
    with pytest.raises(UnsupportedError, match=words):
        adopt_module(Net(body).eval(), given)
    assert torch.equal(given, X)


def test_where_a_model_fails_on_other_inputs_that_is_said() -> None:
    def few(net: Net, x: Tensor) -> Tensor:
        assert len(x) == len(X), "made for one number of samples"
        return loop(net, x)

    proof = adopt_module(Net(few).eval(), X).proof
    assert proof.others == 0
    assert proof.failed
    assert all("AssertionError: made for one number of samples" in one for one in proof.failed)


def test_layers_of_ones_own_are_watched_not_taken_for_their_base() -> None:
    net = Net(loop).eval()
    net.fc = _Clamped(64, 10).eval()
    with pytest.raises(UnsupportedError, match="in module 'fc': clamp has no form"):
        adopt_module(net, X)
    net.fc = nn.Linear(64, 10)
    net.fc.forward = lambda x: 2 * nn.Linear.forward(net.fc, x)  # type: ignore[method-assign,assignment]
    with pytest.raises(UnsupportedError, match=r"'fc'.*replaced"):
        adopt_module(net.eval(), X)

    class Leaky(snntorch.Leaky):  # type: ignore[misc,name-defined]
        def forward(self, x: Tensor, mem: Any = None) -> Any:
            spikes, mem = super().forward(x, mem)
            return spikes, mem.clamp(max=0.1)

    own = Net(loop)
    own.lif = Leaky(beta=0.9, reset_mechanism="zero", threshold=0.2)
    with pytest.raises(UnsupportedError, match=r"module 'lif'.* has other equations"):
        adopt_module(own.eval(), X)


def test_the_callers_generator_and_sample_are_left_alone() -> None:
    model, given = Net(loop).eval(), X.clone()
    state = torch.get_rng_state()
    found = adopt_module(model, given)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(given, X)
    assert found.proof.others == 34


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": None}, "a NoneType is no sample"),
        ({"sample": {"x": 1}}, "a dict is no sample"),
        ({"sample": torch.full((2, 64), torch.nan)}, "NaN, infinity"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"steps": 5}, "steps=5, but the model runs 3 time steps by itself"),
        ({"time": 2}, "time=2"),
        ({"coder": "rate"}, "coder='rate'"),
        ({"output": "logits"}, "output='logits'"),
        ({"output": 4}, "output 4 is asked for, but the model returns 2 tensors"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    model = Net(lambda net, x: _pair(loop(net, x))).eval()
    with pytest.raises(InputError, match=words):
        adopt_module(model, options.pop("sample", X), **options)


def _pair(told: Tensor) -> tuple[Tensor, Tensor]:
    return told, told.sum(0)


def test_signals_of_different_shapes_are_not_joined() -> None:
    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)))

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv, self.cell = model, nn.Conv2d(1, 4, 3, padding=1), cell(reset_mechanism="zero")

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            spikes: Tensor = self.cell(self.conv(x) + x)
            return spikes.flatten(1)

    with pytest.raises(UnsupportedError, match=r"\(4, 4, 8, 8\) and \(4, 1, 8, 8\) are joined"):
        adopt_module(Wide().eval(), X, steps=2)


def test_the_state_of_the_callers_model_stays() -> None:
    model = sequential(cell(reset_mechanism="zero", threshold=0.2)).eval()
    with torch.no_grad():
        model(X)
        before = model[1].mem.clone()
        adopt_module(model, X, steps=3)
    assert torch.equal(model[1].mem, before)
