"""What ``robustness`` does and shows of a run whose answers are no classes: what attacks take of their quality."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..eval.records.quality import QualityUnderAttack
    from ..eval.run.folder import Run


def under_attack(run: "Run", protocol: str, unfit: dict[str, bool], as_json: bool, **options: Any) -> None:
    """Attack every form of a run, and show what is left of its quality.

    Args:
        run: trained, quantized and exported.
        protocol: its name.
        unfit: options that are about classes, by name, and whether they were given.
        as_json: print JSON.
        options: as of :func:`..eval.run.quality.quality_under_attack`.

    Raises:
        InputError: an option was given that has no meaning here.
        DisagreementError: a target answers otherwise than loihi.
    """
    from ..eval.run.quality import STEP, quality_under_attack
    from ..toolkit.errors import DisagreementError, InputError
    from ..toolkit.progress import bars
    from . import show

    given = [name for name, is_given in unfit.items() if is_given]
    if given:
        raise InputError(
            f"{', '.join(given)}: not for runs whose answers are no classes (task {run.data().task.name}); leave out"
        )
    with bars(as_json, show.err, keep=False) as track:
        record = quality_under_attack(run, protocol, **options, track=track)
    show.record("robustness", record, run.path(STEP), as_json, _print)
    for form in record.forms:
        for name, count in form.answers_differ.items():
            if count:
                raise DisagreementError(f"{name} answers {count} images otherwise than {form.target}; run 'agree'")


def _print(record: "QualityUnderAttack") -> None:
    from .show import out, table

    first = record.forms[0].clean
    ball = f", epsilon {record.epsilon:.4f} ({record.levels} levels of the chip's input)" if record.levels else ""
    out.print(
        f"{record.name}, protocol {record.protocol}, {record.samples} samples{ball}\n"
        f"threat model: {record.threat_model}",
        highlight=False,
    )
    for form in record.forms:
        rows = table(
            f"{form.form} on {form.target}: {first.name} in {first.unit}", ("attack", "access"), ("mean", "worst")
        )
        rows.add_row("none", "", f"{form.clean.value:.3f}", f"{form.clean.worst:.3f}")
        for one in form.attacks:
            rows.add_row(one.label, one.access, f"{one.quality.value:.3f}", f"{one.quality.worst:.3f}")
        rows.add_row("worst case", "all", f"{form.worst.value:.3f}", f"{form.worst.worst:.3f}")
        out.print(rows)
        if form.left_out:
            out.print(f"left out, for they look for another class: {', '.join(form.left_out)}", highlight=False)
        for note in form.notes:
            out.print(f"[yellow]note:[/] {note}", soft_wrap=True, highlight=False)
        for name, count in form.answers_differ.items():
            out.print(f"{name}: {count} answers otherwise than {form.target}", highlight=False)
    out.print(record.summary, soft_wrap=True, highlight=False)
