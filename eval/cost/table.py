"""Float, quantized and deployed side by side: one table of rows, made from what a run has on record."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...export.chip.limits import load_limits
from ..records.cost import ChipCost, Cost, Ends, FormCost, Views
from ..records.evaluation import Evaluation
from ..records.quality import QualityUnderAttack
from ..records.robustness import Robustness
from .cells import ANN, Cell, Row, column, missing
from .constants import table
from .judged import accuracy_rows, quality_rows, robustness_rows
from .pays import pays_rows, second_rows, trained_cells


@dataclass(frozen=True)
class SideBySide:
    """The whole comparison.

    Attributes:
        name: of the run.
        columns: the forms, float first, the INT8 ANN last.
        rows: in the order of the groups.
        notes: what a reader must know before quoting.
        sources: of what is on record: name -> when it was made.
    """

    name: str
    columns: list[str]
    rows: list[Row]
    notes: list[str]
    sources: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def to_csv(self) -> str:
        """Return one line a cell."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(
            ["group", "quantity", "part", "images", "unit", "form", "how", "value", "low", "high", "samples", "note"]
        )
        for row in self.rows:
            for name, cell in row.cells.items():
                numbers = ["" if part is None else repr(part) for part in (cell.value, cell.low, cell.high)]
                samples = "" if cell.samples is None else cell.samples
                head = (row.group, row.name, row.part, row.condition, row.unit, name, cell.how)
                out.writerow([*head, *numbers, samples, cell.note])
        return text.getvalue()


def _sparsity(cost: Cost, forms: dict[str, FormCost], columns: Sequence[str]) -> Iterator[Row]:
    def row(name: str, condition: str, unit: str, read: Callable[[Views], Cell]) -> Row:
        # Another device computes the same network: it is counted once.
        measured = {each: forms[each].conditions.get(condition) for each in columns}
        cells = {each: read(seen) for each, seen in measured.items() if seen}
        return Row("sparsity", name, condition, unit, "higher" if unit == "share" else "lower", cells)

    def share(part: float, whole: float) -> Cell:
        return Cell("measured", 1 - part / whole, samples=cost.samples)

    def spikes(seen: Views) -> Cell:
        own = list(seen.spikes)[1:]  # The input comes first.
        return share(sum(seen.spikes[key] for key in own), sum(seen.places[key] for key in own))

    def saved(seen: Views) -> Cell:
        return share(math.fsum(seen.operations.values()), sum(seen.dense.values()))

    def operations(seen: Views) -> Cell:
        return Cell("measured", math.fsum(seen.operations.values()), samples=cost.samples)

    def updates(seen: Views) -> Cell:
        found = seen.updates.values()
        return share(math.fsum(one.changed for one in found), math.fsum(one.all for one in found))

    def zeros(seen: Views) -> Cell:
        return Cell("measured", seen.gradient.zeros, samples=cost.samples)

    def hoyer(seen: Views) -> Cell:
        value = seen.gradient.hoyer
        return missing("every gradient is 0") if value is None else Cell("measured", value, samples=cost.samples)

    for quantity, unit, read in (
        ("neuron steps without a spike", "share", spikes),
        ("synaptic operations saved", "share", saved),
        ("synaptic operations", "an image", operations),
        ("neuron steps that leave the membrane", "share", updates),
        ("zeros in the gradient at the input", "share", zeros),
        ("Hoyer's measure of that gradient", "", hoyer),
    ):
        for name in cost.images:
            yield row(quantity, name, unit, read)


def _worst(cost: Cost, program: str) -> Iterator[Row]:
    """Yield synaptic operations in the ball of an energy attack, in the Program's column: found, and the bound."""
    if cost.worst is None:
        return
    samples = len(cost.worst.clean)
    means = [sum(part) / samples for part in (cost.worst.clean, cost.worst.searched, cost.worst.bound)]
    ball = f"within {cost.worst.levels} levels"
    note = f"{cost.worst.queries:,} runs a sample; clean {means[0]:,.0f}; bound by {cost.worst.bound_by}"
    found = Cell("measured", means[1], samples=samples, note=note)
    most = Cell("counted", means[2], samples=samples, note=note)
    yield Row("sparsity", "synaptic operations, most that was found", ball, "an image", "lower", {program: found})
    yield Row("sparsity", "synaptic operations, proved bound", ball, "an image", "lower", {program: most})


def _latency(cost: Cost, forms: dict[str, FormCost], columns: Sequence[str]) -> Iterator[Row]:
    here = "wall time on this machine; the Program's is a simulator's"
    alone, batch = {}, {}
    for each in columns:
        found = forms[each].timing
        low, middle, high = found.alone
        alone[each] = Cell("measured", middle, low, high, found.runs, f"median and quartiles of {here}")
        batch[each] = Cell("measured", found.batch, samples=found.size, note=f"batch of {found.size}; {here}")
    yield Row("latency", "one image alone", "clean", "s", "lower", alone)
    yield Row("latency", "an image in a batch", "clean", "s", "lower", batch)
    program = _program_column(columns)
    steps = Cell("counted", float(cost.chips[0].steps), note="one image at a time, until the last window ends")
    yield Row("latency", "time steps an image", "", "steps", "lower", {program: steps})
    yield from _on_chip(cost, program, "latency", "one image on the chip", "s", lambda chip: {"": chip.time})
    yield from _on_board(cost, program, "latency", "s", {"": "time"})


def _program_column(columns: Sequence[str]) -> str:
    return next(each for each in columns if each.startswith("Program"))


def _on_chip(
    cost: Cost,
    program: str,
    group: str,
    name: str,
    unit: str,
    read: Callable[[ChipCost], dict[str, dict[str, Ends]]],
) -> Iterator[Row]:
    """Yield one row a chip, part and condition, in the Program's column; one row for a chip without figures.

    ``read`` gives intervals by part (empty for the whole) and condition.
    """
    for chip in cost.chips:
        title = f"{name}, {load_limits(chip.chip).title}"
        if chip.absent:
            yield Row(group, title, "", unit, "lower", {program: missing(chip.absent)})
            continue
        note = "prices of a chip that cannot hold this Program" if chip.unsuitable else ""
        for part, conditions in read(chip).items():
            for condition, (low, high) in conditions.items():
                cell = Cell("estimated", None, low, high, cost.samples, note)
                yield Row(group, title, condition, unit, "lower", {program: cell}, part)


def _on_board(cost: Cost, program: str, group: str, unit: str, parts: dict[str, str]) -> Iterator[Row]:
    """Yield rows of the boards that were measured; ``parts``: what the record calls the whole and its parts."""
    yield from _on_chip(
        cost.model_copy(update={"chips": [chip for chip in cost.chips if chip.board]}),
        program,
        group,
        "an image streamed to a board" if group == "energy" else "one image streamed to a board",
        unit,
        lambda chip: {part: {name: found[key] for name, found in chip.board.items()} for part, key in parts.items()},
    )


def _energy(cost: Cost, forms: dict[str, FormCost], columns: Sequence[str]) -> Iterator[Row]:
    cells = {}
    for each in columns:
        form = forms.get(each)
        if each == ANN:
            low, high = cost.ann.joules
            said = f"{cost.ann.macs:,} multiply-accumulates and memory in 45 nm"
            said += "" if cost.ann.trained else "; such an ANN was not trained: compare --ann"
            cells[each] = Cell("estimated", None, low, high, None, said)
        elif form is not None and form.energy.joules is None:
            cells[each] = missing(str(form.energy.absent))
        elif form is not None and form.energy.joules is not None:
            low, high = form.energy.joules
            said = f"{form.energy.meter}; low end without idle power"
            cells[each] = Cell("measured", None, low, high, form.energy.samples, said)
    yield Row("energy", "an image, elsewhere", "clean", "J", "lower", cells)
    program = _program_column(columns)
    yield from _on_chip(cost, program, "energy", "an image on the chip", "J", lambda chip: {"": chip.total})
    yield from _on_board(
        cost, program, "energy", "J", {"": "total", "events": "events", "running": "running", "idle board": "idle"}
    )
    yield from _attack_price(cost, program)
    yield from _on_chip(
        cost.model_copy(update={"chips": [chip for chip in cost.chips if not chip.absent]}),
        program,
        "energy",
        "an image on the chip",
        "J",
        lambda chip: {
            term: {name: terms[term] for name, terms in chip.terms.items()} for term in chip.terms.get("clean", {})
        },
    )


def _attack_price(cost: Cost, program: str) -> Iterator[Row]:
    """Yield what an attack does to the energy: attacked / clean, each at the same end of every price."""
    for chip in cost.chips:
        for name, attacked in chip.total.items():
            ratios = [part / whole for part, whole in zip(attacked, chip.total["clean"], strict=True) if whole]
            if name == "clean" or not ratios:
                continue
            note = "attacked / clean, both at the low end and both at the high end of every price"
            cell = Cell("estimated", None, min(ratios), max(ratios), cost.samples, note)
            title = f"what the attack costs, {load_limits(chip.chip).title}"
            yield Row("energy", title, name, "times clean", "lower", {program: cell})


def _memory(cost: Cost, forms: dict[str, FormCost], columns: Sequence[str]) -> Iterator[Row]:
    parameters, state = {}, {}
    for each in columns:
        form = forms.get(each)
        if each == ANN:
            parameters[each] = Cell("estimated", float(cost.ann.weights), note="8 bits a weight")
            state[each] = Cell("estimated", float(cost.ann.activations), note="8 bits an activation, all layers kept")
        elif form is not None:
            low, high = form.memory.parameters
            one = low == high
            note = form.memory.basis
            parameters[each] = Cell(
                "counted", low if one else None, None if one else low, None if one else high, note=note
            )
            state[each] = Cell("counted", form.memory.state, note=note)
    yield Row("memory", "weights and biases", "", "bytes", "lower", parameters)
    yield Row("memory", "neuron states, one image", "", "bytes", "lower", state)


def _notes(robustness: Robustness | QualityUnderAttack | None, cost: Cost, stale: Sequence[str]) -> Iterator[str]:
    yield (
        "No chip was used. Energy and time on the chip are modelled, not measured: events counted on the Program times "
        "public constants, an interval to plan with."
    )
    for chip in cost.chips:
        if chip.absent:
            yield f"{load_limits(chip.chip).title}: {chip.absent}."
        elif chip.unsuitable:
            reasons = "; ".join(chip.unsuitable)
            title = load_limits(chip.chip).title
            yield f"{title} cannot hold this Program as it is; only its prices are borrowed: {reasons}."
    if any(chip.board for chip in cost.chips):
        yield (
            "A board takes far more than its chip's events: power while anything runs, for a step's time with input "
            "streamed in, both as measured on one board in 2019 ('spikeproof energy --silicon')."
        )
    for form in cost.forms:
        if form.form == "float" and form.energy.absent:
            yield f"Energy of float on {form.device}: not measured: {form.energy.absent}."
    if not any(form.device == "cuda" for form in cost.forms):
        yield "GPU: not measured: torch finds no CUDA device on this machine."
    if list(cost.images) == ["clean"] and any(form.form == "float" for form in cost.forms):
        yield "No attacked images: run 'spikeproof attack' and compare again to see what an attack costs."
    yield from (f"{name} was made with another Program, so it is left out; run its step again." for name in stale)
    if isinstance(robustness, QualityUnderAttack):
        for attacked in robustness.forms:
            where = column(attacked.form, attacked.target)
            yield from (f"Quality of {where} under attack: {note}" for note in attacked.notes)
    elif robustness is not None:
        for result in robustness.forms:
            if not result.reliable:
                yield f"Robustness of {column(result.form, result.target)}: an alarm makes the number unreliable."


def side_by_side(
    record: Evaluation | None, robustness: Robustness | QualityUnderAttack | None, cost: Cost, folder: str
) -> SideBySide:
    """Put all that is on record of a run into one table; records of another Program are left out.

    Args:
        record: of ``evaluate``; None if it was not run.
        robustness: of a protocol, or quality under its attacks; None if none was run.
        cost: of ``compare``.
        folder: the run's, for the commands that measure what is missing.
    """
    attacked = "robustness-quality.json" if isinstance(robustness, QualityUnderAttack) else "robustness.json"
    given = {"record.json": record, attacked: robustness}
    stale = [name for name, one in given.items() if one and one.program.sha256 != cost.program.sha256]
    record = None if "record.json" in stale else record
    robustness = None if attacked in stale else robustness
    forms = {column(form.form, form.target, form.device): form for form in cost.forms}
    columns = list(forms)
    wide = [*columns, ANN]
    program = _program_column(columns)
    rows = [
        *accuracy_rows(record, columns, folder),
        *(
            quality_rows(robustness, columns)
            if isinstance(robustness, QualityUnderAttack)
            else robustness_rows(robustness, columns, folder)
        ),
        *_sparsity(cost, forms, columns),
        *_worst(cost, program),
        *_latency(cost, forms, columns),
        *_energy(cost, forms, wide),
        *pays_rows(cost, forms[program], program, table()),
        *_memory(cost, forms, wide),
    ]
    rows += second_rows(cost, program)
    trained_cells(cost, rows)
    made = {"record.json": record, attacked: robustness, "cost.json": cost}
    sources = {name: one.created for name, one in made.items() if one is not None}
    return SideBySide(cost.name, wide, rows, list(_notes(robustness, cost, stale)), sources)
