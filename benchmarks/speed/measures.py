"""What only we run: cost curves, shares of the machine's rates, memory of a large evaluation, whole commands."""

import statistics
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from typing import Any

from plan import DEEP, EVALUATION, LENGTHS, QUICK, SAMPLES, SWEEPS
from sides import Failed, Side


def _rounds(settings: dict[str, Any], rounds: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what a worker of ours tells of each of its rounds after the first, and its memory."""
    side, found = Side(sys.executable, "loihi", settings), []
    for _ in range(rounds + 1):
        side.run()
        found.append(side.last)
    return found[1:], side.close()


def scaling(threads: int, quick: bool) -> dict[str, Any]:
    """Return seconds of ``loihi`` against activity, steps, batch and width: the least of some rounds."""
    sweeps = [
        {
            "name": sweep.name,
            "key": sweep.key,
            "values": sweep.values[:2] if quick else sweep.values,
            "base": {**sweep.base, **(QUICK if quick else {})},
        }
        for sweep in SWEEPS
    ]
    rounds, _ = _rounds({"job": "scaling", "threads": threads, "sweeps": sweeps}, 1 if quick else 5)
    for sweep in sweeps:
        sweep["seconds"] = [min(times) for times in zip(*(found[sweep["name"]] for found in rounds), strict=True)]
    return {"sweeps": sweeps}


def rates(threads: int, quick: bool) -> dict[str, Any]:
    """Return what ``loihi`` reaches of the machine's rate of products and of its memory, in the same rounds."""
    settings = {"job": "rates", "threads": threads, "size": 128 if quick else 2048, "steps": 4 if quick else 64}
    rounds, _ = _rounds({**settings, "batch": 4 if quick else 256}, 1 if quick else 7)
    best = {name: max(found[name] for found in rounds) for name in rounds[0]}
    return {
        **best,
        "share of products": best["loihi products"] / best["machine products"],
        "share of memory": best["loihi memory"] / best["machine memory"],
        "events against products": best["loihi events"] / best["machine products"],
    }


def memory(threads: int, quick: bool) -> dict[str, Any]:
    """Return time and peak memory of evaluating a Program on few and on many samples, each in a new process."""
    found = []
    for samples in (20, 40) if quick else SAMPLES:
        side = Side(
            sys.executable, "loihi", {"job": "evaluation", "threads": threads, **EVALUATION, "samples": samples}
        )
        side.run()
        found.append({"samples": samples, "seconds": side.seconds[0], **side.close()})
    return {"evaluations": found}


def checkpointing(threads: int, quick: bool) -> dict[str, Any]:
    """Return time and peak memory of training steps of few and of many time steps, with and without checkpointing."""
    found = []
    for steps in (2, 4) if quick else LENGTHS:
        for name in ("ours", "ours-checkpointing"):
            side = Side(sys.executable, name, {**DEEP, "threads": threads, "steps": steps})
            for _ in range(2 if quick else 5):
                side.run()
            facts = {"steps": steps, "side": name, "seconds": statistics.median(side.seconds[1:]), **side.last}
            found.append({**facts, **side.close()})
    return {"lengths": found}


def jobs(threads: int, quick: bool) -> dict[str, Any]:
    """Return wall times of whole commands, as a user types them."""

    def seconds(*words: str, folder: str = ".") -> float:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "spikeproof", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"spikeproof {' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
        return time.perf_counter() - begun

    found = {"spikeproof --help": statistics.median(seconds("--help") for _ in range(1 if quick else 7))}
    if not quick:
        with TemporaryDirectory() as folder:
            found["spikeproof demo"] = seconds("demo", "--out", "demo", folder=folder)
            strong = ("evaluate", "demo", "--protocol", "strong", "--targets", "torch,loihi", "--samples", "50")
            found[f"spikeproof {' '.join(strong)}"] = seconds(*strong, folder=folder)
    return {"commands": found}


MEASURES = {measure.__name__: measure for measure in (scaling, rates, memory, checkpointing, jobs)}
SLOW = ("jobs",)
"""Measured only when asked for: they take minutes."""
