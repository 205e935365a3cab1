"""The table of docs/family.md, made from records: this prints it; tests/test_readme.py compares."""

import json
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = Path(__file__).resolve().parents[1] / "records"
DASH = "\N{EN DASH}"
BOARD = RECORDS / "leaderboard" / "digits"


class System(NamedTuple):
    """One of the thirteen systems: its paper, and under which names the records have it."""

    number: int
    """As in the design notes."""
    title: str
    """Short name."""
    paper: str
    """arXiv number."""
    claim: str
    """What the paper says, in our words, and how we know it: r read there, t told by a third party."""
    method: str | None = None
    """Its row of the leaderboard, if it is a way to train or build a classifier of images."""
    study: str | None = None
    """Its record of acceptance under records/defences, where that name differs from the leaderboard's."""


SYSTEMS = (
    System(
        1, "Gradient sparsity trail", "2509.23762", "max pooling keeps up to 16.03 % under PGD-7, CIFAR-10 (t)", "plain"
    ),
    System(2, "TGO", "2602.20548", "FGSM 14.1 to 51.4 %, PGD-10 0.0 to 6.1 %, CIFAR-10 (t)", "tgo"),
    System(3, "S-LIF", "2601.21823", "mean gain of 3.28 % in control tasks (t)", "slif"),
    System(4, "ASSG and SA-PGD", "2512.22522", "breaks 88.4 % of AT where APGD breaks 75.4 %, CIFAR-10 (t)"),
    System(5, "SpikeSR", "2503.04223", "31.95 dB against bicubic 29.53 dB, x4, AID, DOTA and DIOR (r)"),
    System(6, "Temporal reversal", "2408.09108", "74.77 % on ImageNet in two steps; more robust (r)", "trr"),
    System(7, "Local feature masking", "2407.13646", "better than dropout under attack, re-identification (t)", "lfm"),
    System(8, "Robustness of graph networks", "2406.13920", "capacity helps with enough data; few neurons are hit (t)"),
    System(9, "SR", "2405.20355", "PGD-7 0.9 to 8.6 %, clean 92.5 to 91.0 %, CIFAR-10 (t)", "sr"),
    System(10, "SCA", "2308.03956", "more robust to Auto-PGD than a perceptron (r)", "sca"),
    System(11, "Stability of gradient methods", "2209.09298", "bounds for shallow networks, no experiments (r)"),
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
    """Return one row a system that trains or builds a classifier of images."""
    heads = [f"{form.replace('program', 'Program')} {condition}" for form, condition in COLUMNS]
    lines = [
        f"| | system | the paper says | acceptance met | {' | '.join(heads)} |",
        f"| --: | --- | --- | --: |{' --: |' * len(COLUMNS)}",
    ]
    for system in SYSTEMS:
        name = system.study or system.method
        if name is None:
            continue
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


PARTS = {"table": family_table, "attacks": attack_sentence}
"""Every part of the page that comes from records."""

if __name__ == "__main__":
    for part in PARTS.values():
        print(part(), end="\n\n")
