"""Tables on a terminal of any width: no word is broken; what does not fit beside each other stands below each other."""

from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

GAP, EDGES = 3, 2
"""Blanks that a box without lines puts between two columns, and at both ends."""


def _lines(column: Column) -> list[str]:
    """Return every line of a column's header and cells, without markup."""
    cells = (Text.from_markup(cell) if isinstance(cell, str) else cell for cell in (column.header, *column.cells))
    return [line for cell in cells if isinstance(cell, Text) for line in cell.plain.split("\n")]


def _natural(column: Column) -> int:
    """Return the width at which no line of a column is broken."""
    return max(map(cell_len, _lines(column)), default=0)


def _least(column: Column) -> int:
    """Return the width that a column must have, so that no word of it is broken, or no line where it must not wrap."""
    if column.no_wrap:
        return _natural(column)
    return max((cell_len(word) for line in _lines(column) for word in line.split()), default=0)


def _widths(columns: list[Column], width: int) -> list[int]:
    """Return the widths of columns beside each other: what they must have, then what is left to whom lacks most."""
    found, wanted = [_least(column) for column in columns], [_natural(column) for column in columns]
    room = width - EDGES - GAP * (len(columns) - 1)
    while sum(found) > room and max(found) > 1:
        found[found.index(max(found))] -= 1
    while sum(found) < room and any(size < most for size, most in zip(found, wanted, strict=True)):
        lacking = [most - size for size, most in zip(found, wanted, strict=True)]
        found[lacking.index(max(lacking))] += 1
    return found


def fitted(table: Table, width: int) -> list[Table]:
    """Return the table, or several with its first column each, so that none is wider and no word is broken.

    A column that alone is wider than the terminal is folded after all.

    Args:
        table: without footer.
        width: of the terminal, in characters.
    """
    if not table.columns:
        return [table]
    least = [_least(column) for column in table.columns]
    groups: list[list[int]] = [[]]
    room = width - least[0] - EDGES
    for place, size in enumerate(least[1:], start=1):
        used = sum(least[one] + GAP for one in groups[-1])
        if groups[-1] and used + size + GAP > room:
            groups.append([])
        groups[-1].append(place)
    return [_part(table, [0, *group], width) for group in groups]


def _part(table: Table, places: list[int], width: int) -> Table:
    made = Table(title=table.title, title_justify=table.title_justify, box=table.box, pad_edge=table.pad_edge)
    columns = [table.columns[place] for place in places]
    for column, size in zip(columns, _widths(columns, width), strict=True):
        made.add_column(column.header, justify=column.justify, overflow="fold", width=size)
    for row in zip_longest(*(column.cells for column in columns), fillvalue=""):
        made.add_row(*row)
    return made


class Screen(Console):
    """A console that prints tables as :func:`fitted` makes them."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print what is given; tables in as many parts as are needed."""
        if len(objects) == 1 and isinstance(objects[0], Table):
            for part in fitted(objects[0], self.width):
                super().print(part, **options)
        else:
            super().print(*objects, **options)
