"""Records golden vectors of brian2-loihi 0.5.2: weights as it applies them, neurons, delays and loops.

    PYTHON make_brian2_loihi.py OUTPUT.safetensors

PYTHON is an interpreter of Python 3.10 with: pip install brian2-loihi==0.5.2 'numpy<2' safetensors. Time is the first
axis. ``u`` is the current after a step's input and before its decay, which is what the voltage integrates; ``v`` is the
voltage after the reset; ``x`` are spikes that arrive in the same step.
"""

import sys
from typing import Any

import brian2
import numpy as np
from brian2_loihi import LoihiNetwork, LoihiNeuronGroup, LoihiSpikeGeneratorGroup, LoihiSynapses
from vectors import Array, Golden

SIGNS = {"mixed": 1, "excitatory": 2, "inhibitory": 3}


def generator(x: Array) -> Any:
    """Return a group that sends the spikes x (time, neurons)."""
    times, places = np.nonzero(x)
    return LoihiSpikeGeneratorGroup(x.shape[1], places, times)


def synapses(source: Any, target: Any, weight: Array, **settings: Any) -> Any:
    """Return all-to-all synapses; weight (target neurons, source neurons)."""
    made = LoihiSynapses(source, target, **settings)
    made.connect()
    made.w = np.asarray(weight)[made.j[:], made.i[:]]
    return made


def record(golden: Golden, names: dict[str, Any], parts: list[Any], steps: int) -> None:
    """Run, and keep u, v and spikes of the groups by name."""
    probes = []
    for group in names.values():
        u = brian2.StateMonitor(group, "I", record=True, when="groups", order=-1)
        v = brian2.StateMonitor(group, "v", record=True, when="end")
        probes.append((u, v, brian2.SpikeMonitor(group)))
    LoihiNetwork(*parts, *names.values(), *(probe for three in probes for probe in three)).run(steps)
    for name, (u, v, spikes) in zip(names, probes, strict=True):
        raster = np.zeros((steps, v.v.shape[0]), dtype=np.int8)
        raster[np.rint(spikes.t / brian2.ms).astype(int), spikes.i[:]] = 1
        golden.add(f"{name}/u", u.I.T)
        golden.add(f"{name}/v", v.v.T)
        golden.add(f"{name}/spikes", raster, np.int8)


def weight_cases(golden: Golden) -> None:
    """Weights of every sign mode and exponent, as one spike each brings them into the current, in units of 64."""
    magnitudes = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 31, 64, 100, 127, 128, 129, 200, 253, 254])
    given = {
        "mixed": np.concatenate([magnitudes, -magnitudes, [-255, -256]]),
        "excitatory": np.append(magnitudes, 255),
        "inhibitory": -np.concatenate([magnitudes, [255, 256]]),
    }
    for sign, weight in given.items():
        golden.add(f"weight/{sign}/weight", weight, np.int16)
        formats = [(8, exponent) for exponent in range(-8, 8)] + [(bits, 0) for bits in (1, 3, 5, 7)]
        for bits, exponent in formats:
            name = f"weight/{sign}/bits={bits},exponent={exponent}"
            group = LoihiNeuronGroup(len(weight), threshold_v_mant=131071, decay_v=4096, decay_I=4096)
            source = generator(np.array([[0], [1]]))
            settings = {"w_exp": exponent, "sign_mode": SIGNS[sign], "num_weight_bits": bits}
            made = synapses(source, group, weight[:, None], **settings)
            seen = brian2.StateMonitor(group, "I", record=True, when="groups", order=-1)
            LoihiNetwork(source, group, made, seen).run(2)
            if (seen.I[:, 1] % 64).any():
                raise RuntimeError(f"{name}: a current that is no multiple of 64")
            golden.add(f"{name}/applied", seen.I[:, 1] // 64)
            golden.cases[name] = {"kind": "weight", "inputs": f"weight/{sign}", "bits": bits, "exponent": exponent}


def neuron_cases(golden: Golden) -> None:
    """Decays at their ends, dead zone, states that Loihi could not hold, thresholds; from given states on."""
    m = 2**23
    values = np.array([0, 1, 2, 3, 4095, 4096, 4097, 12345, m - 1, m, m + 1, 3 * m, 2**27])
    edges = np.concatenate([values, -values])
    u0, v0 = np.append(edges, 0 * edges), np.append(0 * edges, edges)
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (6, 3))
    weight = rng.integers(-128, 128, (len(u0), 3)) * 2
    golden.add("neuron/x", x, np.int8)
    golden.add("neuron/weight", weight, np.int16)
    pairs = [(i, v) for i in (0, 1, 1000, 4095, 4096) for v in (0, 1, 300, 4095, 4096)]
    for (decay_i, decay_v), threshold in zip(pairs, ([0, 1, 500, 131071] * 7)[: len(pairs)], strict=True):
        name = f"neuron/decay_I={decay_i},decay_v={decay_v}"
        group = LoihiNeuronGroup(len(u0), threshold_v_mant=threshold, decay_v=decay_v, decay_I=decay_i)
        group.I, group.v = u0, v0
        source = generator(x)
        made = synapses(source, group, weight, sign_mode=1)
        record(golden, {name: group}, [source, made], len(x))
        parameters = {"decay_I": decay_i, "decay_v": decay_v, "threshold_v_mant": threshold}
        golden.cases[name] = {"kind": "neuron", "inputs": "neuron", **parameters}


def network_cases(golden: Golden) -> None:
    """Two groups with a delay between them and a loop in the first: what a whole Program does."""
    rng = np.random.default_rng(6)
    x = rng.integers(0, 2, (24, 6))
    golden.add("network/x", x, np.int8)
    for exponent in (-3, -1, 0, 2):
        name = f"network/exponent={exponent}"
        weights = {
            "in": rng.integers(-64, 128, (5, 6)) * 2,
            "loop": rng.integers(-60, 60, (5, 5)) * 2,
            "out": rng.integers(0, 256, (4, 5)),
        }
        source = generator(x)
        threshold = 400 if exponent >= 0 else 40
        a = LoihiNeuronGroup(5, threshold_v_mant=threshold, decay_v=200, decay_I=1500, name="a*")
        b = LoihiNeuronGroup(4, threshold_v_mant=threshold, decay_v=100, decay_I=4096, name="b*")
        parts = [
            synapses(source, a, weights["in"], sign_mode=1, w_exp=exponent),
            synapses(a, a, weights["loop"], sign_mode=1, w_exp=exponent, delay=2),
            synapses(a, b, weights["out"], sign_mode=2, w_exp=exponent, delay=3),
        ]
        record(golden, {f"{name}/a": a, f"{name}/b": b}, [source, *parts], len(x))
        for what, values in weights.items():
            golden.add(f"{name}/{what}", values, np.int16)
        golden.cases[name] = {"kind": "network", "inputs": "network", "exponent": exponent, "threshold": threshold}


if __name__ == "__main__":
    brian2.prefs.codegen.target = "numpy"
    vectors = Golden("brian2-loihi", "make_brian2_loihi.py")
    for make in (weight_cases, neuron_cases, network_cases):
        make(vectors)
    vectors.write(sys.argv[1])
