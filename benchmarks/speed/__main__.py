"""Ours and theirs, side by side: python benchmarks/speed [--quick] [--only NAME] [--resume] [--jobs].

Every side of a comparison is a process of its own; they take turns, one run each, so that whatever else the machine
does meets all of them. Writes runs/benchmarks/speed/<machine class>.json part by part; with --publish the committed
file in benchmarks/results, and then the tables of docs/speed.md.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import environments
import tables
from measures import SLOW
from parts import complete, measured, parts

from spikeproof.eval.records.base import header, machine, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.toolkit.files import read_json

ROOT = Path(__file__).resolve().parents[2]


def _peers() -> Path | None:
    try:
        return environments.peers()
    except SystemExit as error:  # no network, say: the rest goes on
        print(error, flush=True)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one tiny run of everything: does it work at all?")
    parser.add_argument("--only", action="append", help="parts whose name contains this, anew; the others are kept")
    parser.add_argument("--resume", action="store_true", help="parts that this code has not measured, or that failed")
    parser.add_argument("--jobs", action="store_true", help="whole commands too (minutes)")
    parser.add_argument("--without-peers", action="store_true", help="leave out what needs the peers' environment")
    parser.add_argument("--without-lava", action="store_true", help="leave out Lava")
    parser.add_argument("--threads", type=int, default=machine().cores, help="of every process")
    parser.add_argument("--publish", action="store_true", help="measure for benchmarks/results and docs/speed.md")
    parser.add_argument("--out", type=Path, help="the JSON file; default runs/benchmarks/speed/<machine class>.json")
    given = parser.parse_args()

    here = machine()
    name = tables.machine_class(here.processor, here.cores, given.threads, here.accelerator)
    if given.publish and (given.out is not None or given.quick):
        parser.error("--publish: goes neither with --out nor with --quick")
    committed = ROOT / "benchmarks" / "results"
    usual = Path(tempfile.gettempdir()) if given.quick else Path("runs/benchmarks/speed")
    folder = committed if given.publish else usual
    out = given.out or folder / f"{name}.json"
    kept = read_json(out)["parts"] if (given.only or given.resume) and out.exists() else {}
    chosen = parts(None if given.without_peers else _peers(), not given.without_lava)
    unknown = [word for word in given.only or [] if not any(word in part for part in chosen)]
    if unknown:
        parser.error(f"--only {unknown[0]}: no such part; there are: {'; '.join(chosen)}")
    for part_name, part in chosen.items():
        wanted = any(word in part_name for word in given.only) if given.only else given.jobs or part_name not in SLOW
        if not wanted or (given.resume and complete(kept.get(part_name))):
            continue
        print(part_name, flush=True)
        kept[part_name] = measured(part, given.threads, given.quick)
        print(tables.lines(kept[part_name]), flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_record(out, _result(name, given.threads, kept, list(chosen)))
    print(f"wrote {out}")
    if given.publish:
        tables.publish([read_json(one) for one in sorted(folder.glob("*.json"))], ROOT / "docs")


def _result(name: str, threads: int, kept: dict[str, Any], order: list[str]) -> Benchmark:
    ordered = {part: kept[part] for part in [*order, *kept] if part in kept}
    about = header("speed", f"python benchmarks/speed --threads {threads}")
    about["machine"] = about["machine"].model_copy(update={"threads": threads})
    return Benchmark(**about, machine_class=name, threads=threads, parts=ordered)


if __name__ == "__main__":
    main()
