"""Records xylosim 0.1.3 on random cores: xylosim.safetensors. Run with spikeproof's Python, xylosim installed.

spikeproof lava install --xylosim && python tests/golden/make_xylosim.py
"""

from dataclasses import fields
from pathlib import Path

import numpy as np

from spikeproof.hw_targets.xylo.law import QUANTITIES, random_core, random_input
from spikeproof.hw_targets.xylo.oracle import record
from spikeproof.toolkit.files import write_arrays

CASES = 12


def main() -> None:
    """Write the vectors."""
    rng = np.random.default_rng(613)
    jobs = []
    for _ in range(CASES):
        core = random_core(rng, hidden=20)
        jobs.append((core, random_input(rng, core, steps=25, samples=2)))
    arrays = {}
    for number, ((core, inputs), found) in enumerate(zip(jobs, record(jobs), strict=True)):
        arrays |= {f"{number}/core/{part.name}": np.asarray(getattr(core, part.name)) for part in fields(core)}
        arrays[f"{number}/inputs"] = inputs
        arrays |= {f"{number}/{name}": getattr(found, name) for name in QUANTITIES}
    small = {name: array.astype(np.int16) for name, array in arrays.items()}
    write_arrays(Path(__file__).with_name("xylosim.safetensors"), "golden", small, {"package": "xylosim 0.1.3"})


if __name__ == "__main__":
    main()
