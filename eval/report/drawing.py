"""What all plots of the report share: colours, letters, and the way to inline SVG that needs nothing from outside."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, GREY, FAINT = "#222222", "#595959", "#dddddd"
BLUE, ORANGE = "#0072B2", "#E69F00"


@contextmanager
def style(key: str) -> Iterator[None]:
    """Set what every plot shares; ``key`` salts the ids, so that equal records give equal pages."""
    settings: Any = {
        "svg.hashsalt": key,
        "svg.fonttype": "none",
        # DejaVu comes with matplotlib and gives the measures; Verdana, as wide, is what most readers have.
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
        "font.size": 9.0,
        "text.color": INK,
        # Names are text: a dollar sign in one must not start a formula.
        "text.parse_math": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "grid.color": FAINT,
        "grid.linewidth": 0.7,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "path.simplify": False,
        "savefig.dpi": 150,
    }
    with matplotlib.rc_context():
        # A reader's own matplotlibrc must not change the page.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def svg(figure: Figure, key: str, label: str, grow: float = 1.0) -> Markup:
    """Return the figure as an SVG element whose ids all begin with ``key``; it may ``grow`` where there is room."""
    buffer = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    # The XML prolog has no place inside HTML, and the style element would apply to the whole page.
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{key}-", text)
    # The page's own colours, which follow the reader's choice of light or dark.
    for colour, name in ((INK, "ink"), (GREY, "soft"), (FAINT, "line"), ("#bbbbbb", "line"), ("#ffffff", "page")):
        text = text.replace(colour, f"var(--{name})")
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    # 72 points are 96 pixels. Beyond these bounds letters would outgrow the page's, or be too small to read.
    width = 96 * figure.get_size_inches()[0]
    style = f"min-width:{0.68 * width:.0f}px;max-width:{grow * width:.0f}px"
    return Markup(f'{head} role="img" aria-label="{escape(label)}" style="{style}">{rest}')
