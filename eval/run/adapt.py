"""The step ``adapt``: a run of a network made fit for the chip, from the run of one that is not."""

from pathlib import Path

from ...toolkit.adapt import MOST_POPULATIONS, Pools
from ...toolkit.checkpoint import load_network
from ...toolkit.config import parse_recipe
from ...toolkit.models.layers import described
from ...toolkit.progress import Track, silent
from ..measure.adaptation import adaptation
from ..records.adaptation import Adaptation
from ..records.base import command_line, header, write_record
from ..report.adaptation import write_adaptation
from .adopt import begin
from .folder import Run

FILES = ("adaptation.json", "adaptation.html")


def adapt(
    run: Run,
    folder: Path,
    *,
    samples: int | None = None,
    pools: Pools = "after",
    populations: int = MOST_POPULATIONS,
    track: Track = silent,
) -> Adaptation:
    """Adapt a run's network into a new run: recipe.json, model.safetensors, adaptation.json and adaptation.html.

    Args:
        run: trained or adopted; not changed.
        folder: of the new run; its recipe is the old one's, but for the layers, which are written out.
        samples: the first so many test images on which each change is measured; all if None.
        pools: what becomes of max pools of currents: "after" the neurons, or "average".
        populations: into how many populations a layer may be split.
        track: progress.

    Raises:
        FileError: the run is not trained, or a file of it has changed since.
        InputError: the new folder holds another run.
        UnsupportedError: a layer cannot be written into a recipe; by name.
    """
    run.needs_network("adapt")
    recipe, data = run.recipe(), run.data()
    network = load_network(run.path("model.safetensors"))[0]
    run.require("train")
    typed = command_line("adapt", "DIR", out="NEW", samples=samples, pools=pools, populations=populations)
    about = header(recipe.name, typed, data=data, recipe=recipe)
    part = data.test_images[:samples], data.test_labels[:samples]
    adapted, record = adaptation(network, part, about, pools=pools, populations=populations, track=track)
    model = {"kind": "layers", "layers": described(adapted), "gain": adapted.gain}
    made = begin(folder, adapted, parse_recipe(recipe.model_dump(mode="json") | {"model": model}, recipe.name), data)
    made.keep_data_of(run)
    write_record(made.path(FILES[0]), record)
    write_adaptation(made.path(FILES[1]), record)
    made.finished("train", list(FILES))
    return record
