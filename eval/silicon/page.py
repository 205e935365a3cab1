"""The check as tables, a verdict and a plot."""

from pathlib import Path

from ...toolkit.extras import extra
from ...toolkit.files import atomic
from ..records.silicon import Ends, Silicon
from ..report.drawing import BLUE, GREY, INK, ORANGE, style
from ..study.graphs_page import Table, markdown

with extra("report"):
    from matplotlib.figure import Figure

MICRO, KILO = 1e6, 1e3


def ends(pair: Ends, scale: float = MICRO) -> str:
    """Return an interval with three digits."""
    return " to ".join(f"{scale * one:.3g}" if scale * one < 100 else f"{scale * one:,.0f}" for one in pair)


def energies(record: Silicon) -> Table:
    """Return a line a network: measured dynamic energy, and what the model says of it at typical rates."""
    head = [
        "network",
        "inferences/s",
        "measured, uJ",
        "chip alone, uJ",
        "in it",
        "events, uJ",
        "with the board, uJ",
        "in it",
    ]
    body = []
    for one in record.measured:
        chip, board = ("yes" if held else "no" for held in record.holds(one.network))
        spread = "" if one.spread is None else f" ± {MICRO * one.spread:.1f}"
        body.append(
            [
                one.network,
                f"{1 / one.seconds:.1f}",
                f"{MICRO * one.dynamic:.1f}{spread}",
                ends(record.band(one.network, "chip")),
                chip,
                ends(record.band(one.network, "events")),
                ends(record.band(one.network, "dynamic")),
                board,
            ]
        )
    return head, body


def places(record: Silicon) -> Table:
    """Return a line a network: how it lies on the chip, and the time of a step."""
    head = ["network", "neurons", "cores", "fit", "chip alone, us a step", "measured, us a step"]
    body = []
    for one in record.measured:
        found = next(each for each in record.modelled if each.network == one.network)
        steps = one.steps or next(each.steps for each in record.measured if each.steps)
        step = ends(record.band(one.network, "step"))
        body.append(
            [
                one.network,
                f"{found.neurons:,}",
                str(found.cores),
                found.verdict,
                step,
                f"{MICRO * one.seconds / steps:.0f}",
            ]
        )
    return head, body


def slopes(record: Silicon) -> Table:
    """Return a line a rate: what a copy adds to the dynamic energy."""
    head = ["messages a neuron and step", "a copy adds, uJ"]
    return head, [[rate, ends(found)] for rate, found in record.slope.modelled.items()]


def verdict(record: Silicon) -> list[str]:
    """Return what holds, in sentences."""
    names = [one.network for one in record.measured]
    board = [name for name in names if record.holds(name)[1]]
    chip = [name for name in names if record.holds(name)[0]]
    low, high = record.typical
    slope = record.slope
    said = [
        f"The chip alone has the measured dynamic energy in its interval for {len(chip)} of {len(names)} networks, "
        f"with the board's power and time for {len(board)} of {len(names)}, at {low:g} to {high:g} messages a neuron "
        "and step.",
        f"A copy adds {MICRO * slope.measured:.1f} ± {MICRO * slope.error:.1f} uJ (standard error) on the board, and "
        f"{ends(record.slope_band)} uJ in the model: {'inside' if record.slope_holds else 'outside'}; the model gives "
        f"the measured slope at {slope.explained[0]:.3f} to {slope.explained[1]:.3f} messages a neuron and step.",
    ]
    for name, found in record.board.crossed.items():
        value = record.of(name).dynamic
        where = "inside" if found[0] <= value <= found[1] else "below" if value < found[0] else "above"
        said.append(
            f"Held out: with running power from the other small network alone, {name}: {ends(found)} uJ, measured "
            f"{MICRO * value:.1f} uJ: {where}."
        )
    return said


def text(record: Silicon) -> str:
    """Return tables and verdict as Markdown."""
    board = record.board
    constants = (
        ["of the board", "these logs", "the model uses"],
        [
            ["idle power, mW", ends(board.idle, KILO), ends(board.used_idle, KILO)],
            ["power while anything runs, mW", ends(board.running, KILO), ends(board.used_running, KILO)],
            ["a time step, us", ends(board.step), ends(board.used_step)],
        ],
    )
    tables = (energies(record), slopes(record), places(record), constants)
    return "\n".join([*(markdown(one) for one in tables), *(f"- {said}" for said in verdict(record))]) + "\n"


def write_plot(path: Path, record: Silicon) -> None:
    """Draw dynamic energy over copies, measured and modelled, and the slope over the rate, as SVG.

    Raises:
        FileError: it cannot be written.
    """
    family = [one for one in record.measured if one.copies is not None]
    xs = [float(one.copies or 0) for one in family]
    with style("silicon"):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for what, colour, label in (
            ("events", ORANGE, "modelled: events of the chip"),
            ("dynamic", BLUE, "modelled: with the board"),
        ):
            bands = [record.band(one.network, what) for one in family]
            lows, highs = ([MICRO * band[end] for band in bands] for end in (0, 1))
            left.fill_between(xs, lows, highs, color=colour, alpha=0.3, linewidth=0, label=label)
        left.plot(xs, [MICRO * one.dynamic for one in family], "o-", color=INK, markersize=4, label="measured")
        left.set_xlabel("copies of a branch of 10 layers")
        left.set_ylabel("dynamic energy an inference, uJ")
        left.set_ylim(0)
        rates = [float(rate) for rate in record.slope.modelled]
        lows, highs = ([MICRO * one[end] for one in record.slope.modelled.values()] for end in (0, 1))
        right.fill_between(rates, lows, highs, color=ORANGE, alpha=0.3, linewidth=0)
        right.axhline(MICRO * record.slope.measured, color=INK)
        right.axvspan(*record.typical, color=GREY, alpha=0.12, linewidth=0)
        right.set_xlabel("messages a neuron and step (grey: typical)")
        right.set_ylabel("what a copy adds, uJ")
        right.set_ylim(0)
        figure.legend(loc="outside upper left", ncols=3, fontsize=8)
        for axes in (left, right):
            axes.grid()
        with atomic(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
