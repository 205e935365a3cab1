"""``robustness``: every form of a run under a protocol of attacks, with alarms where a number cannot be believed."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, Ray, RunFolder, Samples, Targets, names

if TYPE_CHECKING:
    from ..eval.records.robustness import Robustness
    from ..eval.run.folder import Run

Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        "-p",
        metavar="quick|standard|strong",
        help="Seconds; a minute; as strong as known.",
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="L-infinity radius in pixels of [0, 1], 0.1 by default; of coded entries 6/255."),
]
ThreatModel = Annotated[
    str | None,
    typer.Option(
        metavar="pixel|encoded|encoded-binary|timing",
        help="What is changed: the image (the default), the coded input, spikes of it, or only their time.",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        help="Edits of spikes a sample for --threat encoded-binary, 20 by default; spikes moved for --threat timing."
    ),
]
LargestShift = Annotated[
    int | None, typer.Option(help="Steps that any spike moves at most, for --threat timing; 1 by default.")
]
TotalShift = Annotated[
    int | None, typer.Option(help="Steps that all spikes of a sample move together, for --threat timing.")
]
Seed = Annotated[int, typer.Option(help="Seed of every attack.")]
Check = Annotated[
    bool,
    typer.Option("--check", help="Attack nothing: judge the kept worst-case examples again, and say if they hold."),
]
Draws = Annotated[int, typer.Option(help="Draws of a stochastic coder that attacks with gradients average.")]


def robustness(
    run: RunFolder,
    protocol: Protocol = "standard",
    targets: Targets = None,
    samples: Samples = None,
    epsilon: Epsilon = None,
    threat: ThreatModel = None,
    budget: Budget = None,
    largest_shift: LargestShift = None,
    total_shift: TotalShift = None,
    seed: Seed = 0,
    draws: Draws = 1,
    ray: Ray = None,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Attack every form under a protocol; a sample is robust only if it survives all attacks.

    Writes robustness.json and .html, and the worst-case examples; or robustness-THREAT.json and so on. Where answers
    are no classes, what is left of their quality: robustness-quality.json and so on.
    """
    from ..eval.run.folder import Run
    from . import show

    found = Run.open(run)
    if check:
        _check(found, threat or "pixel", as_json)
        return
    with show.loading(as_json):
        from ..eval.run.robustness import robustness as measure
        from ..eval.run.robustness import step_of
        from ..toolkit.attacks.shifts import Shifts
        from ..toolkit.errors import DisagreementError
        from ..toolkit.progress import bars
        from .quality import under_attack
    moves = None
    if largest_shift is not None or total_shift is not None:
        moves = Shifts(1 if largest_shift is None else largest_shift, total_shift)
    if not found.classed():
        unfit = {"--draws": draws != 1, "--ray": ray is not None}
        options: dict[str, Any] = {"targets": names(targets), "epsilon": epsilon, "samples": samples}
        options |= {"threat": threat, "budget": budget, "shifts": moves, "seed": seed}
        under_attack(found, protocol, unfit, as_json, **options)
        return
    # Some fifty attacks: bars of those that are done would push the others off the screen.
    with bars(as_json, show.err, keep=False) as track:
        record = measure(
            found,
            protocol,
            targets=names(targets),
            epsilon=epsilon,
            samples=samples,
            threat=threat,
            budget=budget,
            shifts=moves,
            seed=seed,
            draws=draws,
            ray=ray,
            track=track,
        )
    show.record("robustness", record, found.path(step_of(record.threat)), as_json, _print)
    for form in record.forms:
        for name, one in form.judged.items():
            if one.same != 2 * one.samples:
                raise DisagreementError(
                    f"{name} answers {2 * one.samples - one.same} of {2 * one.samples} images otherwise than "
                    f"{form.target}; run 'spikeproof agree {run}'"
                )


def _check(run: "Run", threat: str, as_json: bool) -> None:
    from . import show

    with show.loading(as_json):
        from ..eval.run.examples import check_examples
    found = check_examples(run, threat)
    if as_json:
        show.print_json({"threat": threat, "survive": found})
        return
    for form, count in found.items():
        show.out.print(f"{form}: the kept examples leave {count} samples right, as the record says", highlight=False)


def _print(record: "Robustness") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from .show import out, percent

    def cell(share: Any) -> str:
        if share is None:
            return "[dim]\u2013[/]"
        return f"[bold]{percent(share.value)}[/]\n[dim]{percent(share.low)}\u2013{percent(share.high)}[/]"

    budget = f"@{record.size}"
    if record.threat == "encoded-binary":
        size = f"{record.epsilon:g} edits a sample"
    elif record.threat == "timing":
        size = f"shifts {record.size}"
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
        if form.saturation is not None:
            out.print(f"search: {escape(form.saturation.words)}", soft_wrap=True, highlight=False)
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
