"""The contract of every attack."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..data import Images, Labels, check_labels
from ..errors import InputError
from ..files import digest
from ..network.backward import Backward
from ..network.surrogates import AdaptiveSharpness
from ..progress import Track, silent
from ..train import seeded
from . import state as saved
from .losses import check_of_classes
from .victim import Victim, answer, batches, encoded, fingerprint, fitted, predict

__all__ = [
    "NONE",
    "SEARCH",
    "THREAT_MODEL",
    "TRANSFER",
    "WHITE",
    "Access",
    "Attack",
    "Attacked",
    "Space",
    "ThreatName",
    "predict",
]

Space = Literal["pixel", "encoded"]
Access = Literal["white box", "search", "black box, logits", "black box, classes", "transfer", "no access"]
ThreatName = Literal["pixel", "encoded", "encoded-binary", "timing"]
"""What may be changed: the image, the coded tensor in a ball, single spikes, or only the time of spikes."""
WHITE: Access = "white box"
TRANSFER: Access = "transfer"
SEARCH: Access = "search"
"""Of a module whose read-out is looked at between two spikes: more than logits, though no gradient has to be right."""
NONE: Access = "no access"
THREAT_MODEL = "pixel space, L-infinity, white box through the coder"


@dataclass(frozen=True)
class Attacked:
    """What an attack made, and what the victim says of it.

    Attributes:
        images: as the input that was attacked, inside the ball and [0, 1].
        robust: (samples,) true where the victim still answers correctly.
        distance: largest distance to the clean images, in the attack's norm.
    """

    images: Images
    robust: np.ndarray[tuple[int], np.dtype[np.bool_]]
    distance: float


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack: settings in the constructor, frozen; everything else in the final call.

    A subclass is a frozen dataclass, too (``@dataclass(frozen=True, kw_only=True)``): its fields are its settings, of
    which ``repr``, equality and :attr:`settings` are made. What it needs of its victim stands on the class.

    Args:
        batch: samples attacked at once.
        seed: of everything that is random in the attack.
        restarts: how often the attack is run; only samples that are still robust go on.
        backward: what a gradient attack takes for derivatives; None for the network's own.

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "attack"
    access: ClassVar[Access] = "white box"
    """What it knows of its victim: "white box" needs gradients, "search" a module, "black box" logits or classes."""
    averages: ClassVar[bool] = False
    """Whether it has the setting ``draws``: gradients of a stochastic victim that are averaged."""
    spares_wrong: ClassVar[bool] = False
    """Whether samples that are already answered wrongly are left out; they stay as they are."""
    most: ClassVar[int | None] = None
    """A protocol gives it at most so many samples of those that are left; None for all."""
    untold: ClassVar[tuple[str, ...]] = ()
    """Settings that are not told where they are as usual: records of older attacks stay those of the same attacks."""

    batch: int = 250
    seed: int = 0
    restarts: int = 1
    backward: Backward | None = None

    def __post_init__(self) -> None:
        if min(self.batch, self.restarts) < 1:
            raise InputError(f"batch, restarts: {self.batch}, {self.restarts}, expected 1 or more")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values, the attack's name included."""
        found: dict[str, Any] = {"name": self.name}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name not in self.untold or value != one.default:
                found[one.name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        return found

    @property
    def stem(self) -> str:
        """The beginning of the label: the name, and settings that tell attacks of one class apart."""
        return self.name

    @property
    def label(self) -> str:
        """A short name: what differs from the plain form, and the budget."""
        again = f"-x{self.restarts}" if self.restarts > 1 else ""
        return f"{self.stem}{suffix(self.backward)}{again}@{self.size}"

    @property
    @abstractmethod
    def space(self) -> Space:
        """What is attacked: "pixel" for images, "encoded" for what the coder makes of them."""

    @property
    @abstractmethod
    def threat(self) -> ThreatName:
        """Name of the threat model; figures of different ones do not belong into one table."""

    @property
    @abstractmethod
    def radius(self) -> float:
        """Of the ball: epsilon, or a number of edits."""

    @property
    @abstractmethod
    def size(self) -> str:
        """The budget, as labels end."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Space and norm, in words."""

    @property
    def threat_model(self) -> str:
        """Space, norm and access, in words."""
        through = " through the coder" if self.access == WHITE and self.space == "pixel" else ""
        return f"{self.place}, {self.access}{through}"

    @property
    def stops_early(self) -> bool:
        """Whether it leaves a sample at the victim's first error; such examples transfer badly."""
        return False

    @property
    def effort(self) -> float:
        """A rough cost a sample, in gradients: for the time left."""
        return float(self.restarts)

    def with_seed(self, seed: int) -> Self:
        """Return the same attack with another seed."""
        return replace(self, seed=seed)

    @abstractmethod
    def within(self, radius: float) -> Self:
        """Return the same attack in a ball of another radius."""

    def averaging(self, draws: int) -> Self:
        """Return the same attack that averages over so many draws, if it takes gradients of a stochastic victim."""
        changes: dict[str, Any] = {"draws": draws} if self.averages else {}
        return replace(self, **changes)

    def longer(self, factor: float) -> Self:
        """Return the same attack with so many times the queries, if it is a search; else itself."""
        return self

    def suited(self, module: nn.Module) -> Self:
        """Return the same attack without choices of the backward pass that ``module`` has no use for."""
        return replace(self, backward=fitted(self.backward, module))

    @abstractmethod
    def run(self, model: Any, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ...) for one batch; need not respect the ball.

        Args:
            model: the victim: a module where :attr:`access` is "white box", else perhaps a function.
            images: (batch, channels, height, width), or (batch, time, channels, height, width) of encoded input.
            labels: (batch,).
        """

    @abstractmethod
    def check(self, inputs: NDArray[Any]) -> Images:
        """Return ``inputs`` as float32 if they are of the attack's space; else raise :class:`InputError`."""

    @abstractmethod
    def project(self, raw: Images, clean: Images) -> Images:
        """Return ``raw`` (batch, ...) moved into the ball around ``clean`` and into [0, 1]."""

    @abstractmethod
    def distances(self, made: Images, clean: Images) -> NDArray[np.float64]:
        """Return the distance of every sample (samples,), in the attack's norm."""

    def again(self, victim: Victim, clean: Images, labels: Labels) -> Images:
        """Return what all restarts make of one batch, each run on those that still resist, inside the ball."""
        made = clean.copy()
        for restart in range(self.restarts):
            todo = np.arange(len(clean))
            if restart or self.spares_wrong:
                todo = np.flatnonzero(predict(victim, made, self.batch) == labels)
            if not todo.size:
                break
            raw = self.run(victim, np.ascontiguousarray(clean[todo]), labels[todo])
            if not np.isfinite(raw).all():
                raise InputError(f"{self!r}: returned NaN or infinity; the network's gradient is not finite")
            made[todo] = self.project(raw, clean[todo])
        return made

    @final
    def __call__(
        self,
        network: Victim,
        images: NDArray[Any],
        labels: Labels,
        *,
        track: Track = silent,
        state: Path | None = None,
    ) -> Attacked:
        """Check the input, attack, project into the ball, and judge on the victim again.

        Args:
            network: the victim: a module, put in evaluation mode, from input to logits; or, for attacks without
                gradients, a function from NumPy input to logits or classes.
            images: (samples, channels, height, width) in [0, 1]; encoded: (time, samples, ...).
            labels: (samples,).
            track: progress.
            state: file that holds what is done after each batch; an attack resumes from it, with the same result bit
                for bit, and removes it at the end.

        Raises:
            InputError: images or labels are refused, the victim has no gradients, or the attack returned NaN.
            FileError: ``state`` is damaged or belongs to another attack, victim or input.
        """
        check_of_classes(getattr(self, "loss", None))
        inputs = self.check(np.asarray(images))
        victim: Victim = network
        if self.space == "encoded":
            inputs, victim = np.ascontiguousarray(np.swapaxes(inputs, 0, 1)), encoded(network)
        if isinstance(network, nn.Module):
            network.eval()
        elif self.access in (WHITE, SEARCH):
            need = "gradients" if self.access == WHITE else "a module"
            raise InputError(f"{self.label}: needs {need}, the victim is a function; use Square or HopSkipJump")
        first = answer(victim, inputs[:1])
        classes = first.shape[1] if first.ndim == 2 else None
        labels = check_labels(labels, "labels of the images to attack", len(inputs), classes)
        parts = batches(inputs, self.batch)
        # A stochastic victim draws numbers, too; asking who it is must not change what follows.
        with seeded(self.seed):
            identity = self._identity(victim, inputs, labels) if state is not None else ""
        with seeded(self.seed):
            done = saved.Progress([])
            if state is not None and state.exists():
                done = saved.load(state, identity)
            left = list(enumerate(parts))[len(done.made) :]
            for index, part in track(left, f"attack {self.label}", len(left)):
                done.made.append(self.again(victim, part, labels[index * self.batch :][: len(part)]))
                if state is not None:
                    saved.save(state, identity, done)
        made = np.concatenate(done.made)
        robust = predict(victim, made, self.batch) == labels
        distance = float(self.distances(made, inputs).max())
        if state is not None:
            state.unlink(missing_ok=True)
        return Attacked(np.swapaxes(made, 0, 1) if self.space == "encoded" else made, robust, distance)

    def uses(self, inputs: Images) -> str:
        """Return a hash of models that the attack holds; the empty string if it holds none."""
        return ""

    def _identity(self, victim: Victim, inputs: Images, labels: Labels) -> str:
        facts = f"{self!r} {inputs.shape} {fingerprint(victim, inputs[:8])} {self.uses(inputs[:8])}"
        return digest(facts.encode() + inputs.tobytes() + labels.tobytes())


def suffix(backward: Backward | None) -> str:
    """Return what a label says of the backward pass."""
    if backward is None:
        return ""
    parts = []
    surrogate = backward.surrogate
    if isinstance(surrogate, AdaptiveSharpness):
        parts.append(f"assg-{surrogate.kind}-{surrogate.vanishing:g}")
    elif surrogate is not None:
        parts.append(f"{surrogate.kind}-{surrogate.sharpness:g}")
    parts += [f"{value}-{name}" for name, value, plain in _choices(backward) if value != plain]
    return "".join(f"+{part}" for part in parts) + ("+batch-statistics" if backward.batch_statistics else "")


def _choices(backward: Backward) -> tuple[tuple[str, str, str], ...]:
    return ("pool", backward.pool, "first"), ("time", backward.time, "full")
