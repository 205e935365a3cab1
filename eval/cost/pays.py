"""Does spiking pay? The Program's operations priced as the INT8 ANN's are, and where both cost the same.

    E_spiking(a) = a n_dense e_operation + n_update e_update,    a* : E_spiking(a*) = E_ann

a is the share of all possible synaptic operations that happen, which is the spike rate, weighted by fan-out. On a chip
a* scales what depends on spikes (synapse, spike, message, hop) and leaves updates and static power as they are.
"""

import math
from collections.abc import Iterator

from ...export.chip.limits import load_limits
from ..records.cost import ChipCost, Cost, Ends, FormCost, Views
from .baselines import BYTES_A_READ
from .cells import ANN, Cell, Row
from .constants import Table
from .energy import PICO

STATE_BYTES = 3
"""Of a voltage of 24 bits."""
WITH_SPIKES = ("synapse", "spike", "message", "hop")


def _prices(constants: Table) -> tuple[Ends, Ends]:
    """Return joules of a synaptic operation and of an update, 45 nm.

    An operation adds, and reads a weight of 8 bits. Low end: 8 weights a read of a small memory, and a voltage is read
    and written once an update. High end: from a large memory, and the voltage is read and written at every operation.
    """

    def price(term: str) -> float:
        return constants.interval("int8-45nm", term, "pJ").high * PICO

    small, large = price("read small") / BYTES_A_READ, price("read large") / BYTES_A_READ
    state = 2 * STATE_BYTES
    return (price("add") + small, price("add") + large * (1 + state)), (small * state, large * state)


def _spiking(seen: Views, constants: Table) -> tuple[Ends, Ends]:
    """Return joules of a sample's synaptic operations, and of its updates."""
    operation, update = _prices(constants)
    operations = math.fsum(seen.operations.values())
    updates = math.fsum(one.all for one in seen.updates.values())
    return (operations * operation[0], operations * operation[1]), (updates * update[0], updates * update[1])


def _even(ann: float, fixed: float, varying: float, activity: float) -> float:
    """Return the activity at which fixed + varying a / activity is the ANN's cost; 0 if there is none, 1 at most."""
    return min(max(ann - fixed, 0.0) / varying * activity, 1.0) if varying else 0.0


def activity(seen: Views) -> float:
    """Return the share of all possible synaptic operations that happened."""
    possible = sum(seen.dense.values())
    return math.fsum(seen.operations.values()) / possible if possible else 0.0


def _on_chip(chip: ChipCost, condition: str, ann: Ends, now: float) -> Ends:
    """Return the lowest and highest even activity: dearest chip beside cheapest ANN, and the other way round."""
    terms = chip.terms[condition]
    found = []
    for own, other in ((1, 0), (0, 1)):
        varying = math.fsum(terms[name][own] for name in WITH_SPIKES)
        fixed = math.fsum(ends[own] for name, ends in terms.items() if name not in WITH_SPIKES)
        found.append(_even(ann[other], fixed, varying, now))
    return found[0], found[1]


def pays_rows(cost: Cost, form: FormCost, program: str, constants: Table) -> Iterator[Row]:
    """Yield what both cost in one technology, the activity now, and that below which spiking is cheaper."""
    seen = form.conditions["clean"]
    now, joules = activity(seen), cost.ann.joules
    operations, updates = _spiking(seen, constants)
    whole = (operations[0] + updates[0], operations[1] + updates[1])
    cells = {
        program: Cell("estimated", None, *whole, cost.samples, "additions and memory in 45 nm, as the ANN is priced"),
        ANN: Cell("estimated", None, *joules, None, f"{cost.ann.macs:,} multiply-accumulates and memory in 45 nm"),
    }
    yield Row("energy", "an image, both in 8 bits and 45 nm", "clean", "J", "lower", cells)
    shown = Cell("measured", now, samples=cost.samples, note="synaptic operations that happen, of all that could")
    yield Row("energy", "activity", "clean", "share", "lower", {program: shown})
    # The same constants on both sides: low end beside low end, high end beside high end.
    ends = sorted(_even(joules[end], updates[end], operations[end], now) for end in (0, 1))
    note = "0 %: at no activity, because updates alone cost more; 100 %: at any"
    cell = Cell("estimated", None, ends[0], ends[1], cost.samples, note)
    yield Row("energy", "activity below which spiking is cheaper, 45 nm", "clean", "share", "", {program: cell})
    for chip in cost.chips:
        if not chip.absent:
            low, high = _on_chip(chip, "clean", joules, now)
            cell = Cell("estimated", None, low, high, cost.samples, f"{note}; the ANN stays in 45 nm")
            title = f"activity below which spiking is cheaper, {load_limits(chip.chip).title}"
            yield Row("energy", title, "clean", "share", "", {program: cell})


def trained_cells(cost: Cost, rows: list[Row]) -> None:
    """Put what a trained ANN does into the rows where the other forms stand; nothing where none was trained."""
    ann = cost.ann.trained
    if ann is None:
        return
    found = ann.accuracy
    note = (
        f"ReLU for neurons, {ann.epochs[0]} + {ann.epochs[1]} epochs; in ONNX Runtime {ann.same} classes as in PyTorch"
    )
    alone = Cell(
        "measured", ann.timing.alone[1], ann.timing.alone[0], ann.timing.alone[2], ann.timing.runs, "quartiles"
    )
    batch = Cell("measured", ann.timing.batch, samples=ann.timing.size, note="ONNX Runtime, CPU")
    known = {
        ("accuracy", "accuracy", "clean"): Cell("measured", found.value, found.low, found.high, found.samples, note),
        ("latency", "one image alone", "clean"): alone,
        ("latency", "an image in a batch", "clean"): batch,
    }
    for row in rows:
        cell = known.get((row.group, row.name, row.condition))
        if cell is not None:
            row.cells[ANN] = cell
        one = ann.robustness
        where = one and ("robustness", f"worst case, protocol {one.protocol}", f"epsilon {one.epsilon:.4f}")
        if one is not None and where == (row.group, row.name, row.condition):
            said = (
                f"attacked by gradients of the float ANN ({100 * one.float_worst.value:.1f} %) and the quantized one "
                f"({100 * one.quantized_worst.value:.1f} %), judged in ONNX Runtime"
            )
            said += "" if one.reliable else "; an alarm was raised, so it is unreliable"
            w = one.worst
            row.cells[ANN] = Cell("measured", w.value, w.low, w.high, w.samples, said, not one.reliable)


def second_rows(cost: Cost, program: str) -> Iterator[Row]:
    """Yield what SANA-FE says of a chip: beside the whole, its terms, and this model's at its prices."""
    for chip in cost.chips:
        found = chip.second
        if found is None:
            continue
        name = f"an image by SANA-FE {found.version}, {load_limits(chip.chip).title}"
        note = f"{'; '.join(found.explained)}; chip alone, without static power"
        for part, value in found.energy.items():
            if part not in found.same:
                continue
            shown = "" if part == "total" else part
            same, own = (" to ".join(f"{1e6 * end:.3g}" for end in pair[part]) for pair in (found.same, found.own))
            said = f"this model: {same} uJ at its prices, {own} uJ at all; {note}"
            yield Row(
                "energy",
                name,
                "clean",
                "J",
                "lower",
                {program: Cell("estimated", value, None, None, found.samples, said)},
                shown,
            )
        time = Cell("estimated", found.time, *chip.time["clean"], found.samples, "beside it this model's interval")
        yield Row("latency", name, "clean", "s", "lower", {program: time})
