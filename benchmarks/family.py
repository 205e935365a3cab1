"""The table of docs/family.md, made from records: this prints it; tests/test_readme.py compares."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from spikeproof.eval.records.benchmark import read as read_benchmark
from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.records.graphs import read as read_graphs
from spikeproof.eval.records.stability import findings, mean_of, networks, rows_of, sides, sizes, slope
from spikeproof.eval.records.stability import read as read_stability

RECORDS = Path(__file__).resolve().parents[1] / "records"
DASH = "\N{EN DASH}"
BOARD = RECORDS / "leaderboard" / "digits"


class System(NamedTuple):
    """A system that trains or builds a classifier of images: its paper, and under which names records have it."""

    number: int
    """As in the design notes."""
    title: str
    """Short name."""
    paper: str
    """arXiv number."""
    claim: str
    """What the paper says, in our words, and how we know it: r read there, t told by a third party."""
    method: str | None = None
    """Its row of the leaderboard, if it has one."""
    study: str | None = None
    """Its record of acceptance under records/defences, where that name differs from the leaderboard's."""


SYSTEMS = (
    System(
        1, "Gradient sparsity trail", "2509.23762", "max pooling keeps up to 16.03 % under PGD-7, CIFAR-10 (t)", "plain"
    ),
    System(2, "TGO", "2602.20548", "FGSM 14.1 to 51.4 %, PGD-10 0.0 to 6.1 %, CIFAR-10 (t)", "tgo"),
    System(3, "S-LIF", "2601.21823", "mean gain of 3.28 % in control tasks (t)", "slif"),
    System(6, "Temporal reversal", "2408.09108", "74.77 % on ImageNet in two steps; more robust (r)", "trr"),
    System(7, "Local feature masking", "2407.13646", "better than dropout under attack, re-identification (t)", "lfm"),
    System(9, "SR", "2405.20355", "PGD-7 0.9 to 8.6 %, clean 92.5 to 91.0 %, CIFAR-10 (t)", "sr"),
    System(10, "SCA", "2308.03956", "more robust to Auto-PGD than a perceptron (r)", "sca"),
    System(12, "Self-connections", "2207.04876", "eigenvalues of the dynamics can adapt (r)", "self_connection"),
    System(12, "Stochastic neurons", "2207.04876", "Rademacher complexity falls exponentially (r)", None, "stochastic"),
    System(13, "CAP", "2110.14855", "better generalization on graphs (r)", "cap"),
)


def claims(method: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the leaderboard measured of a method, by form and condition."""
    found = json.loads((BOARD / f"{method}.json").read_text(encoding="utf-8"))
    return {
        (one["form"], one["condition"]): one
        for one in found["claims"]
        if one["kind"] in ("measured", "deployed") and one["quantity"] == "accuracy"
    }


def number(claim: dict[str, Any] | None) -> str:
    """Return a mean with its spread over seeds, `!` where an alarm was raised, a dash where nothing was measured."""
    if claim is None:
        return DASH
    spread = f" ± {claim['spread']:.1f}" if claim["spread"] is not None else ""
    return f"{claim['value']:.1f}{spread}{' !' if claim['reliable'] is False else ''}"


def met(name: str) -> str:
    """Return how many of our own acceptance figures a method met in the setting that the design notes ask for."""
    path = RECORDS / "defences" / f"{name}.json"
    if not path.exists():
        return DASH
    rows = json.loads(path.read_text(encoding="utf-8"))["acceptance"]
    return f"{sum(bool(row['accepted']) for row in rows)} of {len(rows)}" if rows else DASH


COLUMNS = (
    ("float", "clean"),
    ("float", "strong"),
    ("program", "clean"),
    ("program", "strong"),
    ("program", "proved at 1/255"),
    ("program", "proved at 2/255"),
)


def family_table() -> str:
    """Return one row a system."""
    heads = [f"{form.replace('program', 'Program')} {condition}" for form, condition in COLUMNS]
    lines = [
        f"| | system | the paper says | acceptance met | {' | '.join(heads)} |",
        f"| --: | --- | --- | --: |{' --: |' * len(COLUMNS)}",
    ]
    for system in SYSTEMS:
        name = system.study or system.method or ""
        found = claims(system.method) if system.method else {}
        cells = " | ".join(number(found.get(column)) for column in COLUMNS)
        link = f"{system.title} ([{system.paper}](https://arxiv.org/abs/{system.paper}))"
        lines.append(f"| {system.number} | {link} | {system.claim} | {met(name)} | {cells} |")
    return "\n".join(lines)


def attack_sentence() -> str:
    """Return what ASSG and SA-PGD leave where plain PGD ends, and what all attacks together leave, as one sentence."""
    labels = {
        "PGD-10": "pgd-10@0.1",
        "Auto-PGD": "apgd-ce-50@0.1",
        "SA-PGD with ASSG": "sa-pgd-50+assg-arctan-0.85@0.1",
    }
    parts = []
    for pool in ("max", "avg"):
        left: dict[str, list[float]] = {}
        for path in sorted((RECORDS / "attacks").glob(f"harness-{pool}-seed*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            robust = {one["label"]: one["robust"] for one in record["attacks"]}
            for name, label in labels.items():
                left.setdefault(name, []).append(100 * robust[label] / record["samples"])
            left.setdefault("the worst case of all", []).append(100 * record["worst@0.1"] / record["samples"])
        means = ", ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in left.items())
        parts.append(f"with {'max' if pool == 'max' else 'average'} pooling {means}")
    return f"What is left at 0.1, in % of 500 digits, mean of three seeds: {'; '.join(parts)}."


def upscaling_table() -> str:
    """Return PSNR and SSIM of bicubic enlargement, float network and Program on Set5, means of five pictures."""
    lines = [
        "| Set5 | bicubic | linear, 9 x 9 | float | Program | float, PGD-10 at 2/255 | Program, the same examples |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    simple = read_benchmark(RECORDS / "benchmarks" / "without-spikes-upscaling.json").model_dump()["rows"]
    for scale in (2, 4):
        record = read_record(RECORDS / "sr" / f"set5-x{scale}.json")
        forms = {(form.form, form.target): form.conditions for form in record.forms}
        attack = next(name for name in record.forms[0].conditions if name.startswith("pgd"))
        found = [record.baseline["bicubic"]]
        for condition in ("clean", attack):
            found += [forms[key][condition].others for key in (("float", "torch"), ("program", "loihi"))]
        pairs = [(one["PSNR"].value["mean"], one["SSIM"].value["mean"]) for one in found]
        linear = next(one for one in simple if (one["scale"], one["method"]) == (scale, "linear, 9 x 9"))
        pairs.insert(1, (linear["PSNR"], linear["SSIM"]))
        cells = [f"{psnr:.2f} dB, {ssim:.3f}" for psnr, ssim in pairs]
        lines.append(f"| x{scale} | {' | '.join(cells)} |")
    return "\n".join(lines)


def graph_table() -> str:
    """Return what flips by gradient and by chance leave of networks on Cora, and of the same as Programs."""
    study = read_graphs(RECORDS / "graphs" / "study-cora.json")
    heads = ("clean", "edges", "edges by chance", "words", "words by chance")
    lines = [f"| Cora, width 16 | {' | '.join(heads)} |", f"| --- |{' --: |' * len(heads)}"]
    for name, form in (("gcn-16", "float"), ("spiking-16", "float"), ("spiking-16", "program")):
        conditions = ("clean", f"edges from {name}", "edges by chance", f"features from {name}", "features by chance")
        means = [mean_of(study.accuracies(name, form, one)) for one in conditions]
        title = {"gcn-16": "GCN", "spiking-16": "spiking network"}[name]
        cells = [f"{one.value:.1f} ± {one.spread:.1f}" for one in means]
        lines.append(f"| {title}, {form.replace('program', 'Program')} | {' | '.join(cells)} |")
    simple = read_benchmark(RECORDS / "benchmarks" / "without-spikes-graphs.json").model_dump()["rows"]
    for one in simple:
        if one["graph"] == "cora":
            right = 100 * one["accuracy"]["value"]
            lines.append(f"| logistic regression, {one['input']} | {right:.1f} |{f' {DASH} |' * (len(heads) - 1)}")
    return "\n".join(lines)


def cap_table() -> str:
    """Return accuracy and the gap of losses of a graph network trained plainly, by CAP, and by its halves."""
    ways = {"plain": "plain", "feature": "features alone", "weight": "weights alone", "cap": "CAP"}
    lines = ["| graph | training | accuracy, % | gap of test and training loss |", "| --- | --- | --: | --: |"]
    for name, graph in (("study-cora", "Cora"), ("study-digits-graph", "noisy digits")):
        study = read_graphs(RECORDS / "graphs" / f"{name}.json")
        for way, title in ways.items():
            of = [one for one in study.trained if one.training == way]
            right, gap = mean_of([100 * one.accuracy.value for one in of]), mean_of([one.gap for one in of])
            lines.append(
                f"| {graph} | {title} | {right.value:.1f} ± {right.spread:.1f} | {gap.value:.3f} ± {gap.spread:.3f} |"
            )
    return "\n".join(lines)


def stability_table() -> str:
    """Return slopes of the twins' distance in n, and on which share of points the inequality held."""
    record = read_stability(RECORDS / "stability" / "digits-shallow.json")
    lines = [
        "| network | slope of distance in n, last step | grows with steps | gap up, loss down | inequality holds |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name in networks(record):
        of = [row for row in record.rows if row.network == name]
        steps = [point.step for point in of[0].points if point.step]
        found, slopes = findings(record, name), slope(record, name, steps[-1])
        points = [sides(rows_of(record, name, n), step) for n in sizes(record, name) for step in steps]
        held = [max(one.gap.value, one.replaced.value) <= one.right for one in points if one is not None]
        lines.append(
            f"| {name} | {slopes.value:.2f} ± {slopes.spread:.2f} | {found.monotone} of {found.rows} | "
            f"{found.apart} of {found.rows} | {f'{sum(held)} of {len(held)}' if held else 'no bound'} |"
        )
    return "\n".join(lines)


PARTS = {
    "table": family_table,
    "attacks": attack_sentence,
    "upscaling": upscaling_table,
    "graphs": graph_table,
    "cap": cap_table,
    "stability": stability_table,
}
"""Every part of the page that comes from records."""

if __name__ == "__main__":
    for part in PARTS.values():
        print(part(), end="\n\n")
