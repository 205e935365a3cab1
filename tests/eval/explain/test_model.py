"""With every cause on, the model in real numbers is the Program; with none, it is the network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spikeproof.eval.explain.causes import CAUSES
from spikeproof.eval.explain.explainer import messages as both
from spikeproof.eval.explain.limits import as_it_is, in_sums
from spikeproof.eval.explain.model import Field, Model, simulate
from spikeproof.eval.explain.origins import match
from spikeproof.eval.explain.stages import fine_tuned, shown
from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import ORIGINS
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Program
from spikeproof.export.program.parts import Dense, Input, Population, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.torch import TorchTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import ModelSettings
from spikeproof.toolkit.models import MODELS
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.quantize import quantized_network

ALL = frozenset(CAUSES)
SHAPE = (1, 8, 8)


@settings(max_examples=150)
@given(st.data())
def test_with_every_cause_on_any_program_is_computed_exactly(programs: Any, messages: Any, data: st.DataObject) -> None:
    program = data.draw(programs())
    sent = messages(program, batch=3, seed=data.draw(st.integers(0, 999)))
    weights = tuple(Field(torch.from_numpy(np.array(in_sums(one), dtype=np.float64))) for one in program.synapses)
    model = Model(program, program, weights, {one.name: as_it_is(one) for one in program.spiking}, {})
    found = simulate(model, Field(torch.from_numpy(sent.astype(np.float64))), ALL)
    expected = LoihiTarget().compile(program).run(sent, rasters=True)
    for name, raster in expected.rasters.items():
        np.testing.assert_array_equal(found.spikes[name], raster.spikes != 0, err_msg=name)
    np.testing.assert_array_equal(found.classes, expected.classes)


CASES: dict[str, dict[str, Any]] = {
    "convolutions": {"pool": "avg", "neuron": "plif"},
    "currents": {"neuron": "cuba"},
    "no leak, read by membrane": {"neuron": "if", "readout": "membrane"},
    "vgg": {"kind": "vgg"},
    "SEW, ADD": {"kind": "sew", "blocks": [1, 1]},
    "SEW, AND": {"kind": "sew", "blocks": [1, 1], "residual": "and"},
    "SEW, IAND": {"kind": "sew", "blocks": [1, 1], "residual": "iand"},
    "ResNet": {"kind": "spiking-resnet", "blocks": [1, 1]},
    "WRN": {"kind": "wrn", "blocks": [1, 1]},
    "loop": {"kind": "recurrent"},
    "delay": {"kind": "delayed"},
}


@pytest.mark.parametrize("relays", [False, True], ids=["delays", "relays"])
@pytest.mark.parametrize("case", CASES)
def test_joins_loops_delays_pools_and_neurons(case: str, relays: bool, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    """Float, quantized and integer forms, each by switches alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        how = ModelSettings(**{"channels": [3, 4], "threshold": 0.371, "beta": 0.7, **CASES[case]})
        network = MODELS[how.kind](how, 4, SHAPE, 5).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.fill_(0.05)
    images = pictures[0]
    folded = fold(network)
    quantized = quantized_network(network, 6)
    graph, grids = to_nir(quantized, SHAPE)
    program = lower_graph(
        flatten(graph, "test"), Deployment(quantized.steps, 8, ORIGINS["spikeproof"], grids, relays=relays)
    )
    model = match(folded, quantized, program, SHAPE)
    assert model.meant is program  # What is balanced means what it does.
    sent = both(shown(network.coder, images, 0), network.coder)
    integers = LoihiTarget().compile(program).run(direct_integers(images, program.steps), rasters=True)
    real = TorchTarget().compile(folded).run(images, rasters=True)
    # In float32 a membrane within a millionth of its threshold may fall on either side: the graph runs in float64.
    levels = torch.from_numpy(np.array(direct_integers(images, program.steps))).double()
    executed = run_graph(flatten(graph, "test"), levels / 255, ORIGINS["spikeproof"], torch.float64)
    for on, expected in (
        (frozenset[str](), {name: raster.spikes for name, raster in real.rasters.items()}),
        (
            frozenset({"weight_rounding", "input_rounding"}),
            {name: executed[name].bool().numpy() for name in quantized.populations()},
        ),
        (ALL, {name: raster.spikes != 0 for name, raster in integers.rasters.items()}),
    ):
        found = simulate(model, sent, on)
        for name, spikes in expected.items():
            np.testing.assert_array_equal(found.spikes[name], spikes, err_msg=f"{sorted(on)}, {name}")
        assert sum(int(spikes.sum()) for spikes in expected.values()) > 500


def test_a_field_is_exact_where_the_first_causes_are_on_and_additive_elsewhere() -> None:
    field = Field(torch.tensor(0.1), (("a", torch.tensor(0.3)), ("b", torch.tensor(7.0))))
    assert [float(field.value(frozenset(on))) for on in ("", "a", "ab")] == [
        pytest.approx(0.1), pytest.approx(0.3), 7.0
    ]  # fmt: skip
    assert float(field.value(frozenset("b"))) == pytest.approx(0.1 + 7.0 - 0.3)


def one_neuron(sums: list[int], bias: int = 0, **options: Any) -> tuple[Model, Field]:
    """A neuron that receives these sums, one a step."""
    population = Population(name="n", shape=(1,), bias=np.array([bias]), **options)
    program = Program(
        input=Input(shape=(1,), message_bits=24),
        populations=(population,),
        synapses=(Dense(source="input", target="n", weight=np.array([[2]])),),
        readout=Readout(population="n"),
        steps=len(sums),
    )
    model = Model(
        program, program, (Field(torch.tensor([[1.0]], dtype=torch.float64)),), {"n": as_it_is(population)}, {}
    )
    return model, Field(torch.tensor(sums, dtype=torch.float64).view(-1, 1, 1))


def fires(model: Model, sent: Field, *on: str) -> list[int]:
    return simulate(model, sent, frozenset(on)).spikes["n"].flatten().astype(int).tolist()


def test_each_limit_and_rounding_on_paper() -> None:
    """What each switch does to one neuron, computed by hand."""
    # 64 * 131100 = 8390400 > 2^23: wraps to a negative current.
    model, sent = one_neuron([131100], du=4095, dv=0, vth=1000)
    assert (fires(model, sent), fires(model, sent, "current_wrap")) == ([1], [0])
    # Two steps to -16768000 unclipped, from where two of 64 * 131071 lead to 9088; clipped, to far above 64000.
    model, sent = one_neuron([-131000, -131000, 131071, 131071], du=4095, dv=0, vth=1000)
    assert (fires(model, sent)[-1], fires(model, sent, "voltage_clip")[-1]) == (0, 1)
    # 22 a step, of which 4095/4096 is kept: 22, 43.99, 65.98; truncated 22, 43, 64, which is not above 64.
    model, sent = one_neuron([0, 0, 0], bias=22, du=4095, dv=1, vth=1)
    assert (fires(model, sent), fires(model, sent, "state_rounding")) == ([0, 0, 1], [0, 0, 0])
    # A sum of a half lifts the voltage above a threshold of 0; floored, it is 0.
    model, sent = one_neuron([0], du=4095, dv=0, vth=0)
    assert fires(model, Field(sent.meant + 0.5)) == [1]
    assert fires(model, Field(sent.meant + 0.5), "sum_rounding") == [0]


BY_HAND = {"zero": [0, 1, 0, 1], "subtract": [0, 1, 0, 1], "subtract_now": [0, 1, 1, 0], "none": [0, 1, 1, 1]}


@pytest.mark.parametrize("reset", BY_HAND)
def test_resets_on_paper(reset: Any) -> None:
    """Threshold 10, input 9 a step, half is kept, in units of 64; a star is a spike.

    zero: 9, 13.5*, 9, 13.5*. none: 9, 13.5*, 15.75*, 16.875*. subtract in the next step: 9, 13.5*, 6.75 + 9 - 10,
    2.875 + 9*; at once: 9, 13.5* -> 3.5, 10.75* -> 0.75, 9.375.
    """
    model, sent = one_neuron([9, 9, 9, 9], du=4095, dv=2048, vth=10)
    model = replace(model, cells={"n": replace(model.cells["n"], reset=reset)})
    assert fires(model, sent) == BY_HAND[reset]
    assert fires(model, sent, "reset_rule") == BY_HAND["zero"]


def test_what_was_not_fine_tuned_is_no_stage_of_its_own(random_network: Callable[..., Any]) -> None:
    network = random_network(seed=1)
    folded, quantized = fold(network), quantized_network(network, 8)
    assert fine_tuned(folded, quantized) is None
    layer = next(one for one in quantized.modules() if isinstance(one, nn.Linear))
    layer.weight.data[0, 0] += 1
    tuned = fine_tuned(folded, quantized)
    assert tuned is not None
    moved = next(one for one in tuned.modules() if isinstance(one, nn.Linear)).weight
    own = next(one for one in folded.modules() if isinstance(one, nn.Linear)).weight
    assert int((moved != own).sum()) == 1
