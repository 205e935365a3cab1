"""Proved, broken or open: one sample of a Program on one region."""

import time
from dataclasses import dataclass
from typing import Literal

from ...hw_targets.target import CompiledProgram
from ...toolkit.errors import DisagreementError
from ...toolkit.extras import extra
from .encode import Encoder
from .neurons import finish, some_rival, values
from .region import Messages, Region
from .search import margins, run, search
from .sets import Prepared, bound

Status = Literal["wrong", "proved", "broken", "open"]
SEED = 0
"""Of solver and search."""
WALL = 20.0
"""Seconds of a clock that the solver gets for each of its own: a guard, which only an overloaded machine reaches."""


@dataclass(frozen=True)
class Decision:
    """What became of one sample.

    Attributes:
        status: "wrong" without any change; "proved", "broken", or "open".
        by: "sets", "solver" or "search"; "run" of what is wrong already.
        seconds: it took.
        example: that breaks it, (time, 1, neurons).
        reason: why it is open.
        rivals: classes that the sets left to the solver.
    """

    status: Status
    by: str
    seconds: float
    example: Messages | None = None
    reason: str = ""
    rivals: int = 0


def decide(prepared: Prepared, compiled: CompiledProgram, region: Region, label: int, limit: float) -> Decision:
    """Return whether some input of a region changes the class of a sample.

    Args:
        prepared: the Program.
        compiled: the same on target ``loihi``, which judges examples.
        region: around the sample.
        label: its class.
        limit: of the solver, in its own count of steps (`solve`).

    Raises:
        DisagreementError: an exact solution of the solver does not break the Program: the encoding is wrong.
    """
    begun = time.perf_counter()

    def done(status: Status, by: str, **others: object) -> Decision:
        return Decision(status, by, time.perf_counter() - begun, **others)  # type: ignore[arg-type]

    clean = region.clean[:, None].astype("int32")
    if margins(run(compiled, clean), label)[0] <= 0:
        return done("wrong", "run")
    bounds = bound(prepared, region, label)
    if not bounds.rivals:
        return done("proved", "sets")
    rivals = len(bounds.rivals)
    if (example := search(compiled, region, label, seed=SEED)) is not None:
        return done("broken", "search", example=example, rivals=rivals)
    left = limit
    for exact in (False, True):
        encoder = Encoder(prepared, region, bounds, exact=exact)
        some_rival(encoder, label, bounds.rivals)
        finish(encoder)
        answer, example, used = solve(encoder, left)
        left -= used
        if answer == "infeasible":
            return done("proved", "solver", rivals=rivals)
        if answer == "invalid":
            return done("open", "solver", reason="its numbers are too large for the solver", rivals=rivals)
        if answer == "stopped":
            reason = "stopped by the clock before the solver's limit: the machine is overloaded"
            return done("open", "solver", reason=reason, rivals=rivals)
        if answer == "unknown":
            reason = f"the solver's limit of {limit:g} reached" + (" after a spurious solution" if exact else "")
            return done("open", "solver", reason=reason, rivals=rivals)
        assert example is not None
        if margins(run(compiled, example), label)[0] <= 0:
            return done("broken", "solver", example=example, rivals=rivals)
        if left <= 0:
            return done("open", "solver", reason="only a spurious solution within the limit", rivals=rivals)
    raise DisagreementError("prove: the solver's exact solution does not break the Program on loihi; please report it")


def solve(encoder: Encoder, limit: float) -> tuple[str, Messages | None, float]:
    """Return an answer, an input (time, 1, neurons) if it is "feasible", and how much of the limit was used.

    Others are "infeasible", "unknown" at the limit, "stopped" by the clock long before it, "invalid" where the solver
    refuses the model. The limit counts the solver's steps (CP-SAT's deterministic time), so a busy machine leaves no
    more open than a quiet one.
    """
    with extra("prove"):
        from ortools.sat.python import cp_model
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = SEED
    solver.parameters.max_deterministic_time = max(limit, 0.01)
    guard = WALL * (max(limit, 0.01) + 1)
    solver.parameters.max_time_in_seconds = guard
    status = solver.solve(encoder.model)
    used = solver.response_proto.deterministic_time
    if status == cp_model.INFEASIBLE:
        return "infeasible", None, used
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return "feasible", values(encoder, solver), used
    if status == cp_model.MODEL_INVALID:
        return "invalid", None, used
    return "stopped" if solver.wall_time >= guard else "unknown", None, used
