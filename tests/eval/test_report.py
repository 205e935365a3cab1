"""The report says what the record says, needs nothing from elsewhere, and trusts no name."""

import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.base import Machine, Share, header
from spikeproof.eval.records.comparison import Comparison
from spikeproof.eval.records.evaluation import Condition, Evaluation, MeasuredForm, Trail, TrailPoint
from spikeproof.eval.report import render, write_report
from spikeproof.hw_targets.target import Raster, Trace
from spikeproof.toolkit.errors import FileError, InputError

CLEAN, ATTACK, OTHER = "clean", "pgd-10@0.1", "fgsm@0.1"
VOID = {"meta", "br", "link", "img", "hr"}


def share(correct: int, samples: int = 40) -> Share:
    value = correct / samples
    return Share(value=value, low=value - 0.0437, high=value + 0.0391, correct=correct, samples=samples)


def condition(correct: int, same: float, samples: int = 40) -> Condition:
    return Condition(
        accuracy=share(correct, samples),
        same_as_float=same,
        spike_rates={"lif1": correct / 200, "lif2": 0.1234},
        operations={"input -> lif1": 1234.5 - correct, "lif1 -> lif2": 56.25},
    )


def form(kind: Any, target: str, correct: dict[str, int], same: float, samples: int = 40) -> MeasuredForm:
    overflow = {name: {"wraps": 0, "saturations": 7} for name in ("lif1", "lif2")} if target == "loihi" else None
    return MeasuredForm(
        form=kind,
        target=target,
        device="cpu",
        samples=samples,
        conditions={name: condition(count, same, samples) for name, count in correct.items()},
        overflow=overflow,
        seconds=1.5,
    )


def comparison(different: int = 0, **changes: Any) -> Comparison:
    bits = {
        "target": "onnx",
        "population": "lif1",
        "quantity": "spikes",
        "compared": 1200,
        "different": 0,
        "first": None,
    }
    wrong = bits | {"quantity": "v", "different": different, "first": [1, 2, 3] if different else None}
    values = {
        "program": {"sha256": "abc"},
        "reference": "loihi",
        "targets": ["onnx"],
        "samples": 4,
        "spikes": 321,
        "values": [bits, wrong],
        "same_classes": {"onnx": 4},
        "equal": not different,
        "spike_values_compared": 1200,
        "state_values_compared": 1200,
        "different": different,
    }
    return Comparison(**(header("small", "spikeproof compare DIR --bitwise") | values | changes))


def attack(name: str, steps: int) -> dict[str, Any]:
    return {
        "settings": {"name": name, "epsilon": 0.1, "steps": steps, "seed": 0},
        "threat_model": "pixels",
        "made_on": "float network",
        "distance": 0.1,
        "distance_on_grid": 0.1016,
        "float_accuracy": 0.5,
    }


def population(name: str, source: str, largest_sum: int) -> dict[str, Any]:
    row = {"shape": [2, 3, 4], "synapse": "convolution", "bits": 8, "exponent": -1, "vth": 77, "dv": 2048}
    return row | {"population": name, "from": source, "bias_exponent": 3, "largest_sum": largest_sum}


def fields() -> dict[str, Any]:
    counts = {CLEAN: 37, OTHER: 29, ATTACK: 23}
    return {
        "name": "small",
        "created": "2026-01-02T03:04:05+00:00",
        "recipe": {"name": "small", "model": {"pool": "max", "channels": [2]}, "attacks": [{"name": "pgd"}]},
        "data": {"name": "digits", "sha256": "d" * 64, "train": 100, "test": 40},
        "program": {"sha256": "abc", "profile": "lava"},
        "populations": [population("lif1", "input", 5001), population("lif2", "lif1", 400_000)],
        "code": "c" * 64,
        "revision": "e" * 40,
        "dirty": False,
        "command": "spikeproof evaluate DIR",
        "machine": Machine(processor="p", cores=2, system="Linux", python="3.11.7", accelerator=None),
        "packages": {"spikeproof": "0.1.0", "torch": "absent"},
        "threat_model": "pixel space, L-infinity",
        "attacks": {OTHER: attack("fgsm", 10), ATTACK: attack("pgd", 10)},
        "training": [{"epoch": 1.0, "loss": 2.0, "accuracy": 0.5}, {"epoch": 2.0, "loss": 1.0, "accuracy": 0.75}],
        "round_trip": {"samples": 8, "compared": 640, "spikes": 99, "different": 0},
        "gradients": {
            "float": {
                "layers": {"conv1": {"input": 0.0, "output": 0.25}, "lif1": {"input": 0.25, "output": 0.5}},
                "hidden": 0.5,
            },
            "quantized": {"layers": {"lif1": {"input": 0.0, "output": 0.625}}, "hidden": 0.625},
        },
        "forms": [
            form("float", "torch", counts, 1.0),
            form("quantized", "torch", {name: count - 1 for name, count in counts.items()}, 0.9512),
            form("program", "loihi", {name: count - 2 for name, count in counts.items()}, 0.9387),
            form("program", "onnx", {name: count - 3 for name, count in counts.items()}, 0.8921, 38),
        ],
        "comparison": comparison(),
        "warnings": ["Only 40 test samples."],
    }


def trail(*epochs: int) -> Trail:
    points = [
        TrailPoint(epoch=epoch, zero_gradient=0.7 + epoch / 100, clean=share(30 + epoch), robust=share(20 - epoch))
        for epoch in epochs
    ]
    return Trail(attack=ATTACK, threat_model="pixel space, white box", samples=40, points=points)


IMAGE = {"zeros": 0.0, "near_zeros": 0.0123, "l1": 4.567, "l2": 0.8912, "hoyer": None, "spread": 78.21}
LOOKED = {"attack": ATTACK, "samples": 17, "passes": 10, "layers": {"image": {"input": IMAGE}}}
WEIGHTS = {"conv1": {"weights": 0.321, "bound": 0.432, "errors": 1.0, "inputs": 0.432}}


def record(**changes: Any) -> Evaluation:
    return Evaluation(**(fields() | changes))


def trace(populations: dict[str, tuple[int, ...]] | None = None, steps: int = 4) -> Trace:
    shapes = {"lif1": (2, 3, 4), "lif2": (5,)} if populations is None else populations
    generator = np.random.default_rng(0)
    spikes = {name: generator.random((steps, 1, *shape)) < 0.3 for name, shape in shapes.items()}
    counts = {name: part.sum(0) for name, part in spikes.items()}
    output = np.array([[0, 3, 1]]) if not shapes else counts[list(shapes)[-1]].reshape(1, -1)
    return Trace(output, counts, None, {name: Raster(part) for name, part in spikes.items()})


@cache
def default_page() -> str:
    return render(record(), trace())


def headline(page: str) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', page)
    assert found
    return found[1].replace("\u00a0", " ")


class Tags(HTMLParser):
    """Collects start tags and text, and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no comparison": {"comparison": None},
    "differences": {"comparison": comparison(3)},
    "nothing optional": {"training": [], "gradients": {}, "attacks": {}, "warnings": [], "round_trip": {}},
    "no program form": {"forms": fields()["forms"][:2]},
    "one attack": {
        "forms": [form("float", "torch", {CLEAN: 3, ATTACK: 1}, 1.0, 4)],
        "attacks": {ATTACK: attack("pgd", 3)},
    },
    "only clean": {"forms": [form("program", "onnx", {CLEAN: 3}, 1.0, 4)], "attacks": {}},
    "trail": {"trail": trail(2, 4, 5)},
    "a trail of one point": {"trail": trail(3)},
    "gradients of attacks and weights": {
        "attacks": {ATTACK: attack("pgd", 10) | {"gradients": LOOKED}},
        "gradients": {
            "float": fields()["gradients"]["float"] | {"weights": WEIGHTS, "clean": LOOKED | {"samples": 19}}
        },
    },
    "all zero gradients": {"gradients": {"float": {"layers": {"lif1": {"input": 0.0, "output": 0.0}}, "hidden": 0.0}}},
}


@cache
def variant_page(name: str) -> str:
    return render(record(**VARIANTS[name]), trace())


@pytest.mark.parametrize("name", VARIANTS)
def test_tags_are_balanced_and_ids_unique(name: str) -> None:
    tags = parse(variant_page(name)).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    page = variant_page(name)
    parsed = parse(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "embed"}
    for _, attrs in parsed.tags:
        for key in ("src", "href", "xlink:href"):
            assert (attrs.get(key) or "#").startswith(("#", "data:image/png"))
    assert not re.search(r"url\((?!#)|@import", page)


def test_links_inside_the_page_lead_somewhere() -> None:
    tags = parse(default_page()).tags
    ids = {attrs["id"] for _, attrs in tags if "id" in attrs}
    links = {href[1:] for _, attrs in tags for key in ("href", "xlink:href") if (href := attrs.get(key))}
    assert links <= ids


def test_every_number_of_the_accuracy_table_is_in_the_page() -> None:
    text = parse(default_page()).text
    for each in record().forms:
        for found in each.conditions.values():
            for value in (found.accuracy.value, found.accuracy.low, found.accuracy.high):
                assert f"{100 * value:.1f}" in text
            if each.form != "float":
                assert f"{100 * found.same_as_float:.1f}" in text


def test_other_measurements_are_in_the_page() -> None:
    text = parse(default_page()).text
    for expected in ("pixel space, L-infinity", "Only 40 test samples.", "d" * 64, "0.123", "1,200", "0.1016", "0.625"):
        assert expected in text


def test_the_trail_is_in_the_page_as_a_plot_and_in_numbers() -> None:
    page = render(record(trail=trail(2, 4, 5)), trace())
    parsed = parse(page)
    plots = [attrs for tag, attrs in parsed.tags if tag == "svg"]
    assert len(plots) == 8
    assert "Zero-gradient share, clean accuracy and accuracy under pgd-10@0.1 over 5 epochs" in [
        attrs["aria-label"] for attrs in plots
    ]
    for point in trail(2, 4, 5).points:
        assert f"{point.zero_gradient:.3f}" in parsed.text
        for one in (point.clean, point.robust):
            assert f"{100 * one.value:.1f}{100 * one.low:.1f} to {100 * one.high:.1f}" in parsed.text
    assert "The trail" not in parse(default_page()).text


def test_gradients_of_attacks_and_weights_are_in_the_page() -> None:
    text = parse(variant_page("gradients of attacks and weights")).text
    for expected in ("17", "none, float", "19", "0.0123", "4.57", "0.891", "78.2", "0.321", "0.432", "\u2013"):
        assert expected in text
    assert "as attacks saw it" not in parse(default_page()).text


def test_plots_are_named_for_screen_readers() -> None:
    plots = [attrs for tag, attrs in parse(default_page()).tags if tag == "svg"]
    assert len(plots) == 7
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in plots)


def test_the_page_says_which_code_made_the_record_and_how() -> None:
    text = parse(default_page()).text
    assert "spikeproof evaluate DIR" in text
    assert "c" * 64 in text
    assert "e" * 40 in text
    assert ", with changes" not in text
    assert f"{'e' * 40}, with changes" in parse(render(record(dirty=True), trace())).text
    old = parse(render(record(code=None, revision=None, dirty=None, command=None), trace())).text
    assert "code, sha256unknown" in "".join(old.splitlines())


def test_equal_records_give_equal_pages() -> None:
    assert render(record(), trace()) == default_page()


def test_headline_names_the_strongest_attack_and_agreement() -> None:
    assert headline(default_page()) == (
        "As Loihi integers this network gets 87.5 % of 40 test images right (float 92.5 %) and 52.5 % under pgd-10@0.1 "
        "(float 57.5 %); loihi and onnx agree on all 2,400 compared values."
    )


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (None, "whether targets agree bit for bit was not checked"),
        (comparison(3), "but onnx does not agree with loihi: 3 of 2,400 compared values differ"),
        (comparison(program={"sha256": "of another"}), "made with another Program, so agreement is not known"),
    ],
)
def test_headline_claims_no_agreement_that_was_not_measured(compared: Comparison | None, words: str) -> None:
    found = headline(render(record(comparison=compared), trace()))
    assert words in found
    assert "agree on all" not in found


def test_headline_without_a_program_form_says_so() -> None:
    assert "nothing here is about the deployed network" in headline(
        render(record(forms=fields()["forms"][:2]), trace())
    )


def test_headline_names_target_and_samples_that_are_not_the_usual_ones() -> None:
    found = headline(render(record(forms=[record().forms[0], record().forms[3]]), trace()))
    assert "(target onnx)" in found
    assert "of 38 test images right (float 92.5 % of 40)" in found


def test_agreement_of_silent_networks_is_called_worthless() -> None:
    page = render(record(comparison=comparison(spikes=0)), trace())
    assert "agreement on spikes proves nothing" in page


def test_first_difference_is_shown() -> None:
    text = parse(render(record(comparison=comparison(3)), trace())).text
    assert "1, 2, 3" in text


def test_a_sum_that_can_wrap_is_marked() -> None:
    # 400,000 / 2 is beyond 2^17; 5,001 / 2 is not.
    assert parse(default_page()).text.count("can wrap") == 1


def test_overflow_that_no_target_exposes_is_not_shown_as_zero() -> None:
    text = parse(render(record(forms=[record().forms[3]]), trace())).text
    assert "No target of this run exposes overflow events." in text


def test_names_are_escaped() -> None:
    evil = "<b>x</b>\"'&$1$"
    changed = fields()["forms"] + [form("program", evil, {CLEAN: 30}, 0.75)]
    page = render(record(name=evil, threat_model=evil, warnings=[evil], forms=changed), trace())
    parsed = parse(page)
    assert "b" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(evil) >= 4


def test_many_spikes_do_not_make_a_large_page() -> None:
    large = trace({"lif1": (16, 32, 32), "lif2": (2000,), "lif3": (10,)}, steps=40)
    page = render(record(), large)
    assert len(page) < 1_500_000
    assert "data:image/png" in page
    assert "are shaded" in page


def test_a_trace_without_rasters_is_said_to_have_none() -> None:
    assert "No raster was recorded." in render(record(), trace({}))


def test_silent_read_out_is_a_tie() -> None:
    silent = Trace(np.zeros((1, 3), np.int64), {}, None, {"lif1": Raster(np.zeros((2, 1, 3), bool))})
    assert "class 0 with 0 spikes" in render(record(), silent)
    assert "a tie" in render(record(), silent)


@pytest.mark.parametrize("forms", [[], [form("float", "torch", {ATTACK: 3}, 1.0)]])
def test_a_record_without_clean_measurements_is_refused(forms: list[MeasuredForm]) -> None:
    with pytest.raises(InputError, match="clean"):
        render(record(forms=forms), trace())


def test_the_file_holds_the_page(tmp_path: Any) -> None:
    write_report(tmp_path / "report.html", record(), trace())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == default_page()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"report\.html"):
        write_report(tmp_path / "file" / "report.html", record(), trace())
