"""Attacks that stay inside a ball around the clean sample, L-infinity or L2."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..data import Images, check_images
from ..errors import InputError
from .base import Attack, Space, ThreatName

Norm = Literal["linf", "l2"]
NORMS = {"linf": "L-infinity", "l2": "L2"}
SPACES = {"pixel": "pixel space", "encoded": "encoded space, continuous"}


@dataclass(frozen=True, kw_only=True)
class BallAttack(Attack):
    """An attack that stays inside a ball around the clean sample.

    Args:
        epsilon: radius of the ball; for L-infinity in units of the [0, 1] pixel range.
        norm: "linf" or "l2", over all entries of a sample.
        space: "pixel" for images, "encoded" for what the coder makes of them, each entry kept in [0, 1].
        others: as of :class:`Attack`.

    Raises:
        InputError: a setting is out of range.
    """

    epsilon: float
    norm: Norm = "linf"
    space: Space = "pixel"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS or self.space not in SPACES:
            raise InputError(
                f"norm, space: {self.norm!r}, {self.space!r}, expected one of {list(NORMS)} and of {list(SPACES)}"
            )
        if not 0 < self.epsilon <= (1 if self.norm == "linf" else 1e6):
            most = "1" if self.norm == "linf" else "1e6"
            raise InputError(f"epsilon: {self.epsilon}, expected a number in (0, {most}]")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values, the ball first."""
        return {**dict.fromkeys(("name", "epsilon", "norm", "space")), **super().settings}

    @property
    def threat(self) -> ThreatName:
        """Named as the space."""
        return self.space

    @property
    def radius(self) -> float:
        """Epsilon."""
        return self.epsilon

    @property
    def size(self) -> str:
        """Epsilon, and the norm if it is not L-infinity."""
        return f"{self.epsilon:g}" + ("" if self.norm == "linf" else f"-{self.norm}")

    @property
    def place(self) -> str:
        """Space and norm, in words."""
        return f"{SPACES[self.space]}, {NORMS[self.norm]}"

    def within(self, radius: float) -> Self:
        """Return the same attack with another epsilon."""
        return replace(self, epsilon=radius)

    def check(self, inputs: NDArray[Any]) -> Images:
        """Return ``inputs`` as float32 if they are of the attack's space; else raise :class:`InputError`."""
        if self.space == "pixel":
            # Sequences are checked frame by frame.
            frames = inputs.reshape(-1, *inputs.shape[2:]) if inputs.ndim == 5 else inputs
            checked = check_images(frames, "images to attack")
            return checked.reshape(inputs.shape) if inputs.ndim == 5 else checked
        return check_encoded(inputs)

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


def check_encoded(inputs: NDArray[Any]) -> Images:
    """Return coded input (time, samples, ...) as float32; raises :class:`InputError` if it leaves [0, 1]."""
    if inputs.ndim < 3 or inputs.dtype.kind not in "fbiu" or 0 in inputs.shape:
        raise InputError(f"encoded input to attack: {inputs.dtype} of {inputs.shape}, expected (time, samples, ...)")
    if not (np.isfinite(inputs).all() and inputs.min() >= 0 and inputs.max() <= 1):
        raise InputError("encoded input to attack: NaN or values outside [0, 1]; encode and rescale it first")
    return inputs.astype(np.float32)


def check_draws(draws: int) -> None:
    """Raise :class:`InputError` unless there is a draw."""
    if draws < 1:
        raise InputError(f"draws: {draws}, expected 1 or more")


def check_step(step: float | None) -> None:
    """Raise :class:`InputError` unless the length of a step, if there is one, is above 0."""
    if step is not None and not 0 < step < np.inf:
        raise InputError(f"step: {step}, expected a number above 0")
