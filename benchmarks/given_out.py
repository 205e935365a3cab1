"""Where a benchmark writes: a folder of the user's. Committed records are overwritten only where they are named.

Every script takes ``--out FOLDER``, by default ``runs/benchmarks``; ``--out records`` makes the committed ones anew.
"""

import sys
from pathlib import Path

USUAL = Path("runs/benchmarks")


def out(part: str) -> Path:
    """Return the folder for one kind of records, and take ``--out FOLDER`` from the command line if it is there."""
    words = sys.argv[1:]
    if "--out" not in words:
        return USUAL / part
    place = words.index("--out")
    if place + 1 == len(words):
        sys.exit("--out: say which folder; 'records' holds the committed records")
    sys.argv[1:] = words[:place] + words[place + 2 :]
    return Path(words[place + 1]) / part
