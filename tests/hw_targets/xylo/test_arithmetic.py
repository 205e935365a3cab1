"""Xylo's arithmetic: against xylosim, what was recorded from it, and the rules written out spike by spike."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.hw_targets.xylo.arithmetic import Core, clip, decay, deliver, fired, simulate
from spikeproof.hw_targets.xylo.law import QUANTITIES, compare, random_core, random_input
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.files import read_arrays

GOLDEN = Path(__file__).parents[2] / "golden" / "xylosim.safetensors"


def leak(x, dash):
    """What a state loses, for one integer: Python's shift floors, too."""
    lost = x >> dash
    return lost if lost else (x > 0) - (x < 0)


def clipped(x):
    return max(-32768, min(32767, x))


def spike_by_spike(core, inputs):
    """Return spikes and membranes, hidden and read out, of one sample, spike by spike; no aliases."""
    hidden, outputs = core.weights_out.shape
    ports = core.dash_syn.shape[1]
    i, v = [[0] * ports for _ in range(hidden)], [0] * hidden
    i_out, v_out = [0] * outputs, [0] * outputs
    last, told = [0] * hidden, []
    into, rec, out = core.shifts
    for now in inputs.tolist():
        for sources, weights, shift in ((now, core.weights_in, into), (last, core.weights_rec, rec)):
            for source, count in enumerate(sources):
                for _ in range(min(count, 15) if sources is now else count):
                    for neuron, port in np.ndindex(hidden, ports):
                        i[neuron][port] = clipped(i[neuron][port] + (int(weights[source, neuron, port]) << shift))
        for source, count in enumerate(last):
            for _ in range(count):
                for neuron in range(outputs):
                    i_out[neuron] = clipped(i_out[neuron] + (int(core.weights_out[source, neuron]) << out))
        last, sent = [0] * hidden, [0] * outputs
        for n in range(hidden):
            i[n] = [x - leak(x, int(dash)) for x, dash in zip(i[n], core.dash_syn[n], strict=True)]
            change = clipped(clipped(-leak(v[n], int(core.dash_mem[n])) + sum(i[n])) + int(core.bias[n]))
            v[n] = clipped(v[n] + change)
            while v[n] >= core.threshold[n] and last[n] < 31:
                last[n], v[n] = last[n] + 1, v[n] - int(core.threshold[n])
        for n in range(outputs):
            i_out[n] -= leak(i_out[n], int(core.dash_syn_out[n]))
            change = clipped(clipped(-leak(v_out[n], int(core.dash_mem_out[n])) + i_out[n]) + int(core.bias_out[n]))
            v_out[n] = clipped(v_out[n] + change)
            if v_out[n] >= core.threshold_out[n]:
                sent[n], v_out[n] = 1, v_out[n] - int(core.threshold_out[n])
        told.append((list(last), list(v), sent, list(v_out)))
    return [np.array(part) for part in zip(*told, strict=True)]


@pytest.mark.parametrize("seed", range(6))
def test_rules_written_out(seed):
    rng = np.random.default_rng(seed)
    core = random_core(rng, hidden=8)
    # A decay of -32768 by 0 bits wraps, which only xylosim can tell.
    core = replace(core, aliases=np.full(len(core.aliases), -1), dash_mem=np.maximum(core.dash_mem, 1))
    core = replace(core, dash_mem_out=np.maximum(core.dash_mem_out, 1))
    inputs = random_input(rng, core, 12, 2)
    found = simulate(core, inputs)
    for sample in range(2):
        expected = spike_by_spike(core, inputs[:, sample])
        for name, values in zip(("spikes", "v", "spikes_out", "v_out"), expected, strict=True):
            np.testing.assert_array_equal(getattr(found, name)[:, sample], values, err_msg=name)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(0, 15))
def test_decay(x, dash):
    assert decay(torch.tensor(x), dash) == leak(x, dash)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(1, 2**15 - 1), st.integers(0, 31))
@settings(max_examples=200)
def test_fired(v, threshold, room):
    count, rest = (int(part) for part in fired(torch.tensor(v), threshold, room))
    expected = left = 0
    left = v
    while left >= threshold and expected < room:
        expected, left = expected + 1, left - threshold
    assert (count, rest) == (expected, left)


def test_order_of_spikes_matters_where_16_bits_are_left():
    """30000 + 127 x 2^5 - 127 x 2^5: clipped on the way up, so that it ends lower than it began."""
    weight = torch.tensor([[127 << 5], [-(127 << 5)]])
    found = deliver(torch.tensor([[30000]]), [(torch.tensor([[1, 1]]), weight)])
    assert (int(found.i), found.clipped) == (32767 - (127 << 5), 1)
    assert int(deliver(torch.tensor([[20000]]), [(torch.tensor([[1, 1]]), weight)]).i) == 20000
    assert clip(torch.tensor([40000, -40000])).tolist() == [32767, -32768]


def test_recorded_from_xylosim():
    arrays, header = read_arrays(GOLDEN, "golden")
    assert header["package"] == "xylosim 0.1.3"
    cases = sum(name.endswith("/inputs") for name in arrays)
    sent = 0
    for number in range(cases):
        given = {part.name: arrays[f"{number}/core/{part.name}"].astype(np.int64) for part in fields(Core)}
        core = Core(**{**given, "shifts": tuple(given["shifts"].tolist())})
        found = simulate(core, arrays[f"{number}/inputs"])
        for name in QUANTITIES:
            np.testing.assert_array_equal(getattr(found, name), arrays[f"{number}/{name}"], err_msg=f"{number} {name}")
        sent += int(found.spikes.sum())
    assert cases == 12
    assert sent > 1000


def test_equals_xylosim(need_xylosim, share):
    """10^7 spikes and membranes of random recurrent cores under the marker long; a share of them else."""
    rng = np.random.default_rng(1)
    wanted = 1e7 if share == 1 else 3e5
    spikes = membranes = different = 0
    while spikes + membranes < wanted:
        jobs = [(core, random_input(rng, core, 50, 8)) for core in (random_core(rng) for _ in range(25))]
        found = compare(jobs, need_xylosim)
        spikes, membranes = spikes + found.spikes, membranes + found.membranes
        different += found.different
        assert found.sent > 0
        assert found.clipped > 0
    assert different == 0


def test_impossible_cores_are_refused():
    core = random_core(np.random.default_rng(0))
    with pytest.raises(UnsupportedError, match="threshold must be"):
        replace(core, threshold=np.zeros_like(core.threshold))
    with pytest.raises(UnsupportedError, match="shifts"):
        replace(core, shifts=(8, 0, 0))
    with pytest.raises(UnsupportedError, match="weights_in must be"):
        replace(core, weights_in=core.weights_in + 300)
