"""What a cell of a study or of the leaderboard does: a whole run, and protocols on all its forms."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..eval.evaluate import Forms, evaluate, gradient_sparsity
from ..eval.robustness import plan as plans
from ..eval.robustness.protocol import measure as measure_protocol
from ..eval.robustness.record import FormResult, share
from ..eval.sparsity import IMAGE, watch
from ..export.program import read_program
from ..hw_targets.twin import Twin
from ..toolkit.attacks.gradient import FGSM
from ..toolkit.attacks.victim import predict
from ..toolkit.checkpoint import load_network
from ..toolkit.coding import LEVELS, on_grid
from ..toolkit.config import Recipe
from ..toolkit.data import Images, Labels, load_data
from ..toolkit.errors import UnsupportedError
from ..toolkit.files import read_json, write_json
from ..toolkit.layers import SpikingNetwork
from ..toolkit.progress import Track, silent
from ..toolkit.quantize import load_quantized
from . import steps
from .protocol import robustness
from .run import Run

GRADIENT_SAMPLES = 100
"""Of the norm of the input gradient: the first so many test images."""


def measure(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train, quantize and export the recipe, attack all forms, and return what was found; what is done is kept.

    Args:
        recipe: of the run in ``folder``.
        plan: ``protocols``: names; ``samples``: test images that are attacked; ``epsilon``: radius.
        folder: an ordinary run folder.

    Returns:
        ``forms``: by name, accuracies a condition and facts; ``costs``; ``refused``: why there is no Program, or None.
    """
    steps.quiet_libraries()
    run = Run.create(folder, recipe)
    costs = run.path("costs.json")
    if not run.is_done("train"):
        begun = time.process_time()
        steps.train(run)
        # Processor time: cells run beside each other, and wall time would tell how many.
        write_json(costs, {"seconds an epoch": (time.process_time() - begun) / recipe.train.epochs})
    refused = None
    try:
        for name, step in (("quantize", steps.quantize), ("export", steps.export)):
            if not run.is_done(name):
                step(run)
    except UnsupportedError as error:
        refused = str(error)
    forms = _clean(run, refused is None, int(plan["samples"]))
    for name in plan["protocols"]:
        for form in _attacked(run, refused is None, name, plan):
            forms[form.form]["accuracy"][name] = _outcome(form)
    return {"forms": forms, "costs": read_json(costs), "refused": refused}


def _outcome(form: FormResult) -> dict[str, Any]:
    return {
        **form.worst.model_dump(),
        "reliable": form.reliable,
        "alarms": sorted({alarm.code for alarm in form.alarms if alarm.severity == "alarm"}),
        "threat_model": "pixel space, L-infinity, worst case over all attacks of the protocol",
    }


def _clean(run: Run, deployed: bool, samples: int, track: Track = silent) -> dict[str, Any]:
    """Return accuracy on clean images, sparsity and operations of each form."""
    network, recipe = load_network(run.path("model.safetensors"))
    data = load_data(recipe.data, recipe.coding.steps)
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    if not deployed:
        right = share(predict(network, images, recipe.evaluate.batch) == labels)
        return {"float": {"accuracy": {"clean": right.model_dump()}, "facts": _gradients(network, images, labels)}}
    quantized, _ = load_quantized(run.path("quantized.safetensors"))
    program = read_program(run.path("program.safetensors"))
    found = evaluate(
        Forms(network, quantized, program),
        {"clean": images},
        labels,
        {"loihi": len(labels)},
        batch=recipe.evaluate.batch,
        track=track,
    )
    modules = {"float": network, "quantized": quantized, "program": Twin(program)}
    result: dict[str, Any] = {}
    for form in found:
        condition = form.conditions["clean"]
        hidden = list(condition.spike_rates.values())[:-1]
        facts = {
            "spike rate": statistics.fmean(hidden or condition.spike_rates.values()),
            "synaptic operations": sum(condition.operations.values()),
            **_gradients(modules[form.form], images, labels),
        }
        result[form.form] = {"accuracy": {"clean": condition.accuracy.model_dump()}, "facts": facts}
    return result


def _gradients(module: nn.Module, images: Images, labels: Labels) -> dict[str, float]:
    """Return the L1 norm of the input gradient in FGSM's backward pass, and of a network its zero-gradient share."""
    part = slice(0, GRADIENT_SAMPLES)
    with watch(module) as watched:
        FGSM(epsilon=0.1)(module, images[part], labels[part])
    facts = {"gradient L1": watched.compute()[IMAGE]["input"].l1}
    if isinstance(module, SpikingNetwork):
        facts["zero-gradient share"] = gradient_sparsity(module, images[part], labels[part], batch=100)["hidden"]
    return facts


def _attacked(run: Run, deployed: bool, protocol: str, plan: Mapping[str, Any]) -> list[FormResult]:
    """Return every form's result under a protocol: pixels, L-infinity."""
    samples, epsilon = int(plan["samples"]), float(plan["epsilon"])
    if deployed:
        return robustness(run.folder, protocol, None, epsilon, samples, silent).forms
    network, recipe = load_network(run.path("model.safetensors"))
    data = load_data(recipe.data, recipe.coding.steps)
    radius = plans.levels(epsilon) / LEVELS
    images, labels = on_grid(data.test_images[:samples]), data.test_labels[:samples]
    return [measure_protocol(network, images, labels, protocol=protocol, epsilon=radius, name="float")]
