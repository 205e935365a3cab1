"""Running attacks so that nothing is lost: finished ones are kept, unfinished ones go on."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...toolkit.attacks.base import Attack
from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.victim import Victim, fingerprint
from ...toolkit.code import code_hash
from ...toolkit.data import Images, Labels
from ...toolkit.errors import FileError
from ...toolkit.files import digest, read_arrays, write_arrays
from ...toolkit.progress import Track, silent
from ...toolkit.train import seeded
from ..records.robustness import Mask

KIND = "finished attack"
COST = {"float": 1.0, "quantized": 2.5, "program": 3.0}
"""Rough cost of a gradient, for the time left."""
LATER = 0.35
"""Rough share of samples that is left to all but the first attack of a cascade."""


@dataclass(frozen=True)
class Done:
    """A finished attack.

    Attributes:
        images: its examples, (samples, ...).
        robust: (samples,) true where the victim still answers correctly.
        seconds: wall time; that of all its parts if it was interrupted is not known, then of the last.
    """

    images: Images
    robust: Mask
    seconds: float


class Runner:
    """Runs attacks with progress; keeps what is done in a folder.

    Args:
        folder: for files of finished and unfinished attacks, by hash of attack, victim, input and code; None keeps
            nothing.
        track: progress.
    """

    def __init__(self, folder: Path | None = None, track: Track = silent) -> None:
        self.folder = folder
        self.track = track
        self.told: Callable[[Attack, int], None] = lambda attack, samples: None
        self.form = ""

    def __call__(self, attack: Attack, victim: Victim, images: Images, labels: Labels, *, salt: str = "") -> Done:
        """Return what ``attack`` makes of the images and what the victim says of it.

        Args:
            attack: any.
            victim: a module or a function.
            images: (samples, ...).
            labels: (samples,).
            salt: what else tells the victim from others, as a Program's hash.
        """
        if not len(images):
            return Done(images, np.zeros(0, dtype=np.bool_), 0.0)
        finished = unfinished = None
        if self.folder is not None:
            name = self._name(attack, victim, images, labels, salt)
            finished, unfinished = (self.folder / f"{name}.{kind}.safetensors" for kind in ("done", "state"))
            if finished.exists():
                arrays, header = read_arrays(finished, KIND)
                if "images" not in arrays or arrays["images"].shape != images.shape:
                    raise FileError(f"{finished}: damaged; delete it to start over")
                self.told(attack, len(images))
                return Done(arrays["images"], arrays["robust"].astype(np.bool_), float(header["seconds"]))
        begun = time.perf_counter()
        # Attacks on encoded input take time first; here samples come first, whatever they are.
        first, second = (0, 1) if attack.space == "encoded" else (0, 0)
        given = np.swapaxes(images, first, second)
        made = attack(victim, given, labels, track=self.track, state=unfinished)
        done = Done(np.swapaxes(made.images, first, second), made.robust, time.perf_counter() - begun)
        if finished is not None:
            arrays = {"images": done.images, "robust": done.robust.astype(np.uint8)}
            write_arrays(finished, KIND, arrays, {"attack": attack.label, "seconds": done.seconds})
        self.told(attack, len(images))
        return done

    def _name(self, attack: Attack, victim: Victim, images: Images, labels: Labels, salt: str) -> str:
        # A stochastic victim answers by the generator's state; so does who it is.
        with seeded(attack.seed):
            who = fingerprint(victim, images[:8]) + attack.uses(images[:8])
        packages = [version(name) for name in ("torch", "adversarial-robustness-toolbox")]
        facts = f"{attack!r} {images.shape} {who} {salt} {packages} {code_hash()}"
        return digest(facts.encode() + images.tobytes() + labels.tobytes())[:24]

    def forget_unfinished(self) -> None:
        """Remove the files of unfinished attacks, as are left by runs with other settings."""
        if self.folder is not None and self.folder.exists():
            for path in self.folder.glob("*.state.safetensors"):
                path.unlink(missing_ok=True)


@contextmanager
def counted(
    every: Mapping[str, Sequence[Attack]],
    samples: int,
    protocol: Protocol,
    probing: float,
    folder: Path | None,
    track: Track,
) -> Iterator[Runner]:
    """Yield a Runner under a bar of all work; it moves by rough cost, so that the time left means something.

    Args:
        every: attacks by form.
        samples: that are attacked.
        protocol: its name, and whether later attacks try fewer samples.
        probing: cost of all probes of a form, in gradients.
        folder: as of :class:`Runner`.
        track: progress.
    """
    later = LATER if protocol.cascade else 0.7
    total = 0.0
    for form, attacks in every.items():
        weights = [attack.effort * samples * (later if place else 1) for place, attack in enumerate(attacks)]
        total += COST.get(form, 1.0) * (sum(weights) + probing)
    units = 1000
    ticks = iter(track(range(units), f"{protocol.name}: all attacks", units))
    runner = Runner(folder, track)
    done, shown = 0.0, 0

    def told(attack: Attack, count: int) -> None:
        nonlocal done, shown
        done += COST.get(runner.form, 1.0) * attack.effort * count
        while shown < min(int(units * done / total), units - 1):
            next(ticks)
            shown += 1

    runner.told = told
    next(ticks)
    yield runner
    for _ in ticks:
        pass
    runner.forget_unfinished()
