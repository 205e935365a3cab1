"""A second opinion on Loihi 1's energy and time: SANA-FE replays the Program's spikes on the same cores.

SANA-FE (GPL-3) is never imported here: it runs in an interpreter of its own, which ``SPIKEPROOF_SANAFE`` names, on
two files that are written for it. Every neuron is an input that sends the train it sent on ``loihi``, at the prices of
a neuron, so that both count the same spikes; what differs is counting and, in time, the network on the chip.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.chip.limits import load_limits
from ...export.chip.mapper import place
from ...export.chip.mapping import Mapping as Mapped
from ...export.program import Program
from ...export.program.connections import connections
from ...hw_targets.target import get_target
from ...toolkit.errors import TargetError, UnsupportedError
from ..measure.activity import MembraneUpdates
from ..measure.metrics import fan_out
from ..records.cost import SecondOpinion
from .constants import Interval, Table
from .energy import NANO, PICO, Estimate, count_events, estimate, mapped, steps_an_inference

CHIP, SOURCE, VERSION, VARIABLE = "loihi1", "sanafe", "2.2.9", "SPIKEPROOF_SANAFE"
REMEDY = (
    f"make an environment with 'python -m venv E' and 'E/bin/pip install sanafe=={VERSION}', and set "
    f"{VARIABLE}=E/bin/python"
)
SYNC = {1: 600, 2: 1000, 4: 1400, 29: 1800}
"""Nanoseconds of a barrier by number of tiles, as in SANA-FE's description of Loihi."""
MESSAGE_IN = 16.0
"""Nanoseconds of a message's price in time that its receiver takes, as there."""
SECONDS = 600
WORKER = """
import json, sys, sanafe
arch = sanafe.load_arch(sys.argv[1])
chip = sanafe.SpikingChip(arch)
chip.load(sanafe.load_net(sys.argv[2], arch))
found = chip.sim(int(sys.argv[3]), timing_model="detailed")
keys = ("energy", "sim_time", "neurons_fired", "neurons_updated", "packets_sent", "spikes")
print("\\n" + json.dumps({key: found[key] for key in keys}))
"""
TERMS = {"synapse": ("synapse",), "soma": ("active", "idle", "spike"), "network": ("message", "hop")}
"""SANA-FE's terms, and those of this model that they stand for."""


def prices(constants: Table) -> Table:
    """Return the table with SANA-FE's prices alone, where it has one."""
    theirs = {(one.chip, one.term, one.unit) for one in constants.constants if one.source == SOURCE}
    kept = (one for one in constants.constants if one.source == SOURCE or (one.chip, one.term, one.unit) not in theirs)
    return constants.model_copy(update={"constants": tuple(kept)})


def architecture(constants: Table) -> str:
    """Return the chip as SANA-FE's YAML, made of the constants that this project has from its description of Loihi."""
    table, mesh = prices(constants), load_limits(CHIP).mesh

    def price(term: str, unit: str, kind: str | None = None) -> Interval:
        return table.interval(CHIP, term, unit, kind) * (PICO if unit == "pJ" else NANO)

    idle, active = (
        (price("idle", "pJ").low, price("idle", "ns").low),
        (price("active", "pJ").low, price("active", "ns").low),
    )
    hop = price("hop", "pJ"), price("hop", "ns")
    latency = {"dense": 3.8, "sparse": 4.7, "convolution": 3.1}
    lines = ["architecture:", "  name: loihi1", "  attributes:", "    topology: mesh"]
    lines += [
        f"    width: {mesh.columns}",
        f"    height: {mesh.rows}",
        "    link_buffer_size: 16",
        "    sync_model: table",
    ]
    lines += [f"    latency_sync: {{{', '.join(f'{tiles}: {ns}.0e-9' for tiles, ns in SYNC.items())}}}", "  tile:"]
    lines += [f"    - name: tile[0..{mesh.columns * mesh.rows - 1}]", "      attributes:"]
    for way, end in (("north", "high"), ("south", "high"), ("east", "low"), ("west", "low")):
        lines.append(f"        energy_{way}_hop: {getattr(hop[0], end):.4e}")
        lines.append(f"        latency_{way}_hop: {getattr(hop[1], end):.4e}")
    lines += ["      core:", f"        - name: core[0..{mesh.cores_a_tile - 1}]", "          attributes:"]
    lines += ["            buffer_position: soma", "            buffer_inside_unit: false"]
    lines += ["            max_neurons_supported: 1024", "          axon_in:", "            - name: axons_in"]
    lines += ["              attributes:", "                energy_message_in: 0.0"]
    lines += [f"                latency_message_in: {MESSAGE_IN}e-9", "          soma:"]
    neuron = {
        "energy_access_neuron": idle[0],
        "latency_access_neuron": idle[1],
        "energy_update_neuron": active[0] - idle[0],
        "latency_update_neuron": active[1] - idle[1],
        "energy_spike_out": price("spike", "pJ").high,
        "latency_spike_out": price("spike", "ns").high,
    }
    for name, of in (("replayed", neuron), ("given", dict.fromkeys(neuron, 0.0))):
        lines += [f"            - name: {name}[0..1023]", "              attributes:", "                model: input"]
        lines += [f"                {key}: {value:.4e}" for key, value in of.items()]
    lines += ["          dendrite:", "            - name: dendrite", "              attributes:"]
    lines += [
        "                model: accumulator",
        "                energy_update: 0.0",
        "                latency_update: 0.0",
    ]
    lines += ["          synapse:"]
    for kind, ns in latency.items():
        energy = max(
            one.value[0]
            for one in table.constants
            if (one.chip, one.term, one.unit, one.kind) == (CHIP, "synapse", "pJ", kind)
        )
        lines += [f"            - name: {kind}", "              attributes:", "                model: current_based"]
        lines += [
            f"                energy_process_spike: {energy * PICO:.4e}",
            f"                latency_process_spike: {ns}e-9",
        ]
    message = price("message", "pJ").low, price("message", "ns").low - MESSAGE_IN * NANO
    lines += ["          axon_out:", "            - name: axons_out", "              attributes:"]
    lines += [
        f"                energy_message_out: {message[0]:.4e}",
        f"                latency_message_out: {message[1]:.4e}",
    ]
    return "\n".join(lines) + "\n"


def network(program: Program, mapping: Mapped, trains: Mapping[str, NDArray[np.bool_]]) -> Iterator[str]:
    """Yield the mapped Program as lines of SANA-FE's YAML; weights are 0, since spikes are replayed.

    Args:
        program: what ran.
        mapping: where it lies; the input lies on the last cores that are free.
        trains: what each sent, (time, neurons), by input or population.

    Raises:
        UnsupportedError: synapses of two kinds end in one population, or no core is left for the input.
    """
    mesh = load_limits(CHIP).mesh
    kinds: dict[str, str] = {}
    for synapse in program.synapses:
        if kinds.setdefault(synapse.target, synapse.kind) != synapse.kind:
            raise UnsupportedError(
                f"SANA-FE: synapses of two kinds end in population {synapse.target!r}; it prices them by their target"
            )
    yield "network:\n  name: program\n  groups:\n"
    for name, train in trains.items():
        yield f"    - name: {name}\n      attributes: []\n      neurons:\n"
        for neuron, times in enumerate(train.T.astype(int).tolist()):
            yield f"        - {neuron}: [spikes: {times}]\n"
    yield "  edges:\n"
    for synapse in program.synapses:
        # Every connection there could be: the chip reads a dense weight of 0, too.
        rows, columns = connections(
            program, synapse.model_copy(update={"weight": np.ones_like(synapse.weight)})
        ).nonzero()
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            yield f"    - {synapse.source}.{column} -> {synapse.target}.{row}: [weight: 0]\n"
    yield "mappings:\n"

    def lie(name: str, neuron: int, core: int, unit: str) -> str:
        where = f"{core // mesh.cores_a_tile}.{core % mesh.cores_a_tile}"
        synapse = f", synapse: {kinds[name]}" if name in kinds else ""
        return f'  - {name}.{neuron}: [core: {where}, soma: "{unit}"{synapse}]\n'

    for core in mapping.cores:
        place_on_core = 0
        for part in core.slices:
            for neuron in part.neurons(program).tolist():
                yield lie(
                    part.population,
                    neuron,
                    _theirs(core.number, mesh.columns, mesh.rows, mesh.cores_a_tile),
                    f"replayed[{place_on_core}]",
                )
                place_on_core += 1
    used = {_theirs(core.number, mesh.columns, mesh.rows, mesh.cores_a_tile) for core in mapping.cores}
    free = [number for number in reversed(range(mesh.cores)) if number not in used]
    inputs = trains[program.input.name].shape[1]
    if inputs > 1024 * len(free):
        raise UnsupportedError("SANA-FE: no core is left for the input")
    for neuron in range(inputs):
        yield lie(program.input.name, neuron, free[neuron // 1024], f"given[{neuron % 1024}]")


def _theirs(core: int, columns: int, rows: int, cores_a_tile: int) -> int:
    """Return SANA-FE's number of a core: its tiles are counted along the columns, ours along the rows."""
    row, column = divmod(core // cores_a_tile, columns)
    return (column * rows + row) * cores_a_tile + core % cores_a_tile


def python() -> Path:
    """Return the interpreter that has SANA-FE.

    Raises:
        TargetError: none is named, or it is not there.
    """
    given = os.environ.get(VARIABLE)
    if not given or not Path(given).is_file():
        raise TargetError(f"SANA-FE: {VARIABLE} names no interpreter; {REMEDY}")
    return Path(given)


def _run(files: tuple[str, str], steps: int, interpreter: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("architecture.yaml", "network.yaml")]
        for path, text in zip(paths, files, strict=True):
            path.write_text(text, encoding="utf-8")
        words = [str(interpreter), "-c", WORKER, *map(str, paths), str(steps)]
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env={**os.environ, "PYTHONPATH": ""},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"SANA-FE did not finish ({type(error).__name__}); {REMEDY}") from error
    if done.returncode:
        raise TargetError(f"SANA-FE failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}; {REMEDY}")
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def second_opinion(program: Program, messages: NDArray[np.int32], constants: Table) -> SecondOpinion:
    """Run the Program, replay its spikes in SANA-FE, and set both estimates side by side.

    Args:
        program: with a mapping on Loihi 1.
        messages: (time, samples, ...) that it receives.
        constants: the table.

    Raises:
        TargetError: SANA-FE is not there, or failed.
        UnsupportedError: the Program does not fit, or has no form there.
    """
    interpreter = python()
    mapping = place(program, CHIP, "partition")
    trace = get_target("loihi").compile(program).run(messages, rasters=True)
    samples, steps, depths = messages.shape[1], steps_an_inference(program), program.depths()
    windows = {program.input.name: (0, messages != 0)}
    updates = MembraneUpdates()
    for name, raster in trace.rasters.items():
        windows[name] = (depths[name], np.asarray(raster.spikes) != 0)
        if raster.v is not None:
            updates.update(name, raster.v, raster.spikes)
    trains = {}
    for name, (start, sent) in windows.items():
        flat = sent.reshape(*sent.shape[:2], -1)
        whole = np.zeros((samples, steps, flat.shape[2]), dtype=bool)
        whole[:, start : start + len(flat)] = flat.swapaxes(0, 1)
        trains[name] = whole.reshape(samples * steps, -1)
    texts = architecture(constants), "".join(network(program, mapping, trains))
    found = _run(texts, samples * steps, interpreter)

    counts = {name: train.sum(0) / samples for name, train in trains.items()}
    operations: dict[str, float] = {}
    for synapse in program.synapses:
        key = f"{synapse.source} -> {synapse.target}"
        operations[key] = operations.get(key, 0.0) + float(fan_out(program, synapse).ravel() @ counts[synapse.source])
    active = {name: float(one.active) / samples for name, one in updates.compute().items()}
    events = count_events(program, counts, operations, active, mapped(program, mapping, constants))
    same, own = (estimate(events, CHIP, one) for one in (prices(constants), constants))
    energy: dict[str, float] = {key: value / samples for key, value in dict(found["energy"]).items()}  # type: ignore[call-overload]
    theirs = {key: float(found[key]) / samples for key in ("neurons_fired", "packets_sent", "spikes", "sim_time")}  # type: ignore[arg-type]
    given = float(counts[program.input.name].sum())
    both = {
        "neurons that fire": (theirs["neurons_fired"] - given, events.spike),
        "messages": (theirs["packets_sent"], events.message.low),
        "synaptic operations": (theirs["spikes"], sum(events.synapse.values())),
    }
    update = prices(constants)
    more = (update.interval(CHIP, "active", "pJ").low - update.interval(CHIP, "idle", "pJ").low) * PICO
    changed = (events.active - events.spike) * more
    return SecondOpinion(
        version=VERSION,
        samples=samples,
        energy=energy,
        time=theirs["sim_time"],
        same=_grouped(same),
        own=_grouped(own),
        counts=both,
        explained=[
            f"soma: a replayed neuron is updated only when it fires; {events.active - events.spike:,.0f} more updates "
            f"an inference change a voltage here, {1e6 * changed:.3g} uJ",
            "network: where the input enters the chip is a choice there, and an interval here",
            "total: without static power, which SANA-FE does not have",
        ],
    )


def _grouped(found: Estimate) -> dict[str, tuple[float, float]]:
    """Return an estimate by SANA-FE's terms, without static power."""
    ends = {
        key: tuple(sum(getattr(found.terms[name], end) for name in names) for end in ("low", "high"))
        for key, names in TERMS.items()
    }
    ends["total"] = tuple(sum(pair[end] for pair in ends.values()) for end in (0, 1))
    return ends
