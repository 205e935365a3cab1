"""Where a Program is placed: just fitting, one too many, and nearer than in order."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.export.chip.demand import demand
from spikeproof.export.chip.limits import load_limits
from spikeproof.export.chip.mapper import MAPPERS, excesses, place
from spikeproof.export.chip.mapping import Mapping, hops
from spikeproof.export.chip.split import split
from spikeproof.export.program import Dense, Input, Population, Program, Readout, Sparse, Synapse
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.mapped import together
from spikeproof.toolkit.errors import UnsupportedError

Programs = Callable[..., st.SearchStrategy[Program]]


def population(name: str, size: int, **fields: Any) -> Population:
    fields = {"du": 4095, "dv": 100, "vth": 9} | fields
    return Population(name=name, shape=(size,), bias=np.zeros(size, dtype=np.int32), **fields)


def one_to_one(source: str, target: str, size: int, **fields: Any) -> Sparse:
    each = np.arange(size)
    weight = np.full(size, 20)
    return Sparse(source=source, target=target, shape=(size, size), weight=weight, rows=each, columns=each, **fields)


def few(source: str, size: int) -> Sparse:
    """Every tenth neuron of ``source`` onto the read-out "out" of ten."""
    columns = np.arange(0, size, 10)
    weight = np.full(len(columns), 4)
    return Sparse(
        source=source, target="out", shape=(10, size), weight=weight, rows=columns // 10 % 10, columns=columns
    )


def wide(size: int) -> Program:
    """Input, "a" one to one, read-out: one population of ``size``."""
    return Program(
        input=Input(shape=(size,), message_bits=0),
        populations=(population("a", size), population("out", 10)),
        synapses=(one_to_one("input", "a", size), few("a", size)),
        readout=Readout(population="out"),
        steps=3,
    )


def gathering(sources: int, neurons: int = 3) -> Program:
    """All of ``sources`` inputs onto "a"."""
    return Program(
        input=Input(shape=(sources,), message_bits=0),
        populations=(population("a", neurons), population("out", 1)),
        synapses=(
            Dense(source="input", target="a", weight=np.full((neurons, sources), 2)),
            Dense(source="a", target="out", weight=np.full((1, neurons), 2)),
        ),
        readout=Readout(population="out"),
        steps=1,
    )


def sizes(mapping: Mapping, name: str) -> list[int]:
    return [part.stop - part.start for part in mapping.slices(name)]


@pytest.mark.parametrize("mapper", MAPPERS)
def test_one_neuron_too_large_for_a_core_is_split(mapper: Any) -> None:
    assert sizes(place(wide(1024), "loihi1", mapper), "a") == [1024]
    program = wide(1025)
    mapping = place(program, "loihi1", mapper)
    assert sizes(mapping, "a") == [512, 513]
    assert sizes(place(program, "loihi2", mapper), "a") == [1025]
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2, (3, 2, 1025)).astype(np.int32)
    whole = LoihiTarget().compile(program).run(inputs, rasters=True)
    cut = together(LoihiTarget().compile(split(program, mapping)).run(inputs, rasters=True), program, mapping)
    assert 0 < whole.rasters["a"].spikes.mean() < 1
    np.testing.assert_array_equal(cut.rasters["a"].spikes, whole.rasters["a"].spikes)
    np.testing.assert_array_equal(cut.rasters["a"].v, whole.rasters["a"].v)
    np.testing.assert_array_equal(cut.output, whole.output)


def test_one_axon_too_many_is_refused_on_loihi_1_with_the_layer_and_the_count() -> None:
    program = gathering(4096)
    found = demand(program, place(program, "loihi1"))
    assert max(one.axons_in for one in found.values()) == 4096
    with pytest.raises(
        UnsupportedError, match=r"population 'a': 3 neurons on a core need 4,097 axons in; Loihi 1 has 4,096"
    ):
        place(gathering(4097), "loihi1")
    # No number of Loihi 2 is public.
    mapping = place(gathering(4097), "loihi2")
    assert excesses(gathering(4097), mapping) == []


def test_too_many_axons_for_one_neuron_are_told_apart_from_what_cutting_would_solve() -> None:
    """1,100 neurons need two cores besides; only the axons are the reason."""
    with pytest.raises(UnsupportedError) as caught:
        place(gathering(4097, neurons=1100), "loihi1")
    assert "4,097 axons in" in str(caught.value)
    assert "1,100 neurons" not in str(caught.value)
    assert "bits" not in str(caught.value)


def test_synaptic_memory_cuts_a_dense_layer() -> None:
    """4,000 axons of n weights of 8 bits: at n = 26, 208 + 10 bits are 4 words, 1,024,000 bits; at n = 32, 5 words."""
    program = gathering(4000, neurons=33)
    mapping = place(program, "loihi1", "greedy")
    assert sizes(mapping, "a") == [16, 17]
    bits = [one.synapse_bits for one in demand(program, mapping).values()]
    limit = load_limits("loihi1").limits["synapse_bits"].high
    assert limit is not None
    assert max(bits) <= limit < 4000 * 5 * 64


def test_too_many_axons_out_cut_the_source() -> None:
    """1,024 neurons to five cores send 5,120 axons out; halves send 2,560."""
    names = [f"b{i}" for i in range(5)]
    program = Program(
        input=Input(shape=(1024,), message_bits=0),
        populations=(population("a", 1024), *(population(name, 1024) for name in names), population("out", 10)),
        synapses=(one_to_one("input", "a", 1024), *(one_to_one("a", name, 1024) for name in names), few("b4", 1024)),
        readout=Readout(population="out"),
        steps=1,
    )
    mapping = place(program, "loihi1", "greedy")
    assert sizes(mapping, "a") == [512, 512]
    found = demand(program, mapping)
    assert sorted(found[core.number].axons_out for core in mapping.cores)[-2:] == [2560, 2560]


def test_small_populations_share_a_core_until_something_is_full() -> None:
    names = [f"p{i}" for i in range(20)]
    synapses: list[Synapse] = [one_to_one("input", names[0], 50)]
    synapses += [one_to_one(a, b, 50) for a, b in pairwise(names)]

    def program(**fields: Any) -> Program:
        made = [
            population(name, 50, **{key: value + i for key, value in fields.items()}) for i, name in enumerate(names)
        ]
        return Program(
            input=Input(shape=(50,), message_bits=0),
            populations=tuple(made),
            synapses=tuple(synapses),
            readout=Readout(population=names[-1]),
            steps=1,
        )

    assert len(place(program(), "loihi1").cores) == 1
    # Eight thresholds a core are sure; 20 different ones take three cores.
    found = place(program(vth=10), "loihi1")
    assert [one.thresholds for one in demand(program(vth=10), found).values()] == [8, 8, 4]
    assert len(place(program(vth=10), "loihi2").cores) == 1


def test_more_cores_than_the_chip_has_are_refused() -> None:
    names = [f"p{i}" for i in range(128)]
    program = Program(
        input=Input(shape=(1024,), message_bits=0),
        populations=(*(population(name, 1024) for name in names), population("out", 10)),
        synapses=(*(one_to_one("input", name, 1024) for name in names), few("p0", 1024)),
        readout=Readout(population="out"),
        steps=1,
    )
    with pytest.raises(UnsupportedError) as caught:
        place(program, "loihi1")
    assert "needs 129 cores; Loihi 1 has 128 " in str(caught.value)
    assert "needs 131,082 neurons on the chip; Loihi 1 has 131,072 " in str(caught.value)
    assert len(place(program, "loihi2").cores) == 17


def test_a_population_that_must_stay_whole_is_refused_with_the_reason() -> None:
    program = wide(10)
    large = Program(
        **{
            **dict(program),
            "populations": (program.populations[0], population("out", 1025)),
            "synapses": (program.synapses[0], Dense(source="a", target="out", weight=np.full((1025, 10), 2))),
        }
    )
    with pytest.raises(
        UnsupportedError, match=r"'out': 1,025 neurons on a core need 1,025 neurons.*the read-out is of one"
    ):
        place(large, "loihi1")
    assert excesses(large, place(large, "loihi2")) == []


def test_loihi_2_warns_where_loihi_1_refuses() -> None:
    program = wide(10)
    large = Program(
        **{
            **dict(program),
            "populations": (program.populations[0], population("out", 8193)),
            "synapses": (program.synapses[0], Dense(source="a", target="out", weight=np.full((8193, 10), 2))),
        }
    )
    mapping = place(large, "loihi2")
    ((text, hard),) = excesses(large, mapping)
    assert "8,193 neurons" in text
    assert "medium confidence" in text
    assert not hard


def test_a_long_delay_is_warned_of_on_loihi_1() -> None:
    program = wide(10)
    late = Program(**{**dict(program), "synapses": (one_to_one("input", "a", 10, delay=8), program.synapses[1])})
    ((text, hard),) = excesses(late, place(late, "loihi1"))
    assert "8 steps of delay" in text
    assert not hard


@pytest.mark.parametrize(
    ("fields", "synapse", "named"),
    [
        ({"dv": 4096}, {}, "population 'a': dv 4096 is outside of Loihi 1's documented 0 to 4,095 (medium confidence)"),
        ({"du": -1}, {}, "population 'a': du -1"),
        ({}, {"exponent": -8}, "synapse 'input' -> 'a': weight_exponent -8"),
    ],
)
def test_an_integer_outside_its_documented_range_is_warned_of(
    fields: dict[str, int], synapse: dict[str, int], named: str
) -> None:
    program = wide(10)
    odd = Program(
        **{
            **dict(program),
            "populations": (population("a", 10, **fields), program.populations[1]),
            "synapses": (one_to_one("input", "a", 10, **synapse), program.synapses[1]),
        }
    )
    ((text, hard),) = excesses(odd, place(odd, "loihi1"))
    assert named in text
    assert not hard


def total_hops(program: Program, mapping: Mapping) -> int:
    return sum(int((way.east_west + way.north_south).sum()) for way in hops(program, mapping).values())


def test_partition_puts_cores_that_talk_near_each_other() -> None:
    """Eight chains of eight cores, listed link by link, so that in order every link is eight cores long."""
    names = [[f"c{chain}.{link}" for chain in range(8)] for link in range(8)]
    synapses = [one_to_one("input", name, 1024) for name in names[0]]
    for before, after in pairwise(names):
        synapses += [one_to_one(a, b, 1024) for a, b in zip(before, after, strict=True)]
    program = Program(
        input=Input(shape=(1024,), message_bits=0),
        populations=(*(population(name, 1024) for row in names for name in row), population("out", 10)),
        synapses=(*synapses, few(names[-1][0], 1024)),
        readout=Readout(population="out"),
        steps=1,
    )
    greedy, partition = (place(program, "loihi1", mapper) for mapper in ("greedy", "partition"))
    # In order every link crosses two tiles (or wraps to the next row): 56 links of 1024 neurons.
    assert total_hops(program, greedy) > 2 * 56 * 1024
    assert total_hops(program, partition) < total_hops(program, greedy) / 2
    assert {core.slices for core in greedy.cores} == {core.slices for core in partition.cores}
    assert place(program, "loihi1", "partition") == partition, "placed the same every time"


@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_programs_are_placed_within_the_limits(programs: Programs, data: st.DataObject) -> None:
    program = data.draw(programs())
    mapper = data.draw(st.sampled_from(MAPPERS))
    mapping = place(program, "loihi1", mapper)
    mapping.check(program)
    limits = load_limits("loihi1").limits
    for needed in demand(program, mapping).values():
        assert needed.neurons <= 1024
        assert needed.formats <= (limits["formats"].high or 0)
    split(program, mapping)
