"""The tables of README and docs/results.md, made from records: this prints them; tests/test_readme.py compares."""

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


def robustness_table() -> str:
    """Return worst cases under the strong protocol, a row a record."""
    lines = [
        "| network | samples | epsilon | float | float, rounded | quantized | Program | noise alone, Program |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for path in sorted((ROOT / "records" / "robustness").glob("*.json")):
        record = json.loads(path.read_text())
        forms = {form["form"]: form for form in record["forms"]}
        marks = {
            name: "" if not any(a["severity"] == "alarm" for a in form["alarms"]) else " (alarm)"
            for name, form in forms.items()
        }
        noise = min(one["accuracy"]["value"] for one in forms["program"]["attacks"] if one["label"].startswith("noise"))
        cells = [
            cell(forms["float"]["worst"]) + marks["float"],
            f"{100 * forms['float']['worst_on_grid']['value']:.1f}",
            cell(forms["quantized"]["worst"]) + marks["quantized"],
            cell(forms["program"]["worst"]) + marks["program"],
            f"{100 * noise:.1f}",
        ]
        facts = record["recipe"]
        name = f"{record['data']['name']}, {facts['model']['pool']} pooling, seed {facts['train']['seed']}"
        lines.append(f"| {name} | {record['samples']} | {record['levels']}/255 | {' | '.join(cells)} |")
    return "\n".join(lines)


def robustness_sentence() -> str:
    """Return what the strong protocol leaves of the demo's PGD figures, and what deployment did to it."""
    strong = json.loads((ROOT / "records" / "robustness" / "digits-max-seed3407.json").read_text())
    worst = {form["form"]: form["worst"]["value"] for form in strong["forms"]}
    plain = {
        form["form"]: form["conditions"]["pgd-10@0.1"]["accuracy"]["value"]
        for form in json.loads((ROOT / "records" / "digits" / "demo.json").read_text())["forms"]
        if form["target"] in ("torch", "loihi")
    }
    parts = (f"{name} {100 * plain[name]:.1f} to {100 * worst[name]:.1f}" for name in ("float", "quantized", "program"))
    rounded = next(form["worst_on_grid"]["value"] for form in strong["forms"] if form["form"] == "float")
    return (
        f"On the demo's digits, what plain PGD calls robust falls from {', '.join(parts)} %: it was attack weakness. "
        "Quantized network and Program, which see the same rounded input, differ by less than their intervals; the "
        "float network is lower because many of its examples are finer than the chip's input "
        f"({100 * rounded:.1f} % once rounded)."
    )


PROOFS = ROOT / "records" / "proof"
TITLES = {"at": "adversarial training (`at`)"}


def _proofs() -> list[tuple[str, dict[str, Any]]]:
    """Return method and record of every proof, by method and radius."""
    found = [
        (path.stem.split("-", 1)[1].rsplit("-", 1)[0], json.loads(path.read_text())) for path in PROOFS.glob("*.json")
    ]
    return sorted(
        [(method, record) for method, record in found if "outcomes" in record and "solver" in record],
        key=lambda each: (each[0], each[1]["radius"]),
    )


def _ends(record: dict[str, Any]) -> str:
    """Return both ends of robust accuracy, one figure in bold where they meet."""
    low, high = (100 * record[name]["value"] for name in ("proved", "unbroken"))
    return f"**{low:.0f}**" if record["width"] == 0 else f"{low:.0f} to {high:.0f}"


def proof_table() -> str:
    """Return what was proved, a row a record."""
    head = "network | epsilon | samples | right | proved by sets | by the solver | broken | open"
    lines = [
        f"| {head} | robust accuracy, % | limit | seconds |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for method, record in _proofs():
        by = [one["by"] for one in record["samples"] if one["status"] == "proved"]
        letters = record["outcomes"]
        lines.append(
            f"| {TITLES.get(method, f'`{method}`')} | {record['radius']}/255 | {len(letters)} | "
            f"{len(letters) - letters.count('.')} | {by.count('sets')} | {by.count('solver')} | {letters.count('x')} | "
            f"{letters.count('?')} | {_ends(record)} | {record['limit']:g} | "
            f"{sum(one['seconds'] for one in record['samples']):.0f} |"
        )
    return "\n".join(lines)


def proof_short() -> str:
    """Return robust accuracies at 1, 2 and 4 levels of each method's Program, a row a method."""
    lines = [
        "| Program | clean | 1/255 | 2/255 | 4/255 |",
        "| --- | --: | --: | --: | --: |",
    ]
    table: dict[str, dict[int, dict[str, Any]]] = {}
    for method, record in _proofs():
        table.setdefault(method, {})[record["radius"]] = record
    for method, records in table.items():
        first = next(iter(records.values()))["outcomes"]
        cells = [_ends(records[radius]) if radius in records else "\u2013" for radius in (1, 2, 4)]
        lines.append(f"| {TITLES.get(method, f'`{method}`')} | {len(first) - first.count('.')} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(
        proof_short(),
        proof_table(),
        demo_table(),
        agreement_line(),
        seeds_table(),
        speed_line(),
        robustness_table(),
        robustness_sentence(),
        sep="\n\n",
    )
