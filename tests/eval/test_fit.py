"""The record of a fit and its page."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval import fit as module
from spikeproof.eval.fit import fit
from spikeproof.eval.records.fit import Fit, read_fit
from spikeproof.eval.report.fit import render_fit
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.toolkit.errors import DisagreementError, FileError
from spikeproof.toolkit.files import write_json


def spiking(name: str, size: int) -> Population:
    return Population(name=name, shape=(size,), du=4095, dv=100, vth=9, bias=np.arange(size, dtype=np.int32) % 900)


def program(neurons: int = 1100, inputs: int = 3, message_bits: int = 0) -> Program:
    """Input, "hidden", read-out "out" of 2."""
    rng = np.random.default_rng(0)
    return Program(
        input=Input(shape=(inputs,), message_bits=message_bits),
        populations=(spiking("hidden", neurons), spiking("out", 2)),
        synapses=(
            Dense(source="input", target="hidden", weight=2 * rng.integers(-20, 30, (neurons, inputs))),
            Dense(source="hidden", target="out", weight=2 * rng.integers(-3, 4, (2, neurons))),
        ),
        readout=Readout(population="out"),
        steps=4,
    )


def messages(made: Program, samples: int = 3) -> np.ndarray:
    rng = np.random.default_rng(1)
    shape = (made.steps, samples, *made.input.shape)
    return rng.integers(0, made.input.peak + 1, shape).astype(np.int32)


@pytest.fixture(scope="module")
def cut() -> Fit:
    made = program()
    return fit(made, "loihi1", "greedy", messages(made))


def test_a_cut_program_is_proven_on_samples(cut: Fit) -> None:
    assert (cut.verdict, cut.reasons, cut.cut) == ("fits", [], 1)
    assert cut.integers is not None
    # Spikes, u and v of 1,102 neurons, 4 steps, 3 samples.
    assert (cut.integers.samples, cut.integers.compared, cut.integers.different) == (3, 3 * 1102 * 4 * 3, 0)
    assert [layer.cores for layer in cut.layers] == [[0, 1], [1]]
    assert [core.slices for core in cut.cores] == [[("hidden", 0, 550)], [("hidden", 550, 1100), ("out", 0, 2)]]
    assert cut.cores[0].use["neurons"] == (550 / 1024, 550 / 1024)


def test_traffic_is_hops_times_spikes(cut: Fit) -> None:
    made = program()
    once, sample = cut.traffic
    # Every hidden neuron sends one packet to the core of "out"; all lie in one tile.
    sent = (np.any(made.synapses[1].weight, axis=0)).sum()
    assert (once.of, once.packets, once.east_west, once.north_south) == ("one spike a neuron", sent, 0, 0)
    trace = module.LoihiTarget().compile(made).run(messages(made))
    spikes = trace.spike_counts["hidden"][:, np.any(made.synapses[1].weight, axis=0)].sum() / 3
    assert sample.packets == pytest.approx(spikes)
    assert 0 < sample.packets < 4 * once.packets


def test_a_refused_program_says_why_and_is_not_mapped() -> None:
    made = program(inputs=5000, neurons=2)
    axons = int(made.synapses[0].weight.any(0).sum())  # Inputs whose weights are all 0 need none.
    assert axons > 4096
    found = fit(made, "loihi1", "greedy", messages(made))
    assert (found.verdict, found.cores, found.traffic, found.integers) == ("refused", [], [], None)
    assert "'hidden'" in found.reasons[0]
    assert f"{axons:,} axons in" in found.reasons[0]
    assert [layer.demand["axons_in"] for layer in found.layers] == [axons, 2]
    assert "not mapped" in render_fit("x", [found])


def test_graded_input_is_refused_on_loihi_1_and_mapped_all_the_same() -> None:
    made = program(neurons=5, message_bits=8)
    found = fit(made, "loihi1", "partition", messages(made))
    assert found.verdict == "refused"
    assert "graded" in found.reasons[0]
    assert len(found.cores) == 1
    assert fit(made, "loihi2", "partition", messages(made)).verdict == "fits"


def test_what_nobody_confirmed_only_warns() -> None:
    rng = np.random.default_rng(0)
    made = program(neurons=2)
    large = Program(
        **{
            **dict(made),
            "populations": (made.populations[0], spiking("out", 8193)),
            "synapses": (
                made.synapses[0],
                Dense(source="hidden", target="out", weight=2 * rng.integers(-3, 4, (8193, 2))),
            ),
        }
    )
    found = fit(large, "loihi2", "greedy", messages(large, samples=0))
    assert (found.verdict, found.reasons) == ("unsure", [])
    assert "8,193 neurons" in found.warnings[0]
    assert {"axons_in", "axons_out"} <= set(found.unknown)
    assert [one.of for one in found.traffic] == ["one spike a neuron"]
    page = render_fit("x", [found])
    assert "may not fit" in page
    assert "not public" in page


def test_a_wrong_split_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a split that loses the last slice's threshold."""
    real = module.split

    def wrong(*arguments: Any) -> Program:
        made = real(*arguments)
        last = made.populations[1].model_copy(update={"vth": 10})
        return Program(**{**dict(made), "populations": (made.populations[0], last, made.populations[2])})

    monkeypatch.setattr(module, "split", wrong)
    made = program()
    with pytest.raises(DisagreementError, match="population 'hidden'"):
        fit(made, "loihi1", "greedy", messages(made))


def test_the_record_comes_back(cut: Fit, tmp_path: Path) -> None:
    write_json(tmp_path / "fit.json", cut.model_dump(mode="json"))
    assert read_fit(tmp_path / "fit.json") == cut
    older = cut.model_dump(mode="json")
    del older["limits"]["fields"]
    for other in ({"chip": "loihi1"}, older):
        write_json(tmp_path / "fit.json", other)
        with pytest.raises(FileError, match=r"fit.json: key .*; run 'spikeproof fit' again"):
            read_fit(tmp_path / "fit.json")


def test_every_core_can_be_reached_by_keyboard_and_has_its_text(cut: Fit) -> None:
    page = render_fit("<script>", [cut])
    assert "<script" not in page
    links = dict(re.findall(r'<a href="#(loihi1-core-\d+)" class="core[^"]*" aria-label="([^"]+)"', page))
    assert set(links) == {"loihi1-core-0", "loihi1-core-1"} == set(re.findall(r'<tr id="([^"]+)"', page))
    assert "neurons hidden 550 to 1,099 and out 0 to 1" in links["loihi1-core-1"]
    assert "552 neurons (53.9 %)" in links["loihi1-core-1"]
    assert page.count('<rect class="empty"') == 126
    for limit in cut.limits.limits.values():
        assert limit.source in page.replace("&#39;", "'")


def test_what_lies_beyond_the_chip_is_drawn_below_it(cut: Fit) -> None:
    beyond = cut.cores[0].model_copy(update={"number": 130, "tile": (0, 4)})
    page = render_fit("x", [cut.model_copy(update={"cores": [beyond]})])
    height = int(re.search(r'viewBox="0 0 \d+ (\d+)"', page)[1])  # type: ignore[index]
    assert height > int(re.search(r'viewBox="0 0 \d+ (\d+)"', render_fit("x", [cut]))[1])  # type: ignore[index]
    assert page.count('<rect class="empty"') == 159
