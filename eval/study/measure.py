"""What a cell of a study or of the leaderboard does: a whole run, and protocols on all its forms."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...hw_targets.target import get_target
from ...hw_targets.twin import Twin
from ...toolkit.attacks.gradient import FGSM, PGD
from ...toolkit.attacks.named import make_attack
from ...toolkit.attacks.victim import predict
from ...toolkit.checkpoint import load_network
from ...toolkit.coding import LEVELS
from ...toolkit.config import AttackSettings, Recipe
from ...toolkit.data import Images, Labels
from ...toolkit.errors import UnsupportedError
from ...toolkit.files import read_json, write_json
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, quiet_libraries, silent
from ..measure.forms import Forms, evaluate, gradient_sparsity
from ..measure.gradients import IMAGE, watch
from ..measure.trail import read_trail
from ..records.base import share
from ..records.robustness import FormResult
from ..robustness.protocol import measure as measure_protocol
from ..robustness.threat import levels
from ..run import steps
from ..run.folder import Run
from ..run.prove import prove
from ..run.robustness import robustness

GRADIENT_SAMPLES = 100
"""Of the norm of the input gradient: the first so many test images."""
PAPER_EPSILON = 6 / 255
"""Of the seed paper's released attacks on coded spikes; PGD takes 7 steps of 0.01 from a random start."""


def measure(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train, quantize and export the recipe, attack all forms, and return what was found; what is done is kept.

    Args:
        recipe: of the run in ``folder``.
        plan: ``protocols``: names; ``prove``: radii in levels at which the Program is proved, with ``limit`` seconds of
            the solver a sample; ``samples``: test images that are attacked; ``epsilon``: radius; ``attacks``: single
            ones, with ``name``, ``epsilon``, and for PGD ``steps``; ``paper``: whether to run the seed paper's own.
        folder: an ordinary run folder.

    Returns:
        ``forms``: by name, accuracies a condition, facts, and zeros a layer; ``costs``; ``refused``: why there is no
        Program, or None; ``trail``: points along training, if the recipe keeps them.
    """
    quiet_libraries()
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
    _singles(run, forms, plan)
    for name in plan["protocols"]:
        for form in _attacked(run, refused is None, name, plan):
            forms[form.form]["accuracy"][name] = _outcome(form)
    for radius in plan.get("prove", ()):
        if "program" in forms:
            forms["program"]["accuracy"] |= _proved(run, int(radius), plan)
    kept = run.path(steps.TRAIL)
    trail = [point.model_dump(mode="json") for point in read_trail(kept).points] if recipe.train.trail else []
    return {"forms": forms, "costs": read_json(costs), "refused": refused, "trail": trail}


def _outcome(form: FormResult) -> dict[str, Any]:
    return {
        **form.worst.model_dump(),
        "reliable": form.reliable,
        "alarms": sorted({alarm.code for alarm in form.alarms if alarm.severity == "alarm"}),
        "threat_model": "pixel space, L-infinity, worst case over all attacks of the protocol",
    }


def _proved(run: Run, radius: int, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return both ends of the Program's robust accuracy at a radius in levels; nothing where it cannot be proved."""
    if run.forms().program.input.peak != LEVELS:
        return {}
    samples, limit = int(plan["samples"]), float(plan["limit"])
    try:
        # Cells run beside each other already.
        record = prove(run, epsilon=radius / LEVELS, samples=samples, limit=limit, jobs=1)
    except UnsupportedError:
        return {}
    common = {"threat_model": record.threat_model}
    at = f"{radius}/{LEVELS}"
    return {
        f"proved at {at}": {**record.proved.model_dump(), **common},
        f"unbroken at {at}": {**record.unbroken.model_dump(), **common},
    }


def _clean(run: Run, deployed: bool, samples: int, track: Track = silent) -> dict[str, Any]:
    """Return accuracy on clean images, sparsity and operations of each form."""
    recipe, data = run.recipe(), run.data()
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    if not deployed:
        network = _float(run)
        right = share(predict(network, images, recipe.evaluate.batch) == labels)
        return {"float": {"accuracy": {"clean": right.model_dump()}, **_gradients(network, images, labels)}}
    forms = run.forms()
    found = evaluate(forms, {"clean": images}, labels, {"loihi": len(labels)}, batch=recipe.evaluate.batch, track=track)
    modules = _modules(forms)
    result: dict[str, Any] = {}
    for form in found:
        condition = form.conditions["clean"]
        assert condition.accuracy is not None  # A recipe's data have labels.
        hidden = list(condition.spike_rates.values())[:-1]
        gradients = _gradients(modules[form.form], images, labels)
        gradients["facts"] |= {
            "spike rate": statistics.fmean(hidden or condition.spike_rates.values()),
            "synaptic operations": sum(condition.operations.values()),
        }
        result[form.form] = {"accuracy": {"clean": condition.share.model_dump()}, **gradients}
    return result


def _float(run: Run) -> SpikingNetwork:
    """Return the float network of a run that has no other form."""
    return load_network(run.path("model.safetensors"))[0]


def _modules(forms: Forms) -> dict[str, nn.Module]:
    """Return what a white-box attacker of each form would use."""
    twin = Twin(forms.program, coder=forms.network.coder)
    return {"float": forms.network, "quantized": forms.quantized, "program": twin}


def _gradients(module: nn.Module, images: Images, labels: Labels) -> dict[str, Any]:
    """Return facts of FGSM's backward pass: L1 norm of the input gradient, and of a network its exact zeros."""
    images, labels = images[:GRADIENT_SAMPLES], labels[:GRADIENT_SAMPLES]
    with watch(module) as watched:
        FGSM(epsilon=0.1)(module, images, labels)
    facts = {"gradient L1": watched.compute()[IMAGE]["input"].l1}
    if not isinstance(module, SpikingNetwork):
        return {"facts": facts}
    zeros = gradient_sparsity(module, images, labels, batch=GRADIENT_SAMPLES)
    if zeros["hidden"] is not None:
        facts["zero-gradient share"] = zeros["hidden"]
    return {"facts": facts, "layers": {name: layer["output"] for name, layer in zeros["layers"].items()}}


def _singles(run: Run, forms: dict[str, Any], plan: Mapping[str, Any]) -> None:
    """Add accuracies under single attacks: white box, with each form's own surrogate; the paper's on coded spikes."""
    recipe, data = run.recipe(), run.data()
    images, labels = data.test_images[: plan["samples"]], data.test_labels[: plan["samples"]]
    deployed = run.forms() if "program" in forms else None
    network = _float(run) if deployed is None else deployed.network
    modules: dict[str, nn.Module] = {"float": network} if deployed is None else _modules(deployed)
    for settings in plan.get("attacks", ()):
        attack = make_attack(AttackSettings(**settings), recipe.evaluate.batch)
        for form, module in modules.items():
            made = attack(module, images, labels)
            _note(forms[form], attack.label, made.robust, attack.threat_model)
    if not plan.get("paper"):
        return
    with torch.no_grad():
        coded = network.coder.encode(torch.from_numpy(images)).numpy()
    common: dict[str, Any] = {"epsilon": PAPER_EPSILON, "space": "encoded", "batch": recipe.evaluate.batch}
    for attack in (FGSM(**common), PGD(steps=7, step=0.01, **common)):
        label = f"paper {attack.name}"
        found = attack(network, coded, labels)
        _note(forms["float"], label, found.robust, attack.threat_model)
        if deployed is not None:
            # What the chip receives are whole messages: the perturbed spikes are rounded to them.
            messages = network.coder.messages(found.images)
            answer = get_target("loihi").compile(deployed.program).run(messages)
            where = f"{attack.threat_model}; made on the float network, rounded to the chip's messages"
            _note(forms["program"], label, answer.classes == labels, where)


def _note(form: dict[str, Any], label: str, robust: NDArray[np.bool_], threat_model: str) -> None:
    form["accuracy"][label] = {**share(robust).model_dump(), "threat_model": threat_model}


def _attacked(run: Run, deployed: bool, protocol: str, plan: Mapping[str, Any]) -> list[FormResult]:
    """Return every form's result under a protocol: pixels, L-infinity."""
    samples, epsilon = int(plan["samples"]), float(plan["epsilon"])
    if deployed:
        return robustness(run, protocol, epsilon=epsilon, samples=samples).forms
    network, data = _float(run), run.data()
    radius = levels(epsilon) / LEVELS
    images, labels = network.coder.on_grid(data.test_images[:samples]), data.test_labels[:samples]
    return list(measure_protocol(network, images, labels, protocol=protocol, epsilon=radius, name="float").forms)
