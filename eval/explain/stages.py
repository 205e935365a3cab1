"""The forms of a network, from float to Lava, each ready to run."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from ...export.program import Program
from ...hw_targets.loihi.simulator import LoihiTarget
from ...hw_targets.target import Compiled, get_target
from ...hw_targets.torch import TorchTarget
from ...toolkit.coding import direct_integers
from ...toolkit.data import Images
from ...toolkit.layers import SpikingNetwork
from .causes import FLOAT, FOLDED, LAVA, PROGRAM, QUANTIZED, TUNED, UNDELAYED
from .model import Outcome


@dataclass(frozen=True)
class Stage:
    """One form.

    Attributes:
        name: one of :data:`.causes.STAGES`.
        what: in words.
        run: from images (batch, channels, height, width) to what it answers.
        most: how many samples it gets; None: all.
    """

    name: str
    what: str
    run: Callable[[Images], Outcome]
    most: int | None = None


def _form(compiled: Compiled, steps: int | None) -> Callable[[Images], Outcome]:
    """Return what runs a compiled form on images; on integer messages of ``steps`` steps, if given."""

    def run(images: Images) -> Outcome:
        inputs = images if steps is None else direct_integers(images, steps)
        trace = compiled.run(inputs, rasters=True)
        spikes = {name: raster.spikes != 0 for name, raster in trace.rasters.items()}
        return Outcome(
            spikes, trace.classes, events={name: asdict(one) for name, one in (trace.overflow or {}).items()}
        )

    return run


def fine_tuned(folded: SpikingNetwork, quantized: SpikingNetwork) -> SpikingNetwork | None:
    """Return the folded network with the weights that fine-tuning gave the quantized one, before they are rounded.

    None where they are the same: nothing was fine-tuned.
    """
    tuned, given = copy.deepcopy(folded), dict(quantized.named_layers())
    moved = False
    for name, layer in tuned.named_layers():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        for part in ("weight", "bias"):
            own, other = getattr(layer, part), getattr(given[name], part)
            if isinstance(own, torch.Tensor) and isinstance(other, torch.Tensor) and not torch.equal(own, other):
                own.data.copy_(other.data)
                moved = True
    return tuned if moved else None


def network_stages(
    network: SpikingNetwork, folded: SpikingNetwork, tuned: SpikingNetwork | None, quantized: SpikingNetwork, batch: int
) -> list[Stage]:
    """Return the stages that are networks in PyTorch."""
    target = TorchTarget(batch=batch)
    found = [
        (FLOAT, "the trained network in float32", network),
        (FOLDED, "batch norms folded into the convolutions before them", folded),
        (TUNED, "trained on by 'quantize', its weights before rounding", tuned),
        (QUANTIZED, "weights and input on the chip's grids, membranes in float32", quantized),
    ]
    return [Stage(name, what, _form(target.compile(one), None)) for name, what, one in found if one is not None]


def program_stages(program: Program, meant: Program, lava: int) -> list[Stage]:
    """Return the stages that are integers.

    Args:
        program: what is deployed.
        meant: the same with the network's own timing.
        lava: samples for Lava; 0: without it.
    """
    recurrent = program.recurrent
    undelayed = "layer by layer" if not recurrent else "step by step, as recurrent synapses need it"
    found = [
        Stage(
            UNDELAYED,
            f"the Program's integers with the network's timing, {undelayed}",
            _form(LoihiTarget(latency=1 if recurrent else 0).compile(meant), program.steps),
        ),
        Stage(
            PROGRAM,
            "the Program on one clock, every synapse a step late",
            _form(LoihiTarget(latency=1).compile(program), program.steps),
        ),
    ]
    if lava:
        target = get_target("lava").compile(program)
        found.append(Stage(LAVA, "the Program on Intel's lava-nc 0.10.0", _form(target, program.steps), lava))
    return found
