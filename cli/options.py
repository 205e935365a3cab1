"""Arguments and options that several commands share, and the panels that order ``--help``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

START, STEPS, MEASURE, FILES, STUDIES, HERE = (
    "Start here",
    "One step at a time",
    "Measure and explain a run",
    "Networks from elsewhere",
    "Studies",
    "This installation",
)
EXIT_BUG, EXIT_REFUSED, EXIT_TARGET, EXIT_DIFFERENT, EXIT_DOES_NOT_FIT, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder, made by 'train', 'run', 'adopt', 'adapt' or 'import'.")
]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file (TOML), or the name of a built-in one.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Run folder to write; made if absent, taken up again if started.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, no progress bars.")]
Samples = Annotated[
    int | None, typer.Option("--samples", "-n", min=1, help="The first so many test images; all by default.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--targets", "-t", metavar="NAMES", help="Targets, separated by commas; may be given again."),
]
Seeds = Annotated[str, typer.Option(help="Comma-separated seeds of training.")]
Records = Annotated[Path | None, typer.Option(help="Measure nothing: make the page of this record.")]
RecordJson = Annotated[bool, typer.Option("--json", help="Print the record as JSON, no progress bars.")]
Ray = Annotated[
    str | None, typer.Option(metavar="local|ADDRESS", help="Run cells on Ray: here, or on a cluster that sees --out.")
]

TimeStep = Annotated[float | None, typer.Option("--dt", help="Seconds a time step; NIR files do not hold it.")]
Origin = Annotated[
    str | None,
    typer.Option(help="The framework that wrote it: nir, norse, sinabs, snntorch, spikeproof or spikingjelly."),
]
Reset = Annotated[
    str | None,
    typer.Option(
        help="How its neurons reset, if not as its origin's do: zero, subtract, subtract_later, zero_later, none."
    ),
]
OneSpike = Annotated[
    bool, typer.Option("--one-spike", help="Its neurons send at most one spike a step (sinabs' SingleSpike).")
]
Unscaled = Annotated[
    bool, typer.Option("--unscaled", help="Its LIF nodes add their input as it is (sinabs' norm_input=False).")
]
AsHard = Annotated[
    bool,
    typer.Option("--as-hard", help="Deploy a soft reset as a hard one, the chip's only, and count the other spikes."),
]
Start = Annotated[
    str | None,
    typer.Option(help="Where its membranes start, if not where its origin's do: v_leak (the rest) or v_reset."),
]
Output = Annotated[str | None, typer.Option(help="The Output node that is read, where the file has several.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="An .npz with x: images (samples, ...) in [0, 1], or spikes or counts of events (time, samples, ...); and "
        "labels y, if any."
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, max=2**16, help="Time steps a sample, needed for images.")]
Bits = Annotated[
    list[str] | None,
    typer.Option(
        "--bits",
        metavar="BITS|NODE=BITS",
        help="Weight bits, 2 to 8, 8 by default: of all nodes, or of one (conv1=4); with commas, or given again.",
    ),
]
InputBits = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=24,
        help="Bits of an input message; 0: binary spikes. By default 8 for images, 0 for spikes, what counts need.",
    ),
]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Record to write, JSON.")]


def names(texts: list[str] | None) -> list[str] | None:
    """Return the names in a comma-separated option that may be given again, each once; None if it was not given."""
    if not texts:
        return None
    return list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))


def bits_of(texts: list[str] | None) -> "int | dict[str, int] | None":
    """Return the bits in ``--bits``: one number, or numbers by node with "default" for the others.

    Raises:
        InputError: something else, or two numbers for one node.
    """
    from ..toolkit.errors import InputError

    found: dict[str, int] = {}
    for text in names(texts) or ():
        node, _, number = text.rpartition("=")
        if not number.isdecimal() or not 2 <= int(number) <= 8:
            raise InputError(f"--bits {text}: expected 2 to 8, or NODE=BITS")
        name = node.strip() or "default"
        if name in found:
            raise InputError(f"--bits {text}: {name} has {found[name]} bits already; give it once")
        found[name] = int(number)
    return found.get("default") if list(found) in ([], ["default"]) else found


class Once(TyperCommand):
    """A command that refuses an option given twice, unless it collects values: else the last one would win silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words behind the command's name."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in order:
            if order.count(option) < 2 or not isinstance(option, TyperOption):
                continue
            if not (option.multiple or option.count or option.is_flag):
                ctx.fail(f"option {'/'.join(option.opts)} is given twice; give it once")
        return super().parse_args(ctx, args)


def whole_numbers(option: str, text: str) -> list[int]:
    """Return the numbers of an option that takes several, separated by commas.

    Raises:
        InputError: one is no whole number.
    """
    from ..toolkit.errors import InputError

    try:
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: need whole numbers, separated by commas") from error
