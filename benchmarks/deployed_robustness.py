"""What the strong protocol leaves of every form: python benchmarks/deployed_robustness.py [fashion].

Digits, max and average pooling, three seeds; with ``fashion``, the small Fashion-MNIST network of fashion-small.toml
(set SPIKEPROOF_DATA). Writes robustness/*.json under --out (runs/benchmarks). Under load, OMP_NUM_THREADS=1 is many
times faster.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import given_out

from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.robustness import robustness
from spikeproof.toolkit.config import Recipe, load_recipe
from spikeproof.toolkit.progress import bars

HERE = Path(__file__).resolve().parent
OUT = given_out.USUAL / "robustness"
SEEDS = (3407, 3408, 3409)


def measure(recipe: Recipe, name: str, epsilon: float, samples: int) -> None:
    """Train, deploy and attack one network, and keep its record."""
    with TemporaryDirectory() as folder, bars() as track:
        run = Run.create(Path(folder) / "run", recipe)
        for step in (steps.train, steps.quantize, steps.export):
            step(run, track)
        record = robustness(run, "strong", epsilon=epsilon, samples=samples, track=track)
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"{name}.json").write_bytes(run.path("robustness.json").read_bytes())
    print(f"{name}: {record.summary}")


def main(words: list[str]) -> None:
    if words == ["fashion"]:
        measure(load_recipe(str(HERE / "fashion-small.toml")), "fashion-small", 0.05, 100)
        return
    for name in ("digits", "digits-avg"):
        recipe = load_recipe(name)
        for seed in SEEDS:
            chosen = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
            measure(chosen, f"digits-{recipe.model.pool}-seed{seed}", 0.1, 500)


if __name__ == "__main__":
    OUT = given_out.out("robustness")
    main(sys.argv[1:])
