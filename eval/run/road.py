"""The whole road: every step of a recipe, those that are done not repeated."""

from collections.abc import Callable

from ...hw_targets.family import family_of
from ...toolkit.progress import Track, silent
from ..records.evaluation import Evaluation
from .evaluate import evaluate
from .folder import Run
from .results import Recorded, Result
from .simulate import agree, require_equal
from .steps import attack, export, quantize, train


def run_all(
    run: Run,
    targets: list[str] | None = None,
    samples: int = 64,
    report: Callable[[Result], None] | None = None,
    track: Track = silent,
) -> Recorded[Evaluation]:
    """Run every step that is not done yet and return the last one's result.

    Args:
        run: with its recipe.
        targets: that must agree and are measured; the recipe's by default.
        samples: test images that targets are compared on.
        report: called with each result.
        track: progress.
    """
    tell = report or (lambda result: None)
    recipe = run.recipe()
    names = family_of(recipe.export.chip).targets(recipe.evaluate.targets) if targets is None else targets
    for name, step in {"train": train, "attack": attack, "quantize": quantize, "export": export}.items():
        if not run.is_done(name):
            tell(step(run, track))
    if len(names) > 1:
        agreed = agree(run, names, samples, track)
        tell(agreed)
        require_equal(agreed.record)
    result = evaluate(run, names, "cpu", track)
    tell(result)
    return result
