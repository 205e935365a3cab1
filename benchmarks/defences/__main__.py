"""Measure every defence where the design notes say what it must show: python benchmarks/defences --help.

Writes METHOD.json in --out (runs/benchmarks/defences) after every cell (a variant trained from one seed) and goes on
where it stopped.
What a paper claims, what we measured, and whether our own acceptance figure is met stand side by side; a gain that does
not appear is recorded so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from methods import METHODS
from setups import SETUPS, data_of, defences_of, trained

import records
from records import cells_of, table, write
from spikeproof.toolkit.code import code_hash
from spikeproof.toolkit.config import load_recipe
from spikeproof.toolkit.data import Dataset, load_data


def measure(methods: list[str], seeds: list[int], data: Dataset) -> None:
    """Measure the cells that this code has not measured yet, one seed of everything before the next."""
    for seed in seeds:
        for method in dict.fromkeys(["plain", *methods]):
            cells = cells_of(method)
            for name in METHODS[method].setups:
                setup = SETUPS[name]
                for variant, entries in METHODS[method].variants.items():
                    key = f"{name} | {variant} | {seed}"
                    wanted = [defence.model_dump(mode="json") for defence in defences_of(entries)]
                    kept = cells.get(key, {})
                    if (kept.get("defences"), kept.get("code")) == (wanted, code_hash()):
                        continue
                    start, own = time.process_time(), data_of(setup, data)
                    network = trained(setup, defences_of(entries), seed, own)
                    facts = {"setup": name, "variant": variant, "seed": seed, "defences": wanted, "code": code_hash()}
                    seconds = round(time.process_time() - start, 1)
                    cells[key] = facts | {"numbers": setup.measure(network, own), "training seconds": seconds}
                    write(method, cells)
                    print(key, cells[key]["numbers"], f"{seconds} s", flush=True)
            if cells:
                write(method, cells)


def memory(field: str) -> int:
    """Return a field of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def one_overhead(method: str, data: Dataset) -> None:
    """Print processor seconds an epoch and the memory that training added at its peak; in a process of its own."""
    # CAP's first epochs are plain; what is timed are those after them.
    entries = [
        entry | ({"warmup": 0} if method == "cap" else {}) for entry in next(iter(METHODS[method].variants.values()))
    ]
    defences = defences_of(entries)
    setup = SETUPS["conv"]
    before = memory("VmRSS")
    trained(setup, defences, 0, data, 1)
    start = time.process_time()
    trained(setup, defences, 0, data, 3)
    print(json.dumps({"seconds": (time.process_time() - start) / 3, "bytes": memory("VmHWM") - before}))


def overhead(methods: list[str], rounds: int) -> None:
    """Compare each method with plain training, each in a process of its own, one after the other, in rounds."""

    def ask(method: str) -> dict[str, float]:
        command = [sys.executable, str(Path(__file__).parent), "--one-overhead", method]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found

    asked = ["plain", *(method for method in methods if method != "plain")]
    found = [{method: ask(method) for method in asked} for _ in range(rounds)]
    for method in asked[1:]:
        cells = cells_of(method)
        ratios = {what: [one[method][what] / one["plain"][what] for one in found] for what in ("seconds", "bytes")}
        facts = {
            "against": "plain training in the same run: processor time, and memory that training adds at its peak",
            **{what: statistics.median(values) for what, values in ratios.items()},
            "rounds": [{name: one[name] for name in ("plain", method)} for one in found],
        }
        write(method, cells, facts)
        print(method, ratios, flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3407, 3408, 3409])
    parser.add_argument("--overhead", action="store_true", help="measure time and memory of training instead")
    parser.add_argument("--rounds", type=int, default=3, help="of --overhead")
    parser.add_argument("--table", action="store_true", help="print what the records say, as Markdown")
    parser.add_argument("--out", type=Path, help="folder of the records; runs/benchmarks/defences, --table: committed")
    parser.add_argument("--one-overhead", choices=METHODS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    records.OUT = asked.out or (records.COMMITTED if asked.table else records.OUT)
    if asked.table:
        print(table(), end="")
        return
    torch.set_num_threads(1)
    data = load_data(load_recipe("digits").data)
    if asked.one_overhead:
        one_overhead(asked.one_overhead, data)
    elif asked.overhead:
        overhead(asked.methods, asked.rounds)
    else:
        measure(asked.methods, asked.seeds, data)


if __name__ == "__main__":
    main()
