"""Training with a seed on Lightning Fabric: the same recipe gives the same network, also after an interruption."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as Samples

from .checkpoint import learned, load_state, save_state
from .code import code_hash
from .data import Images
from .defences.base import Batch, Defence, Gradients
from .errors import FileError, InputError, OtherProcessError
from .extras import extra
from .network.network import SpikingNetwork
from .progress import Track, silent
from .settings import TrainSettings
from .task import CLASSES, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (batch, classes) and labels, as the data give them, to a number."""
MOST_THREADS = 4096
"""A state that asks for more is damaged."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training gave: mean loss and quality on the training images as they were seen.

    ``accuracy`` is the quality of classes, ``quality`` the mean of that of another task; the other one is None.
    ``threads`` is how many torch added in: the order of a sum, so that the weights depend on it. None in older files.
    """

    epoch: int
    loss: float
    accuracy: float | None = None
    threads: int | None = None
    quality: float | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """What files keep of it."""
        return {name: value for name, value in vars(self).items() if value is not None or name == "threads"}


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch add in so many threads inside the block; None: in as many as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch inside the block; outside, their states are what they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def make_fabric(settings: TrainSettings) -> "Fabric":
    """Return Fabric on the recipe's devices and precision.

    Raises:
        InputError: this machine does not have them.
    """
    if settings.accelerator == "cuda" and torch.cuda.device_count() < settings.devices:
        raise InputError(
            f"train.devices: {settings.devices} CUDA devices asked for, {torch.cuda.device_count()} found; "
            'set train.accelerator = "cpu"'
        )
    with extra("train"):
        from lightning_fabric import Fabric
    try:
        return Fabric(accelerator=settings.accelerator, devices=settings.devices, precision=settings.precision)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"train.accelerator, train.devices, train.precision: {error}") from error


def _flipped(images: Tensor) -> Tensor:
    """Return images (batch, ..., width), each mirrored left to right with probability 1/2."""
    turned = torch.rand(len(images)).lt(0.5).to(images.device)
    return torch.where(turned.view(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)


def _pair(given: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch that a loader of the user's gives."""
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(isinstance(part, Tensor) for part in given):
        raise InputError("training data: expected batches of two tensors, images and labels")
    images, labels = given
    if not images.is_floating_point() or len(images) != len(labels):
        raise InputError(
            f"training data: a batch of {len(images)} images of {images.dtype} and {len(labels)} labels; expected as "
            "many, images as floats in [0, 1]"
        )
    return images, labels


def _loader(images: Any, labels: NDArray[Any] | None, batch: int, order: torch.Generator) -> DataLoader[Any]:
    """Return what gives the batches: the user's own loader, or one that shuffles."""
    if isinstance(images, DataLoader):
        try:
            len(images)
        except TypeError as error:
            raise InputError("training data: a loader of unknown length; the learning rate needs to know it") from error
        return images
    data = images if labels is None else TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return DataLoader(data, batch, shuffle=True, generator=order)


def step_gradients(
    batch: Batch,
    defences: Sequence[Defence],
    backward: Callable[[Tensor], Any],
    optimizer: torch.optim.Optimizer,
    criterion: Loss,
) -> Tensor:
    """Compute the gradients of all weights for one batch, inside of what defences do around it, and return its loss.

    Args:
        batch: as the inputs of the defences left it.
        defences: in order.
        backward: of a loss.
        optimizer: whose gradients are cleared first.
        criterion: the loss of logits and labels.

    Raises:
        InputError: the loss is no number, or NaN.
    """

    def plainly() -> Tensor:
        if any(defence.needs_input_gradient for defence in defences):
            batch.images = batch.images.detach().requires_grad_()
        batch.logits = batch.model(batch.images)
        loss = criterion(batch.logits, batch.labels)
        if not isinstance(loss, Tensor) or loss.dim():
            raise InputError(f"loss: gave {loss!r:.60}, expected a tensor of one number")
        for term in (defence.loss(batch) for defence in defences):
            loss = loss if term is None else loss + term
        if not math.isfinite(loss.item()):
            raise InputError(f"train.rate: the loss became {loss.item()} in epoch {batch.epoch + 1}; lower the rate")
        optimizer.zero_grad()
        backward(loss)
        return loss

    compute: Gradients = plainly
    for defence in reversed(defences):
        compute = partial(defence.around, batch, compute)
    return compute()


def check_answers(network: SpikingNetwork, task: Task) -> None:
    """Check that a network answers as often as a task wants it to.

    Raises:
        InputError: it answers once and labels are of steps, or the other way round.
    """
    if network.every_step != task.by_step:
        told = "at every step" if task.by_step else "once a sample"
        raise InputError(
            f"model.every_step: the task of these data is {task.name}, which is answered {told}; set every_step = "
            f"{str(task.by_step).lower()}"
        )


def train_network(
    network: SpikingNetwork,
    images: "Images | Samples[Any] | DataLoader[Any]",
    labels: NDArray[Any] | None,
    settings: TrainSettings,
    *,
    epochs: int,
    rate: float,
    defences: Sequence[Defence] = (),
    state: Path | None = None,
    identity: str = "",
    loss: Loss | None = None,
    task: Task = CLASSES,
    what: str = "train",
    track: Track = silent,
    after_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Minimise the loss of a task, by default cross-entropy, or another loss, with Adam.

    Over all K batches rate(k) = rate (1 + cos(pi k / K)) / 2, unless the schedule is constant.

    Args:
        network: trained in place, left in evaluation mode on the CPU.
        images: (samples, channels, height, width); or PyTorch's own: a data set of (image, label), or a loader of
            (images, labels), whose batches are taken as they come.
        labels: (samples,), or targets (samples, outputs) of a task; None where ``images`` brings its own.
        settings: seed, batch size and devices.
        epochs: how many.
        rate: the initial learning rate.
        defences: hooks into every step, see :class:`.defences.base.Defence`.
        state: file that holds the training state after each epoch; training resumes from it and removes it at the end.
        identity: hash of recipe and data; a state with another one is refused.
        loss: in the place of the task's; defences add their terms to it.
        task: what outputs are for.
        what: label of the progress bar.
        track: progress.
        after_epoch: called after every epoch, its state being safe; after a resumption, called for the last one again.
            It may put the network into evaluation mode.

    Returns:
        One entry an epoch, those before a resumption included.

    Raises:
        FileError: ``state`` is damaged, belongs to another recipe or other data, or was begun by other code.
        InputError: the loss became NaN or is no number, the devices are absent, or a loader's batches are no images
            with labels.
        OtherProcessError: several devices: in every process but the first, once its share is done.
    """
    task = task.trained_by(settings.loss)
    check_answers(network, task)
    if not task.classed and defences:
        task.needs_classes(f"defence {defences[0].name!r}")
    if not task.classed and settings.flip:
        raise InputError("train.flip: mirrors images and not their targets; leave it out where targets are numbers")
    fabric = make_fabric(settings)
    fabric.launch()
    network.once, network.checkpointing = settings.once, settings.checkpointing
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=settings.weight_decay)
    history: list[Epoch] = []
    if state is not None and state.exists():
        header = load_state(state, network, optimizer)
        if header.get("identity") != identity:
            raise FileError(f"{state}: belongs to another recipe or other data; delete it to start over")
        if header.get("code") != code_hash():
            # Half of the epochs by one code and half by another: nobody could train that network again.
            raise FileError(
                f"{state}: begun by other code than this one; go on with the spikeproof that began it, or delete the "
                "file to start over"
            )
        try:
            history = [Epoch(**entry) for entry in header["history"]]
            if not all(entry.threads is None or 1 <= entry.threads <= MOST_THREADS for entry in history):
                raise TypeError
        except (KeyError, TypeError) as error:
            raise FileError(f"{state}: its history is damaged; delete it to start over") from error
    order = torch.Generator()
    loader: Any = fabric.setup_dataloaders(_loader(images, labels, settings.batch, order))
    model, optimizer = fabric.setup(network, optimizer)
    total = epochs * len(loader)
    if history and after_epoch is not None:
        # Whoever stopped the training may have done so before this was told, or while.
        after_epoch(history[-1])

    # A training that was interrupted goes on in as many threads as it began: any other number gives other weights.
    with seeded(settings.seed), threads(history[-1].threads if history else None):
        for epoch in track(range(len(history), epochs), what, epochs - len(history)):
            # The order of an epoch depends on seed and epoch alone, so a resumed run repeats it.
            order.manual_seed(settings.seed * 100_003 + epoch)
            if hasattr(loader.sampler, "set_epoch"):
                loader.sampler.set_epoch(epoch)
            # So do the random numbers that defences draw.
            torch.manual_seed(settings.seed * 100_003 + epoch)
            model.train()
            loss_sum, scores, seen = 0.0, 0.0, 0
            for index, (x, y) in enumerate(map(_pair, loader)):
                for group in optimizer.param_groups if settings.schedule == "cosine" else ():
                    group["lr"] = rate * (1 + math.cos(math.pi * (epoch * len(loader) + index) / total)) / 2
                shown = _flipped(x) if settings.flip else x
                batch = Batch(model, network, shown, y, epoch, done := epoch * len(loader) + index, done / total)
                for defence in defences:
                    batch.images = defence.inputs(batch)
                found = step_gradients(batch, defences, fabric.backward, optimizer, loss or task.loss)
                optimizer.step()
                for defence in defences:
                    defence.after_step(network)
                loss_sum += found.item() * len(y)
                shown_as = batch.logits.detach().float().cpu().numpy()
                scores += float(task.scores(shown_as, y.cpu().numpy()).sum())
                seen += len(y)
            # Spikes are 0 or 1, so the loss can look healthy while the weights no longer are.
            if not all(bool(torch.isfinite(tensor).all()) for tensor in learned(network).values()):
                raise InputError(f"train.rate: weights became infinite or NaN in epoch {epoch + 1}; lower the rate")
            told = {"accuracy" if task.classed else "quality": scores / seen}
            history.append(Epoch(epoch + 1, loss_sum / seen, threads=torch.get_num_threads(), **told))
            if state is not None and fabric.is_global_zero:
                entries = [entry.entry for entry in history]
                save_state(
                    state, network, optimizer.optimizer, {"identity": identity, "code": code_hash(), "history": entries}
                )
            if after_epoch is not None:
                after_epoch(history[-1])
    fabric.barrier()
    if not fabric.is_global_zero:
        # Fabric started this process by running the user's command again; only the first one goes on to write files.
        raise OtherProcessError("training on several devices: this process has done its share; the first one goes on")
    network.to("cpu").eval()
    if state is not None:
        state.unlink(missing_ok=True)
    return history
