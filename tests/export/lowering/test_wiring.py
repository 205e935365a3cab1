"""Networks with joins, delays and loops, drawn at random with numbers that are exact in any arithmetic."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spikeproof.export.lowering.latency import balance
from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.coding.direct import direct
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, Delay
from spikeproof.toolkit.quantize import quantized_network

STEPS, CHANNELS, SIDE = 5, 2, 4
BITS = 4


@st.composite
def networks(draw: st.DrawFn, loops: bool = True) -> SpikingNetwork:
    """A quantized network; weights, biases and thresholds are multiples of 1/8, membranes are halved or kept."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    wiring: dict[str, tuple[str, ...]] = {}

    def weighted(layer: nn.Conv2d | nn.Linear, images: bool = False) -> nn.Module:
        layer.weight.data = torch.randint(-4, 8, layer.weight.shape, generator=generator) / 8
        layer.weight.data.view(-1)[0] = 7 / 8
        if layer.bias is not None:
            layer.bias.data = (0 if images else 1) * torch.randint(-2, 3, layer.bias.shape, generator=generator) / 8
        return layer

    def lif() -> LIF:
        return LIF(draw(st.sampled_from([0.0, 0.5, 1.0])), draw(st.sampled_from([0.5, 0.75, 1.5])), 2.0)

    spiking: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        conv, cell = f"conv{number}", f"lif{number}"
        layers[conv] = weighted(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), images=not spiking)
        if spiking:
            wiring[conv] = tuple(draw(st.lists(st.sampled_from(spiking), min_size=1, max_size=3, unique=True)))
        arriving = [conv]
        if spiking and draw(st.booleans()):
            layers[f"skip{number}"] = weighted(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False), images=True)
            wiring[f"skip{number}"] = ("input",)
            arriving.append(f"skip{number}")
        layers[cell] = lif()
        spiking.append(cell)
        if loops and draw(st.booleans()):
            layers[f"loop{number}"] = weighted(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=draw(st.booleans())))
            wiring[f"loop{number}"] = (cell,)
            arriving.append(f"loop{number}")
        wiring[cell] = tuple(arriving)
        if draw(st.booleans()):
            layers[f"delay{number}"] = Delay(draw(st.integers(1, STEPS + 1)))
            wiring[f"delay{number}"] = (cell,)
            spiking.append(f"delay{number}")
    first = "flatten"
    used = {source for name, sources in wiring.items() if not name.startswith("loop") for source in sources}
    ends = tuple(name for name in spiking if name not in used)
    if draw(st.booleans()):
        first = "pool"
        # Only one layer's spikes are binary, and a maximum of those is an OR.
        layers["pool"] = nn.MaxPool2d(2) if len(ends) == 1 and draw(st.booleans()) else nn.AvgPool2d(2)
    layers["flatten"] = nn.Flatten()
    wiring[first] = ends
    layers["linear"] = weighted(nn.Linear(CHANNELS * (SIDE // (2 if first == "pool" else 1)) ** 2, 3))
    layers["last"] = lif()
    wiring["linear"] = ("flatten",)
    return quantized_network(SpikingNetwork(layers, STEPS, 10.0, wiring), BITS)


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (6, CHANNELS, SIDE, SIDE)).astype(np.float32)


def expected_spikes(network: SpikingNetwork, x: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(x), lambda name, signal: found.update({name: signal.bool().numpy()}))
    return {name: found[name] for name in network.populations()}


def deployment(network: SpikingNetwork, **options: Any) -> tuple[Any, Deployment]:
    nodes, grids = to_nir(network, (CHANNELS, SIDE, SIDE))
    return flatten(nodes, "graph"), Deployment(STEPS, 8, Settings(1e-4), grids, **options)


def test_any_wiring_fires_the_same_spikes_in_torch_in_nir_and_in_integers(share: float) -> None:
    @settings(max_examples=int(150 * share))
    @given(networks(), st.integers(0, 99), st.booleans())
    def law(network: SpikingNetwork, seed: int, relays: bool) -> None:
        x = images(seed)
        expected = expected_spikes(network, x)
        graph, how = deployment(network, relays=relays)
        executed = run_graph(graph, direct(torch.from_numpy(x), STEPS), how.settings)
        program = lower_graph(graph, how)
        trace = LoihiTarget().compile(program).run(direct_integers(x, STEPS), rasters=True)
        for name, spikes in expected.items():
            np.testing.assert_array_equal(executed[name].bool().numpy(), spikes, err_msg=f"NIR, {name}")
            np.testing.assert_array_equal(trace.rasters[name].spikes, spikes, err_msg=f"Program, {name}")

    law()


def loop_over_two(delay: int) -> SpikingNetwork:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
        first=LIF(0.5, 0.5, 2.0),
        over=nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
        second=LIF(0.5, 0.5, 2.0),
        back=nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
        flatten=nn.Flatten(),
        linear=nn.Linear(CHANNELS * SIDE**2, 3, bias=False),
        last=LIF(0.5, 0.5, 2.0),
    )
    wiring = {"first": ("conv", "back"), "back": ("second",), "flatten": ("second",)}
    if delay:
        layers["wait"] = Delay(delay)
        layers.move_to_end("wait", last=False)
        layers = OrderedDict(
            (name, layers[name])
            for name in ["conv", "first", "over", "second", "wait", "back", "flatten", "linear", "last"]
        )
        wiring |= {"wait": ("second",), "back": ("wait",)}
    generator = torch.Generator().manual_seed(1)
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = torch.randint(-4, 8, layer.weight.shape, generator=generator) / 8
    return quantized_network(SpikingNetwork(layers, STEPS, 10.0, wiring), BITS)


def test_a_loop_shorter_than_its_synapses_is_refused_with_the_delay_that_it_needs() -> None:
    graph, how = deployment(loop_over_two(0))
    with pytest.raises(UnsupportedError, match=r"'second' -> 'first': feeds back 1 steps late, but 2 .* by 1 more"):
        lower_graph(graph, how)
    network, x = loop_over_two(1), images(0)
    trace = LoihiTarget().compile(lower_graph(*deployment(network))).run(direct_integers(x, STEPS), rasters=True)
    for name, spikes in expected_spikes(network, x).items():
        np.testing.assert_array_equal(trace.rasters[name].spikes, spikes, err_msg=name)


def diamond(**changes: Any) -> Program:
    """Input -> a -> b -> out, and input -> out: paths of depth 3 and 1."""
    rng = np.random.default_rng(0)

    def dense(source: str, target: str, size: tuple[int, int], **options: Any) -> Dense:
        return Dense(source=source, target=target, weight=2 * rng.integers(-60, 60, size), **options)

    def population(name: str, size: int) -> Population:
        return Population(name=name, shape=(size,), du=4095, dv=700, vth=40, bias=rng.integers(-9, 900, size))

    values: dict[str, Any] = {
        "input": Input(shape=(4,), message_bits=3),
        "populations": (population("a", 5), population("b", 5), population("out", 3)),
        "synapses": (
            dense("input", "a", (5, 4)),
            dense("a", "b", (5, 5)),
            dense("b", "out", (3, 5)),
            dense("input", "out", (3, 4), exponent=3),
        ),
        "readout": Readout(population="out"),
        "steps": 6,
    }
    return Program(**{**values, **changes})


@pytest.mark.parametrize("relays", [False, True])
def test_balanced_paths_meet_in_the_same_step(relays: bool) -> None:
    program = diamond()
    assert [program.lag(synapse) for synapse in program.synapses] == [0, 0, 2, 0]
    level = balance(program, relays=relays)
    assert not any(level.lag(synapse) for synapse in level.synapses)
    delays = [synapse.delay for synapse in level.synapses]
    assert delays == ([0] * 6 if relays else [0, 0, 0, 2])
    assert [p.name for p in level.populations] == [
        *(["input.relay1", "input.relay2"] if relays else []),
        "a",
        "b",
        "out",
    ]
    inputs = np.random.default_rng(1).integers(0, 8, (6, 4, 4))
    by_layer = LoihiTarget(latency=0).compile(level).run(inputs, rasters=True)
    by_clock = LoihiTarget(latency=1).compile(level).run(inputs, rasters=True)
    # What is meant: every population sees, step by step, what the ones before it did in that very step.
    sent = inputs.astype(np.int64)
    raster = {"input": sent}
    for population in program.spiking:
        total = sum(
            (raster[s.source] @ s.weight.astype(np.int64).T) << s.exponent for s in program.incoming(population.name)
        )
        v, fired = np.zeros((4, *population.shape), dtype=np.int64), []
        for a in np.asarray(total):
            v = np.sign(v) * (np.abs(v) * (4096 - population.dv) // 4096) + 64 * a + population.bias
            fired.append(v > 64 * population.vth)
            v = np.where(fired[-1], 0, v)
        raster[population.name] = np.stack(fired).astype(np.int64)
        for trace in (by_layer, by_clock):
            np.testing.assert_array_equal(trace.rasters[population.name].spikes, raster[population.name])


def test_meant_delays_are_kept_and_too_long_ones_refused() -> None:
    program = diamond()
    late = program.synapses[3].model_copy(update={"delay": 4})
    level = balance(diamond(synapses=(*program.synapses[:3], late)))
    assert [level.lag(synapse) for synapse in level.synapses] == [0, 0, 0, 4]
    with pytest.raises(UnsupportedError, match="'input' -> 'out': a delay of 64 steps; 62 is the longest"):
        balance(diamond(synapses=(*program.synapses[:3], late.model_copy(update={"delay": 62}))))


def test_a_window_that_starts_before_anything_arrives_is_said_by_the_population() -> None:
    program = diamond()
    every = tuple(synapse.model_copy(update={"delay": 1}) for synapse in program.synapses)
    level = balance(diamond(synapses=every))
    assert [population.start for population in level.populations] == [1, 2, 3]
    assert [level.lag(synapse) for synapse in level.synapses] == [1, 1, 1, 1]


def make_settings(**changes: Any) -> Callable[[Deployment], Deployment]:
    return lambda how: replace(how, settings=replace(how.settings, **changes))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (make_settings(reset="subtract"), "reset 'subtract' does not exist on Loihi's LIF"),
        (make_settings(several=True), "several spikes a step does not exist"),
    ],
)
def test_what_loihis_neuron_does_not_do_is_refused(change: Callable[[Deployment], Deployment], why: str) -> None:
    graph, how = deployment(loop_over_two(1))
    with pytest.raises(UnsupportedError, match=f"node 'first': {why}"):
        lower_graph(graph, change(how))
