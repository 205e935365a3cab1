"""What the terminal shows: progress bars on standard error, results as tables or as JSON on standard output."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..toolkit.progress import Track, bars, quiet_libraries
from ..toolkit.tables import Screen

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..eval.records.evaluation import Evaluation
    from ..eval.records.selftest import Selftest
    from ..eval.run.results import Agreed, Attacked, Exported, Profiled, Recorded, Result

out = Screen()
err = Console(stderr=True)


def progress(quiet: bool) -> AbstractContextManager[Track]:
    """Yield a Track that draws one bar a task on standard error; silent with ``--json`` or without a terminal."""
    return bars(quiet, err)


@contextmanager
def loading(quiet: bool, what: str = "loading PyTorch and friends") -> Iterator[None]:
    """Say what is being done while there is nothing to count: by default that libraries are being loaded."""
    if quiet or not err.is_terminal:
        yield
    else:
        with err.status(what):
            yield
    quiet_libraries()


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """Return an empty table: columns of words on the left, of numbers on the right."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in left:
        made.add_column(column, overflow="fold")
    for column in right:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")


def files(record: str | Path, report: str | Path, what: str = "report") -> None:
    """Say where record and page stand; ``what`` the page is called."""
    out.print(f"record: {record}\n{what}: {report}", soft_wrap=True, highlight=False)


def record(name: str, found: "BaseModel", path: Path, as_json: bool, shown: Callable[[Any], None]) -> None:
    """Print a record that a step wrote beside its page.

    Args:
        name: of the step.
        found: the record.
        path: of record and page, without their endings.
        as_json: print JSON.
        shown: prints it otherwise.
    """
    places = {"record": f"{path}.json", "report": f"{path}.html"}
    if as_json:
        print_json({"step": name, **found.model_dump(mode="json"), **places})
    else:
        shown(found)
        files(**places)


def _agreed(result: "Agreed") -> None:
    found = result.record
    title = f"{found.reference} against {', '.join(found.targets)}, {found.samples} samples"
    rows = table(title, ("target", "population", "first difference"), ("spikes", "u and v", "different"))
    for target, population in dict.fromkeys((bits.target, bits.population) for bits in found.values):
        parts = [bits for bits in found.values if (bits.target, bits.population) == (target, population)]
        spikes = sum(bits.compared for bits in parts if bits.quantity == "spikes")
        states = sum(bits.compared for bits in parts if bits.quantity != "spikes")
        first = ""
        wrong = next((bits for bits in parts if bits.first), None)
        if wrong is not None and wrong.first:
            step, sample, *neuron = wrong.first
            first = f"{wrong.quantity}: step {step}, sample {sample}, neuron {tuple(neuron)}"
        different = sum(bits.different for bits in parts)
        rows.add_row(target, population, first, f"{spikes:,}", f"{states:,}", f"{different:,}")
    out.print(rows)
    verdict = "[green]equal, bit for bit[/]" if found.equal else "[red]NOT equal[/]"
    out.print(
        f"{found.spike_values_compared:,} spike values compared ({found.spikes:,} spikes a target), "
        f"{found.state_values_compared:,} values of u and v, {found.different:,} differ: {verdict}"
    )


def _metrics(found: "Evaluation") -> Iterator[str]:
    """Yield the other metrics of each form, beside what no network gives."""
    from ..eval.report.quality import number

    if found.classed:
        return
    rows = dict(found.baseline)
    rows |= {f"{form.form}, {form.target}": form.conditions["clean"].others for form in found.forms}
    for name, metrics in rows.items():
        parts = [f"{metric} {number(one)}" + f" {one.unit}" * (metric == "PSNR") for metric, one in metrics.items()]
        yield f"{name}: {', '.join(parts)}"


def _evaluated(result: "Recorded[Evaluation]") -> None:
    found = result.record
    conditions = list(found.forms[0].conditions)
    name, unit = found.forms[0].conditions["clean"].measure
    what = f"{name} in {unit}{' with 95 % Wilson interval' if found.classed else ', mean of samples'}"
    title = f"{found.name}: {what}\nthreat model: {found.threat_model}"
    rows = table(title, ("form, target",), ("samples", *conditions, "rate", "ops"))
    for form in found.forms:
        cells = []
        for name in conditions:
            if not form.conditions[name].known:
                cells.append("not known")
                continue
            judged = form.conditions[name].judged
            digits = 1 if found.classed else 3
            value, low, high = (f"{part:.{digits}f}" for part in (judged.value, judged.low, judged.high))
            cells.append(f"[bold]{value}[/]\n[dim]{low}\u2013{high}[/]")
        clean = form.conditions["clean"]
        rates = list(clean.spike_rates.values())
        cells.append(f"{sum(rates) / len(rates):.3f}")
        cells.append(f"{sum(clean.operations.values()):,.0f}")
        rows.add_row(f"{form.form}, {form.target}", str(form.samples), *cells)
    out.print(rows)
    out.print(
        "rate: spikes a neuron and step, mean of populations; ops: synaptic operations a sample; both on clean images"
    )
    for line in _metrics(found):
        out.print(line, highlight=False)
    for name, facts in found.gradients.items():
        zeros = "there is no such layer" if facts["hidden"] is None else f"{facts['hidden']:.3f}"
        out.print(f"zero-gradient share at hidden LIF layers, {name}: {zeros}")
    for warning in found.warnings:
        out.print(f"[yellow]note:[/] {warning}")
    files(result.record_file, result.report_file)


def _attacked(result: "Attacked") -> None:
    classed = all("float_accuracy" in facts for facts in result.attacks.values())
    columns = ("accuracy" if classed else "mean quality", "distance")
    rows = table(f"attacks on the float network, {result.samples} samples", ("attack",), columns)
    for label, facts in result.attacks.items():
        what = percent(facts["float_accuracy"]) if classed else f"{facts['float_quality']:.2f}"
        rows.add_row(label, what, f"{facts['distance']:.4f}")
    out.print(rows)


def _exported(result: "Exported") -> None:
    trip = result.round_trip
    what = "NIR read back and executed" if result.nir else "Program against the network"
    out.print(f"{what}: {trip.different} of {trip.compared:,} spike values differ, {trip.samples} images")
    columns = ("exponent", "vth", "dv", "bias exponent", "largest sum")
    rows = table("Program", ("population", "shape", "from"), columns)
    for row in result.populations:
        shape = "x".join(str(size) for size in row["shape"])
        integers = (str(row[column.replace(" ", "_")]) for column in columns)
        rows.add_row(row["population"], shape, row["from"], *integers)
    out.print(rows)
    for name, reasons in (("network.net", result.without_net), ("network-qcdq.onnx", result.without_qcdq)):
        if reasons:
            more = f" (and {len(reasons) - 1} more reasons in export.json)" if len(reasons) > 1 else ""
            text = f"[yellow]note:[/] {name} was not written: {escape(reasons[0])}{more}"
            out.print(text, soft_wrap=True, highlight=False)


def _profiled(result: "Profiled") -> None:
    rows = table(
        f"profiles of integer arithmetic beside lava, {result.samples} samples",
        ("profile", "defined by", "first difference"),
        ("accuracy", "classes changed", "spikes changed"),
    )
    for row in result.profiles:
        first = "" if row.first is None else "{}: step {}, sample {}".format(row.first[0], *row.first[1][:2])
        accuracy = "" if row.accuracy is None else percent(row.accuracy)
        spikes = f"{row.spikes_changed:,} of {row.spikes_compared:,}"
        rows.add_row(row.profile, row.source, first, accuracy, str(row.classes_changed), spikes)
    out.print(rows)
    for row in result.profiles:
        for reason in row.extrapolated:
            out.print(f"[yellow]extrapolated:[/] {row.profile}: {reason}")
    verdict = "changes classes" if result.changes_outputs else "changes no class"
    out.print(f"The choice of profile {verdict} of these samples.")


def support(found: dict[str, list[Any]]) -> None:
    """Print what runs where, and the reasons where it does not."""
    for title, answers in found.items():
        places = list(dict.fromkeys(answer.where for answer in answers))
        rows = table(title, ("construct", *places), ())
        for construct in dict.fromkeys(answer.construct for answer in answers):
            asked = [answer for answer in answers if answer.construct == construct]
            rows.add_row(construct, *("[red]no[/]" if answer.reason else "[green]yes[/]" for answer in asked))
        out.print(rows)
        for answer in answers:
            if answer.reason:
                out.print(f"{answer.construct}, {answer.where}: {answer.reason}", highlight=False)


def facts(result: dict[str, Any]) -> None:
    """Print values by name."""
    for key, value in result.items():
        if value is None or key in ("step", "classes", "silent"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = table(key, tuple(value[0]), ())
            for row in value:
                rows.add_row(*(str(cell) for cell in row.values()))
            out.print(rows)
        elif isinstance(value, float):
            out.print(f"{key}: {value:.4f}", highlight=False)
        elif isinstance(value, dict):
            for name, inner in value.items():
                text = ", ".join(f"{k} {v}" for k, v in inner.items()) if isinstance(inner, dict) else str(inner)
                out.print(f"{key} {name}: {text}", highlight=False)
        else:
            out.print(f"{key}: {value}", highlight=False, soft_wrap=True)


def show(result: "Result", as_json: bool) -> None:
    """Print a step's result."""
    # Whoever holds a result has loaded its class already; --help has not.
    from ..eval.run.results import Agreed, Attacked, Exported, Profiled, Recorded, Simulated

    if as_json:
        print_json(result.to_dict())
        return
    match result:
        case Agreed():
            _agreed(result)
        case Recorded():
            _evaluated(result)
        case Attacked():
            _attacked(result)
        case Exported():
            _exported(result)
        case Profiled():
            _profiled(result)
        case Simulated():
            facts(result.to_dict())
            for name in result.silent:
                err.print(
                    f"[yellow]warning:[/] population {name!r}: no neuron fires; look at the scale of the input",
                    soft_wrap=True,
                    highlight=False,
                )
        case _:
            facts(result.to_dict())


def values(found: dict[str, Any], as_json: bool) -> None:
    """Print values by name, or as JSON."""
    if as_json:
        print_json(found)
    else:
        facts(found)


def selftest(found: "Selftest", as_json: bool) -> None:
    """Print what was compared on this machine."""
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = table("self-test", ("check", "against", "outcome"), ("values", "different", "s"))
    for check in found.checks:
        colour = {"equal": "green", "DIFFERS": "red"}.get(check.outcome, "yellow")
        told = f"[{colour}]{check.outcome}[/]"
        counts = (f"{check.compared:,}", f"{check.different:,}") if not check.missing else ("", "")
        rows.add_row(check.check, check.against, told, *counts, f"{check.seconds:.1f}")
    out.print(rows)
    for check in found.checks:
        if check.missing or check.different:
            out.print(
                f"{check.check}: {check.missing or f'first difference: {check.first}'}", highlight=False, markup=False
            )
    last = (
        "nothing differs"
        if found.equal
        else "this machine gives other answers: do not trust its figures, and report this"
    )
    out.print(f"{last}; {found.seconds:.0f} s", highlight=False)
