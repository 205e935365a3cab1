"""Records golden vectors of nengo-loihi 1.1.0's emulator: weights as it applies them, neurons, overflows, loops.

    PYTHON make_nengo_loihi.py OUTPUT.safetensors

PYTHON is an interpreter of Python 3.9 with:

    pip install nengo-loihi==1.1.0 nengo==3.2.0 'numpy<1.24' safetensors

Time is the first axis; ``x`` are spikes that arrive in the same step. Blocks are given integers directly, as
discretize_block would leave them, with a voltage as wide as the chip's (vmin = -2^23 + 1, vmax = 2^23 - 1) and no
refractory steps.
"""

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
from nengo_loihi.block import Axon, LoihiBlock, Synapse
from nengo_loihi.builder.discretize import array_to_int, discretize_weights
from nengo_loihi.emulator import EmulatorInterface
from nengo_loihi.inputs import SpikeInput
from vectors import Array, Golden

M = 2**23


def block(size: int, *, decay_u: int, decay_v: int, vth: int, bias: Any = 0) -> LoihiBlock:
    """Return neurons with integer parameters."""
    made = LoihiBlock(size)
    part = made.compartment
    for name, value in {"decay_u": decay_u, "decay_v": decay_v, "vth": vth * 64, "bias": bias}.items():
        array_to_int(getattr(part, name), np.broadcast_to(value, (size,)))
    part.scale_u = part.scale_v = False
    part.refract_delay[:] = 1
    part.vmin, part.vmax = 1 - M, M - 1
    part.noise_exp = part.noise_offset = 0
    return made


def connect(source: Any, target: LoihiBlock, weight: Array, exponent: int) -> None:
    """Connect all to all; weight (target neurons, source neurons), as integers -256...255."""
    synapse = Synapse(weight.shape[1])
    synapse.set_weights(weight.T)
    synapse.format(weight_exp=exponent)
    for row in synapse.weights:
        array_to_int(row, discretize_weights(synapse.synapse_cfg, row.astype(np.float64)))
    target.add_synapse(synapse)
    axon = Axon(weight.shape[1])
    axon.target = synapse
    source.add_axon(axon)


def spikes_of(x: Array) -> SpikeInput:
    """Return an input whose spikes arrive in the steps of x (time, neurons)."""
    made = SpikeInput(x.shape[1])
    for time, row in enumerate(x):
        # The emulator counts steps from 1, and input takes one step to arrive.
        made.add_spikes(time + 1, np.nonzero(row)[0], permanent=True)
    return made


def run(inputs: Any, blocks: "dict[str, LoihiBlock]", steps: int, state: Any = None) -> "dict[str, Array]":
    """Return u, v and spikes of the blocks by name; in step 0 of the emulator nothing can arrive, so it is skipped."""
    model = SimpleNamespace(blocks=list(blocks.values()), inputs=[inputs], probes=[], dt=0.001)
    emulator = EmulatorInterface(model, seed=0)
    part = emulator.compartment
    emulator.t = 1
    if state is not None:
        part.current[:], part.voltage[:] = state
    seen = []
    for _ in range(steps):
        emulator.step()
        seen.append([part.current.copy(), part.voltage.copy(), part.spiked.astype(np.int32)])
    slices = emulator.block_info.slices
    table = np.array(seen)
    return {
        f"{name}/{what}": table[:, k, slices[made]]
        for name, made in blocks.items()
        for k, what in enumerate(("u", "v", "spikes"))
    }


def keep(golden: Golden, found: "dict[str, Array]") -> None:
    """Keep what :func:`run` returned."""
    for name, values in found.items():
        golden.add(name, values, np.int8 if name.endswith("/spikes") else np.int32)


def weight_cases(golden: Golden) -> None:
    """Weights of every exponent, as one spike each brings them into the current, in units of 64."""
    weight = np.arange(-256, 256)
    golden.add("weight/all/weight", weight, np.int16)
    for exponent in range(-7, 8):
        name = f"weight/all/exponent={exponent}"
        made = block(len(weight), decay_u=4095, decay_v=4095, vth=131071)
        source = spikes_of(np.array([[1]]))
        connect(source, made, weight[:, None], exponent)
        current = run(source, {name: made}, 1)[f"{name}/u"][0]
        if (current % 64).any():
            raise RuntimeError(f"{name}: a current that is no multiple of 64")
        golden.add(f"{name}/applied", current // 64, np.int16)
        golden.cases[name] = {"kind": "weight", "inputs": "weight/all", "exponent": exponent}


def neuron_cases(golden: Golden) -> None:
    """Decays at their ends, dead zone, overflow of input, current and current plus bias, clipped voltage."""
    values = np.array([0, 1, 2, 3, 4095, 4096, 4097, 12345, M - 64, M - 1])
    edges = np.concatenate([values, -values, [-M]])
    u0, v0 = np.append(edges, 0 * edges), np.append(0 * edges, np.clip(edges, 1 - M, M - 1))
    rng = np.random.default_rng(7)
    x = rng.integers(0, 2, (8, 4))
    weight = rng.integers(-127, 128, (len(u0), 4)) * 2
    bias = rng.integers(-4095, 4096, len(u0)) * 2 ** rng.integers(0, 8, len(u0))
    bias[::7], bias[3::7] = 4095 * 128, -4095 * 128
    # Where the current starts at its lowest, so that current plus bias wraps there too.
    bias[u0 == -M] = -4095 * 128
    for what, array in {"u0": u0, "v0": v0, "x": x, "weight": weight, "bias": bias}.items():
        golden.add(f"neuron/{what}", array)
    pairs = [(u, v) for u in (0, 1, 1000, 4094, 4095) for v in (0, 1, 300, 4095)]
    for index, (decay_u, decay_v) in enumerate(pairs):
        # At the largest exponent two spikes can overflow the input, and a few steps the current.
        exponent, vth = (0, 4, 7)[index % 3], (1, 500, 131071)[index % 3]
        name = f"neuron/decay_u={decay_u},decay_v={decay_v}"
        made = block(len(u0), decay_u=decay_u, decay_v=decay_v, vth=vth, bias=bias)
        source = spikes_of(x)
        connect(source, made, weight, exponent)
        keep(golden, run(source, {name: made}, len(x), (u0, v0)))
        parameters = {"decay_u": decay_u, "decay_v": decay_v, "vth": vth, "exponent": exponent}
        golden.cases[name] = {"kind": "neuron", "inputs": "neuron", **parameters}


def network_cases(golden: Golden) -> None:
    """Two blocks, a loop in the first: what a whole Program does."""
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, (24, 6))
    golden.add("network/x", x, np.int8)
    for exponent in (-3, -1, 0, 2):
        name = f"network/exponent={exponent}"
        weights = {
            "in": rng.integers(-64, 128, (5, 6)) * 2,
            "loop": rng.integers(-60, 60, (5, 5)) * 2,
            "out": rng.integers(-64, 128, (4, 5)) * 2,
        }
        vth = 400 if exponent >= 0 else 40
        a = block(5, decay_u=1500, decay_v=200, vth=vth, bias=rng.integers(-500, 500, 5))
        b = block(4, decay_u=4095, decay_v=100, vth=vth)
        source = spikes_of(x)
        connect(source, a, weights["in"], exponent)
        connect(a, a, weights["loop"], exponent)
        connect(a, b, weights["out"], exponent)
        golden.add(f"{name}/bias", a.compartment.bias)
        keep(golden, run(source, {f"{name}/a": a, f"{name}/b": b}, len(x)))
        for what, values in weights.items():
            golden.add(f"{name}/{what}", values, np.int16)
        golden.cases[name] = {"kind": "network", "inputs": "network", "exponent": exponent, "threshold": vth}


if __name__ == "__main__":
    # The emulator warns when it overflows and when weights lose bits: here that is the purpose.
    warnings.simplefilter("ignore")
    vectors = Golden("nengo-loihi", "make_nengo_loihi.py")
    for make in (weight_cases, neuron_cases, network_cases):
        make(vectors)
    vectors.write(sys.argv[1])
