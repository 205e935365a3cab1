"""What the terminal shows: progress bars on standard error, results as tables or as JSON on standard output."""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..toolkit.progress import Track, bars

out = Console()
err = Console(stderr=True)


def progress(quiet: bool) -> AbstractContextManager[Track]:
    """Yield a Track that draws one bar a task on standard error; silent with ``--json`` or without a terminal."""
    return bars(quiet, err)


@contextmanager
def loading(quiet: bool, what: str = "loading PyTorch and friends") -> Iterator[None]:
    """Say what is being done while there is nothing to count: by default that libraries are being loaded."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in left:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _comparison(result: dict[str, Any]) -> None:
    others = ", ".join(result["targets"])
    title = f"{result['reference']} against {others}, {result['samples']} samples"
    table = _table(title, ("target", "population", "first difference"), ("spikes", "u and v", "different"))
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for bits in result["values"]:
        rows.setdefault((bits["target"], bits["population"]), []).append(bits)
    for (target, population), parts in rows.items():
        spikes = sum(bits["compared"] for bits in parts if bits["quantity"] == "spikes")
        states = sum(bits["compared"] for bits in parts if bits["quantity"] != "spikes")
        wrong = [bits for bits in parts if bits["different"]]
        first = ""
        if wrong:
            step, sample, *neuron = wrong[0]["first"]
            first = f"{wrong[0]['quantity']}: step {step}, sample {sample}, neuron {tuple(neuron)}"
        different = sum(bits["different"] for bits in parts)
        table.add_row(target, population, first, f"{spikes:,}", f"{states:,}", f"{different:,}")
    out.print(table)
    verdict = "[green]equal, bit for bit[/]" if result["equal"] else "[red]NOT equal[/]"
    out.print(
        f"{result['spike_values_compared']:,} spike values compared ({result['spikes']:,} spikes a target), "
        f"{result['state_values_compared']:,} values of u and v, {result['different']:,} differ: {verdict}"
    )


def _evaluation(result: dict[str, Any]) -> None:
    conditions = list(result["forms"][0]["conditions"])
    title = f"{result['name']}: accuracy in % with 95 % Wilson interval\nthreat model: {result['threat_model']}"
    table = _table(title, ("form, target",), ("samples", *conditions, "rate", "ops"))
    for form in result["forms"]:
        cells = []
        for name in conditions:
            share = form["conditions"][name]["accuracy"]
            interval = f"{percent(share['low'])}\u2013{percent(share['high'])}"
            cells.append(f"[bold]{percent(share['value'])}[/]\n[dim]{interval}[/]")
        clean = form["conditions"]["clean"]
        rates = list(clean["spike_rates"].values())
        cells.append(f"{sum(rates) / len(rates):.3f}")
        cells.append(f"{sum(clean['operations'].values()):,.0f}")
        table.add_row(f"{form['form']}, {form['target']}", str(form["samples"]), *cells)
    out.print(table)
    out.print(
        "rate: spikes a neuron and step, mean of populations; ops: synaptic operations a sample; both on clean images"
    )
    for name, facts in result["gradients"].items():
        out.print(f"zero-gradient share at hidden LIF layers, {name}: {facts['hidden']:.3f}")
    for warning in result["warnings"]:
        out.print(f"[yellow]note:[/] {warning}")
    out.print(f"record: {result['record']}\nreport: {result['report']}", soft_wrap=True, highlight=False)


def _attacks(result: dict[str, Any]) -> None:
    table = _table(f"attacks on the float network, {result['samples']} samples", ("attack",), ("accuracy", "distance"))
    for label, facts in result["attacks"].items():
        table.add_row(label, percent(facts["float_accuracy"]), f"{facts['distance']:.4f}")
    out.print(table)


def _export(result: dict[str, Any]) -> None:
    trip = result["round_trip"]
    out.print(
        f"NIR read back and executed: {trip['different']} of {trip['compared']:,} spike values differ, "
        f"{trip['samples']} images"
    )
    columns = ("exponent", "vth", "dv", "bias exponent", "largest sum")
    table = _table("Program", ("population", "shape", "from"), columns)
    for row in result["populations"]:
        shape = "x".join(str(size) for size in row["shape"])
        integers = (str(row[column.replace(" ", "_")]) for column in columns)
        table.add_row(row["population"], shape, row["from"], *integers)
    out.print(table)


def _profiles(result: dict[str, Any]) -> None:
    table = _table(
        f"profiles of integer arithmetic beside lava, {result['samples']} samples",
        ("profile", "defined by", "first difference"),
        ("accuracy", "classes changed", "spikes changed"),
    )
    for row in result["profiles"]:
        first = "" if row["first"] is None else "{}: step {}, sample {}".format(row["first"][0], *row["first"][1][:2])
        accuracy = "" if row["accuracy"] is None else percent(row["accuracy"])
        spikes = f"{row['spikes_changed']:,} of {row['spikes_compared']:,}"
        table.add_row(row["profile"], row["source"], first, accuracy, str(row["classes_changed"]), spikes)
    out.print(table)
    for row in result["profiles"]:
        for reason in row["extrapolated"]:
            out.print(f"[yellow]extrapolated:[/] {row['profile']}: {reason}")
    verdict = "changes classes" if result["changes_outputs"] else "changes no class"
    out.print(f"The choice of profile {verdict} of these samples.")


def support(found: dict[str, list[Any]]) -> None:
    """Print what runs where, and the reasons where it does not."""
    for title, answers in found.items():
        places = list(dict.fromkeys(answer.where for answer in answers))
        table = _table(title, ("construct", *places), ())
        for construct in dict.fromkeys(answer.construct for answer in answers):
            row = [answer for answer in answers if answer.construct == construct]
            table.add_row(construct, *("[red]no[/]" if answer.reason else "[green]yes[/]" for answer in row))
        out.print(table)
        for answer in answers:
            if answer.reason:
                out.print(f"{answer.construct}, {answer.where}: {answer.reason}", highlight=False)


def _plain(result: dict[str, Any]) -> None:
    for key, value in result.items():
        if key in ("step", "classes"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = _table(key, tuple(value[0]), ())
            for row in value:
                table.add_row(*(str(cell) for cell in row.values()))
            out.print(table)
        elif isinstance(value, float):
            out.print(f"{key}: {value:.4f}", highlight=False)
        elif isinstance(value, dict):
            for name, inner in value.items():
                text = ", ".join(f"{k} {v}" for k, v in inner.items()) if isinstance(inner, dict) else str(inner)
                out.print(f"{key} {name}: {text}", highlight=False)
        else:
            out.print(f"{key}: {value}", highlight=False, soft_wrap=True)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a step's result."""
    if as_json:
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    elif result.get("step") == "compare":
        _comparison(result)
    elif result.get("step") == "evaluate":
        _evaluation(result)
    elif result.get("step") == "attack":
        _attacks(result)
    elif result.get("step") == "export":
        _export(result)
    elif result.get("step") == "profiles":
        _profiles(result)
    else:
        _plain(result)
