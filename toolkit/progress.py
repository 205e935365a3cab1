"""How long work reports its progress without knowing the terminal, and bars for whoever has one."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class Track(Protocol):
    """Wrap ``items`` so that somebody may watch; ``total`` is how many there are, ``what`` a short label."""

    def __call__(self, items: Iterable[T], what: str, total: int) -> Iterable[T]:
        """Return an iterable over the same items."""


def silent(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Pass ``items`` on, unwatched."""
    return items


@contextmanager
def bars(quiet: bool = False, console: "Console | None" = None, *, keep: bool = True) -> Iterator[Track]:
    """Yield a Track that draws one bar a task; silent where nobody watches: bars would only fill a log.

    Args:
        quiet: silent anyway.
        console: where to draw; standard error if None.
        keep: whether the bars of finished tasks stay.
    """
    # Rich takes a while to import, and a Track is all that most callers need.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    left = (TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description:<40}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), *left)
    with Progress(*columns, console=console) as drawn:

        def track(items: Iterable[T], what: str, total: int) -> Iterable[T]:
            task = drawn.add_task(what, total=total)
            for item in items:
                yield item
                drawn.advance(task)
            if not keep:
                drawn.remove_task(task)

        yield track


def quiet_libraries() -> None:
    """Keep other packages' warnings off the terminal: they are about their own future, not about the user's run."""
    warnings.filterwarnings("ignore", module=r"(?!spikeproof).*")
