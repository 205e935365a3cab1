"""The README's table, made from records/digits: python benchmarks/readme_table.py prints it; a test compares."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def cell(share: dict[str, Any]) -> str:
    """Return an accuracy in % with its interval."""
    return f"{100 * share['value']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def demo_table() -> str:
    """Return the demo's accuracies, spikes and operations as Markdown."""
    record = json.loads((ROOT / "records" / "digits" / "demo.json").read_text())
    conditions = list(record["forms"][0]["conditions"])
    lines = [
        f"| form, target | samples | {' | '.join(conditions)} | operations a sample |",
        f"| --- | --: |{' --: |' * (len(conditions) + 1)}",
    ]
    for form in record["forms"]:
        cells = [cell(form["conditions"][name]["accuracy"]) for name in conditions]
        operations = sum(form["conditions"]["clean"]["operations"].values())
        name = f"{form['form'].replace('program', 'Program')}, {form['target']}"
        lines.append(f"| {name} | {form['samples']} | {' | '.join(cells)} | {operations:,.0f} |")
    return "\n".join(lines)


def seeds_table() -> str:
    """Return the three-seed runs as Markdown."""
    lines = [
        "| recipe | seed | float, clean | integers, clean | float, PGD | integers, PGD | zero-gradient share |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for path in sorted((ROOT / "records" / "digits").glob("*-seed*.json")):
        record = json.loads(path.read_text())
        forms = {form["target"]: form["conditions"] for form in record["forms"] if form["form"] != "quantized"}
        pgd = next(name for name in forms["torch"] if name.startswith("pgd"))
        values = [forms[target][name]["accuracy"]["value"] for name in ("clean", pgd) for target in ("torch", "loihi")]
        cells = " | ".join(f"{100 * value:.1f}" for value in values)
        hidden = record["gradients"]["float"]["hidden"]
        lines.append(f"| {record['name']} | {record['recipe']['train']['seed']} | {cells} | {hidden:.3f} |")
    return "\n".join(lines)


def agreement_line() -> str:
    """Return what was compared bit for bit, as one sentence; refuses to say so unless all was equal."""
    found = json.loads((ROOT / "records" / "digits" / "demo.json").read_text())["comparison"]
    assert found["different"] == 0
    names = ", ".join(f"`{name}`" for name in [found["reference"], *found["targets"]])
    values = found["spike_values_compared"] + found["state_values_compared"]
    return (
        f"{names} agree bit for bit on every spike, current and voltage of {found['samples']} images: "
        f"{values:,} values, none differs."
    )


def speed_line() -> str:
    """Return the benchmark against Lava as one sentence."""
    found = json.loads((ROOT / "records" / "benchmarks" / "loihi_vs_lava.json").read_text())
    return (
        f"{1000 * found['lava_seconds_per_image']:.0f} ms an image on Lava, "
        f"{1000 * found['loihi_seconds_per_image_batch_500']:.2f} ms on `loihi` in a batch of 500: "
        f"{found['times_faster_batch_500']:.0f} times faster."
    )


if __name__ == "__main__":
    print(demo_table(), agreement_line(), seeds_table(), speed_line(), sep="\n\n")
