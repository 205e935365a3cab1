"""The step ``compare``: what every form of a run costs, beside all else that is on record of it."""

from ...toolkit.code import code_hash
from ...toolkit.progress import Track, silent
from ..cost.ann import NOT_ATTACKED, train_ann
from ..cost.constants import table
from ..cost.measure import fingerprints, measure_cost
from ..cost.sanafe import second_opinion
from ..records.base import command_line, header, write_record
from ..records.cost import read_cost
from ..records.robustness import read as read_robustness
from .folder import Run
from .pages import beside, write_pages
from .results import Compared
from .steps import attacked

REPLAYED = 8
"""Images that SANA-FE replays."""


def cost(
    run: Run,
    *,
    samples: int | None = None,
    again: bool = False,
    worst_energy: float | None = None,
    ann: bool = False,
    sanafe: bool = False,
    track: Track = silent,
) -> bool:
    """Measure the cost of a run's forms: cost.json; return False if this code has it on record already.

    Args:
        run: trained, quantized and exported; attacked, if the price of attacks is wanted.
        samples: the first so many test images; all if None.
        again: measure even so.
        worst_energy: epsilon of an energy attack; None: none, but one that is on record is kept.
        ann: train the ANN of the recipe, and measure it in INT8; one that is on record is kept, too.
        sanafe: ask SANA-FE for its opinion on the first clean images; one that is on record is kept, too.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
    """
    recipe, forms, data = run.recipe(), run.deployed(), run.data()
    images = {"clean": data.test_images}
    if run.path("attacks.json").exists():
        run.require("attack")
        images |= attacked(run, recipe, data)
    conditions = {name: part[:samples] for name, part in images.items()}
    if run.is_done("cost") and not again:
        kept = read_cost(run.path("cost.json"))
        worst = kept.worst
        same = {name: sha for name, sha in kept.images.items() if worst is None or name != worst.condition}
        enough = worst_energy is None or (worst is not None and worst.epsilon == worst_energy)
        attackable = run.path("robustness.json").exists()
        made = kept.ann.trained
        enough = enough and (not ann or (made is not None and not (made.absent == NOT_ATTACKED and attackable)))
        enough = enough and (not sanafe or any(chip.second is not None for chip in kept.chips))
        if kept.code == code_hash() and same == fingerprints(conditions) and enough:
            return False
    trained = None
    if ann:
        run.needs_network("compare --ann")
        attacked_by = read_robustness(run.path("robustness.json")) if run.path("robustness.json").exists() else None
        trained = train_ann(recipe, data, run.path("ann.onnx"), samples=samples, robustness=attacked_by, track=track)
    second = None
    if sanafe:
        second = second_opinion(forms.program, forms.coder.integers(conditions["clean"][:REPLAYED]), table())
    found = measure_cost(
        header(
            recipe.name,
            command_line(
                "compare", "DIR", samples=samples, again=again, worst_energy=worst_energy, ann=ann, sanafe=sanafe
            ),
            data=data,
            program=forms.program,
            recipe=run.recipe_on_record(),
        ),
        forms,
        conditions,
        data.test_labels[:samples],
        batch=recipe.evaluate.batch,
        task=data.task,
        epsilon=worst_energy,
        trained=trained,
        second=second,
        track=track,
    )
    write_record(run.path("cost.json"), found)
    run.finished("cost")
    return True


def compare(
    run: Run,
    *,
    samples: int | None = None,
    again: bool = False,
    worst_energy: float | None = None,
    ann: bool = False,
    sanafe: bool = False,
    track: Track = silent,
) -> Compared:
    """Measure what is not on record, and put the forms side by side; cost.json and compare.html.

    Args:
        run: see :func:`cost`.
        samples: the first so many test images; all if None.
        again: measure costs that are on record, too.
        worst_energy: epsilon of an energy attack, L-infinity in pixels of [0, 1]; None: none.
        ann: train the ANN of the recipe, and measure it in INT8.
        sanafe: ask SANA-FE, see :mod:`..cost.sanafe`.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
    """
    measured = cost(run, samples=samples, again=again, worst_energy=worst_energy, ann=ann, sanafe=sanafe, track=track)
    found = beside(run)
    write_pages(run)
    return Compared(measured, found, str(run.path("cost.json")), str(run.path("compare.html")))
