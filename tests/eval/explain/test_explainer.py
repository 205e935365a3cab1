"""What an explanation of a sound network says, its record and its page."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from spikeproof.eval.explain.causes import CAUSES, STAGES
from spikeproof.eval.explain.explainer import Overlay, explain
from spikeproof.eval.explain.verdict import verdict
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.base import header, share_of, write_record
from spikeproof.eval.records.explanation import Explanation, Findings, read
from spikeproof.eval.report.explain import render_explanation, write_explanation
from spikeproof.eval.report.words import points
from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import ORIGINS
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.torch import TorchTarget
from spikeproof.toolkit.coding import Coder, Latency, Phase, Rate, direct_integers
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network

Pictures = tuple[np.ndarray, np.ndarray]
Found = tuple[Findings, list[Overlay]]


def explanation(found: Findings, **update: Any) -> Explanation:
    fields: dict[str, Any] = {
        **header("small", "spikeproof explain DIR"),
        "created": "2026-01-02T03:04:05+00:00",
        "data": {"name": "random", "sha256": "d" * 64, "test": 40},
        "program": {"sha256": "abc", "profile": "lava"},
        "recipe": {},
        "notes": ["a <planted> note"],
        "seconds": 1.5,
    }
    return Explanation(**{**dict(found), **fields, **update})


@pytest.fixture(scope="module")
def told(healthy: Any, pictures: Pictures) -> Found:
    return explain(healthy.forms, *pictures, batch=15)


def test_counts_are_those_of_the_forms_run_by_themselves(told: Found, healthy: Any, pictures: Pictures) -> None:
    found, _ = told
    forms, (images, labels) = healthy.forms, pictures
    integers = LoihiTarget(latency=1).compile(forms.program).run(direct_integers(images, 4), rasters=True)
    quantized, folded = (
        TorchTarget().compile(one).run(images, rasters=True) for one in (forms.quantized, fold(forms.network))
    )

    def apart(a: Any, b: Any) -> int:
        return sum(int((raster.spikes != b.rasters[name].spikes).sum()) for name, raster in a.rasters.items())

    pairs = {pair.after: pair for pair in found.pairs}
    assert pairs["quantized"].effect.different == apart(folded, quantized)
    assert pairs["Program, delay 0"].effect.different == apart(quantized, integers)
    assert pairs["Program"].effect.different == 0
    assert found.base == "folded"
    assert (found.base_differs, found.program_differs) == (0, 0)
    assert found.total == apart(folded, integers)
    accuracy = {stage.name: stage.accuracy.correct for stage in found.stages}
    assert accuracy["Program"] == int((integers.classes == labels).sum())
    assert accuracy["folded"] == int((folded.classes == labels).sum())
    effect = pairs["quantized"].effect.paired
    right = [one.classes == labels for one in (folded, quantized)]
    assert (effect.lost, effect.won) == (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))


def test_batches_do_not_matter(told: Found, healthy: Any, pictures: Pictures) -> None:
    assert explain(healthy.forms, *pictures, batch=40)[0] == told[0]


def test_rounding_the_weights_alone_is_rounding_the_weights_alone(
    told: Found, healthy: Any, pictures: Pictures
) -> None:
    """The quantized network without the layer that rounds its input, in PyTorch."""
    quantized = quantized_network(healthy.forms.network, 8)
    quantized.layers.input = nn.Identity()
    images = pictures[0]
    rounded = TorchTarget().compile(quantized).run(images, rasters=True)
    folded = TorchTarget().compile(fold(healthy.forms.network)).run(images, rasters=True)
    expected = sum(int((r.spikes != rounded.rasters[name].spikes).sum()) for name, r in folded.rasters.items())
    one = next(one for one in told[0].causes if one.code == "weight_rounding")
    assert one.alone.different == expected
    assert one.alone.paired.classes_changed == int((rounded.classes != folded.classes).sum())


def test_first_differences_are_there_and_reasons_lie_between_the_stages(told: Found) -> None:
    found, overlays = told
    drawn = {one.pair: one for one in overlays}
    for pair in found.pairs:
        place = pair.effect.first
        assert (place is None) == (pair.effect.different == 0) == ((pair.before, pair.after) not in drawn)
        if place is None:
            continue
        one = drawn[pair.before, pair.after]
        here = (place.step, *place.neuron)
        assert one.before[place.population][here] == (place.fires == "before")
        assert one.after[place.population][here] == (place.fires == "after")
        assert not (one.before[place.population] != one.after[place.population])[: place.step].any()
        assert {CAUSES[reason.code].stage for reason in pair.reasons} <= {pair.after}
        if pair.membranes is not None:
            above = [share > 1 for share in pair.membranes]
            assert above == [place.fires == "before", place.fires == "after"]


def test_shares_follow_from_the_counts(told: Found) -> None:
    found = told[0]
    for one in found.causes:
        assert one.share == pytest.approx((one.alone.different + found.total - one.left) / (2 * found.total))
        assert one.kind == "rounding"
        assert one.evidence
    assert {one.code for one in found.causes}.isdisjoint(found.exact)
    assert "No fault is found" in " ".join(found.verdict)


def test_fine_tuned_weights_are_a_stage_and_the_base(healthy: Any, pictures: Pictures) -> None:
    network = healthy.forms.network
    quantized = quantized_network(network, 8)
    layer = next(one for one in quantized.modules() if isinstance(one, nn.Linear))
    layer.weight.data *= 0.7
    program = healthy.synapse("lif3", weight=layer_integers(quantized)).forms.program
    found, _ = explain(Forms(network, quantized, program), *pictures)
    assert [stage.name for stage in found.stages] == [name for name in STAGES[:-1] if name != "biases moved"]
    assert found.base == "fine-tuned"
    assert (found.base_differs, found.program_differs) == (0, 0)
    assert [one.code for one in found.causes if one.kind != "rounding" and one.acts] == []
    parted = next(pair for pair in found.pairs if pair.effect.different)
    assert (parted.before, [reason.code for reason in parted.reasons]) == ("folded", ["fine_tuning"])
    assert any("next between" in sentence for sentence in found.verdict)


def layer_integers(quantized: Any) -> np.ndarray:
    """Twice the codes of the linear layer: Loihi's mixed-sign weights of 8 bits."""
    layer = next(one for one in quantized.modules() if isinstance(one, nn.Linear))
    weight = layer.quant_weight()
    return (2 * (weight.value / weight.scale).round()).detach().numpy().astype(np.int32)


def test_an_incomplete_explanation_and_a_lava_that_differs_are_said(told: Found) -> None:
    found = told[0]
    assert "incomplete" in " ".join(verdict(found.model_copy(update={"program_differs": 3})))
    last = found.pairs[-1].model_copy(update={"before": "Program", "after": "Lava"})
    equal = verdict(found.model_copy(update={"pairs": [*found.pairs, last]}))
    assert f"all {last.effect.compared:,} values" in equal[-1]
    apart = found.pairs[-2].model_copy(update={"before": "Program", "after": "Lava"})
    assert "Lava differs" in verdict(found.model_copy(update={"pairs": [*found.pairs, apart]}))[-1]


def test_no_images_are_refused(healthy: Any, pictures: Pictures) -> None:
    with pytest.raises(InputError, match="0 images"):
        explain(healthy.forms, pictures[0][:0], pictures[1][:0])


def test_the_record_comes_back_equal_and_others_are_refused(told: Found, tmp_path: Path) -> None:
    record = explanation(told[0])
    write_record(tmp_path / "explain.json", record)
    assert read(tmp_path / "explain.json") == record
    (tmp_path / "other.json").write_text('{"schema_version": 2}')
    with pytest.raises(FileError, match="run 'spikeproof explain' again"):
        read(tmp_path / "other.json")


def test_the_page_says_what_the_record_says_and_needs_nothing_from_elsewhere(told: Found, tmp_path: Path) -> None:
    record = explanation(told[0])
    write_explanation(tmp_path / "explain.html", record, told[1])
    page = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert page == render_explanation(record, told[1])
    assert "a &lt;planted&gt; note" in page
    assert not re.search(r"<script|@import|<link|(src|href)=\"(?!#)", page)
    assert len(told[1]) <= page.count("<svg") <= 2 * len(told[1])
    for pair in record.pairs:
        assert f"{pair.effect.different:,}" in page
    for one in record.causes:
        assert f"{one.alone.different:,}" in page
        if one.acts:
            assert one.remedy.replace("'", "&#39;") in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(identifiers)) == len(identifiers)
    targets = re.findall(r'href="#([^"]+)"', page)
    assert set(targets) <= set(identifiers)


def test_a_fault_is_marked(healthy: Any, pictures: Pictures) -> None:
    found, overlays = explain(healthy.population("lif2", dv=1024).forms, *pictures)
    page = render_explanation(explanation(found), overlays)
    assert page.count('class="bad-text">wrong leak') == 1
    assert "Wrong leak: population &#39;lif2&#39;: dv 1024" in page


def test_points_are_signed_and_zero_only_for_equal_counts() -> None:
    assert points(share_of(50, 100), share_of(53, 100)) == "+3.0"
    assert points(share_of(50, 100), share_of(49, 100)) == "-1.0"
    assert points(share_of(50, 100), share_of(25, 50)) == "0"


def test_an_exact_program_has_nothing_to_explain(skipping: Any) -> None:
    """Dyadic weights and thresholds, images on the grid, no leak: network and Program are equal."""
    forms = skipping.forms
    images = (np.random.default_rng(0).integers(0, 2, (8, 1, 8, 8))).astype(np.float32)
    exact = forms.quantized
    network = fold(forms.network)
    for name, layer in network.named_layers():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = dict(exact.named_layers())[name].quant_weight().value.detach().clone()
    quantized = quantized_network(
        network, 8, {n: float(dict(exact.named_layers())[n].quant_weight().scale) for n in ("conv1", "conv2", "linear")}
    )
    program = Program(**dict(forms.program))
    found, overlays = explain(Forms(network, quantized, program), images, np.zeros(8, dtype=np.int64))
    assert "weight_rounding" in found.exact
    assert "input_rounding" in found.exact
    assert found.whole.different == sum(one.alone.different for one in found.causes)
    assert (overlays == []) == (found.whole.different == 0)


@pytest.mark.parametrize("coder", [Rate(4), Latency(4), Phase(4)], ids=lambda coder: coder.name)
def test_every_form_sees_the_same_encoding(random_network: Any, pictures: Pictures, coder: Coder) -> None:
    """A stochastic coder's draws included: else the forms would differ for no reason of their own."""
    plain = random_network(channels=(4,), steps=4, seed=5)
    network = SpikingNetwork(OrderedDict(plain.named_layers()), coder, plain.gain, plain.wiring).eval()
    quantized = quantized_network(network, 8)
    graph, grids = to_nir(quantized, (1, 8, 8))
    how = Deployment(4, coder.message_bits, ORIGINS["spikeproof"], grids, input_levels=coder.levels)
    program = lower_graph(flatten(graph, "test"), how)
    found, overlays = explain(Forms(network, quantized, program), *pictures, batch=15)
    assert (found.base_differs, found.program_differs) == (0, 0)
    assert [one.code for one in found.causes if one.kind != "rounding"] == []
    assert ("input_rounding" in found.exact) == coder.binary
    for one in overlays:
        here = (one.place.step, *one.place.neuron)
        assert one.before[one.place.population][here] != one.after[one.place.population][here]
