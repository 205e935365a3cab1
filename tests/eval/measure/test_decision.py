import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.measure.decision import decided, running
from spikeproof.eval.measure.forms import Deployed, Forms
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.task.regression import Regression
from spikeproof.toolkit.task.steps import Steps

RNG = np.random.default_rng(0)


def test_the_step_of_decision_is_the_first_from_which_all_are_right() -> None:
    labels = RNG.integers(0, 3, 300)
    outputs = RNG.integers(0, 4, (300, 5, 3)) + 2.0 * np.eye(3)[labels][:, None]
    right, steps = decided(outputs, labels)
    for sample, label in enumerate(labels):
        alone = [
            all(step[label] > other for place, other in enumerate(step) if place != label) for step in outputs[sample]
        ]
        assert right[sample].tolist() == alone
        wanted = next((first + 1 for first in range(5) if all(alone[first:])), 0)
        assert steps[sample] == wanted
    assert set(steps) == set(range(6))


@pytest.mark.parametrize("kind", ["spike_count", "first_spike", "membrane"])
def test_what_could_be_read_behind_each_step_is_what_a_shorter_run_would_give(kind: str) -> None:
    each = RNG.integers(0, 2, (20, 6, 4))
    found = running(each, kind)
    for sample, step, neuron in np.ndindex(each.shape):
        past = each[sample, : step + 1, neuron].tolist()
        wanted = {
            "membrane": past[-1],
            "spike_count": sum(past),
            "first_spike": 6 - past.index(1) if 1 in past else 0,
        }[kind]
        assert found[sample, step, neuron] == wanted


@pytest.fixture(scope="module")
def digits() -> sp.Dataset:
    return sp.load_data("digits", train_samples=300, test_samples=40)


@pytest.fixture(scope="module", params=["spikes", "membrane"])
def forms(request: pytest.FixtureRequest, digits: sp.Dataset) -> Forms:
    network = sp.build_network(digits, kind="mlp", hidden=[16], readout=request.param, threshold=0.5)
    sp.train(network, digits, epochs=3, rate=1e-2)
    return sp.deploy(network, digits, epochs=0)


def test_a_decision_ends_where_accuracy_does_and_forms_of_one_program_agree(forms: Forms, digits: sp.Dataset) -> None:
    before = forms.program.sha256()
    found = sp.decision(forms, digits, targets=("loihi", "onnx"))
    record = found.record
    assert [(form.form, form.target) for form in record.forms] == [
        ("float", "torch"),
        ("quantized", "torch"),
        ("program", "loihi"),
        ("program", "onnx"),
    ]
    trace = sp.run(forms.program, digits.test_images, coder=forms.network)
    program = record.forms[2]
    assert program.right.correct == int((trace.classes == digits.test_labels).sum())
    assert program.model_copy(update={"target": "onnx"}) == record.forms[3]
    assert 0 < program.decided.correct <= program.right.correct
    settled = [step for step in program.steps if step is not None]
    assert program.median == np.median(settled)
    assert program.by_step[-1] == pytest.approx(program.decided.value)
    assert record.start == forms.program.depths()[forms.program.readout.population] == 2
    assert "<table" in found.page()
    assert not forms.network.every_step
    assert forms.program.sha256() == before


def test_a_program_from_elsewhere_is_read_alone(forms: Forms, digits: sp.Dataset) -> None:
    found = sp.decision(Deployed(forms.program, forms.coder), digits, samples=20)
    assert [form.form for form in found.record.forms] == ["program"]
    assert found.record.samples == 20


def test_answers_that_are_no_classes_and_labels_at_every_step_are_refused(forms: Forms) -> None:
    x = RNG.integers(0, 2, (4, 3, 2, 1, 1))
    steps = sp.load_data("mine", arrays=(x, x[:, :, 0, 0, 0], x, x[:, :, 0, 0, 0]), task=Steps(2))
    with pytest.raises(InputError, match="every step of these data has a label"):
        sp.decision(forms, steps)
    images, numbers = RNG.uniform(0, 1, (4, 1, 2, 2)), RNG.normal(size=(4, 2))
    with pytest.raises(UnsupportedError, match="decision: is about classes"):
        sp.decision(forms, sp.load_data("mine", arrays=(images, numbers, images, numbers), task=Regression(2)))
