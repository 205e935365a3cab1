"""Runs the network in this folder on lava-nc 0.10.0, and says whether its spikes are the Program's.

    python run.py [--samples N]

Reads program.json, program.npz and input.npz, builds the processes (network.py), and writes trace.npz: spikes, and u
and v where there are any, of every population, in its own window of steps, (time, samples, ...).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from network import Network, lagging  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent


def config() -> Any:
    """Return where Lava runs the processes."""
    from lava.magma.core import run_configs

    # The line to change for a board: return run_configs.Loihi2HwCfg().
    return run_configs.Loihi2SimCfg(select_tag="fixed_pt")


def main() -> int:
    """Run, keep the trace, and compare; return 1 if a spike differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=None, help="the first so many of input.npz")
    samples = parser.parse_args().samples
    program = json.loads((HERE / "program.json").read_text(encoding="utf-8"))
    with np.load(HERE / "program.npz") as file:
        arrays = dict(file)
    with np.load(HERE / "input.npz") as file:
        inputs = file["input"][:, :samples]
    # Where messages lag, what is under way would reach the next sample.
    at_once = 1 if lagging(program) else inputs.shape[1]
    parts = [
        Network(program, arrays, inputs[:, start : start + at_once]).observe(True, [], config())
        for start in range(0, inputs.shape[1], at_once)
    ]
    found = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
    kept: dict[str, Any] = {"input": inputs, **found}
    np.savez_compressed(HERE / "trace.npz", **kept)
    different = compared = 0
    with np.load(HERE / "expected.npz") as expected:
        for name in expected.files:
            wrong = found[name] != expected[name][:, : inputs.shape[1]]
            compared, different = compared + wrong.size, different + int(wrong.sum())
            if wrong.any():
                step, sample, *neuron = (int(i) for i in np.argwhere(wrong)[0])
                print(f"{name}: first difference at step {step} of its window, sample {sample}, neuron {tuple(neuron)}")
    print(f"{different} of {compared} values differ from the Program's, on {inputs.shape[1]} samples; trace.npz")
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
