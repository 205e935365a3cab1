import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from spikeproof.eval.measure.by_step import BalancedAccuracy, StepAccuracy
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.task import CLASSES
from spikeproof.toolkit.task.steps import UNLABELLED, Steps

RNG = np.random.default_rng(0)


def test_shares_of_steps_are_those_of_scikit_learn() -> None:
    task = Steps(4)
    labels = RNG.choice([UNLABELLED, 0, 1, 3], (12, 9), p=[0.2, 0.5, 0.2, 0.1])
    outputs = RNG.normal(size=(12, 9 * 4))
    accuracy, balanced = StepAccuracy(), BalancedAccuracy()
    for part in (slice(5), slice(5, 12)):
        for metric in (accuracy, balanced):
            metric.update(outputs[part], labels[part], task)
    known = labels != UNLABELLED
    given, wanted = outputs.reshape(12, 9, 4).argmax(2)[known], labels[known]
    assert accuracy.compute() == pytest.approx(accuracy_score(wanted, given))
    found = balanced.compute()
    # A class without a step has no share; scikit-learn warns of it and leaves it out, too.
    present = np.unique(wanted)
    assert found["mean"] == pytest.approx(np.mean(recall_score(wanted, given, labels=present, average=None)))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found["mean"] == pytest.approx(balanced_accuracy_score(wanted, given))
    assert sorted(found) == ["class 0", "class 1", "class 3", "mean"]


def test_they_are_of_steps_alone_and_need_some() -> None:
    for kind in (StepAccuracy, BalancedAccuracy):
        assert kind.measures(Steps(2))
        assert not kind.measures(CLASSES)
        with pytest.raises(InputError, match="nothing was measured"):
            kind().compute()
