"""Ours and theirs, side by side: python benchmarks/speed [--quick] [--only NAME] [--without-peers] [--threads N].

Every side of a comparison is a process of its own; they take turns, one run each, so that whatever else the machine
does meets all of them. Writes results/<machine class>.json and docs/speed-*.svg, and the tables of docs/speed.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import environments
import tables
from plan import BASE, COMPARISONS, SWEEPS, Comparison

from spikeproof.eval.record import machine, now, packages

HERE = Path(__file__).resolve().parent
PEERS = ("snntorch", "spikingjelly", "norse", "art")


class Side:
    """A worker process."""

    def __init__(self, python: str, name: str, settings: dict[str, Any]) -> None:
        words = [python, str(HERE / "worker.py"), name, json.dumps(settings)]
        pipe = subprocess.PIPE
        threads = str(settings["threads"])
        self.process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": threads}
        )
        self.name = name
        self.versions = self.answer()["versions"]
        self.seconds: list[float] = []
        self.last: dict[str, Any] = {}

    def answer(self) -> dict[str, Any]:
        """Return the next line of its answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[2:]}: failed, see above")  # type: ignore[index]
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self, word: str = "go") -> dict[str, Any]:
        """Ask, and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self) -> None:
        """Run once and keep the time."""
        self.last = self.go()
        self.seconds.append(self.last.pop("seconds"))

    def close(self) -> dict[str, Any]:
        """End the process and return its peak memory."""
        memory = self.go("end")
        self.process.wait()
        return memory


def sides(names: tuple[str, ...], settings: dict[str, Any], own: dict[str, Any], peers: Path | None) -> list[Side]:
    made = []
    for name in names:
        if name in PEERS and peers is None:
            continue
        python = str(peers) if name in PEERS else sys.executable
        made.append(Side(python, name, {**settings, **own.get(name, {})}))
    return made


def compare(what: Comparison, peers: Path | None, threads: int, quick: bool) -> dict[str, Any]:
    """Run the sides in turn and return times, ratios and memory."""
    settings = {"job": what.job, "threads": threads, **what.settings, **(what.quick if quick else {})}
    running = sides(what.sides, settings, what.own, peers)
    repeats = 1 if quick else what.repeats
    for side in running:
        side.run()
    for round_ in range(repeats):
        # Turned around every time, so that nobody always comes after the same one.
        for side in running if round_ % 2 else running[::-1]:
            side.run()
    found = {}
    for side in running:
        times = side.seconds[1:]
        found[side.name] = {
            "seconds": times,
            "median": statistics.median(times),
            "least": min(times),
            **side.last,
            **side.close(),
            "versions": side.versions,
        }
    if "lava-short" in found:
        _per_sample(found, what, settings)
    first = running[0].name
    for side_found in found.values():
        ratios = [theirs / mine for theirs, mine in zip(side_found["seconds"], found[first]["seconds"], strict=True)]
        side_found["ratio"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {"name": what.name, "settings": settings, "goals": what.goals, "sides": found}


def _per_sample(found: dict[str, Any], what: Comparison, settings: dict[str, Any]) -> None:
    """Turn times of a batch, and of Lava's long and short runs, into times of a sample; check that spikes are equal."""
    short, long = found.pop("lava-short"), found["lava"]
    count, few = what.own["lava"]["first"], what.own["lava-short"]["first"]
    long["seconds"] = [
        (more - less) / (count - few) for more, less in zip(long["seconds"], short["seconds"], strict=True)
    ]
    ours = found["loihi"]
    ours["seconds"] = [taken / settings["batch"] for taken in ours["seconds"]]
    for side in found.values():
        side["median"], side["least"] = statistics.median(side["seconds"]), min(side["seconds"])
    if ours["output"][:1] != long["output"][:1]:
        raise SystemExit(f"{what.name}: loihi and lava compute different things")


def scaling(threads: int, quick: bool) -> dict[str, Any]:
    """Return seconds of ``loihi`` against activity, steps, batch and width, and its share of the machine's products."""
    sweeps = {name: (key, values[:1] if quick else values) for name, (key, values) in SWEEPS.items()}
    base = {**BASE, "batch": 8, "steps": 4} if quick else BASE
    size = 256 if quick else 2048
    settings = {"job": "scaling", "threads": threads, "base": base, "sweeps": sweeps, "size": size}
    side, rounds = Side(sys.executable, "loihi", settings), []
    for _ in range(2 if quick else 6):
        side.run()
        rounds.append(side.last)
    side.close()
    least = {name: [min(times) for times in zip(*(found[name] for found in rounds), strict=True)] for name in sweeps}
    width = "hidden neurons"
    place = sweeps[width][1].index(base["kind"]) if not quick else 0
    hidden = int(sweeps[width][1][place].removeprefix("mlp-"))
    reached = 2 * base["steps"] * base["batch"] * hidden * (784 + 10) / least[width][place]
    most = 2 * size**3 / min(found["product"] for found in rounds)
    return {
        "base": base,
        "sweeps": {name: {"values": list(sweeps[name][1]), "seconds": times} for name, times in least.items()},
        "rates": {"machine": most, "loihi": reached, "share": reached / most},
    }


def evaluation(threads: int, quick: bool) -> dict[str, float]:
    """Return time and peak memory of evaluating a Program on many samples."""
    samples = 40 if quick else 10_000
    settings = {"job": "evaluation", "threads": threads, "steps": 8, "batch": 250, "training": 1, "samples": samples}
    side = Side(sys.executable, "loihi", settings)
    side.run()
    memory = side.close()
    return {"samples": samples, "seconds": side.seconds[0], **memory}


def whole(quick: bool) -> dict[str, float]:
    """Return wall times of whole commands, as a user types them."""
    from tempfile import TemporaryDirectory

    def seconds(*words: str, folder: str = ".") -> float:
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "spikeproof", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"spikeproof {' '.join(words)}: {done.stderr}")
        return time.perf_counter() - begun

    found = {"spikeproof --help": statistics.median(seconds("--help") for _ in range(1 if quick else 7))}
    if quick:
        return found
    with TemporaryDirectory() as folder:
        found["spikeproof demo"] = seconds("demo", "--out", "demo", folder=folder)
        strong = ("evaluate", "demo", "--protocol", "strong", "--targets", "torch,loihi", "--samples", "50")
        found["spikeproof evaluate demo --protocol strong --samples 50"] = seconds(*strong, folder=folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one tiny run of everything: does it work at all?")
    parser.add_argument("--only", help="comparisons whose name contains this, and nothing else")
    parser.add_argument("--without-peers", action="store_true", help="leave out what needs the peers' environment")
    parser.add_argument("--without-lava", action="store_true", help="leave out Lava")
    parser.add_argument("--threads", type=int, default=machine().cores, help="of every process")
    parser.add_argument("--out", type=Path, help="the JSON file; default results/<machine class>.json")
    given = parser.parse_args()
    peers = None if given.without_peers else environments.peers()
    result: dict[str, Any] = {
        "created": now(),
        "machine": machine().model_dump(),
        "threads": given.threads,
        "packages": packages(),
        "comparisons": [],
    }
    for what in COMPARISONS:
        if (given.only and given.only not in what.name) or (given.without_lava and "lava" in what.sides):
            continue
        print(what.name, flush=True)
        result["comparisons"].append(compare(what, peers, given.threads, given.quick))
        print(tables.lines(result["comparisons"][-1]), flush=True)
    if not given.only:
        for name, measure in (("scaling", scaling), ("evaluation", evaluation)):
            print(name, flush=True)
            result[name] = measure(given.threads, given.quick)
        print("whole commands", flush=True)
        result["commands"] = whole(given.quick)
    out = given.out or HERE / "results" / f"{tables.machine_class(result)}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {out}")
    if not given.only and not given.quick:
        tables.publish(result, HERE.parents[1] / "docs")


if __name__ == "__main__":
    main()
