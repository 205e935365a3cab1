"""How long work reports its progress without knowing the terminal."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wrap ``items`` so that somebody may watch; ``total`` is how many there are, ``what`` a short label."""

    def __call__(self, items: Iterable[T], what: str, total: int) -> Iterable[T]:
        """Return an iterable over the same items."""


def silent(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Pass ``items`` on, unwatched."""
    return items
