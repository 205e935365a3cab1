"""The contract of every attack."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..data import Images, Labels, check_images, check_labels
from ..errors import InputError
from ..files import digest
from ..network.backward import Backward
from ..network.surrogates import AdaptiveSharpness
from ..progress import Track, silent
from ..train import seeded
from . import state as saved
from .victim import Victim, answer, batches, encoded, fingerprint, predict

__all__ = ["THREAT_MODEL", "Attack", "Attacked", "Norm", "Space", "predict"]

Norm = Literal["linf", "l2"]
Space = Literal["pixel", "encoded"]
NORMS = {"linf": "L-infinity", "l2": "L2"}
SPACES = {"pixel": "pixel space", "encoded": "encoded space, continuous"}
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


class Attack(ABC):
    """An attack: settings in the constructor, everything else in the final call.

    Every constructor argument is an attribute of the same name, and there are no other attributes: :attr:`settings` and
    ``repr`` are made of them.

    Args:
        epsilon: radius of the ball; for L-infinity in units of the [0, 1] pixel range.
        norm: "linf" or "l2", over all entries of a sample.
        space: "pixel" for images, "encoded" for what the coder makes of them, each entry kept in [0, 1].
        batch: samples attacked at once.
        seed: of everything that is random in the attack.
        restarts: how often the attack is run; only samples that are still robust go on.
        backward: what a gradient attack takes for derivatives; None for the network's own.

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "attack"
    access: ClassVar[str] = "white box"
    spares_wrong: ClassVar[bool] = False
    """Whether samples that are already answered wrongly are left out; they stay as they are."""
    restarts: int = 1

    def __init__(
        self,
        *,
        epsilon: float,
        norm: Norm = "linf",
        space: Space = "pixel",
        batch: int = 250,
        seed: int = 0,
        restarts: int = 1,
        backward: Backward | None = None,
    ) -> None:
        if norm not in NORMS or space not in SPACES:
            raise InputError(f"norm, space: {norm!r}, {space!r}, expected one of {list(NORMS)} and of {list(SPACES)}")
        if not 0 < epsilon <= (1 if norm == "linf" else 1e6):
            raise InputError(f"epsilon: {epsilon}, expected a number in (0, {'1' if norm == 'linf' else '1e6'}]")
        if min(batch, restarts) < 1:
            raise InputError(f"batch, restarts: {batch}, {restarts}, expected 1 or more")
        self.epsilon = epsilon
        self.norm: Norm = norm
        self.space: Space = space
        self.batch = batch
        self.seed = seed
        self.restarts = restarts
        self.backward = backward

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values, the attack's name included."""
        found = {name: asdict(value) if is_dataclass(value) else value for name, value in vars(self).items()}  # type: ignore[arg-type]
        return {"name": self.name, **found}

    @property
    def label(self) -> str:
        """A short name: what differs from the plain form, and the budget."""
        parts = [self.name, *([str(vars(self)["steps"])] if "steps" in vars(self) else [])]
        text = "-".join(parts) + suffix(self.backward)
        text += f"-x{self.restarts}" if self.restarts > 1 else ""
        return f"{text}@{self.epsilon:g}" + ("" if self.norm == "linf" else f"-{self.norm}")

    @property
    def threat_model(self) -> str:
        """Space, norm and access; figures of different threat models do not belong into one table."""
        through = " through the coder" if self.access == "white box" and self.space == "pixel" else ""
        return f"{SPACES[self.space]}, {NORMS[self.norm]}, {self.access}{through}"

    @property
    def stops_early(self) -> bool:
        """Whether it leaves a sample at the victim's first error; such examples transfer badly."""
        return False

    @abstractmethod
    def run(self, model: Any, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ...) for one batch; need not respect the ball.

        Args:
            model: the victim: a module where :attr:`access` is "white box", else perhaps a function.
            images: (batch, channels, height, width), or (batch, time, channels, height, width) of encoded input.
            labels: (batch,).
        """

    def check(self, inputs: NDArray[Any]) -> Images:
        """Return ``inputs`` as float32 if they are of the attack's space; else raise :class:`InputError`."""
        if self.space == "pixel":
            # Sequences are checked frame by frame.
            frames = inputs.reshape(-1, *inputs.shape[2:]) if inputs.ndim == 5 else inputs
            checked = check_images(frames, "images to attack")
            return checked.reshape(inputs.shape) if inputs.ndim == 5 else checked
        if inputs.ndim < 3 or inputs.dtype.kind not in "fbiu" or 0 in inputs.shape:
            raise InputError(
                f"encoded input to attack: {inputs.dtype} of {inputs.shape}, expected (time, samples, ...)"
            )
        if not (np.isfinite(inputs).all() and inputs.min() >= 0 and inputs.max() <= 1):
            raise InputError("encoded input to attack: NaN or values outside [0, 1]; encode and rescale it first")
        return inputs.astype(np.float32)

    def project(self, raw: Images, clean: Images) -> Images:
        """Return ``raw`` (batch, ...) moved into the ball around ``clean`` and into [0, 1]."""
        radius = np.float32(self.epsilon)
        if self.norm == "linf":
            boxed: Images = np.clip(np.clip(raw, clean - radius, clean + radius), 0, 1).astype(np.float32)
            return boxed
        change = (raw - clean).astype(np.float64)
        length = np.sqrt((change**2).sum(axis=tuple(range(1, change.ndim)), keepdims=True))
        inside = clean + change * np.minimum(1, self.epsilon / np.maximum(length, 1e-30))
        made: Images = np.clip(inside, 0, 1).astype(np.float32)
        return made

    def distances(self, made: Images, clean: Images) -> NDArray[np.float64]:
        """Return the distance of every sample (samples,), in the attack's norm."""
        change = np.abs(made - clean).reshape(len(clean), -1).astype(np.float64)
        found: NDArray[np.float64] = change.max(1) if self.norm == "linf" else np.sqrt((change**2).sum(1))
        return found

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
        inputs = self.check(np.asarray(images))
        victim: Victim = network
        if self.space == "encoded":
            inputs, victim = np.ascontiguousarray(np.swapaxes(inputs, 0, 1)), encoded(network)
        if isinstance(network, nn.Module):
            network.eval()
        elif self.access == "white box":
            raise InputError(f"{self.label}: needs gradients, the victim is a function; use Square or HopSkipJump")
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
