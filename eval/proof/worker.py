"""A process, or a worker of Ray, that decides samples: one line of JSON a task, one an answer."""

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...export.program import read_program
from ...hw_targets.target import CompiledProgram, get_target
from ...toolkit.code import code_hash
from ...toolkit.errors import InputError, SpikeproofError
from .decide import decide
from .region import Ball, Edits, Region
from .sets import Prepared


@lru_cache(maxsize=2)
def _ready(path: str, sha256: str) -> tuple[Prepared, CompiledProgram]:
    program = read_program(Path(path))
    if program.sha256() != sha256:
        raise InputError(f"{path}: changed while samples were decided; run the command again")
    compiled = get_target("loihi").compile(program)
    assert isinstance(compiled, CompiledProgram)
    return Prepared(program), compiled


def region_of(plan: dict[str, Any], messages: list[Any], steps: int, peak: int) -> Region:
    """Return the region of a sample.

    Args:
        plan: ``threat``, ``radius`` in levels or edits, and ``edit``.
        messages: of the sample: levels (neurons,) if they are constant, else spikes (time, neurons).
        steps: of the Program.
        peak: the largest message that an image gives.
    """
    found = np.array(messages, dtype=np.int64)
    if plan["threat"] == "pixel":
        return Ball(found, plan["radius"], steps, peak)
    return Edits(found, plan["radius"], plan["edit"])


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Decide one sample and return what became of it, JSON values.

    Args:
        task: ``program`` (path), ``sha256``, ``code``, ``plan``, ``messages`` and ``label``.
    """
    if task["code"] != code_hash():
        raise InputError("the cluster's workers run another version of spikeproof; install the same one there")
    prepared, compiled = _ready(task["program"], task["sha256"])
    plan, program = task["plan"], prepared.program
    region = region_of(plan, task["messages"], program.steps, program.input.full)
    found = decide(prepared, compiled, region, task["label"], plan["limit"])
    example = None
    if found.example is not None:
        example = (found.example[0, 0] if region.constant else found.example[:, 0]).tolist()
    return {
        "status": found.status,
        "by": found.by,
        "seconds": found.seconds,
        "reason": found.reason,
        "rivals": found.rivals,
        "example": example,
    }


def _main() -> None:
    for line in sys.stdin:
        try:
            answer = work(json.loads(line))
        except SpikeproofError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
