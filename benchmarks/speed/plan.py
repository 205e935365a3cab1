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
        repeats: runs of each side that count; one more comes before them.
    """

    name: str
    job: str
    sides: tuple[str, ...]
    settings: dict[str, Any]
    quick: dict[str, Any] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    repeats: int = 7


CONV = {"steps": 8, "batch": 128, "training": 60}
SMALL = {"steps": 2, "batch": 4, "training": 1}
# Lava's time is the slope between a short and a long run, so that starting Python and its network does not count.
LAVA = {"lava": {"first": 8}, "lava-short": {"first": 2}}

COMPARISONS = (
    Comparison(
        "training step, conv net, T = 8, batch 128",
        "train",
        ("ours", "ours-every-step", "snntorch", "spikingjelly", "norse"),
        CONV,
        SMALL,
        goals={"snntorch": 3.0, "spikingjelly": 1.3},
    ),
    Comparison(
        "exact inference on loihi, the same net",
        "infer",
        ("loihi", "ours-float", "snntorch"),
        CONV,
        SMALL,
        goals={"snntorch": 1.0},
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
        ("loihi", "lava", "lava-short"),
        {"kind": "mlp", "steps": 100, "batch": 256},
        {"steps": 3, "batch": 8},
        own=LAVA,
        goals={"lava": 300.0},
        repeats=3,
    ),
    Comparison(
        "simulation, two convolutions on 34 x 34 x 2, T = 100, 10 % activity, batch 256",
        "simulate",
        ("loihi", "lava", "lava-short"),
        {"kind": "conv", "steps": 100, "batch": 256},
        {"steps": 3, "batch": 8},
        own=LAVA,
        goals={"lava": 1000.0},
        repeats=3,
    ),
)

BASE = {"job": "simulate", "kind": "mlp-512", "steps": 64, "batch": 256, "density": 0.1}
SWEEPS: dict[str, tuple[str, list[Any]]] = {
    "activity of the input": ("density", [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]),
    "time steps": ("steps", [16, 32, 64, 128, 256]),
    "batch": ("batch", [32, 64, 128, 256, 512, 1024]),
    "hidden neurons": ("kind", [f"mlp-{width}" for width in (128, 256, 512, 1024, 2048)]),
}
