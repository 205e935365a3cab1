"""Run the default recipes with three seeds and keep their records: python benchmarks/three_seeds.py.

Writes digits/RECIPE-seedN.json under --out (runs/benchmarks) and prints accuracy, robustness and zero-gradient
share of every run.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import given_out
from rich.console import Console
from rich.table import Table

from spikeproof.eval.run import steps
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.simulate import agree, require_equal
from spikeproof.toolkit.config import load_recipe
from spikeproof.toolkit.progress import bars

SEEDS = (3407, 3408, 3409)
OUT = given_out.USUAL / "digits"


def main() -> None:
    table = Table(title="digits, 500 test images, accuracy in %")
    for column in ("recipe", "seed", "float", "loihi", "loss", "float under PGD", "loihi under PGD", "zero share"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for name in ("digits", "digits-avg"):
        recipe = load_recipe(name)
        for seed in SEEDS:
            chosen = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
            with TemporaryDirectory() as folder, bars() as track:
                run = Run.create(Path(folder) / "run", chosen)
                for step in (steps.train, steps.attack, steps.quantize, steps.export):
                    step(run, track)
                require_equal(agree(run, ["loihi", "onnx"], 500, track).record)
                result = evaluate(run, ["loihi", "onnx"], "cpu", track).to_dict()
                OUT.mkdir(parents=True, exist_ok=True)
                (OUT / f"{name}-seed{seed}.json").write_bytes(run.path("record.json").read_bytes())
            forms = {form["target"]: form["conditions"] for form in result["forms"] if form["form"] != "quantized"}
            pgd = next(label for label in forms["torch"] if label.startswith("pgd"))
            clean = [forms[target]["clean"]["accuracy"]["value"] for target in ("torch", "loihi")]
            attacked = [forms[target][pgd]["accuracy"]["value"] for target in ("torch", "loihi")]
            cells = [f"{100 * value:.1f}" for value in (*clean, clean[0] - clean[1], *attacked)]
            table.add_row(name, str(seed), *cells, f"{result['gradients']['float']['hidden']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    OUT = given_out.out("digits")
    main()
