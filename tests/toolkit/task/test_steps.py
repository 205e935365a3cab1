import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.neurons import LI
from spikeproof.toolkit.settings import ModelSettings
from spikeproof.toolkit.task import CLASSES
from spikeproof.toolkit.task.steps import UNLABELLED, Steps

RNG = np.random.default_rng(0)
BATCH, TIME, CLASSES_OF_A_STEP = 5, 7, 3


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(-1, CLASSES_OF_A_STEP, (BATCH, TIME))
    labels[:, 0] = 1
    return RNG.normal(size=(BATCH, TIME * CLASSES_OF_A_STEP)).astype(np.float32), labels


def test_the_loss_is_the_cross_entropy_of_labelled_steps_one_by_one(answers: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, labels = answers
    task = Steps(CLASSES_OF_A_STEP)
    found = task.losses(torch.from_numpy(outputs), torch.from_numpy(labels))
    for sample in range(BATCH):
        each = [
            float(
                nn.functional.cross_entropy(torch.from_numpy(outputs[sample, 3 * t : 3 * t + 3]), torch.tensor(label))
            )
            for t, label in enumerate(labels[sample])
            if label != UNLABELLED
        ]
        assert float(found[sample]) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(task.loss(torch.from_numpy(outputs), torch.from_numpy(labels))) == pytest.approx(float(found.mean()))


def test_scores_are_counted_step_by_step_ties_to_the_lowest_class(answers: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, labels = answers
    outputs[0, :3] = 1.0
    found = Steps(CLASSES_OF_A_STEP).scores(outputs, labels)
    for sample in range(BATCH):
        known = [(t, label) for t, label in enumerate(labels[sample]) if label != UNLABELLED]
        right = [int(np.argmax(outputs[sample, 3 * t : 3 * t + 3])) == label for t, label in known]
        assert found[sample] == pytest.approx(np.mean(right))
    assert Steps(3).right(outputs, labels)[0, 0] == (labels[0, 0] == 0)


def test_steps_without_a_label_have_no_gradient(answers: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, labels = answers
    x = torch.from_numpy(outputs).requires_grad_()
    Steps(CLASSES_OF_A_STEP).total(x, torch.from_numpy(labels)).backward()
    assert x.grad is not None
    touched = (x.grad.view(BATCH, TIME, -1) != 0).any(2).numpy()
    assert np.array_equal(touched, labels != UNLABELLED)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((4, 7)), "expected integers"),
        (np.zeros((3, 7), dtype=int), "expected integers"),
        (np.zeros(4, dtype=int), "the class of each step"),
        (np.full((4, 7), 3), "label 3 of sample 0 at step 0"),
        (np.full((4, 7), -2), "label -2 of sample 0"),
        (np.full((4, 7), UNLABELLED), "sample 0 has no label at any step"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Steps(3).check(labels, "y", 4)


def test_what_answers_once_is_refused_with_the_way_out() -> None:
    labels = np.zeros((2, 4), dtype=int)
    with pytest.raises(InputError, match="build it with every_step = true"):
        Steps(3).scores(np.zeros((2, 3)), labels)
    with pytest.raises(InputError, match="steps have cross-entropy"):
        Steps(3).trained_by("l1")
    with pytest.raises(InputError, match="expected 2 or more"):
        Steps(1)


def _sequences(samples: int) -> tuple[np.ndarray, np.ndarray]:
    return RNG.integers(0, 2, (samples, 4, 2, 1, 1)), RNG.integers(0, 2, (samples, 4))


def test_a_network_answers_as_often_as_the_task_wants_or_is_refused() -> None:
    train, test = _sequences(6), _sequences(4)
    data = sp.load_data("mine", arrays=(*train, *test), task=Steps(2))
    network = sp.build_network(data, coder="events", kind="mlp", hidden=[3])
    assert network.every_step
    assert network(torch.from_numpy(data.test_images)).shape == (4, 8)
    once = sp.build_network(data, coder="events", kind="mlp", hidden=[3], every_step=False)
    with pytest.raises(InputError, match=r"model\.every_step: .* task .* steps, .* set every_step = true"):
        sp.train(once, data, epochs=1)
    plain = sp.load_data("mine", arrays=(train[0], train[1][:, -1], test[0], test[1][:, -1]))
    with pytest.raises(InputError, match="set every_step = false"):
        sp.train(network, plain, epochs=1)
    with pytest.raises(InputError, match="a label at every step needs sequences"):
        sp.load_data("mine", arrays=(train[0][:, :3], train[1], test[0][:, :3], test[1]), task=Steps(2))
    assert not CLASSES.by_step


def test_a_leaky_membrane_is_that_of_its_equation_in_one_product_and_step_by_step() -> None:
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    layer = LI(0.7)
    v = np.zeros((2, 3))
    wanted = []
    for now in x.numpy():
        v = 0.7 * v + now
        wanted.append(v)
    step = layer.stepper()
    assert np.allclose(layer(x).numpy(), wanted)
    assert np.allclose(torch.stack([step(now) for now in x]).numpy(), wanted)
    assert np.allclose(LI(0.0)(x).numpy(), x.numpy())
    with pytest.raises(InputError, match="expected 0 to 1"):
        LI(1.1)


def test_the_factor_of_what_is_read_belongs_to_membranes() -> None:
    with pytest.raises(ValueError, match="'readout_beta' belongs to readout"):
        ModelSettings(readout_beta=0.9)
