"""The step ``cost``: what every form of a run costs."""

from ...export.program import read_program
from ...toolkit.checkpoint import load_network
from ...toolkit.code import code_hash
from ...toolkit.data import load_data
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import load_quantized
from ..cost.measure import fingerprints, measure_cost
from ..measure.forms import Forms
from ..records.base import command_line, header, write_record
from ..records.cost import read_cost
from .folder import Run
from .steps import attacked


def cost(run: Run, *, samples: int | None = None, again: bool = False, track: Track = silent) -> bool:
    """Measure the cost of a run's forms: cost.json; return False if this code has it on record already.

    Args:
        run: trained, quantized and exported; attacked, if the price of attacks is wanted.
        samples: the first so many test images; all if None.
        again: measure even so.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
    """
    network, recipe = load_network(run.path("model.safetensors"))
    quantized, _ = load_quantized(run.path("quantized.safetensors"))
    program = read_program(run.path("program.safetensors"))
    for step in ("train", "quantize", "export"):
        run.require(step)
    data = load_data(recipe.data, recipe.coding.steps)
    images = {"clean": data.test_images}
    if run.path("attacks.json").exists():
        run.require("attack")
        images |= attacked(run, recipe, data)
    conditions = {name: part[:samples] for name, part in images.items()}
    if run.is_done("cost") and not again:
        kept = read_cost(run.path("cost.json"))
        if kept.code == code_hash() and kept.images == fingerprints(conditions):
            return False
    found = measure_cost(
        header(
            recipe.name,
            command_line("compare", "DIR", samples=samples, again=again),
            data=data,
            program=program,
            recipe=recipe,
        ),
        Forms(network, quantized, program),
        conditions,
        data.test_labels[:samples],
        bits=recipe.quantize.bits,
        batch=recipe.evaluate.batch,
        track=track,
    )
    write_record(run.path("cost.json"), found)
    run.finished("cost")
    return True
