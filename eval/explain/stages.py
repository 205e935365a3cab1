"""The forms of a network, from float to Lava, each ready to run."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...export.program import Program
from ...hw_targets.loihi.simulator import LoihiTarget
from ...hw_targets.target import Compiled, get_target
from ...toolkit.coding import Coder
from ...toolkit.data import Images
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import seeded
from ..measure.forms import DRAWS
from .causes import FLOAT, FOLDED, LAVA, MOVED, PROGRAM, QUANTIZED, TUNED, UNDELAYED
from .judge import Answers, Judge
from .model import Outcome

CLASSED = Judge()
"""Of classes."""


@dataclass(frozen=True)
class Shown:
    """A batch of images as the forms see it; the same for all of them, draws of a stochastic coder included.

    Attributes:
        encoded: (time, batch, ...), in [0, 1], what networks see.
        messages: (time, batch, ...), what the chip receives.
        seed: of what a form may draw itself.
        judge: what reads answers off outputs.
    """

    encoded: Tensor
    messages: NDArray[np.int32]
    seed: int
    judge: Judge = CLASSED

    def part(self, which: slice) -> "Shown":
        """Return some of the samples."""
        return Shown(self.encoded[:, which], self.messages[:, which], self.seed, self.judge)


def shown(coder: Coder, images: Images, start: int, judge: Judge = CLASSED) -> Shown:
    """Return a batch whose first sample has the number ``start``, encoded."""
    with seeded(DRAWS + start), torch.no_grad():
        encoded = coder.encode(torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)))
    # The same at every step, as direct coding shows it, is rounded once.
    once = encoded[:1] if encoded.stride(0) == 0 else encoded
    messages = coder.messages(once.numpy())
    return Shown(encoded, np.broadcast_to(messages, tuple(encoded.shape)), DRAWS + start, judge)


@dataclass(frozen=True)
class Stage:
    """One form.

    Attributes:
        name: one of :data:`.causes.STAGES`.
        what: in words.
        run: from a batch to what it answers.
        most: how many samples it gets; None: all.
    """

    name: str
    what: str
    run: Callable[[Shown], Outcome]
    most: int | None = None


def classes_of(network: SpikingNetwork, batch: Shown, watch: Callable[[str, Tensor], None] | None = None) -> Answers:
    """Return the answers (batch, ...) of a network in evaluation mode; ``watch`` sees what each layer sends."""
    with seeded(batch.seed), torch.no_grad():
        last = network.respond(batch.encoded, watch)
    return batch.judge.read(network.read(last).numpy(), network.largest_output)


def _network(network: SpikingNetwork) -> Callable[[Shown], Outcome]:
    network.eval()
    names = network.populations()

    def run(batch: Shown) -> Outcome:
        spikes: dict[str, NDArray[np.bool_]] = {}

        def watch(name: str, signal: Tensor) -> None:
            if name in names:
                spikes[name] = signal.bool().numpy()

        classes = classes_of(network, batch, watch)
        return Outcome(spikes, classes)

    return run


def _program(compiled: Compiled, full: float) -> Callable[[Shown], Outcome]:
    def run(batch: Shown) -> Outcome:
        trace = compiled.run(batch.messages, rasters=True)
        spikes = {name: raster.spikes != 0 for name, raster in trace.rasters.items()}
        answers = batch.judge.read(trace.output, full)
        return Outcome(spikes, answers, {name: asdict(one) for name, one in (trace.overflow or {}).items()})

    return run


def fine_tuned(folded: SpikingNetwork, quantized: SpikingNetwork) -> SpikingNetwork | None:
    """Return the folded network with the weights that fine-tuning gave the quantized one, before they are rounded.

    None where they are the same: nothing was fine-tuned.
    """
    tuned, given = copy.deepcopy(folded), dict(quantized.named_layers())
    moved = False
    for name, layer in tuned.named_layers():
        # Weights and biases, and what neurons learn: leaks of PLIF, biases of CUBA.
        for part, own in layer.named_parameters(recurse=False):
            other = getattr(given[name], part)
            if not torch.equal(own, other):
                own.data.copy_(other.data)
                moved = True
    return tuned if moved else None


def network_stages(
    network: SpikingNetwork,
    folded: SpikingNetwork,
    moved: SpikingNetwork | None,
    tuned: SpikingNetwork | None,
    quantized: SpikingNetwork,
) -> list[Stage]:
    """Return the stages that are networks in PyTorch; None for one that is like the one before it."""
    found = [
        (FLOAT, "the trained network in float32", network),
        (FOLDED, "batch norms folded into the convolutions before them", folded),
        (MOVED, "biases of currents moved to the voltage, where the chip has one", moved),
        (TUNED, "trained on by 'quantize', its weights before rounding", tuned),
        (QUANTIZED, "weights and input on the chip's grids, membranes in float32", quantized),
    ]
    return [Stage(name, what, _network(one)) for name, what, one in found if one is not None]


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
            _program(LoihiTarget(latency=1 if recurrent else 0).compile(meant), meant.largest_output),
        ),
        Stage(
            PROGRAM,
            "the Program on one clock, every synapse a step late",
            _program(LoihiTarget(latency=1).compile(program), program.largest_output),
        ),
    ]
    if lava:
        target = get_target("lava").compile(program)
        found.append(
            Stage(LAVA, "the Program on Intel's lava-nc 0.10.0", _program(target, program.largest_output), lava)
        )
    return found
