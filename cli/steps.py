"""Commands that make a run: the whole road, and its steps one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, Out, RecipeName, RunFolder, Samples, Targets, names

if TYPE_CHECKING:
    from ..eval.run.folder import Run
    from ..eval.run.results import Result


def step(folder: Path, as_json: bool, find: Callable[[], Callable[..., "Result"]], **options: Any) -> None:
    """Run one step of an existing run with progress bars and show its result.

    Args:
        folder: the run.
        as_json: print JSON.
        find: imports the step, which takes a second, while the terminal says so.
        options: of the step.
    """
    from ..eval.run.folder import Run
    from . import show

    run = Run.open(folder)
    with show.loading(as_json):
        do = find()
    with show.progress(as_json) as track:
        result = do(run, track=track, **options)
    show.show(result, as_json)


def _steps(name: str) -> Callable[[], Callable[..., "Result"]]:
    def find() -> Callable[..., "Result"]:
        from ..eval.run import steps

        found: Callable[..., Result] = getattr(steps, name)
        return found

    return find


def _again(run: "Run") -> None:
    """Say which steps a changed recipe asks for again."""
    if run.again:
        from . import show

        text = f"the recipe has changed; to be done again: {', '.join(run.again)}; the rest stays"
        show.err.print(f"[yellow]note:[/] {text}", soft_wrap=True, highlight=False)


def train(recipe: RecipeName, out: Out, as_json: Json = False) -> None:
    """Train the recipe's network; an interrupted training goes on where it stopped."""
    from ..eval.run.folder import Run
    from ..toolkit.config import load_recipe

    _again(Run.create(out, load_recipe(recipe)))
    step(out, as_json, _steps("train"))


def attack(run: RunFolder, as_json: Json = False) -> None:
    """Make adversarial examples on the float network."""
    step(run, as_json, _steps("attack"))


def quantize(run: RunFolder, as_json: Json = False) -> None:
    """Fold batch norm and fine-tune on Loihi's weight grid."""
    step(run, as_json, _steps("quantize"))


def export(
    run: RunFolder,
    lava_project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a folder, too, that runs the Program on Lava without spikeproof."),
    ] = None,
    c: Annotated[
        Path | None,
        typer.Option("--c", metavar="FILE", help="Write the Program, too, as one file of C99, and its sizes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write NIR (checked by executing it), the integer Program and its ONNX form."""
    if lava_project is not None and c is not None:
        raise typer.BadParameter("give --lava-project or --c, one at a time")

    def find_lava() -> Callable[..., "Result"]:
        from ..eval.run.lava_project import lava_project as write

        return write

    def find_c() -> Callable[..., "Result"]:
        from ..eval.run.c_file import c_file as write

        return write

    if lava_project is not None:
        step(run, as_json, find_lava, place=lava_project)
    elif c is not None:
        step(run, as_json, find_c, place=c)
    else:
        step(run, as_json, _steps("export"))


def simulate(
    run: RunFolder,
    target: Annotated[str, typer.Option("--target", "-t", help="Which target.")] = "loihi",
    images: Annotated[
        Path | None, typer.Option(help="An .npz with images x (and labels y); else the test set.")
    ] = None,
    samples: Samples = None,
    rasters: Annotated[bool, typer.Option(help="Keep every spike, u and v in the trace file.")] = False,
    as_json: Json = False,
) -> None:
    """Run the Program on one target and keep its trace."""

    def find() -> Callable[..., "Result"]:
        from ..eval.run.simulate import simulate

        return simulate

    step(run, as_json, find, target=target, images=images, samples=samples, rasters=rasters)


def evaluate(
    run: RunFolder,
    targets: Targets = None,
    device: Annotated[str, typer.Option(help="Torch device of the float network: cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure every form on clean images and the recipe's attacks; write the record and the report."""

    def find() -> Callable[..., "Result"]:
        from ..eval.run.evaluate import evaluate

        return evaluate

    step(run, as_json, find, targets=names(targets), device=device)


def _road(recipe: str, out: Path, as_json: bool, samples: int) -> None:
    from ..eval.run.folder import Run
    from ..hw_targets.family import family_of
    from ..hw_targets.lava.environment import environment_python, status
    from ..toolkit.config import load_recipe
    from . import show

    made = Run.create(out, load_recipe(recipe))
    _again(made)
    chosen = made.recipe()
    targets = family_of(chosen.export.chip).targets(chosen.evaluate.targets)
    for kind in ("lava", "netx", "xylosim"):
        if kind in targets and environment_python(kind) is None:
            show.err.print(f"[yellow]note:[/] without {kind}: {status(kind).how}")
            targets.remove(kind)

    def report(result: "Result") -> None:
        if not as_json:
            show.out.rule(result.to_dict()["step"])
            show.show(result, False)

    with show.loading(as_json):
        from ..eval.run.road import run_all
    with show.progress(as_json) as track:
        last = run_all(made, targets, samples, report, track)
    if as_json:
        show.show(last, True)


def run(recipe: RecipeName, out: Out, as_json: Json = False) -> None:
    """Run every step of a recipe; steps that are done already are not repeated."""
    _road(recipe, out, as_json, samples=64)


def demo(
    out: Out = Path("runs/demo"),
    fast: Annotated[
        bool, typer.Option("--fast", help="Few epochs and samples: does it work? Not to be quoted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the whole road on handwritten digits: from training to the report, two minutes."""
    place = out / "fast" if fast and out == Path("runs/demo") else out
    _road("fast" if fast else "digits", place, as_json, 8 if fast else 64)
