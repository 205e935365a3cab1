import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from spikeproof.eval.measure import METRICS
from spikeproof.eval.measure.metrics import Answered, FormMetric
from spikeproof.eval.measure.qualities import PSNR, SSIM, MeanAbsoluteError, ssim
from spikeproof.eval.records.base import mean_of
from spikeproof.export.program import Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.task import CLASSES, Task
from spikeproof.toolkit.task.regression import Picture, Regression, Upscaling
from spikeproof.toolkit.task.steps import Steps

RNG = np.random.default_rng(0)
TASK = Upscaling((1, 8, 8), 2)
STEPS = Steps(4)
"""The 256 answers are then those of 64 steps."""


def pair(task: Upscaling, samples: int = 5) -> tuple[np.ndarray, np.ndarray]:
    targets = RNG.uniform(0, 1, (samples, task.outputs))
    return targets + RNG.normal(0, 0.1, targets.shape), targets


def as_bytes(task: Upscaling, outputs: np.ndarray) -> np.ndarray:
    return np.rint(255 * task.images(outputs).clip(0, 1)).astype(np.uint8)[:, 0]


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    outputs, targets = pair(TASK)
    made, meant = as_bytes(TASK, outputs), as_bytes(TASK, targets)
    metrics = PSNR(), SSIM()
    for metric in metrics:
        metric.update(outputs, targets, TASK)
    decibels = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(made, meant, strict=True)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    alike = [structural_similarity(a, b, **options) for a, b in zip(made, meant, strict=True)]
    assert metrics[0].compute() == pytest.approx(np.mean(decibels))
    assert metrics[1].compute() == pytest.approx(np.mean(alike))


def test_small_images_have_a_flat_window_and_smaller_ones_none() -> None:
    a, b = RNG.uniform(0, 1, (2, 8, 8))
    assert ssim(a, b) == pytest.approx(structural_similarity(a, b, data_range=1.0, win_size=7))
    with pytest.raises(UnsupportedError, match="6 x 8 pixels, 7 x 7 needed"):
        ssim(a[:6], b[:6])


def test_pictures_are_measured_whole_and_without_a_border() -> None:
    places = ((0, 0, 0), (1, 0, 12), (2, 12, 0), (3, 12, 12))
    task = Upscaling((1, 8, 8), 2, margin=2, pictures=(Picture("first", (22, 20), places),))
    outputs, targets = pair(task, 4)
    metric = PSNR()
    metric.update(outputs, targets, task)
    made, meant = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
    for sample, top, left in places:
        for picture, parts in ((made, outputs), (meant, targets)):
            picture[top : top + 12, left : left + 12] = as_bytes(task, parts)[sample, 2:-2, 2:-2]
    cut = (slice(2, 20), slice(2, 18))
    expected = peak_signal_noise_ratio(meant[cut], made[cut], data_range=255)
    found = metric.compute()
    assert found == {"mean": pytest.approx(expected), "first": pytest.approx(expected)}
    few = PSNR()
    few.update(outputs[:3], targets[:3], task)
    assert list(few.compute()) == ["parts"]


def test_mean_absolute_error_is_that_of_numpy() -> None:
    outputs, targets = RNG.normal(size=(2, 7, 3))
    metric = MeanAbsoluteError()
    metric.update(outputs, targets, Regression(3))
    assert metric.compute() == pytest.approx(np.abs(outputs - targets).mean())


def kinds(task: Task) -> list[str]:
    return [name for name in METRICS.names() if METRICS.get(name).measures(task)]


def test_each_metric_says_for_which_tasks_it_is() -> None:
    of_all = ["spike rate", "synaptic operations"]
    assert kinds(CLASSES) == ["accuracy", *of_all]
    assert kinds(Regression(3)) == [*of_all, "MAE"]
    assert kinds(TASK) == [*of_all, "MAE", "PSNR", "SSIM"]


@pytest.mark.parametrize(
    ("task", "judged"),
    [
        (Upscaling((1, 3, 3), 2), False),
        (Upscaling((1, 7, 6), 1), False),
        (Upscaling((1, 7, 7), 1), True),
        (Upscaling((1, 5, 5), 2, margin=2), False),
        (Upscaling((1, 8, 8), 2, pictures=(Picture("small", (10, 20), ((0, 0, 0),)),)), False),
    ],
)
def test_ssim_says_beforehand_that_small_images_have_none(task: Upscaling, judged: bool) -> None:
    assert SSIM.measures(task) is judged
    metric = SSIM()
    few = np.full((1, task.outputs), 0.5)
    metric.update(few, few, task)
    if judged:
        assert metric.compute() == 1
    else:
        with pytest.raises(UnsupportedError, match="7 x 7 needed"):
            metric.compute()


def program() -> Program:
    eye = np.arange(TASK.outputs)
    first = Input(name="a", shape=(4, 8, 8), message_bits=8)
    wires = Sparse(source="a", target="b", shape=(256, 256), weight=np.full(256, 2), rows=eye, columns=eye)
    last = Population(name="b", shape=(4, 8, 8), du=4095, dv=0, vth=2**17 - 1, bias=np.zeros((4, 8, 8), int))
    return Program(
        input=first, populations=(last,), synapses=(wires,), readout=Readout(kind="membrane", population="b"), steps=1
    )


@pytest.mark.parametrize("name", METRICS.built_in)
def test_laws_of_every_metric(name: str) -> None:
    """Nothing measured is an error; batches add up; unit and direction are told; what is told is a number."""
    made, kind = program(), METRICS.get(name)
    task: Task = next(one for one in (TASK, STEPS, CLASSES) if kind.measures(one))
    messages = RNG.integers(0, 256, (1, 6, 4, 8, 8)).astype(np.int32)
    trace = LoihiTarget().compile(made).run(messages)
    known = RNG.uniform(0, 1, (6, 256)) if task is TASK else RNG.integers(0, 4, (6, 64)) if task is STEPS else None
    known = RNG.integers(0, 256, 6) if known is None else known
    outputs = trace.output / (128 * 255)
    with pytest.raises(InputError, match="nothing was measured"):
        kind.of(made).compute()
    assert isinstance(kind.unit, str)
    assert kind.unit
    assert kind.higher_is_better in (True, False, None)

    def seen(*parts: slice) -> FormMetric:
        metric = kind.of(made)
        for part in parts:
            run = LoihiTarget().compile(made).run(messages[:, part])
            metric.see(Answered(run, messages[:, part], known[part], made, outputs[part], task))
        return metric

    once, parts = seen(slice(0, 6)).compute(), seen(slice(0, 2), slice(2, 6)).compute()
    assert once == parts if not isinstance(once, float) else once == pytest.approx(parts)


def test_means_have_an_interval_and_name_the_worst() -> None:
    scores = RNG.normal(30, 2, 400)
    found = mean_of(scores, TASK.quality)
    half = 1.96 * scores.std() / 20
    assert (found.low, found.value, found.high) == pytest.approx(
        (scores.mean() - half, scores.mean(), scores.mean() + half)
    )
    assert found.worst == scores.min()
    assert mean_of(scores, Regression(1).quality).worst == scores.max()
