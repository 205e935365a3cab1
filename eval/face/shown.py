"""What the face's verbs answer with: a record that shows itself in a terminal and in a notebook."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...toolkit.errors import InputError
from ...toolkit.files import write_text
from ...toolkit.tables import Screen
from ..records.base import Record
from ..report.table import cell_text

R = TypeVar("R", bound=Record)
WIDTH = 100
"""Columns of a table in text."""
HEIGHT = 640
"""Pixels of a page in a notebook."""


@dataclass(frozen=True, repr=False)
class Shown(Generic[R]):
    """A record with a table for people and a page.

    ``repr`` is the table as text, a notebook shows the page: tables and plots of the report.

    Attributes:
        record: everything that was measured, and by which code, with what, on what.
        title: of the table.
        rows: one dictionary a row; the first one's keys are the columns.
        page: makes the report's page, HTML without anything from elsewhere.
    """

    record: R
    title: str
    rows: tuple[dict[str, Any], ...]
    page: Callable[[], str]

    def __repr__(self) -> str:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for name in self.rows[0] if self.rows else ():
            numbers = all(isinstance(row[name], int | float) for row in self.rows)
            table.add_column(name, justify="right" if numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell_text(cell)) for cell in row.values()))
        out = StringIO()
        Screen(file=out, width=WIDTH).print(table)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles must not reach the notebook's, nor its the page's.
        style = f"width:100%;height:{HEIGHT}px;border:0"
        return f'<iframe srcdoc="{html.escape(self.page(), quote=True)}" style="{style}"></iframe>'

    def to_json(self) -> str:
        """Return the record as JSON."""
        return self.record.model_dump_json()

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_pandas: pandas is not installed; pip install pandas") from error
        return pandas.DataFrame(list(self.rows))

    def save(self, path: str | Path) -> None:
        """Write the record (``.json``) or the page (``.html``).

        Raises:
            InputError: the name ends otherwise.
        """
        path = Path(path)
        if path.suffix not in (".json", ".html"):
            raise InputError(f"{path}: expected a name that ends in .json (the record) or .html (the page)")
        write_text(path, self.to_json() + "\n" if path.suffix == ".json" else self.page())
