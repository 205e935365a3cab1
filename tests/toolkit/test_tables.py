"""Tables at any width: every word of every cell stands whole in what is printed."""

from io import StringIO

import pytest
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spikeproof.toolkit.tables import Screen, fitted

CELLS = [
    [
        "fgsm@0.0980392",
        "accuracy-of-everything",
        "93.4",
        "[bold]91.0[/]\n[dim]88.2\u201393.2[/]",
        "1,234,567",
        "conv1, lif1",
    ],
    ["a long name of several words", "x", "", "12.0", "0", "population_with_a_name"],
]
HEADERS = ["attack", "what it is about", "float", "quantized", "values compared", "where"]


def table() -> Table:
    made = Table(title="accuracy in %", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for place, header in enumerate(HEADERS):
        if place in (2, 4):
            made.add_column(header, justify="right", no_wrap=True)
        else:
            made.add_column(header, overflow="fold")
    for row in CELLS:
        made.add_row(*row)
    return made


def printed(width: int) -> str:
    out = StringIO()
    Screen(file=out, width=width).print(table())
    return out.getvalue()


@pytest.mark.parametrize("width", [45, 50, 60, 80, 100, 160])
def test_no_word_is_broken(width: int) -> None:
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    for cell in [*HEADERS, *(cell for row in CELLS for cell in row)]:
        plain = cell.replace("[bold]", "").replace("[dim]", "").replace("[/]", "")
        assert set(plain.split()) <= words, (width, cell)


def test_what_fits_stays_one_table_and_the_first_column_is_repeated() -> None:
    assert len(fitted(table(), 160)) == 1
    parts = fitted(table(), 60)
    assert len(parts) > 1
    assert all(part.columns[0].header == "attack" for part in parts)
    assert [column.header for part in parts for column in part.columns[1:]] == HEADERS[1:]


def test_a_word_wider_than_the_terminal_is_folded() -> None:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("file", overflow="fold")
    made.add_row("x" * 100)
    out = StringIO()
    Screen(file=out, width=30).print(made)
    assert max(map(len, out.getvalue().splitlines())) <= 30
    assert out.getvalue().count("x") == 100


def test_a_table_without_columns_or_rows_is_printed() -> None:
    out = StringIO()
    Screen(file=out, width=30).print(Table())
    Screen(file=out, width=30).print("text", "and more")
    assert "text and more" in out.getvalue()
