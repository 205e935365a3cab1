"""Protocols of one's own, and measuring without a run folder: a network, a Program, or all forms of a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.robustness import FormResult
from spikeproof.eval.robustness.protocol import measure
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.robustness import robustness
from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import Access
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise, Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.protocol import Protocol
from spikeproof.toolkit.attacks.spikes import SpikeFlip, SpikeNoise
from spikeproof.toolkit.coding import Direct, Phase
from spikeproof.toolkit.errors import InputError

SAMPLES = 12
Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Brighten(BallAttack):
    """All pixels brighter, or darker: an attack that this package does not know."""

    name: ClassVar[str] = "brighten"
    access: ClassVar[Access] = "no access"
    sign: int = 1

    def run(self, model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return images + np.float32(self.sign * self.epsilon)


def mine(epsilon: float = 0.1, **others: Any) -> Protocol:
    return Protocol(
        name="mine",
        attacks=[Brighten(epsilon=epsilon), PGD(epsilon=epsilon, steps=3), Square(epsilon=epsilon, queries=5)],
        **{
            "transfers": [FGSM(epsilon=epsilon)],
            "deployed": [HopSkipJump(epsilon=epsilon, steps=1, queries=10)],
            **others,
        },
    )


def facts(form: FormResult) -> dict[str, Any]:
    """Return a result without times."""
    found = form.model_dump(exclude={"seconds"})
    return {**found, "attacks": [{**one, "seconds": 0} for one in found["attacks"]]}


@pytest.fixture(scope="module")
def run(finished: Path) -> Run:
    return Run.open(finished)


@pytest.fixture(scope="module")
def forms(run: Run) -> Forms:
    return run.forms()


@pytest.fixture(scope="module")
def samples(run: Run) -> Samples:
    data = run.data()
    return data.test_images[:SAMPLES], data.test_labels[:SAMPLES]


@pytest.fixture
def module() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_any_module_under_ones_own_attacks(module: nn.Module, samples: Samples) -> None:
    labels = module(torch.from_numpy(samples[0])).argmax(1).numpy()
    found = measure(module, samples[0], labels, protocol=mine(cascade=True), name="linear")
    (form,) = found.forms
    assert found["linear"] is form
    assert form.clean.value == 1
    assert [one.label for one in form.attacks] == ["pgd-3@0.1", "brighten@0.1", "square-5@0.1"]
    brighter = np.clip(samples[0] + np.float32(0.1), 0, 1)
    answers = module(torch.from_numpy(brighter)).argmax(1).numpy()
    assert (np.array(list(form.attacks[1].outcomes)) == "x").tolist() == (answers != labels).tolist()
    assert form.attacks[2].tried == form.attacks[1].after.correct
    assert form.probes is not None
    assert f"{100 * form.worst.value:.1f} %" in found.summary
    assert "mine" in repr(found)
    assert found.epsilon == 0.1
    wider = measure(module, samples[0], labels, protocol=mine(0.05), epsilon=0.1, seed=3)
    assert {one.settings["epsilon"] for one in wider.forms[0].attacks} == {0.1}
    assert {one.settings["seed"] for one in wider.forms[0].attacks} == {3}
    assert measure(module, samples[0], labels, protocol=mine(probes=False)).forms[0].probes is None


def test_all_forms_get_what_the_protocol_says(forms: Forms, samples: Samples) -> None:
    found = measure(
        forms.network,
        *samples,
        quantized=forms.quantized,
        program=forms.program,
        protocol=mine(),
        targets=["onnx"],
    )
    assert [form.form for form in found.forms] == ["float", "quantized", "program"]
    everywhere = ["pgd-3@0.0980392", "brighten@0.0980392", "square-5@0.0980392"]  # 25 of 255 levels.
    assert found.epsilon == 25 / 255
    assert [one.label for one in found["float"].attacks] == everywhere
    assert [one.label for one in found["quantized"].attacks] == everywhere
    labels = [one.label for one in found["program"].attacks]
    moved = ["transfer-float-fgsm@0.0980392"]
    moved += ["found-on-float-pgd-3@0.0980392", "found-on-float-square-5@0.0980392"]
    assert labels == [everywhere[0], *moved, *everywhere[1:], "hopskipjump-1@0.0980392"]
    assert found["program"].judged["onnx"].same == 2 * SAMPLES


def test_without_a_folder_the_same_is_found_as_in_one(run_folder: Path, forms: Forms, samples: Samples) -> None:
    record = robustness(Run.open(run_folder), "quick", samples=SAMPLES, seed=2)
    found = measure(forms.network, *samples, quantized=forms.quantized, program=forms.program, protocol="quick", seed=2)
    assert [facts(form) for form in found.forms] == [facts(form) for form in record.forms]
    assert (found.threat_model, found.epsilon, found.summary) == (record.threat_model, record.epsilon, record.summary)


def test_a_program_alone_is_attacked_through_its_twin(forms: Forms, samples: Samples) -> None:
    alone = measure(forms.program, *samples, protocol="quick")
    both = measure(forms.network, *samples, program=forms.program, protocol="quick")
    (form,) = alone.forms
    assert (form.form, form.target) == ("program", "loihi")
    assert [one.access for one in form.attacks] == ["white box", "no access"]
    assert form.attacks[0].outcomes == both["program"].attacks[0].outcomes
    assert form.probes == both["program"].probes
    assert facts(measure(None, *samples, program=forms.program, protocol="quick").forms[0]) == facts(form)


def test_a_run_takes_ones_own_protocol_and_its_threat_model(run_folder: Path) -> None:
    run = Run.open(run_folder)
    record = robustness(run, mine(0.2, cascade=True), targets=["torch"], samples=6)
    assert (record.protocol, record.threat, record.cascade, record.asked, record.levels) == (
        "mine",
        "pixel",
        True,
        0.2,
        51,
    )
    coded = Protocol(name="coded", attacks=[Noise(epsilon=0.05, space="encoded")], probes=False)
    assert robustness(run, coded, targets=["torch"], samples=6).threat == "encoded"
    assert (run_folder / "robustness-encoded.json").exists()
    spikes = Protocol(name="spikes", attacks=[SpikeFlip(budget=3), SpikeNoise(budget=3)])
    with pytest.raises(InputError, match="the direct coder sends no spikes"):
        robustness(run, spikes, samples=6)


def test_spikes_of_any_coder_are_edited_without_a_folder(samples: Samples) -> None:
    class Coded(nn.Module):
        """Answers coded input (time, batch, ...) by its first entries."""

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            total = inputs.sum(0).flatten(1)
            return torch.stack([total[:, ::2].sum(1), total[:, 1::2].sum(1)], 1)

    protocol = Protocol(name="edits", attacks=[SpikeFlip(budget=40, steps=2), SpikeNoise(budget=40)])
    labels = np.zeros(SAMPLES, np.int64)
    found = measure(Coded(), *(samples[0], labels), protocol=protocol, coder=Phase(8))
    assert (found.threat, found.epsilon) == ("encoded-binary", 40)
    assert {one.settings["unit"] for one in found["float"].attacks} == {"spikes"}
    assert found["float"].attacks[0].broken >= found["float"].attacks[1].broken


def test_what_is_refused(module: nn.Module, forms: Forms, samples: Samples) -> None:
    with pytest.raises(InputError, match="nothing to attack: no network and no Program"):
        measure(None, *samples)
    with pytest.raises(InputError, match="program: given twice"):
        measure(forms.program, *samples, program=forms.program)
    with pytest.raises(InputError, match="expected one of quick, standard, strong"):
        measure(module, *samples, protocol="heroic")
    with pytest.raises(InputError, match="threat model 'pixel', not 'encoded'"):
        measure(module, *samples, protocol=mine(), threat="encoded", coder=Direct(4))
    with pytest.raises(InputError, match="coder: not known of this module"):
        measure(module, *samples, protocol="quick", threat="pixel")
    with pytest.raises(InputError, match="epsilon"):
        measure(module, *samples, protocol="quick", epsilon=2.0)
