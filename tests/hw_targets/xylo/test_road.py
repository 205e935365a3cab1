"""Networks on Xylo: in its integers, as a Program, on both targets, as a twin; what has no form there is refused."""

from collections import OrderedDict

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from spikeproof.export.program import Program, Shifted, Shifting, read_program, write_program
from spikeproof.hw_targets.family import FAMILIES, family_for, family_of, get_family, simulator
from spikeproof.hw_targets.integers import check_integers
from spikeproof.hw_targets.target import get_target
from spikeproof.hw_targets.xylo.arithmetic import HIGH
from spikeproof.hw_targets.xylo.layers import ShiftNeurons
from spikeproof.hw_targets.xylo.lower import core, lower, unsupported
from spikeproof.hw_targets.xylo.quantize import changes, chip_coder, nearest_dash, quantized_network
from spikeproof.hw_targets.xylo.simulator import XylosimTarget
from spikeproof.hw_targets.xylo.twin import twin
from spikeproof.toolkit.coding import Direct, make_coder
from spikeproof.toolkit.errors import DisagreementError, InputError, UnsupportedError
from spikeproof.toolkit.models import mlp_network, recurrent_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, LIF, Integrator
from spikeproof.toolkit.network.population import Population
from spikeproof.toolkit.settings import CodingSettings, ModelSettings

SHAPE = (1, 4, 4)
RATE = CodingSettings(name="rate", steps=6, stochastic=False)
IMAGES = np.random.default_rng(5).random((30, *SHAPE), dtype=np.float32)


def chain(*neurons, coder=6, gain=1.0, wiring=None, wide=20):
    """Flatten, then a linear layer and neurons for each: the last ones are 5."""
    layers: OrderedDict[str, nn.Module] = OrderedDict({"flat": nn.Flatten()})
    size = 16
    for number, one in enumerate(neurons, start=1):
        out = 5 if number == len(neurons) else wide
        layers |= {f"linear{number}": nn.Linear(size, out), f"cell{number}": one}
        size = out
    for layer in layers.values():
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 3
    return SpikingNetwork(layers, coder, gain, wiring)


def subtracting(**options):
    values = {"keep": 0.9, "threshold": 0.8}
    return Population(values, reset="subtract_later", **options)


def looped():
    settings = ModelSettings(kind="recurrent", channels=[4], beta=0.5, threshold=0.5)
    return recurrent_network(settings, Direct(6), SHAPE, 5)


NETWORKS = {
    "LIF": lambda: chain(LIF(0.9, 1.0, 2.0), LIF(0.5, 1.0, 2.0)),
    "three layers": lambda: chain(LIF(0.75, 1.0, 2.0), LIF(0.9, 0.5, 2.0), LIF(0.5, 1.0, 2.0)),
    "currents": lambda: chain(CUBA(0.5, 0.9, 1.0, 2.0, bias=torch.full((20,), 0.1)), CUBA(0.75, 0.5, 2.0, 2.0)),
    "subtract": lambda: chain(subtracting(), subtracting()),
    "membrane": lambda: chain(LIF(0.9, 1.0, 2.0), Integrator()),
    "rate coder": lambda: chain(LIF(0.9, 1.0, 2.0), LIF(0.5, 1.0, 2.0), coder=make_coder(RATE)),
    "loop": looped,
    "mlp": lambda: mlp_network(ModelSettings(kind="mlp", hidden=[12, 9], neuron="if"), Direct(5), SHAPE, 4),
}


@pytest.fixture(params=NETWORKS)
def lowered(request):
    network = NETWORKS[request.param]()
    quantized = quantized_network(network, 8)
    return network, quantized, lower(quantized, SHAPE)


@torch.no_grad()
def spikes_of(network):
    found = {}
    network.spikes(torch.from_numpy(IMAGES), found.__setitem__)
    return found


def test_network_and_program_are_equal(lowered):
    _, quantized, program = lowered
    found = simulator(program).compile(program).run(quantized.coder.integers(IMAGES), rasters=True)
    expected = spikes_of(quantized)
    fired = 0
    for name, raster in found.rasters.items():
        if name != program.readout.population or program.readout.kind == "spike_count":
            np.testing.assert_array_equal(raster.spikes, expected[name].numpy(), err_msg=name)
            fired += int(raster.spikes.sum())
    assert fired > 100
    assert not any(event.saturations for event in found.overflow.values())
    unit = 1.0 if program.readout.scale is None else program.readout.scale
    last = expected[program.readout.population].numpy()
    real = last[-1] if program.readout.kind == "membrane" else last.sum(0)
    np.testing.assert_allclose(found.output * unit, real, rtol=1e-6)


def test_twin_is_equal_and_has_gradients(lowered):
    _, quantized, program = lowered
    made = twin(program, quantized.coder)
    messages = quantized.coder.integers(IMAGES)
    found = simulator(program).compile(program).run(messages, rasters=True)
    sent = spikes_of(made)
    for name, raster in found.rasters.items():
        if name != program.readout.population or program.readout.kind == "spike_count":
            np.testing.assert_array_equal(sent[name].numpy(), raster.spikes, err_msg=name)
    x = torch.from_numpy(IMAGES).requires_grad_()
    made(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0
    np.testing.assert_array_equal(made(x).argmax(1).numpy(), found.classes)


def test_xylosim_is_equal(lowered, need_xylosim):
    _, quantized, program = lowered
    messages = quantized.coder.integers(IMAGES)
    ours = simulator(program).compile(program).run(messages, rasters=True)
    theirs = XylosimTarget(python=need_xylosim).compile(program).run(messages, rasters=True)
    np.testing.assert_array_equal(ours.output, theirs.output)
    for name, raster in ours.rasters.items():
        for what in ("spikes", "u", "v"):
            np.testing.assert_array_equal(getattr(raster, what), getattr(theirs.rasters[name], what), err_msg=name)


def test_program_file(lowered, tmp_path):
    program = lowered[2]
    write_program(tmp_path / "program.safetensors", program)
    again = read_program(tmp_path / "program.safetensors")
    assert again.sha256() == program.sha256()
    assert again.profile == "xylo"
    assert family_for(again).name == "xylo"


def test_training_in_integers():
    """Weights and biases get gradients, and fine-tuning of a few steps makes the loss smaller."""
    torch.manual_seed(0)
    network = quantized_network(chain(LIF(0.9, 1.0, 2.0), LIF(0.5, 1.0, 2.0), gain=10.0), 8).train()
    x, y = torch.from_numpy(IMAGES), torch.arange(30) % 5
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert losses[-1] < 0.8 * losses[0]
    check_integers(get_family("xylo"), network.eval(), lower(network, SHAPE), IMAGES)


@pytest.mark.parametrize(("keep", "dash"), [(0.5, 1), (0.9, 3), (0.95, 4), (0.97, 5), (1.0, 15), (0.0, 0)])
def test_nearest_dash(keep, dash):
    """1 - 2^-d: 1/2, 7/8, 15/16, 31/32; no leak is the smallest there is."""
    assert nearest_dash(keep) == dash


def test_charge_of_a_synapse():
    """One spike of weight 1 gives a LIF neuron 1 in all, though in halves: 64 spikes of it are 64 of the membrane."""
    neurons = ShiftNeurons(
        unit=1.0, shift=0, dash_syn=1, dash_mem=15, vth=HIGH, worth=1.0, most=0, bias=None, spike_grad=None
    )
    x = torch.zeros(12, 1, 1)
    x[0] = 4096
    membrane = neurons(x)[-1]
    # The membrane without a leak loses 1 a step.
    assert 4096 - 12 <= float(membrane) <= 4096


def test_changes_are_named():
    found = " ".join(changes(chain(LIF(0.9, 1.0, 2.0), LIF(0.5, 1.0, 2.0))))
    for text in (
        "keeps 0.875 a step in place of 0.9",
        "subtracts the threshold in place",
        "its bias is left out",
        "15",
    ):
        assert text in found
    kept = " ".join(changes(chain(subtracting(), subtracting())))
    assert "resetting to zero" not in kept
    assert "at once (was 'subtract_later')" in kept


def test_snntorch_subtract():
    """The reset that snnTorch has by default, as the network's own: subtracted, now or a step later."""
    neuron = LIF(0.9, 1.0, 2.0)
    neuron.neuron = snntorch.Leaky(beta=0.9, threshold=1.0, reset_mechanism="subtract")
    found = " ".join(changes(chain(neuron, LIF(0.5, 1.0, 2.0))))
    assert "layer 'cell1': a spike subtracts the threshold at once (was 'subtract_later')" in found


class Uneven(LIF):
    def unlike(self):
        return "has noise at inference"


REFUSED = {
    "convolution": (
        lambda: SpikingNetwork(
            OrderedDict(conv=nn.Conv2d(1, 2, 3), cell=LIF(0.5, 1.0, 2.0), flat=nn.Flatten(), last=nn.Linear(8, 2)),
            4,
            1.0,
        ),
        "Conv2d has no form on Xylo",
    ),
    "phase coder": (
        lambda: chain(LIF(0.5, 1.0, 2.0), coder=make_coder(CodingSettings(name="phase", weighted=True, steps=8))),
        "take 15 spikes a step",
    ),
    "two depths": (
        lambda: SpikingNetwork(
            OrderedDict(
                flat=nn.Flatten(),
                a=nn.Linear(16, 8),
                cell1=LIF(0.5, 1.0, 2.0),
                b=nn.Linear(8, 8),
                cell2=LIF(0.5, 1.0, 2.0),
                c=nn.Linear(8, 3),
                d=nn.Linear(8, 3),
                last=LIF(0.5, 1.0, 2.0),
            ),
            4,
            1.0,
            {"c": ("cell2",), "d": ("cell1",), "last": ("c", "d")},
        ),
        "paths of unequal depth",
    ),
    "loop over two layers": (
        lambda: SpikingNetwork(
            OrderedDict(
                flat=nn.Flatten(),
                a=nn.Linear(16, 8),
                cell=LIF(0.5, 1.0, 2.0),
                b=nn.Linear(8, 8),
                last=LIF(0.5, 1.0, 2.0),
                back=nn.Linear(8, 8),
                out=nn.Linear(8, 3),
                end=LIF(0.5, 1.0, 2.0),
            ),
            4,
            1.0,
            {"cell": ("a", "back"), "out": ("last",)},
        ),
        "feeds back from 'last' in one step, but 2 synapses",
    ),
    "no reset": (lambda: chain(Population({}, reset="none"), LIF(0.5, 1.0, 2.0)), "without a reset"),
    "a leak each": (
        lambda: chain(Population({"keep": torch.linspace(0.5, 0.9, 20)}), LIF(0.5, 1.0, 2.0)),
        "keep differs between neurons",
    ),
    "noise": (lambda: chain(Uneven(0.5, 1.0, 2.0), LIF(0.5, 1.0, 2.0)), "has noise at inference"),
    "weights last": (
        lambda: SpikingNetwork(OrderedDict(flat=nn.Flatten(), last=nn.Linear(16, 2)), 4, 1.0),
        "last layer must be neurons",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    make, reason = REFUSED[case]
    with pytest.raises(UnsupportedError, match=reason):
        quantized_network(make(), 8)


def test_other_chips_integers_are_refused_everywhere(lowered):
    program = lowered[2]
    for name in ("loihi", "twin", "onnx"):
        target = get_target(name)
        assert "profile 'xylo'" in target.refused(program)[0]
        with pytest.raises(UnsupportedError, match="profile 'xylo'; this target computes lava"):
            target.compile(program)


def population(name="a", size=4, **options):
    values = {"vth": 20, "dash_syn": (1,), "dash_mem": 2, "bias": np.zeros(size, dtype=int)}
    return Shifting(name=name, shape=(size,), **{**values, **options})


def program_of(*populations, synapses, readout="b"):
    return Program(
        input={"shape": (3,), "message_bits": 4},
        populations=populations,
        synapses=synapses,
        readout={"population": readout},
        steps=4,
        profile="xylo",
    )


def weights(rows, columns):
    return np.arange(rows * columns).reshape(rows, columns) - 5


def test_what_no_core_holds():
    first = Shifted(source="input", target="a", weight=weights(4, 3))
    to_b = Shifted(source="a", target="b", weight=weights(4, 4))
    late = [
        Shifted(source="input", target="b", weight=weights(4, 3), exponent=2),
        Shifted(source="b", target="a", weight=weights(4, 4)),
    ]
    fine = program_of(population(), population("b", most=1), synapses=(first, to_b))
    assert unsupported(fine) == []
    assert core(fine).weights_in.shape == (3, 4, 1)
    found = " ".join(
        unsupported(program_of(population(), population("b", dash_syn=(1, 2)), synapses=(first, to_b, *late)))
    )
    for text in ("receive from hidden neurons only", "send to no other neuron", "up to 31 spikes", "have one synapse"):
        assert text in found
    shifted = Shifted(source="a", target="a", weight=weights(4, 4), exponent=1)
    other = Shifted(source="a", target="c", weight=weights(4, 4), exponent=3)
    many = program_of(
        population(), population("c"), population("b", most=1),
        synapses=(first, shifted, other, to_b.model_copy(update={"source": "c"})),
    )  # fmt: skip
    assert any("hidden weights have shifts [1, 3]" in reason for reason in unsupported(many))


def test_parts_of_two_profiles_do_not_mix():
    with pytest.raises(UnsupportedError, match="Shifting is no part of profile 'lava'"):
        Program(**{**dict(program_of(
            population(), synapses=(Shifted(source="input", target="a", weight=weights(4, 3)),), readout="a"
        )), "profile": "lava"})  # fmt: skip
    with pytest.raises(UnsupportedError, match="has no synaptic current 1"):
        program_of(
            population(), synapses=(Shifted(source="input", target="a", weight=weights(4, 3), port=1),), readout="a"
        )
    with pytest.raises(UnsupportedError, match="allowed are -128 to 127"):
        Shifted(source="input", target="a", weight=np.full((4, 3), 128))
    with pytest.raises(UnsupportedError, match="threshold 0, allowed are 1"):
        population(vth=0)


def test_two_synapses_a_neuron(need_xylosim):
    """Both currents of a neuron, with leaks of their own, by a Program written by hand."""
    rng = np.random.default_rng(2)
    program = program_of(
        population(size=9, dash_syn=(1, 4), bias=rng.integers(-9, 9, 9)),
        population("b", most=1, bias=np.full(4, 3)),
        synapses=(
            Shifted(source="input", target="a", weight=rng.integers(-90, 90, (9, 3))),
            Shifted(source="input", target="a", weight=rng.integers(-90, 90, (9, 3)), port=1),
            Shifted(source="a", target="a", weight=rng.integers(-20, 20, (9, 9)), port=1, exponent=1),
            Shifted(source="a", target="b", weight=rng.integers(-90, 90, (4, 9))),
        ),
    )
    messages = rng.integers(0, 16, (4, 20, 3))
    ours = simulator(program).compile(program).run(messages, rasters=True)
    theirs = XylosimTarget(python=need_xylosim).compile(program).run(messages, rasters=True)
    assert ours.rasters["b"].spikes.any()
    for name, raster in ours.rasters.items():
        np.testing.assert_array_equal(raster.v, theirs.rasters[name].v)
        np.testing.assert_array_equal(raster.spikes, theirs.rasters[name].spikes)


def test_twin_of_biases_and_other_coders_is_refused():
    first = Shifted(source="input", target="a", weight=weights(4, 3))
    to_b = Shifted(source="a", target="b", weight=weights(4, 4))
    late = program_of(population(), population("b", most=1, bias=np.ones(4, int)), synapses=(first, to_b))
    with pytest.raises(UnsupportedError, match="before the twin's window"):
        twin(late, Direct(4, levels=15))
    with pytest.raises(InputError, match="messages up to 255"):
        twin(late, Direct(4))


def test_a_network_that_is_not_its_program():
    network = quantized_network(chain(LIF(0.9, 1.0, 2.0), LIF(0.5, 1.0, 2.0)), 8)
    other = lower(quantized_network(chain(LIF(0.9, 0.5, 2.0), LIF(0.5, 1.0, 2.0)), 8), SHAPE)
    with pytest.raises(DisagreementError, match="spikes differ"):
        check_integers(get_family("xylo"), network, other, IMAGES)


def test_families():
    assert sorted(FAMILIES) == ["loihi", "xylo"]
    for chip, name, reset, spikes in (("loihi1", "loihi", "zero", 1), ("xylo_imu", "xylo", "subtract", 31)):
        family = family_of(chip)
        assert (family.name, family.reset, family.spikes) == (name, reset, spikes)
        assert family.profile in get_target(family.target).profiles
    assert get_family("xylo").targets(["torch", "loihi", "lava"]) == ["torch", "xylo"]
    assert get_family("xylo").targets(["xylosim"]) == ["xylosim"]
    assert get_family("loihi").targets(["loihi", "xylo"]) == ["loihi"]
    assert chip_coder(Direct(4)).levels == 15
    assert get_family("loihi").coder(Direct(4)).levels == 255
