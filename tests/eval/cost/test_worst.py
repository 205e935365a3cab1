"""The energy attack against all of small balls: clean <= searched <= worst of all <= bound, sample by sample."""

from itertools import product
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import spikeproof as sp
from spikeproof.eval.cost.table import side_by_side
from spikeproof.eval.cost.worst import search, upper, worst_energy
from spikeproof.eval.measure.metrics import SynapticOperations
from spikeproof.eval.records.cost import read_cost
from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.coding import make_coder
from spikeproof.toolkit.config import CodingSettings
from spikeproof.toolkit.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


@st.composite
def tiny(draw: Any) -> Program:
    """Three pixels, two layers, weights of both signs: brighter is not always busier."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def neurons(name: str, shape: tuple[int, ...]) -> Population:
        du, dv = draw(st.sampled_from([4095, 2000])), draw(st.sampled_from([0, 2048, 4096]))
        vth = draw(st.sampled_from([10, 100, 1000]))
        return Population(name=name, shape=shape, vth=vth, du=du, dv=dv, bias=rng.integers(-500, 500, shape))

    def weight(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-64, 64, shape)

    kernel = Convolution(source="input", target="a", weight=weight(2, 1, 1, 2), padding=(0, 1), exponent=-2)
    middle: Any = neurons("b", (2, 1, 2))
    return Program(
        input=Input(shape=(1, 1, 3), message_bits=8, scale=1 / 255),
        populations=(neurons("a", (2, 1, 4)), middle, neurons("c", (3,))),
        synapses=(
            kernel,
            Convolution(source="a", target="b", weight=weight(2, 2, 1, 2), stride=(1, 2)),
            Dense(source="b", target="c", weight=weight(3, 4)),
        ),
        readout=Readout(population="c"),
        steps=draw(st.integers(1, 4)),
    )


def operations(program: Program, levels: np.ndarray) -> np.ndarray:
    """Operations of each of many inputs, one run of the metric a sample."""
    found = []
    for one in levels:
        messages = np.broadcast_to(one[None, None].astype(np.int32), (program.steps, 1, *one.shape))
        metric = SynapticOperations(program)
        metric.update(get_target("loihi").compile(program).run(messages), messages)
        found.append(sum(metric.operations.values()))
    return np.array(found)


@settings(max_examples=15)
@given(program=tiny(), seed=st.integers(0, 99))
def test_nothing_in_the_ball_costs_more_than_the_bound_nor_the_search_less_than_the_sample(
    program: Program, seed: int
) -> None:
    levels = np.random.default_rng(seed).choice([0, 1, 2, 128, 254, 255], (2, 1, 1, 3)).astype(np.int64)
    found = search(program, levels, 2, queries=60, seed=seed)
    most, by = upper(program, levels, 2)
    assert by == "sets of spike trains"
    assert found.queries == 60
    assert np.array_equal(found.clean, operations(program, levels))
    # The images are in the ball, and cost what is said of them.
    assert (np.abs(found.levels - levels) <= 2).all()
    assert np.array_equal(found.operations, operations(program, found.levels))
    for sample, pixels in enumerate(levels.reshape(2, -1)):
        ends = [range(max(0, pixel - 2), min(255, pixel + 2) + 1) for pixel in pixels]
        every = np.array([*product(*ends)]).reshape(-1, 1, 1, 3)
        messages = np.broadcast_to(every[None].astype(np.int32), (program.steps, *every.shape))
        trace = get_target("loihi").compile(program).run(messages)
        worst = max(sum(SynapticOperations(program).each(trace, messages).values()))
        assert found.clean[sample] <= found.operations[sample] <= worst <= most[sample]


def test_eight_corners_are_searched_in_full(messages: Any) -> None:
    """One layer whose neurons prefer opposite ends: of eight corners, the costliest is found."""
    program = Program(
        input=Input(shape=(1, 1, 3), message_bits=8, scale=1 / 255),
        populations=(
            Population(name="a", shape=(3,), vth=100, du=4095, dv=0, bias=np.zeros(3, int)),
            Population(name="b", shape=(5,), vth=100, du=4095, dv=0, bias=np.zeros(5, int)),
        ),
        synapses=(
            Dense(source="input", target="a", weight=2 * np.array([[1, -1, 0], [-1, 1, 1], [0, 1, -1]])),
            Dense(source="a", target="b", weight=np.zeros((5, 3), int)),
        ),
        readout=Readout(population="b"),
        steps=4,
    )
    levels = np.random.default_rng(0).integers(100, 160, (6, 1, 1, 3))
    found = search(program, levels, 40, queries=60)
    for sample in range(6):
        corners = np.array([*product(*[(p - 40, p + 40) for p in levels[sample].ravel()])]).reshape(-1, 1, 1, 3)
        assert found.operations[sample] == operations(program, corners).max()
    assert (found.operations > found.clean).any()


def test_what_proofs_do_not_cover_is_bounded_by_every_neuron_at_every_step() -> None:
    program = Program(
        input=Input(shape=(2,), message_bits=8),
        populations=(
            Population(name="a", shape=(2,), vth=1, du=4095, dv=0, bias=np.zeros(2, int)),
            Graded(name="g", shape=(2,), vth=0, message_bits=12),
            Population(name="c", shape=(2,), vth=1, du=-1, dv=0, bias=np.zeros(2, int)),
        ),
        synapses=(
            Dense(source="input", target="a", weight=np.full((2, 2), 254), exponent=7),
            Dense(source="a", target="g", weight=np.full((2, 2), 4)),
            Dense(source="g", target="c", weight=np.full((2, 2), 254), exponent=7),
        ),
        readout=Readout(population="c"),
        steps=3,
    )
    most, by = upper(program, np.zeros((1, 2), dtype=np.int64), 1)
    assert by.startswith("every neuron at every step: ")
    assert most == [3 * (4 + 4 + 4)]


def test_it_stands_in_the_comparison_beside_the_clean_images() -> None:
    data = sp.load_data("digits", test_samples=12)
    forms = sp.deploy(sp.build_network(data, channels=[4], steps=3), data, epochs=0)
    shown = sp.compare(forms, data, worst_energy=4 / 255, samples=5)
    worst = shown.record.worst
    assert worst is not None
    assert worst.levels == 4
    assert all(a <= b <= c for a, b, c in zip(worst.clean, worst.searched, worst.bound, strict=True))
    program = next(form for form in shown.record.forms if form.form == "program")
    for name, counts in (("clean", worst.clean), (worst.condition, worst.searched)):
        assert sum(program.conditions[name].operations.values()) == pytest.approx(np.mean(counts))
    rows = side_by_side(None, None, shown.record, "RUN").rows
    found = [row for row in rows if row.name == "synaptic operations, proved bound"]
    assert found[0].cells["Program · loihi"].value == np.mean(worst.bound)
    assert any(row.group == "energy" and row.condition == worst.condition for row in rows)


@pytest.mark.parametrize("levels", [8, 25])
def test_the_page_says_what_is_on_record(levels: int) -> None:
    worst = read_cost(ROOT / "records" / "compare" / f"digits-worst-energy-{levels}.json").worst
    assert worst is not None
    assert worst.levels == levels
    assert all(a <= b <= c for a, b, c in zip(worst.clean, worst.searched, worst.bound, strict=True))
    clean, found, bound = (float(np.mean(part)) for part in (worst.clean, worst.searched, worst.bound))
    row = (
        f"| {levels} levels | {clean:,.0f} | {found:,.0f} | {bound:,.0f} | {found / clean:.2f} | {bound / clean:.2f} |"
    )
    assert row in (ROOT / "docs" / "energy.md").read_text(encoding="utf-8")


def test_other_coders_are_refused() -> None:
    program = sp.deploy(
        sp.build_network(data := sp.load_data("digits", test_samples=2), channels=[4], steps=2), data, epochs=0
    ).program
    with pytest.raises(InputError, match="only direct coding"):
        worst_energy(program, make_coder(CodingSettings(name="phase", steps=8)), data.test_images, 0.1)
