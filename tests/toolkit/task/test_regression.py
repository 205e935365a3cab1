import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.task import CLASSES
from spikeproof.toolkit.task.regression import EXACT, Regression, Upscaling

RNG = np.random.default_rng(0)


def test_outputs_are_pixels_in_the_order_of_a_pixel_shuffle() -> None:
    task = Upscaling((2, 3, 4), 3)
    outputs = np.arange(task.outputs, dtype=np.float32)[None]
    image = task.images(outputs)[0]
    parts = outputs.reshape(2, 3, 3, 3, 4)
    for channel, row, column in np.ndindex(2, 9, 12):
        assert image[channel, row, column] == parts[channel, row % 3, column % 3, row // 3, column // 3]
    assert np.array_equal(task.targets(image[None]), outputs)


def test_psnr_is_that_of_scikit_image_on_8_bits_inside_the_margin() -> None:
    task = Upscaling((1, 6, 5), 2, margin=2)
    outputs, targets = RNG.uniform(-0.1, 1.1, (4, task.outputs)), RNG.uniform(0, 1, (4, task.outputs))
    found = task.scores(outputs, targets)
    for score, made, meant in zip(found, task.images(outputs), task.images(targets), strict=True):
        a, b = (np.rint(255 * one.clip(0, 1)).astype(np.uint8)[0, 2:-2, 2:-2] for one in (made, meant))
        assert score == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255))
    assert task.scores(targets, targets).tolist() == [EXACT] * 4


def test_what_is_in_the_margin_changes_neither_loss_nor_score_nor_harm() -> None:
    task = Upscaling((1, 4, 4), 2, margin=1)
    image = RNG.uniform(0, 1, (3, 1, 8, 8)).astype(np.float32)
    other = image.copy()
    other[..., 0, :] = other[..., :, -1] = 0
    targets = task.targets(RNG.uniform(0, 1, (3, 1, 8, 8)).astype(np.float32))
    a, b = (task.targets(one) for one in (image, other))
    assert not np.array_equal(a, b)
    assert np.array_equal(task.scores(a, targets), task.scores(b, targets))
    for measure in (task.losses, task.harm):
        assert torch.equal(*(measure(torch.from_numpy(one), torch.from_numpy(targets)) for one in (a, b)))


def test_losses_are_l1_or_mse_as_a_recipe_says() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    task = Regression(2)
    assert task.trained_by("l1").loss(outputs, targets) == pytest.approx((1.5 + 0.5) / 2)
    assert task.trained_by("mse").loss(outputs, targets) == pytest.approx((2.5 + 0.5) / 2)
    assert task.scores(outputs.numpy(), targets.numpy()).tolist() == [1.5, 0.5]
    with pytest.raises(InputError, match=r"train\.loss: 'l1' is of targets that are numbers"):
        CLASSES.trained_by("l1")


@pytest.mark.parametrize(
    "targets",
    [np.zeros((3, 3)), np.zeros((2, 2)), np.full((3, 2), np.nan), np.full((3, 2), "a"), np.zeros(3, complex)],
)
def test_targets_that_do_not_fit_are_refused(targets: np.ndarray) -> None:
    with pytest.raises(InputError, match="here: "):
        Regression(2).check(targets, "here", 3)


@pytest.mark.parametrize(
    ("task", "given", "wanted"), [(Regression(1), 2, 1), (Regression(2), 1, 2), (Upscaling((1, 4, 4), 2), 16, 64)]
)
@pytest.mark.parametrize("measure", ["loss", "losses", "harm", "total"])
def test_outputs_of_another_width_are_refused_not_broadcast(
    task: Regression, given: int, wanted: int, measure: str
) -> None:
    outputs, targets = torch.rand(3, given), torch.rand(3, wanted)
    message = f"the network gives {given} numbers a sample, the data has {wanted} targets"
    with pytest.raises(InputError, match=message):
        getattr(task, measure)(outputs, targets)
    with pytest.raises(InputError, match=message):
        task.scores(outputs.numpy(), targets.numpy())
    with pytest.raises(InputError, match="shape"):
        task.scores(np.zeros((1, wanted)), targets.numpy())


def test_what_is_about_classes_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="prove: is about classes, and the task of these data is upscaling"):
        Upscaling((1, 4, 4), 2).needs_classes("prove")
    CLASSES.needs_classes("prove")


def test_classes_lose_what_pytorch_says() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert torch.equal(CLASSES.harm(logits, labels), expected)
    assert torch.equal(CLASSES.loss(logits, labels), torch.nn.functional.cross_entropy(logits, labels))
    right = logits.numpy().argmax(1) == labels.numpy()
    assert CLASSES.scores(logits.numpy(), labels.numpy()).tolist() == right.astype(float).tolist()
