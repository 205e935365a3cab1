"""CONTRIBUTING shows the way of one image from recipe to report; a run is watched to see that it goes that way."""

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.road import run_all
from spikeproof.toolkit import config

ROOT = Path(__file__).resolve().parents[1]
STEP = re.compile(r"^\d+\. `([\w/]+\.py)`, `(\w+)`", re.MULTILINE)


def way() -> list[tuple[str, str]]:
    return STEP.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_the_way_is_short() -> None:
    assert 8 <= len(way()) <= 12
    assert len({file for file, _ in way()}) == len(way())


def test_an_image_goes_the_way_in_order_and_each_step_is_called_by_one_before_it(
    recipe_file: Path, tmp_path: Path
) -> None:
    steps = way()
    # An installation may link its files: a frame names the link.
    package = Path(config.__file__).parents[1]
    places = {str(package / file): file for file, _ in steps}
    functions = dict(steps)
    entered: dict[str, set[str]] = {}
    """By file, in the order of the first call of its function: the listed files on the stack then."""

    def watch(frame: FrameType, event: str, _: Any) -> None:
        file = places.get(frame.f_code.co_filename) if event == "call" else None
        if file is None or frame.f_code.co_name != functions[file] or file in entered:
            return
        stack, outer = set(), frame.f_back
        while outer is not None:
            stack.add(places.get(outer.f_code.co_filename, ""))
            outer = outer.f_back
        entered[file] = stack - {"", file}

    sys.setprofile(watch)
    try:
        recipe = config.load_recipe(str(recipe_file))
        run_all(Run.create(tmp_path / "run", recipe), samples=4)
    finally:
        sys.setprofile(None)
    assert list(entered) == [file for file, _ in steps]
    files = list(entered)
    for number, file in enumerate(files[2:], 2):
        assert entered[file] & set(files[:number]), f"{file}: called by none of the files before it"
