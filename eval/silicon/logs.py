"""Power logs of a Loihi board, read from one archive: no file is unpacked, nothing but numbers and times is taken."""

import csv
import io
import json
import re
import statistics
import tarfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...toolkit.data.places import find_folder, read_bounded
from ...toolkit.errors import FileError

FILE = "logs.tar.xz"
FOLDER = "loihi_power"
HOME = "github.com/abr/power_benchmarks, its folder logs, as logs/idle and logs/running in logs.tar.xz"
MOST = 2**24
"""Bytes of the archive, and of a file in it: the published ones have 0.1 MB and 0.05 MB."""
NAME = re.compile(r"(?:\./)?(?:.*/)?(idle|running)/([A-Za-z0-9_]+)\.(csv|json)")
TIME = "%Y-%m-%d_%H:%M:%S.%f"


@dataclass(frozen=True)
class BoardRun:
    """One run of a network on the board.

    Attributes:
        name: of its files.
        copies: of the scaling family's branch; None for the keyword spotter.
        idle: W, mean of the board while nothing ran.
        running: W, mean from the first inference to the last.
        readings: how many of both, idle first.
        inferences: that ran.
        seconds: that they took.
        steps: time steps an inference, from the command in the log; None where it does not say.
    """

    name: str
    copies: int | None
    idle: float
    running: float
    readings: tuple[int, int]
    inferences: float
    seconds: float
    steps: float | None

    @property
    def rise(self) -> float:
        """Dynamic power, W: running - idle."""
        return self.running - self.idle


def find_logs(given: Path | None = None) -> Path:
    """Return the archive of the logs.

    Args:
        given: the archive or its folder; None looks under ``$SPIKEPROOF_DATA``.

    Raises:
        FileError: it is nowhere; the message says where to get it.
    """
    if given is not None and given.is_file():
        return given
    try:
        return find_folder("Loihi power logs", None if given is None else str(given), [FILE], [FOLDER], HOME) / FILE
    except FileError as error:
        raise FileError(str(error).replace("set data.path, or", "give --logs, or set")) from error


def read_runs(path: Path) -> list[BoardRun]:
    """Return all runs in an archive of logs, by name.

    Args:
        path: a tar with ``idle/NAME.csv``, ``running/NAME.csv`` and ``running/NAME.json`` for each run.

    Raises:
        FileError: it is damaged, a part of a run is missing, or a run has no reading.
    """
    found: dict[tuple[str, str, str], str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(read_bounded(path, MOST))) as archive:
            for member in archive:
                match = NAME.fullmatch(member.name)
                if match is None or not member.isfile():
                    continue
                content = archive.extractfile(member)
                if member.size > MOST or content is None:
                    raise FileError(f"{path}: {member.name} has {member.size:,} bytes, expected {MOST:,} at most")
                kind, name, extension = match.groups()
                found[kind, name, extension] = content.read().decode("utf-8")
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError, ValueError) as error:
        raise FileError(f"{path}: not a readable archive of logs ({error})") from error
    names = sorted({name for kind, name, _ in found if kind == "running"})
    if not names:
        raise FileError(f"{path}: holds no running/NAME.csv; expected the logs of {HOME}")
    return [_run(path, name, found) for name in names]


def _run(path: Path, name: str, found: dict[tuple[str, str, str], str]) -> BoardRun:
    parts = (("idle", name, "csv"), ("running", name, "csv"), ("running", name, "json"))
    for part in parts:
        if part not in found:
            raise FileError(f"{path}: run {name} has no {part[0]}/{name}.{part[2]}")
    idle, running, told = (found[part] for part in parts)
    try:
        about: dict[str, Any] = json.loads(told)
        begun, ended = (datetime.strptime(about[key], TIME) for key in ("start_time", "end_time"))
        inferences = float(about["n_inferences"])
        before = [watts for _, watts in _readings(idle)]
        during = [watts for at, watts in _readings(running) if begun <= at <= ended]
        streamed = re.search(r"--stream (\d+)", about.get("run_command", ""))
        return BoardRun(
            name=name,
            copies=int(about["n_copies"]) if "n_layers" in about else None,
            idle=statistics.fmean(before),
            running=statistics.fmean(during),
            readings=(len(before), len(during)),
            inferences=inferences,
            seconds=(ended - begun).total_seconds(),
            steps=int(streamed[1]) / inferences if streamed else None,
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:  # JSON and statistics raise ValueErrors
        raise FileError(f"{path}: run {name} cannot be read ({type(error).__name__}: {error})") from error


def _readings(text: str) -> list[tuple[datetime, float]]:
    """Return (time, W) of a log; its first two columns are the time and the board's power, the others are rails."""
    rows = csv.reader(io.StringIO(text))
    head = next(rows)
    if head[:2] != ["Time", "Total Power (W)"]:
        raise ValueError(f"columns {head[:2]}, expected Time and Total Power (W)")
    # All times are of one clock, whose zone is not said and does not matter.
    return [(datetime.strptime(row[0], TIME), float(row[1])) for row in rows if row]
