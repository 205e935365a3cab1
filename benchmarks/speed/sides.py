"""The sides of a comparison: worker processes that take turns."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from plan import LAVA, Comparison

HERE = Path(__file__).resolve().parent
PEERS = ("snntorch", "spikingjelly", "norse", "art")
LIMIT = 900
"""Seconds that a worker may take for an answer."""


class Failed(Exception):
    """A worker died or did not answer; the message is its last line."""


class Side:
    """A worker process.

    Raises:
        Failed: it could not prepare its job.
    """

    def __init__(self, python: str, name: str, settings: dict[str, Any]) -> None:
        words = [python, str(HERE / "worker.py"), name, json.dumps(settings)]
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 it lives as long as the process
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment)
        self.versions = self.answer()["versions"]
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.last: dict[str, Any] = {}

    def answer(self) -> dict[str, Any]:
        """Return the next line of its answers."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            self.errors.seek(0)
            told = [line for line in self.errors.read().splitlines() if line.strip()]
            self._end()
            raise Failed((told or ["died without a word"])[-1] if ready else f"no answer within {LIMIT} s")
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self, word: str = "go") -> dict[str, Any]:
        """Ask, and return the answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # answer() says why
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        return self.answer()

    def run(self, counts: bool = True) -> None:
        """Run once and keep the time, if it counts."""
        self.last = self.go()
        seconds, cpu = self.last.pop("seconds"), self.last.pop("cpu")
        if counts:
            self.seconds.append(seconds)
            self.cpu.append(cpu)

    def close(self) -> dict[str, Any]:
        """End the process and return its peak memory."""
        memory = self.go("end")
        self._end()
        return memory

    def _end(self) -> None:
        self.errors.close()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def told(self) -> dict[str, Any]:
        """Return everything that is kept of it, and end it."""
        found = {"seconds": self.seconds, "cpu": min(self.cpu), **self.last, "versions": self.versions}
        return {**found, **self.close()}


class Turn:
    """The sides of one comparison that are still running, and why the others are not."""

    def __init__(self) -> None:
        self.running: list[Side] = []
        self.errors: dict[str, str] = {}

    def start(self, python: str, name: str, settings: dict[str, Any]) -> None:
        """Start a side."""
        try:
            self.running.append(Side(python, name, settings))
        except Failed as error:
            self._fail(name, error)

    def each(self, sides: list[Side], do: Any) -> None:
        """Do something with each side; one that fails is out of the comparison, the others go on."""
        for side in sides:
            try:
                do(side)
            except Failed as error:
                self.running.remove(side)
                self._fail(side.name, error)

    def _fail(self, name: str, error: Failed) -> None:
        self.errors[name] = str(error)
        print(f"  {name}: failed: {error}", flush=True)


def compare(what: Comparison, peers: Path | None, threads: int, quick: bool) -> dict[str, Any]:
    """Run the sides in turn and return times, ratios and memory; a side that fails, with its reason.

    Args:
        what: is compared.
        peers: their interpreter; None leaves them out.
        threads: of every process.
        quick: one small round.
    """
    settings = {"job": what.job, "threads": threads, **what.settings, **(what.quick if quick else {})}
    turn = Turn()
    for name in what.sides:
        python = str(peers) if name in PEERS else sys.executable
        if name in PEERS and peers is None:
            turn.errors[name] = "left out: no environment for peers"
        else:
            compared = {"compared": what.own["lava"]["first"]} if what.job == "simulate" else {}
            turn.start(python, name, {**settings, **compared, **what.own.get(name, {})})
    turn.each([side for side in turn.running if side.name not in what.cold], lambda side: side.run(counts=False))
    for round_ in range(1 if quick else what.repeats):
        # Turned around every time, so that nobody always comes after the same one.
        turn.each(turn.running[:: 1 if round_ % 2 else -1], Side.run)
    checks: dict[str, Any] = {}
    if what.job == "simulate":
        turn.each(
            [side for side in turn.running if side.name != "lava-short"],
            lambda s: checks.update({s.name: s.go("check")}),
        )
    found: dict[str, Any] = {}
    turn.each(list(turn.running), lambda side: found.update({side.name: side.told()}))
    if what.job == "simulate":
        _per_sample(found, what, settings, checks, turn.errors)
    ours = found.get(what.sides[0])
    for side in found.values():
        side["median"], side["least"] = statistics.median(side["seconds"]), min(side["seconds"])
        if ours is not None:
            ratios = [theirs / mine for theirs, mine in zip(side["seconds"], ours["seconds"], strict=True)]
            side["ratio"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {"settings": settings, "goals": what.goals, "sides": found, "errors": turn.errors}


def _per_sample(
    found: dict[str, Any], what: Comparison, settings: dict[str, Any], checks: dict[str, Any], errors: dict[str, str]
) -> None:
    """Turn times of a batch, and of Lava's long and short runs, into times of a sample; compare what they computed."""
    short, long, ours = found.pop("lava-short", None), found.pop("lava", None), found.get("loihi")
    if ours is not None:
        ours["seconds"] = [taken / settings["batch"] for taken in ours["seconds"]]
    if short is None or long is None or ours is None:
        return
    count, few = (what.own[name]["first"] for name in LAVA)
    long["start"] = statistics.median(short["seconds"])
    long["seconds"] = [
        (more - less) / (count - few) for more, less in zip(long["seconds"], short["seconds"], strict=True)
    ]
    # Every spike of the first sample, and how often each neuron spiked in all samples that Lava ran.
    same = {"counts": ours.pop("counts") == long.pop("counts"), "spikes": checks["loihi"] == checks["lava"]}
    if not all(same.values()):
        errors["lava"] = f"computes something else than loihi: {same}"
        return
    found["lava"] = {**long, "equal": {"spikes_of_samples": 1, "counts_of_samples": count}}
