"""What every form of a run costs: sparsity, time, energy and memory, measured or estimated, in one record."""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...export.chip import chips
from ...export.chip.mapper import place
from ...export.program import Program
from ...hw_targets.family import loihi_only
from ...hw_targets.target import get_target
from ...hw_targets.torch import TorchTarget
from ...toolkit.data import Images
from ...toolkit.errors import TargetError, UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import weight_bits
from ...toolkit.task import CLASSES, Task
from ..measure.activity import views
from ..measure.forms import Deployed, Forms
from ..measure.metrics import fan_out
from ..records.cost import AnnCost, ChipCost, Cost, FormCost, Memory, Metering, SecondOpinion, Timing, TrainedAnn, Views
from . import board
from .baselines import int8_ann, metered, nvml, program_ann, rapl
from .constants import table
from .energy import Traffic, count_events, estimate, mapped, steps_an_inference, unmapped
from .worst import QUERIES, worst_energy

ALONE = 30
Infer = Callable[[Images], Any]


def fingerprints(conditions: Mapping[str, Images]) -> dict[str, str]:
    """Return the SHA-256 of the images of each condition."""
    return {name: hashlib.sha256(images.tobytes()).hexdigest() for name, images in conditions.items()}


def timing(run: Infer, images: Images, batch: int) -> Timing:
    """Time single images, and one batch, after a first run that is not counted.

    Args:
        run: runs images (samples, ...) and returns when the result is there.
        images: the first ones are used.
        batch: samples of the batch, or as many as there are.
    """
    run(images[:1])
    seconds = []
    for index in range(min(ALONE, len(images))):
        begun = time.perf_counter()
        run(images[index : index + 1])
        seconds.append(time.perf_counter() - begun)
    many = images[:batch]
    run(many)
    begun = time.perf_counter()
    run(many)
    low, middle, high = (float(value) for value in np.percentile(seconds, [25, 50, 75]))
    return Timing(
        alone=(low, middle, high),
        runs=len(seconds),
        batch=(time.perf_counter() - begun) / len(many),
        size=len(many),
    )


def _network_memory(network: SpikingNetwork, program: Program) -> Memory:
    """Return what a network in PyTorch needs: float32, but quantized weights at their own bits."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    bits = weight_bits(network)
    widths = {id(layer): bits[name] for name, layer in network.named_layers() if name in bits}
    weights = sum(layer.weight.numel() for layer in layers)
    others = sum(parameter.numel() for parameter in network.parameters()) - weights
    neurons = sum(int(np.prod(population.shape)) for population in program.spiking)
    size = sum(layer.weight.numel() * widths.get(id(layer), 32) for layer in layers) / 8 + others * 4
    all_bits = " and ".join(str(width) for width in sorted(set(bits.values())))
    said = f"weights at {all_bits} bits, the rest float32; PyTorch itself keeps all as float32" if bits else "float32"
    return Memory(parameters=(size, size), state=4.0 * neurons, basis=f"{said}; one voltage a neuron")


def _program_memory(program: Program) -> Memory:
    shared = sum(synapse.weight.size * synapse.bits for synapse in program.synapses) / 8
    unrolled = sum(int(fan_out(program, synapse).sum()) * synapse.bits for synapse in program.synapses) / 8
    biases = 13 * sum(part.bias.size for part in program.stateful) / 8
    neurons = sum(int(np.prod(part.shape)) for part in program.spiking)
    changes = sum(int(np.prod(part.shape)) for part in program.sigma_delta)
    return Memory(
        parameters=(min(shared, unrolled) + biases, max(shared, unrolled) + biases),
        state=6.0 * neurons + 12.0 * changes,
        basis="from kernels kept once to every synapse kept by itself; biases of 13 bits a neuron; u and v of 24 bits"
        + "; three states of 32 bits in sigma-delta neurons" * bool(changes),
    )


def _traffic(program: Program, chip: str) -> Traffic:
    try:
        return mapped(program, place(program, chip, "partition"), table())
    except UnsupportedError:
        return unmapped(program, chip, table())


def chip_cost(
    program: Program,
    conditions: Mapping[str, Views],
    sent: Mapping[str, Mapping[str, NDArray[np.float64]]],
    chip: str,
) -> ChipCost:
    """Return the estimate for one chip, by condition, from what was counted on the Program.

    Args:
        program: which is placed on the chip if it fits.
        conditions: what was counted.
        sent: messages a sample of every neuron, by condition and population.
        chip: which.
    """
    constants = table()
    steps = steps_an_inference(program)
    if not any(one.chip == chip for one in constants.constants):
        return ChipCost(chip=chip, steps=steps, absent="no public figure for energy or time, so nothing is estimated")
    traffic = _traffic(program, chip)
    found = {
        name: estimate(
            count_events(
                program,
                sent[name],
                seen.operations,
                {part: updates.active for part, updates in seen.updates.items()},
                traffic,
            ),
            chip,
            constants,
        )
        for name, seen in conditions.items()
    }
    shown = {name: one.to_dict() for name, one in found.items()}
    parts: Any = {key: {name: one[key] for name, one in shown.items()} for key in ("terms", "total", "step", "time")}
    if board.known(chip, constants):
        parts["board"] = {name: board.streamed(one, constants).to_dict() for name, one in found.items()}
    unsuitable = chips.unsupported(program, chip)
    return ChipCost(chip=chip, steps=steps, basis=traffic.basis, unsuitable=unsuitable, **parts)


def _meter(meter: Any, run: Callable[[], Any], samples: int) -> Metering:
    if isinstance(meter, str):
        return Metering(absent=meter)
    try:
        found = metered(meter, run, samples)
    except TargetError as error:  # Virtual machines may show counters that never move.
        return Metering(absent=str(error))
    return Metering(
        meter=found.meter,
        joules=(found.joules.low, found.joules.high),
        samples=found.samples,
        seconds=found.seconds,
        idle_watts=found.idle_watts,
    )


def measure_cost(
    about: dict[str, Any],
    forms: Forms | Deployed,
    conditions: Mapping[str, Images],
    labels: NDArray[Any],
    *,
    batch: int,
    task: Task = CLASSES,
    epsilon: float | None = None,
    queries: int = QUERIES,
    trained: TrainedAnn | None = None,
    second: SecondOpinion | None = None,
    track: Track = silent,
) -> Cost:
    """Measure the float and quantized network and the Program: sparsity, time, energy where metered, memory.

    Args:
        about: the record's header, see :func:`..records.base.header`.
        forms: the network's forms, or a Program alone.
        conditions: images by condition, "clean" and one entry an attack, same order of samples.
        labels: (samples,), or the task's targets.
        batch: samples a run.
        task: what outputs are for.
        epsilon: of an energy attack, whose images become one more condition; None: no such attack.
        queries: that it spends, a sample.
        trained: the ANN of the same recipe, where one was trained.
        second: SANA-FE's opinion on Loihi 1, where it was asked for.
        track: progress.

    Raises:
        InputError: an energy attack on input that it does not know.
    """
    program, coder = forms.program, forms.coder
    loihi_only(program, "compare")
    worst = None
    if epsilon is not None:
        worst, costly = worst_energy(program, coder, conditions["clean"], epsilon, queries=queries, track=track)
        conditions = {**conditions, worst.condition: costly}
    sent: dict[str, dict[str, NDArray[np.float64]]] = {}
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    found = []

    def add(kind: Any, form: Any, device: str, memory: Memory, run: Infer, energy: Metering | None) -> None:
        """Time a form, meter it unless ``energy`` says why not, and count on the CPU what happens in it."""
        timed = timing(run, conditions["clean"], batch)
        many = conditions["clean"][:batch]
        metering = energy or _meter(nvml() if device == "cuda" else rapl(), lambda: run(many), len(many))
        seen = {}
        # The gradient of classes is that of the read-out alone; how far numbers are off depends on their gain.
        gain = 1.0 if task.classed or forms.network is None else forms.network.gain
        known: dict[str, Any] = {"batch": batch, "task": task, "gain": gain, "track": track}
        for name, images in conditions.items() if device == "cpu" else ():
            what = f"{kind}: {name}"
            seen[name], counts = views(form, program, coder, images, labels, **known, what=what)
            if kind == "program":
                sent[name] = counts
        target = "loihi" if kind == "program" else "torch"
        parts: Any = {"conditions": seen, "timing": timed, "energy": metering, "memory": memory}
        found.append(FormCost(form=kind, target=target, device=device, **parts))

    if isinstance(forms, Forms):
        for device in devices:
            ready = TorchTarget(device=device, batch=batch, graded=program.graded).compile(forms.network)
            add("float", forms.network, device, _network_memory(forms.network, program), ready.run, None)
        forms.network.to("cpu")
        ready = TorchTarget(batch=batch, graded=program.graded).compile(forms.quantized)
        in_floats = Metering(absent="fake quantization computes in float32, so it costs what float costs")
        add("quantized", forms.quantized, "cpu", _network_memory(forms.quantized, program), ready.run, in_floats)
    simulator = get_target("loihi").compile(program)
    simulated = Metering(absent="runs in a simulator here; the chip's energy is estimated below")
    add(
        "program",
        program,
        "cpu",
        _program_memory(program),
        lambda images: simulator.run(coder.integers(images)),
        simulated,
    )
    if forms.network is None:
        ann = program_ann(program, table())
    else:
        ann = int8_ann(forms.network, program.input.shape, table())
    return Cost(
        **about,
        samples=len(labels),
        images=fingerprints(conditions),
        forms=found,
        chips=[
            chip_cost(program, found[-1].conditions, sent, chip).model_copy(
                update={"second": second if chip == "loihi1" else None}
            )
            for chip in chips.alike(program)
        ],
        ann=AnnCost(
            macs=ann.macs,
            weights=ann.weights,
            activations=ann.activations,
            joules=(ann.joules.low, ann.joules.high),
            trained=trained,
        ),
        worst=worst,
    )
