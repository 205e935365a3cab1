"""Runs cores on xylosim 0.1.3. A script for xylosim's own environment: it imports no spikeproof.

    python worker.py FOLDER

``core-N.safetensors`` holds a configuration and its inputs; ``trace-N.safetensors`` is written beside it, atomically.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from xylosim.v2 import XyloLayer, XyloSynapse

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def synapses(weights: np.ndarray[Any, np.dtype[Any]]) -> list[list[Any]]:
    """Return the synapses of each source: those that are not 0, (sources, targets, ports)."""
    return [
        [XyloSynapse(int(post), int(port), int(row[post, port])) for post, port in np.argwhere(row)] for row in weights
    ]


def run(core: Arrays) -> Arrays:
    """Return all that xylosim records of each sample."""
    into, rec = synapses(core["weights_in"]), synapses(core["weights_rec"])
    out = synapses(core["weights_out"][:, :, None])
    shifts = [int(shift) for shift in core["shifts"]]

    def numbers(name: str) -> list[int]:
        return [int(value) for value in core[name]]

    layer = XyloLayer(
        synapses_in=into,
        synapses_rec=rec,
        synapses_out=out,
        aliases=[[] if alias < 0 else [int(alias)] for alias in core["aliases"]],
        threshold=numbers("threshold"),
        threshold_out=numbers("threshold_out"),
        has_bias=bool(core["bias"].any() or core["bias_out"].any()),
        bias=numbers("bias"),
        bias_out=numbers("bias_out"),
        weight_shift_inp=shifts[0],
        weight_shift_rec=shifts[1],
        weight_shift_out=shifts[2],
        dash_mem=numbers("dash_mem"),
        dash_mem_out=numbers("dash_mem_out"),
        dash_syns=[[int(value) for value in row] for row in core["dash_syn"]],
        dash_syns_out=[[int(value)] for value in core["dash_syn_out"]],
        name="core",
    )
    found: dict[str, list[Any]] = {name: [] for name in ("spikes", "i", "v", "spikes_out", "i_out", "v_out")}
    for sample in core["inputs"].transpose(1, 0, 2):
        # From state 0; the layer's own arrays of synapses are kept by this frame, xylosim only points at them.
        layer.reset_all()
        layer.evolve(sample.tolist())
        currents = [layer.rec_i_syn, layer.rec_i_syn2][: core["dash_syn"].shape[1]]
        found["spikes"].append(layer.rec_recurrent_spikes)
        found["i"].append(np.stack([np.asarray(part).T for part in currents], -1))
        found["v"].append(np.asarray(layer.rec_v_mem).T)
        found["spikes_out"].append(layer.rec_out_spikes)
        found["i_out"].append(np.asarray(layer.rec_i_syn_out).T)
        found["v_out"].append(np.asarray(layer.rec_v_mem_out).T)
    return {name: np.stack([np.asarray(one, dtype=np.int32) for one in each], 1) for name, each in found.items()}


def main(folder: Path) -> None:
    """Run all cores of a folder."""
    number = 0
    while (path := folder / f"core-{number}.safetensors").exists():
        trace = {name: np.ascontiguousarray(array) for name, array in run(load_file(path)).items()}
        temporary = folder / f"trace-{number}.part"
        save_file(trace, temporary, {"spikeproof": json.dumps({"kind": "trace", "format": 1})})
        os.replace(temporary, folder / f"trace-{number}.safetensors")
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
