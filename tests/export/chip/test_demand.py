"""What cores must hold: counted by hand on three neurons, by NumPy on random Programs."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.nn import functional

from spikeproof.export.chip.demand import Demand, axon_bits, demand
from spikeproof.export.chip.mapping import Core, Mapping, Slice, hops
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse
from spikeproof.export.program.connections import connections
from spikeproof.toolkit.errors import InputError

Programs = Callable[..., st.SearchStrategy[Program]]


def neurons(name: str, shape: tuple[int, ...], **fields: Any) -> Population:
    fields = {"du": 4095, "dv": 100, "vth": 9} | fields
    return Population(name=name, shape=shape, bias=np.zeros(shape, dtype=np.int32), **fields)


def three() -> Program:
    """Two inputs, "a" of two neurons, "b" of one; one weight is 0, and "b" feeds back to the first of "a"."""
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(neurons("a", (2,)), neurons("b", (1,), dv=7)),
        synapses=(
            Dense(source="input", target="a", weight=np.array([[2, 4], [6, 0]])),
            Dense(source="a", target="b", weight=np.array([[8, -2]])),
            Sparse(
                source="b", target="a", shape=(2, 1), weight=np.array([6]), rows=np.array([0]), columns=np.array([0]),
                delay=2, bits=7, sign="excitatory",
            ),
        ),
        readout=Readout(population="b"),
        steps=2,
    )  # fmt: skip


def test_three_neurons_on_two_cores_by_hand() -> None:
    mapping = Mapping("loihi1", (Core(0, (Slice("a", 0, 2),)), Core(5, (Slice("b", 0, 1),))))
    # Core 0: axons in from both inputs and from "b"; out from each "a" to core 5. Memory: input 0 and 1 store two
    # weights of 8 bits each: 16 + 10 bits, one word each; "b" one of 7 -> 8 bits, delay 2 in 2 bits, an index among
    # 2 neurons in 6 bits: 16 + 10, one word.
    # Core 5: axons in from both "a", each one weight; out from "b" to core 0.
    assert demand(three(), mapping) == {
        0: Demand(2, 3, 2, 4, 3 * 64, configurations=1, thresholds=1, formats=2, delay=2),
        5: Demand(1, 2, 1, 2, 2 * 64, configurations=1, thresholds=1, formats=1, delay=0),
    }
    # Core 0 is in tile (0, 0), core 5 in tile (1, 0): one hop east, one back.
    way = hops(three(), mapping)
    assert [way["a"].packets.tolist(), way["a"].east_west.tolist(), way["a"].north_south.tolist()] == [
        [1, 1], [1, 1], [0, 0],
    ]  # fmt: skip
    assert (way["b"].packets.item(), way["b"].east_west.item(), way["b"].north_south.item()) == (1, 1, 0)


def test_three_neurons_on_three_and_on_one_core_by_hand() -> None:
    parts = (Slice("a", 0, 1), Slice("a", 1, 2), Slice("b", 0, 1))
    apart = Mapping("loihi1", tuple(Core(number, (part,)) for number, part in zip((0, 1, 66), parts, strict=True)))
    found = demand(three(), apart)
    # The second "a" has no weight from input 1, nor from "b".
    assert [(one.axons_in, one.axons_out, one.connections) for one in found.values()] == [
        (3, 1, 3),
        (1, 1, 1),
        (2, 1, 2),
    ]
    # Core 66 is in tile (0, 2): two hops south from core 0 and from core 1.
    way = hops(three(), apart)
    assert way["a"].north_south.tolist() == [2, 2]
    assert way["b"].packets.tolist() == [1]
    one = Mapping("loihi1", (Core(0, parts),))
    # The two dense synapses store their weights in the same format.
    assert demand(three(), one)[0] == Demand(3, 5, 3, 6, 5 * 64, configurations=2, thresholds=1, formats=2, delay=2)
    assert sum(int((one.east_west + one.north_south).sum()) for one in hops(three(), one).values()) == 0


def test_memory_of_an_axon_by_hand() -> None:
    """Runs of 64 weights, 10 bits each run, words of 64 bits."""
    assert axon_bits(1, 8) == 64
    assert axon_bits(6, 9) == 64  # 54 + 10
    assert axon_bits(7, 8) == 2 * 64  # 56 + 10
    assert axon_bits(64, 8) == 9 * 64  # 512 + 10
    assert axon_bits(65, 8) == 9 * 64 + 64


def test_a_convolution_shares_its_kernel_by_hand() -> None:
    """3 x 1 positions of 2 channels, kernel 1: one axon in a position, and the same weights at each are stored once."""
    program = Program(
        input=Input(shape=(2, 3, 1), message_bits=0),
        populations=(neurons("a", (2, 3, 1)), neurons("b", (2, 3, 1))),
        synapses=(
            Convolution(source="input", target="a", weight=np.array([2, 4, 6, 8]).reshape(2, 2, 1, 1)),
            Convolution(source="a", target="b", weight=np.array([2, 4, 6, 0]).reshape(2, 2, 1, 1)),
        ),
        readout=Readout(population="b"),
        steps=1,
    )
    found = demand(program, Mapping("loihi1", (Core(0, (Slice("a", 0, 6),)), Core(1, (Slice("b", 0, 6),)))))
    # "a": 2 targets a channel, 2 channels: 4 weights of 8 + 6 bits, once: 56 + 10 bits are two words.
    assert (found[0].axons_in, found[0].connections, found[0].synapse_bits) == (3, 12, 2 * 64)
    # "b": 3 weights: 42 + 10. Every neuron of "a" reaches one core, by a population axon of two slots.
    assert (found[1].axons_in, found[1].connections, found[1].synapse_bits) == (3, 9, 64)
    assert (found[0].axons_out, found[1].axons_out) == (12, 0)


def test_a_dense_synapse_stores_its_zeros_a_sparse_one_an_index() -> None:
    weight = np.zeros((70, 3), dtype=np.int64)
    weight[5, 1], weight[69, 1], weight[0, 2] = 2, 4, 6
    rows, columns = weight.nonzero()
    kinds = {
        "dense": Dense(source="input", target="a", weight=weight),
        "sparse": Sparse(
            source="input", target="a", shape=(70, 3), weight=weight[rows, columns], rows=rows, columns=columns
        ),
    }
    bits = {}
    for kind, synapse in kinds.items():
        program = Program(
            input=Input(shape=(3,), message_bits=0),
            populations=(neurons("a", (70,)),),
            synapses=(synapse,),
            readout=Readout(population="a"),
            steps=1,
        )
        found = demand(program, Mapping("loihi1", (Core(0, (Slice("a", 0, 70),)),)))[0]
        assert (found.axons_in, found.connections) == (2, 3)
        bits[kind] = found.synapse_bits
    # Dense: 70 weights of 8 bits, twice; sparse: two and one weights of 8 bits with indices of 7 bits.
    assert bits == {"dense": 2 * (9 * 64 + 64), "sparse": 64 + 64}


def matrix(program: Program, index: int) -> np.ndarray:
    """Return a synapse's weights (target, source) by another road: torch's convolution of every unit image."""
    synapse = program.synapses[index]
    if not isinstance(synapse, Convolution):
        return synapse.matrix()
    shape = program.shape_of(synapse.source)
    size = int(np.prod(shape))
    units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    weight = torch.from_numpy(synapse.weight.astype(np.float64))
    images = functional.conv2d(units, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
    return images.flatten(1).T.numpy().astype(np.int64)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_axons_are_those_that_numpy_counts(programs: Programs, data: st.DataObject) -> None:
    program = data.draw(programs())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    cores: dict[int, list[Slice]] = {}
    core_of: dict[str, np.ndarray] = {}
    for population in program.populations:
        size = int(np.prod(population.shape))
        ends = sorted({0, size, *rng.integers(0, size + 1, 2).tolist()})
        core_of[population.name] = np.empty(size, dtype=np.int64)
        # Position by position, channels together, written out here once more.
        shape = population.shape
        place = np.arange(size).reshape(shape[0], -1).T.ravel() if len(shape) == 3 else np.arange(size)
        for start, stop in pairwise(ends):
            number = int(rng.integers(0, 9))
            cores.setdefault(number, []).append(Slice(population.name, start, stop))
            core_of[population.name][place[start:stop]] = number
    mapping = Mapping("loihi1", tuple(Core(number, tuple(parts)) for number, parts in cores.items()))
    found = demand(program, mapping)
    arrives, leaves, links = (dict.fromkeys(cores, 0) for _ in range(3))
    packets = {population.name: 0 for population in program.populations}
    for index, synapse in enumerate(program.synapses):
        weight = matrix(program, index)
        np.testing.assert_array_equal(connections(program, synapse).toarray(), weight)
        channels = program.shape_of(synapse.source)[0] if isinstance(synapse, Convolution) else 1
        for number in cores:
            onto = weight[core_of[synapse.target] == number] != 0
            links[number] += int(onto.sum())
            reaches = onto.any(0)
            arrives[number] += int(reaches.reshape(channels, -1).any(0).sum())
            if synapse.source != "input":
                packets[synapse.source] += int(reaches.sum())
                for source in np.flatnonzero(reaches):
                    leaves[int(core_of[synapse.source][source])] += 2 if channels > 1 else 1
    assert {number: one.axons_in for number, one in found.items()} == arrives
    assert {number: one.axons_out for number, one in found.items()} == leaves
    assert {number: one.connections for number, one in found.items()} == links
    assert {name: int(way.packets.sum()) for name, way in hops(program, mapping).items()} == packets


@pytest.mark.parametrize(
    ("cores", "named"),
    [
        ((Core(0, (Slice("a", 0, 1), Slice("b", 0, 1))),), "'a' of 2 neurons"),
        ((Core(0, (Slice("a", 0, 2), Slice("a", 1, 2), Slice("b", 0, 1))),), "'a' of 2 neurons"),
        ((Core(0, (Slice("a", 0, 3), Slice("b", 0, 1))),), "'a' of 2 neurons"),
        ((Core(0, (Slice("a", 0, 2),)),), "'b' of 1 neurons"),
        ((Core(0, (Slice("a", 0, 2), Slice("b", 0, 1), Slice("c", 0, 1))),), "no population named 'c'"),
        ((Core(0, (Slice("a", 0, 2),)), Core(0, (Slice("b", 0, 1),))), "a core is named twice"),
    ],
)
def test_a_mapping_that_does_not_place_every_neuron_once_is_refused(cores: tuple[Core, ...], named: str) -> None:
    with pytest.raises(InputError, match=named):
        demand(three(), Mapping("loihi1", cores))
