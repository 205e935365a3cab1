"""The verbs on data whose targets are numbers: modules of one's own, and what is refused with a way out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.task.regression import Regression

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.3, 0.7, (12, 1, 3, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(1, 9)).astype(np.float32)
EPSILON = 0.05


class Line(nn.Module):
    """The weighted sum of what it receives."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(WEIGHTS / np.float32(scale)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


def numbers(outputs: int, images: np.ndarray = IMAGES) -> sp.Dataset:
    # So far below the answers that every step leads up.
    targets = np.repeat(images.reshape(len(images), 9) @ WEIGHTS.T - 3, outputs, axis=1)
    return sp.load_data("sums", arrays=(images, targets, images, targets), task=Regression(outputs))


@pytest.mark.parametrize(
    ("attack", "settings", "dual"),
    [
        ("pgd", {"steps": 9}, 1),
        ("fgsm", {}, 1),
        ("pgd", {"steps": 9, "step": 0.02, "norm": "l2"}, 2),
        ("fgsm", {"norm": "l2"}, 2),
    ],
)
def test_a_linear_module_of_ones_own_loses_what_its_weights_say(
    attack: str, settings: dict[str, Any], dual: int
) -> None:
    data = numbers(1)
    found = sp.attack(Line(), data, attack, epsilon=EPSILON, **settings)
    assert found.scores == pytest.approx(3 + EPSILON * float(np.linalg.norm(WEIGHTS[0], dual)), rel=1e-3)
    assert found.distance == pytest.approx(EPSILON, rel=1e-3)
    with torch.no_grad():
        answers = Line()(torch.from_numpy(found.images)).numpy()
    assert np.abs(answers - data.test_labels).mean(1) == pytest.approx(found.scores, rel=1e-5)


def test_examples_and_distances_are_in_the_units_of_the_module() -> None:
    # The same line on inputs of [0, 1] that the module reads as [-2, 2]: x = 4 u - 2.
    data = numbers(1)
    wide = sp.attack(Line(), data, "fgsm", epsilon=4 * EPSILON, bounds=(-2, 2))
    assert wide.distance == pytest.approx(4 * EPSILON, rel=1e-3)
    assert np.abs(wide.images - data.test_images).max() == pytest.approx(4 * EPSILON, rel=1e-3)
    assert wide.images.shape == data.test_images.shape
    assert wide.scores == pytest.approx(3 + 4 * EPSILON * float(np.abs(WEIGHTS).sum()), rel=1e-3)


def test_images_keep_their_own_shape_and_their_number() -> None:
    made = sp.attack(Line(), numbers(1), "pgd", epsilon=EPSILON, steps=2, samples=5)
    assert (made.images.shape, made.scores.shape) == ((5, 1, 3, 3), (5,))


def network(data: sp.Dataset) -> Any:
    return sp.build_network(data, kind="mlp", hidden=[4], readout="membrane", gain=1.0)


def test_a_network_of_another_width_is_refused_by_every_verb() -> None:
    one, two = numbers(1), numbers(2)
    for made, data, message in (
        (network(two), one, "the network gives 2 numbers a sample, the data has 1 targets"),
        (network(one), two, "the network gives 1 numbers a sample, the data has 2 targets"),
    ):
        with pytest.raises(InputError, match=message):
            sp.train(made, data, epochs=1)
        with pytest.raises(InputError, match=message):
            sp.attack(made, data, "pgd", epsilon=EPSILON, steps=2)
        forms = sp.Forms(made, (quantized := sp.quantize(made)), sp.lower(quantized, data.shape))
        with pytest.raises(InputError, match=message):
            sp.robustness(forms, data, "quick")
        with pytest.raises(InputError, match=message):
            sp.compare(forms, data)
    with pytest.raises(InputError, match="the network gives 1 numbers a sample, the data has 2 targets"):
        sp.attack(Line(), two, "pgd", epsilon=EPSILON, steps=2)


@pytest.mark.parametrize("victim", [Line(), network(numbers(1))], ids=["module", "ours"])
def test_arrays_alone_name_the_way_out_and_the_way_is_one(victim: nn.Module) -> None:
    data = numbers(1)
    for targets in (data.test_labels, data.test_labels[:, 0]):
        with pytest.raises(InputError, match=r"sp\.load_data\(\.\.\., arrays=.*task=Regression\(1\)"):
            sp.attack(victim, (IMAGES, targets), "pgd", epsilon=EPSILON, steps=2)
        told = sp.load_data(arrays=(IMAGES, targets, IMAGES, targets), task=Regression(1))
        assert len(sp.attack(victim, told, "pgd", epsilon=EPSILON, steps=2).scores) == len(IMAGES)


def test_robustness_of_a_module_alone_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"task of these data is regression; sp\.attack\(module, data, 'pgd'"):
        sp.robustness(Line(), numbers(1), "quick")


def test_the_command_in_a_record_is_all_that_was_asked_for() -> None:
    data = numbers(1)
    made = network(data)
    quantized = sp.quantize(made)
    forms = sp.Forms(made, quantized, sp.lower(quantized, data.shape))
    asked: dict[str, Any] = {"epsilon": 0.02, "samples": 3, "targets": ["loihi"], "threat": "pixel", "seed": 7}
    command = sp.robustness(forms, data, "quick", **asked).record.command
    for name, value in asked.items():
        assert f"{name}={value!r}" in command


def deployed(data: sp.Dataset, weight: float | None = None) -> sp.Forms:
    made = network(data)
    if weight is not None:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.fill_(weight)
    quantized = sp.quantize(made)
    return sp.Forms(made, quantized, sp.lower(quantized, data.shape))


def test_robustness_stands_beside_what_it_costs() -> None:
    data = numbers(1)
    forms = deployed(data)
    attacked = sp.robustness(forms, data, "quick", epsilon=0.02)
    assert isinstance(attacked, sp.Shown)
    shown = sp.compare(forms, data, robustness=attacked)
    (row,) = (row for row in shown.rows if "worst case" in row["quantity"])
    assert (row["quantity"], row["unit"]) == ("MAE, worst case, protocol quick", "unit of the targets")
    assert row["Program · loihi"] == attacked.record.forms[-1].worst.value
    assert "MAE, worst case, protocol quick" in shown.page()


def test_answers_that_never_change_are_no_robustness() -> None:
    data = numbers(1)
    found = sp.robustness(deployed(data, 0.0), data, "quick", epsilon=0.02)
    assert isinstance(found, sp.Shown)
    for form in found.record.forms:
        assert form.worst.value == form.clean.value
        assert any("gradient at the image is 0 on all 12 samples" in note for note in form.notes)
        assert any("noise takes as much" in note for note in form.notes)
    page = found.page()
    assert "gradient at the image is 0 on all 12 samples" in page
    assert all("gradient" in row["notes"] for row in found.rows)


def test_a_network_that_attacks_move_has_no_such_note() -> None:
    data = numbers(1, RNG.uniform(0, 1, (200, 1, 3, 3)).astype(np.float32))
    made = sp.build_network(data, kind="mlp", hidden=[32], readout="membrane", gain=1.0)
    sp.train(made, data, epochs=15, rate=1e-2, batch=32)
    quantized = sp.quantize(made)
    forms = sp.Forms(made, quantized, sp.lower(quantized, data.shape))
    record = sp.robustness(forms, data, "quick", epsilon=0.1, samples=20).record
    assert record.forms[0].worst.value > record.forms[0].clean.value
    assert record.forms[0].notes == []
    assert "notes" not in record.model_dump()["forms"][0]


def test_what_right_means_stands_in_record_page_and_title() -> None:
    data = numbers(1)
    said = "Answers are no classes (task regression): 'right', and so accuracy, means a MAE no more than 10% worse"
    found = sp.sensitivity(deployed(data), data, bits=[4])
    assert found.record.notes[0].startswith(said)
    assert said in found.title
    assert "means a MAE no more than 10% worse" in found.page()
