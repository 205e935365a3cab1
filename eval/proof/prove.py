"""Proofs about many samples: one task each, in this process, beside each other, or on Ray; what is done is kept."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program, write_program
from ...toolkit import errors
from ...toolkit.code import code_hash
from ...toolkit.data import Labels
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.extras import extra
from ...toolkit.files import digest, read_json, write_json
from ...toolkit.progress import Track, silent
from ..records.base import share
from ..records.proof import Decided, Proof, letters
from ..tasks import cores, on_processes, on_ray
from .decide import WALL
from .layers import unsupported
from .worker import work

LIMIT = 30.0
"""Of the solver for a sample, in its own count of steps, unless asked otherwise."""
PATIENCE = 120.0
"""Seconds beyond the solver's guard after which a worker is killed: bounds and encoding have none of their own."""
FEW = 4
"""Up to so many samples are decided in this process: workers take seconds to start."""
WORKER = "spikeproof.eval.proof.worker"


@dataclass(frozen=True)
class Strength:
    """What an input may be changed by.

    Args:
        threat: "pixel" or "encoded-binary".
        radius: in levels, or edits.
        edit: of spikes.
    """

    threat: Literal["pixel", "encoded-binary"]
    radius: int
    edit: Literal["flip", "shift"] | None = None

    def words(self, peak: int) -> str:
        """Return what the attacker may do, for records."""
        if self.threat == "pixel":
            return (
                f"L-infinity, up to {self.radius} levels of the chip's integer input (0 to {peak}), the same at every "
                "step; every input of the ball counts"
            )
        kinds = {"flip": "entries flipped", "shift": "spikes shifted by one step, none twice"}
        return f"binary input, up to {self.radius} {kinds[self.edit or 'flip']}; every such input counts"


def strength_of(
    program: Program,
    messages: NDArray[np.int32],
    threat: str | None,
    epsilon: float | None,
    budget: int | None,
    edit: str | None,
) -> Strength:
    """Return what is asked for.

    Args:
        program: whose input it is.
        messages: (time, samples, ...).
        threat: None for what the input allows.
        epsilon: in pixels of [0, 1].
        budget: edits.
        edit: "flip" or "shift".

    Raises:
        InputError: options that do not fit, or do not fit the input.
    """
    peak = program.input.full
    found = threat or ("encoded-binary" if peak == 1 else "pixel")
    if found == "pixel":
        if budget is not None or edit is not None:
            raise InputError("--budget, --edit: count spikes; --threat pixel has --epsilon")
        if peak == 1 or not (messages == messages[:1]).all():
            raise InputError(
                "--threat pixel: proofs cover input that is the same graded message at every step (the direct coder); "
                "for binary input use --threat encoded-binary --budget EDITS"
            )
        # 2 / 255 * 255 is not what it seems in floating point.
        radius = int(epsilon * peak + 1e-6) if epsilon is not None and 0 < epsilon <= 1 else 0
        if not radius:
            raise InputError(f"--epsilon: {epsilon}, expected 1/{peak} to 1: the chip's input has no less")
        return Strength("pixel", radius)
    if found != "encoded-binary":
        raise InputError(f"--threat: {threat!r}, expected pixel or encoded-binary")
    if epsilon is not None:
        raise InputError("--epsilon: spikes have a budget instead; use --budget")
    if peak != 1:
        raise InputError("--threat encoded-binary: the Program's input is graded; use --threat pixel --epsilon")
    if budget is None or budget < 1 or edit not in (None, "flip", "shift"):
        raise InputError(f"--budget, --edit: {budget}, {edit}, expected 1 edit or more, flip or shift")
    return Strength("encoded-binary", budget, "shift" if edit == "shift" else "flip")


@dataclass(frozen=True)
class Proved:
    """What became of all samples.

    Attributes:
        samples: one by one.
        examples: messages that break, by index: levels (neurons,), or spikes (time, neurons).
    """

    samples: list[Decided]
    examples: dict[int, NDArray[np.int32]]


def prove_samples(
    program: Program,
    messages: NDArray[np.int32],
    labels: Labels,
    strength: Strength,
    folder: Path,
    *,
    limit: float = LIMIT,
    jobs: int | None = None,
    ray: str | None = None,
    track: Track = silent,
) -> Proved:
    """Decide every sample; those that are kept in ``folder`` are not decided again.

    Args:
        program: on ``loihi``.
        messages: (time, samples, ...).
        labels: (samples,).
        strength: of the attacker.
        folder: one file a sample, under a key of Program, threat, limit and code.
        limit: of the solver for a sample, in its own count of steps (`decide`).
        jobs: processes beside each other, 1 for this one; None for one a core.
        ray: "local", or the address of a cluster that sees ``folder``; None without Ray.
        track: progress.

    Raises:
        UnsupportedError: the Program has something that proofs do not cover.
        InputError: an option is refused.
    """
    if reasons := unsupported(program):
        raise UnsupportedError("prove: " + "; ".join(reasons))
    if limit <= 0 or (jobs is not None and jobs < 1):
        raise InputError(f"--limit, --jobs: {limit}, {jobs}, expected a limit above 0, and 1 process or more")
    if len(labels) != messages.shape[1] or not len(labels):
        raise InputError(f"labels: {len(labels)} for {messages.shape[1]} samples, expected one each")
    with extra("prove"):
        import ortools.sat.python.cp_model  # noqa: F401 - before an hour of work, not after it
    sha, code = program.sha256(), code_hash()
    plan: dict[str, Any] = {"threat": strength.threat, "radius": strength.radius, "edit": strength.edit, "limit": limit}
    plan["solver"] = version("ortools")
    place = folder / digest(f"{sha} {sorted(plan.items())} {code}".encode())[:24]
    path = place / "program.safetensors"
    if not path.exists():
        write_program(path, program)
    flat = messages.reshape(*messages.shape[:2], -1)
    tasks: dict[int, dict[str, Any]] = {}
    found: dict[int, dict[str, Any]] = {}
    for index, label in enumerate(labels):
        sample = flat[0, index] if strength.threat == "pixel" else flat[:, index]
        name = digest(sample.astype(np.int32).tobytes() + str(int(label)).encode())[:24]
        kept = place / f"{name}.json"
        if kept.exists():
            found[index] = read_json(kept)
            continue
        tasks[index] = {
            "program": str(path.resolve()),
            "sha256": sha,
            "code": code,
            "plan": plan,
            "messages": sample.tolist(),
            "label": int(label),
            "kept": str(kept),
        }
    for index, result in track(_answers(tasks, jobs or cores(), ray, limit), "samples", len(tasks)):
        if result is None:
            result = {"status": "open", "by": "solver", "seconds": _guard(limit), "rivals": 0, "example": None}
            result["reason"] = f"its process ended or was stopped after {_guard(limit):g} s"
        elif "error" in result:
            raise getattr(errors, result["kind"], InputError)(result["error"])
        else:
            write_json(Path(tasks[index]["kept"]), result)
        found[index] = result
    every = [found[index] for index in range(len(labels))]
    return Proved(
        [Decided(**{key: value for key, value in one.items() if key != "example"}) for one in every],
        {
            index: np.array(one["example"], dtype=np.int32)
            for index, one in enumerate(every)
            if one["example"] is not None
        },
    )


def _guard(limit: float) -> float:
    """Return seconds after which a worker is killed: two calls of the solver, each with its guard, and the rest."""
    return 2 * WALL * (limit + 1) + PATIENCE


def _answers(
    tasks: dict[int, dict[str, Any]], jobs: int, ray: str | None, limit: float
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    if ray:
        return on_ray(work, {index: (task,) for index, task in tasks.items()}, ray, "sample")
    if jobs > 1 and len(tasks) > FEW:
        return on_processes(WORKER, tasks, jobs, _guard(limit))
    return ((index, work(task)) for index, task in tasks.items())


def record_of(
    about: dict[str, Any],
    program: Program,
    strength: Strength,
    samples: Sequence[Decided],
    *,
    limit: float,
    begun: float,
    **others: Any,
) -> Proof:
    """Return the record.

    Args:
        about: its header.
        program: that was proved.
        strength: of the attacker.
        samples: what became of each.
        limit: that the solver had.
        begun: when it began, of :func:`time.perf_counter`.
        others: further fields.
    """
    status = np.array([sample.status for sample in samples])
    proved, unbroken = share(status == "proved"), share(np.isin(status, ("proved", "open")))
    counts = {name: int((status == name).sum()) for name in ("proved", "broken", "open", "wrong")}
    width = unbroken.value - proved.value
    ends = (
        f"{100 * proved.value:.1f} to {100 * unbroken.value:.1f} %" if width else f"exactly {100 * proved.value:.1f} %"
    )
    summary = (
        f"Robust accuracy, {width * 100:.1f} points wide: {ends} of {len(samples)} samples on loihi; "
        + ", ".join(f"{count} {name}" for name, count in counts.items())
        + "."
    )
    return Proof(
        **about,
        threat=strength.threat,
        threat_model=strength.words(program.input.full),
        epsilon=strength.radius / program.input.full if strength.threat == "pixel" else None,
        radius=strength.radius,
        edit=strength.edit,
        limit=limit,
        solver=f"OR-tools CP-SAT {version('ortools')}",
        width=width,
        proved=proved,
        unbroken=unbroken,
        outcomes=letters(list(samples)),
        samples=list(samples),
        summary=summary,
        seconds=time.perf_counter() - begun,
        **others,
    )
