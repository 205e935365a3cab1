"""A cheap search for an input that breaks: what is broken needs no proof."""

import numpy as np
from numpy.typing import NDArray

from ...hw_targets.target import CompiledProgram
from .region import Ball, Messages, Region


def run(compiled: CompiledProgram, messages: Messages) -> NDArray[np.int64]:
    """Return the read-out (samples, classes) for messages (time, samples, neurons)."""
    shape = compiled.program.input.shape
    return compiled.run(messages.reshape(*messages.shape[:2], *shape)).output


def margins(output: NDArray[np.int64], label: int) -> NDArray[np.int64]:
    """Return 1 or more where ``label`` wins, 0 or less where another class does; the lower the closer."""
    later = np.arange(output.shape[1]) > label
    others = np.delete(output - later, label, axis=1)
    found: NDArray[np.int64] = output[:, label] - others.max(1)
    return found


def search(
    compiled: CompiledProgram, region: Region, label: int, *, seed: int = 0, count: int = 128, rounds: int = 6
) -> Messages | None:
    """Return an input of the region (time, 1, neurons) that is not classified as ``label``; None if none was found.

    Random corners first; in a ball then rounds of random changes of the best one, fewer in each.

    Args:
        compiled: the Program on ``loihi``.
        region: of the input.
        label: the class.
        seed: of the draws.
        count: inputs a round.
        rounds: at most.
    """
    random = np.random.default_rng(seed)
    messages = region.draw(random, count, corners=True)
    best, least = messages[:, :1], None
    for number in range(rounds):
        found = margins(run(compiled, messages), label)
        place = int(found.argmin())
        if found[place] <= 0:
            return messages[:, place : place + 1].copy()
        if least is None or found[place] < least:
            best, least = messages[:, place : place + 1], found[place]
        if not isinstance(region, Ball):
            messages = region.draw(random, count, corners=True)
            continue
        changed = random.random((count, len(region.levels))) < 0.3 / (number + 1)
        other = np.where(best[0] == region.high, region.low, region.high)
        messages = region.repeated(np.where(changed, other, best[0]))
    return None
