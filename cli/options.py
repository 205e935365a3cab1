"""Arguments and options that several commands share, and the panels that order ``--help``."""

from pathlib import Path
from typing import Annotated

import typer

START, STEPS, MEASURE, FILES, STUDIES, HERE = (
    "Start here",
    "One step at a time",
    "Measure and explain a run",
    "Networks from elsewhere",
    "Studies",
    "This installation",
)
EXIT_BUG, EXIT_REFUSED, EXIT_TARGET, EXIT_DIFFERENT, EXIT_DOES_NOT_FIT, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by 'train', 'run' or 'import'.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file (TOML), or the name of a built-in one.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Run folder to write; made if absent, taken up again if started.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, no progress bars.")]
Samples = Annotated[
    int | None, typer.Option("--samples", "-n", min=1, help="The first so many test images; all by default.")
]
Targets = Annotated[str | None, typer.Option("--targets", "-t", help="Comma-separated targets.")]
Ray = Annotated[
    str | None, typer.Option(metavar="local|ADDRESS", help="Run cells on Ray: here, or on a cluster that sees --out.")
]


def names(text: str | None) -> list[str] | None:
    """Return the names in a comma-separated option; None if it was not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
