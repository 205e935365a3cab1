"""How much of what `strong` calls robust a longer search still breaks: the old protocol, the new one, and that search.

python benchmarks/strength.py [--methods at,sr,...] [--seeds 3407,...] [--others N] [--runs FOLDER] writes
benchmarks/strength-METHOD-seed*.json under --out. The leaderboard's networks of digits, 200 test images, 25/255, float
network and Program. The old protocol is "strong" as it was in 0.2; the search is CornerSearch with 100,000 queries and
N seeds that no protocol uses, one after the other, on what the new one leaves. Runs are trained into FOLDER, or taken
from there.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import given_out
import numpy as np

from spikeproof.eval.leaderboard.measure import recipe_of
from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.eval.robustness.protocol import measure
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.hw_targets.twin import Twin
from spikeproof.toolkit.attacks.corner import CornerSearch
from spikeproof.toolkit.attacks.protocol import Protocol, built_in
from spikeproof.toolkit.config import load_recipe

OUT = given_out.USUAL / "benchmarks"
RECIPE = Path(__file__).resolve().parent / "leaderboard-digits.toml"
SAMPLES, EPSILON, QUERIES, OTHER = 200, 25 / 255, 100_000, 9001
LATER = ("soft", "neuron-pool")
"""What labels of attacks say that 0.2 did not have."""


def old() -> Protocol:
    """Return `strong` as it was in 0.2: without a search and without attacks through the read-out."""
    strong = built_in("strong", radius=EPSILON)
    attacks = [attack for attack in strong.attacks if not any(word in attack.label for word in LATER)]
    return replace(strong, name="strong of 0.2", attacks=attacks, search=None, probes=False)


def trained(folder: Path, method: str, seed: int) -> Run:
    """Return the run in ``folder``, trained, quantized and exported if it is not there."""
    path = folder / f"{method}-{seed}"
    if path.exists():
        return Run.open(path)
    run = Run.create(path, recipe_of(method, load_recipe(str(RECIPE)), seed))
    steps.train(run)
    steps.quantize(run)
    steps.export(run)
    return run


def one(folder: Path, method: str, seed: int, others: int) -> None:
    """Measure one network and write its record; ``others``: seeds of the further search."""
    run = trained(folder, method, seed)
    forms, data = run.forms(), run.data()
    images, labels = forms.network.coder.on_grid(data.test_images[:SAMPLES]), data.test_labels[:SAMPLES]
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for protocol in (old(), built_in("strong", radius=EPSILON)):
        begun = time.perf_counter()
        measured = measure(forms.network, images, labels, program=forms.program, protocol=protocol, epsilon=EPSILON)
        seconds[protocol.name] = time.perf_counter() - begun
        for form in measured.forms:
            saturation = form.saturation
            found.setdefault(form.form, {})[protocol.name] = {
                "left": form.worst.correct,
                "outcomes": form.outcomes,
                "saturation": None if saturation is None else saturation.model_dump(),
                "alarms": [alarm.code for alarm in form.alarms if alarm.severity == "alarm"],
            }
    for form, module in (("float", forms.network), ("program", Twin(forms.program, coder=forms.network.coder))):
        begun = time.perf_counter()
        left = np.flatnonzero(np.array(list(found[form]["strong"]["outcomes"])) == "o")
        broken = {}
        for other in range(OTHER, OTHER + others):
            if left.size:
                search = CornerSearch(epsilon=EPSILON, queries=QUERIES, seed=other)
                robust = search(module, images[left], labels[left]).robust
                broken[other] = left[~robust].tolist()
                left = left[robust]
        found[form]["search"] = {"left": int(left.size), "broken": broken, "queries": QUERIES}
        seconds[f"search, {form}"] = time.perf_counter() - begun
        print(method, seed, form, {name: each["left"] for name, each in found[form].items()}, flush=True)
    record = Benchmark(
        **header(
            f"strength-{method}-seed{seed}",
            f"python benchmarks/strength.py --methods {method} --seeds {seed} --others {others}",
            data=data,
            program=forms.program,
            recipe=run.recipe(),
        ),
        samples=SAMPLES,
        epsilon=EPSILON,
        forms=found,
        seconds=seconds,
    )
    write_record(OUT / f"strength-{method}-seed{seed}.json", record)


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="at,sr,plain,plain-avg")
    parser.add_argument("--seeds", default="3407,3408,3409")
    parser.add_argument("--others", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/strength"))
    asked = parser.parse_args()
    for number in asked.seeds.split(","):
        for which in asked.methods.split(","):
            one(asked.runs, which, int(number), asked.others)
