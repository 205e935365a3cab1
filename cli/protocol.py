"""``evaluate --protocol``: robustness of every form of a run, with alarms where a number cannot be believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from ..eval.records.robustness import Robustness

T = TypeVar("T")
_PANEL = "Robustness of a run"
Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="quick|standard|strong",
        help="Attack every form and count a sample robust only if it survives all; writes robustness.json and .html, "
        "or robustness-THREAT.json and .html.",
        rich_help_panel=_PANEL,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(
        help="L-infinity radius in pixels of [0, 1], 0.1 by default; of coded entries 6/255.", rich_help_panel=_PANEL
    ),
]
ThreatModel = Annotated[
    str | None,
    typer.Option(
        metavar="pixel|encoded|encoded-binary",
        help="What is changed: the image (the default), the coded input, or spikes of it.",
        rich_help_panel=_PANEL,
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(help="Edits of spikes a sample for --threat encoded-binary, 20 by default.", rich_help_panel=_PANEL),
]
Seed = Annotated[int | None, typer.Option(help="Seed of every attack, 0 by default.", rich_help_panel=_PANEL)]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Draws of a stochastic coder that attacks with gradients average, 1 by default.", rich_help_panel=_PANEL
    ),
]


def asked(folder: Path, protocol: str | None, own: dict[str, Any], device: str | None, others: dict[str, Any]) -> bool:
    """Return whether a protocol was asked for.

    Args:
        folder: the run, or a NIR file.
        protocol: its name.
        own: options that belong to a protocol alone.
        device: for the other evaluation of runs.
        others: options of NIR files; of them, a protocol takes ``samples``.

    Raises:
        InputError: an option does not go with the others.
    """
    from ..toolkit.errors import InputError
    from .foreign import is_file, not_for_runs

    if protocol is None:
        for name, value in own.items():
            if value is not None:
                raise InputError(f"--{name}: belongs to --protocol quick, standard or strong")
        return False
    if is_file(folder, None):
        raise InputError(f"--protocol: for run folders, {folder} is a NIR file without a float network to attack")
    if device is not None:
        raise InputError(f"--device {device}: a protocol runs on the CPU, as the integer targets do")
    not_for_runs({name: value for name, value in others.items() if name != "samples"})
    return True


def evaluate(
    folder: Path,
    protocol: str,
    targets: list[str] | None,
    samples: int | None,
    as_json: bool,
    own: dict[str, Any],
) -> None:
    """Run a protocol on a run, print it, and write its record and page.

    Args:
        folder: the run.
        protocol: "quick", "standard" or "strong".
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to judge worst cases.
        samples: the first so many test images; all if None.
        as_json: print JSON.
        own: "epsilon", "threat", "budget", "seed", "draws"; None means the default.

    Raises:
        InputError: an option or the run is refused.
        DisagreementError: targets that must agree do not.
    """
    from ..eval.run.folder import Run
    from . import show

    run = Run.open(folder)
    with show.loading(as_json):
        from ..eval.run.robustness import robustness, step_of
        from ..eval.run.steps import quiet_libraries
        from ..toolkit.errors import DisagreementError
        from ..toolkit.progress import bars

        quiet_libraries()
    # Some fifty attacks: bars of those that are done would push the others off the screen.
    with bars(as_json, show.err, keep=False) as track:
        epsilon = own.pop("epsilon")
        others = {name: value for name, value in own.items() if value is not None}
        record = robustness(run, protocol, targets=targets, epsilon=epsilon, samples=samples, track=track, **others)
    result = {"step": "robustness", **record.model_dump(mode="json")}
    step = step_of(record.threat)
    result |= {"record": str(run.path(f"{step}.json")), "report": str(run.path(f"{step}.html"))}
    if as_json:
        show.show(result, True)
    else:
        _print(record)
        show.out.print(f"record: {result['record']}\nreport: {result['report']}", soft_wrap=True, highlight=False)
    for form in record.forms:
        for name, one in form.judged.items():
            if one.same != 2 * one.samples:
                raise DisagreementError(
                    f"{name} answers {2 * one.samples - one.same} of {2 * one.samples} images otherwise than "
                    f"{form.target}; run 'spikeproof compare --bitwise {folder}'"
                )


def _print(record: "Robustness") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from .show import out, percent

    def cell(share: Any) -> str:
        if share is None:
            return "[dim]\u2013[/]"
        return f"[bold]{percent(share.value)}[/]\n[dim]{percent(share.low)}\u2013{percent(share.high)}[/]"

    budget = f"@{record.epsilon:g}"
    if record.threat == "encoded-binary":
        budget, size = f"@{record.epsilon:g}-spikes", f"{record.epsilon:g} edits a sample"
    else:
        size = f"epsilon {record.epsilon:.4f}" + (
            f" ({record.levels} levels of the chip's input)" if record.levels else ""
        )

    def short(label: str) -> str:
        return label.replace(budget, "")

    out.print(
        f"{record.name}, protocol {record.protocol}, {record.samples} samples, {size}\n"
        f"threat model: {record.threat_model}",
        highlight=False,
    )
    for form in record.forms:
        mark = "" if form.reliable else "   [red bold]UNRELIABLE, see alarms[/]"
        table = Table(
            box=SIMPLE_HEAD, pad_edge=False, title=f"{form.form} on {form.target}{mark}", title_justify="left"
        )
        table.add_column("attack\naccess", overflow="fold")
        for column in ("tried", "broken", "rounded\nbroken", "alone\n%", "and all\nabove, %"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_row("none", "", "", "", cell(form.clean), cell(form.clean))
        for one in form.attacks:
            counts = (str(one.tried), str(one.broken), str(one.on_grid.count("x")))
            table.add_row(f"{short(one.label)}\n[dim]{one.access}[/]", *counts, cell(one.accuracy), cell(one.after))
        table.add_section()
        table.add_row("worst case", "", "", "", "", cell(form.worst))
        if form.worst_on_grid != form.worst:
            table.add_row("worst case, rounded", "", "", "", "", cell(form.worst_on_grid))
        out.print(table)
        for name, judged in form.judged.items():
            out.print(
                f"{name}, first {judged.samples}: clean {percent(judged.clean.value)} %, worst-case examples "
                f"{percent(judged.worst.value)} %; {judged.same} of {2 * judged.samples} answers as {form.target}",
                highlight=False,
            )
        for alarm in form.alarms:
            colour = "red" if alarm.severity == "alarm" else "yellow"
            text = f"[{colour}]{alarm.severity} {alarm.code}:[/] {escape(alarm.message)}"
            out.print(text, soft_wrap=True, highlight=False)
    out.print(escape(record.summary), soft_wrap=True, highlight=False)
