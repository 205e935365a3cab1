"""What is compared with what, and how far ours must be ahead."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """One job, run by several sides in turn.

    Attributes:
        name: what is compared.
        job: of worker.py.
        sides: all of them; the first one is ours.
        settings: of the job.
        quick: settings of the smoke run, on top.
        own: settings of one side, on top.
        goals: least ratio theirs / ours, by their side.
        repeats: runs of each side that count; one more comes before them, unless a side is ``cold``.
        cold: sides whose first run counts: minutes long, in processes of their own, and warm by themselves.
    """

    name: str
    job: str
    sides: tuple[str, ...]
    settings: dict[str, Any]
    quick: dict[str, Any] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    repeats: int = 7
    cold: tuple[str, ...] = ()


CONV = {"steps": 8, "batch": 128, "training": 60}
SMALL = {"steps": 2, "batch": 4, "training": 1}
# Lava's time is the slope between a short and a long run, so that starting Python and its network does not count.
LAVA = ("lava", "lava-short")

COMPARISONS = (
    Comparison(
        "training step, conv net, T = 8, batch 128",
        "train",
        ("ours", "ours-every-step", "snntorch", "spikingjelly", "norse"),
        CONV,
        SMALL,
        goals={"snntorch": 3.0, "spikingjelly": 1.3},
        repeats=15,
    ),
    Comparison(
        "exact inference on loihi, the same net",
        "infer",
        ("loihi", "ours-float", "snntorch"),
        CONV,
        SMALL,
        goals={"snntorch": 2.0},
    ),
    Comparison(
        "gradient of the images: the float network / its Program's twin",
        "gradient",
        ("twin", "float"),
        CONV,
        SMALL,
        goals={"float": 1 / 1.5},
    ),
    Comparison(
        "PGD-20, epsilon 0.1, the same net",
        "attack",
        ("pgd-any", "pgd", "art"),
        {**CONV, "epsilon": 0.1, "iterations": 20},
        {**SMALL, "iterations": 2},
        goals={"art": 3.0},
        repeats=3,
    ),
    Comparison(
        "simulation, MLP 784-512-10, T = 100, 10 % activity, batch 256",
        "simulate",
        ("loihi", *LAVA),
        {"kind": "mlp", "steps": 100, "batch": 256},
        {"steps": 3, "batch": 8},
        own={"lava": {"first": 8}, "lava-short": {"first": 2}},
        goals={"lava": 300.0},
        repeats=3,
        cold=LAVA,
    ),
    Comparison(
        "simulation, two convolutions on 34 x 34 x 2, T = 100, 10 % activity, batch 256",
        "simulate",
        ("loihi", *LAVA),
        {"kind": "conv", "steps": 100, "batch": 256},
        {"steps": 3, "batch": 8},
        own={"lava": {"first": 2}, "lava-short": {"first": 1}},
        goals={"lava": 1000.0},
        repeats=2,
        cold=LAVA,
    ),
)


@dataclass(frozen=True)
class Sweep:
    """How the time of ``loihi`` changes with one thing.

    Attributes:
        name: what changes.
        key: of the settings.
        values: that it takes.
        base: everything else.
    """

    name: str
    key: str
    values: tuple[Any, ...]
    base: dict[str, Any]


DENSE = {"kind": "mlp-512", "steps": 64, "batch": 256, "density": 0.1}
CONVOLUTIONS = {"kind": "conv", "steps": 32, "batch": 16, "density": 0.1}
DENSITIES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
SWEEPS = (
    Sweep("activity, 784-512-10", "density", DENSITIES, DENSE),
    Sweep("activity, convolutions", "density", DENSITIES, CONVOLUTIONS),
    Sweep("time steps", "steps", (16, 32, 64, 128, 256), DENSE),
    Sweep("batch", "batch", (32, 64, 128, 256, 512, 1024), DENSE),
    Sweep("hidden neurons", "kind", tuple(f"mlp-{width}" for width in (128, 256, 512, 1024, 2048)), DENSE),
)
QUICK = {"steps": 2, "batch": 2}
"""Of a sweep in the smoke run, on top, unless that is what changes."""

EVALUATION = {"steps": 8, "batch": 250, "training": 1}
SAMPLES = (1_000, 10_000)
"""Of the evaluations whose peak memory is compared."""

DEEP = {"job": "train", "network": "residual", "batch": 32}
LENGTHS = (16, 48)
"""Time steps of the training steps whose peak memory is compared, with and without checkpointing."""
