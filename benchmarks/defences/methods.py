"""What each method's paper claims, where it is tried, and what it must show here."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from setups import ROWS, SETUPS


@dataclass(frozen=True)
class Found:
    """The numbers of all cells of these seeds, by setup, variant and name."""

    cells: list[dict[str, Any]]
    seeds: set[int]

    def runs(self, setup: str, variant: str, number: str) -> list[float]:
        """Return one number a seed, in the order of the seeds."""
        key = (setup, variant)
        mine = [cell for cell in self.cells if (cell["setup"], cell["variant"]) == key and cell["seed"] in self.seeds]
        return [cell["numbers"][number] for cell in sorted(mine, key=lambda cell: cell["seed"])]

    def __call__(self, setup: str, variant: str, number: str) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.runs(setup, variant, number))

    def gains(self, setup: str, variant: str, number: str) -> list[float]:
        """Return the difference to plain training, one a seed."""
        pairs = zip(self.runs(setup, variant, number), self.runs(setup, "plain", number), strict=True)
        return [mine - plain for mine, plain in pairs]


Check = tuple[str, Callable[[Found], bool]]
"""What must hold, in words, and as a question."""


@dataclass(frozen=True)
class Method:
    """What a method must show.

    Attributes:
        paper: what its paper claims.
        variants: defences by name.
        setups: where.
        checks: our acceptance figures, from the design notes; none for the references.
    """

    paper: str
    variants: dict[str, list[dict[str, Any]]]
    setups: list[str]
    checks: tuple[Check, ...] = ()


def _gain(setup: str, variant: str, number: str) -> Callable[[Found], float]:
    return lambda found: statistics.fmean(found.gains(setup, variant, number))


def _rows_gain(variant: str, least: float) -> Check:
    def holds(mean: Found) -> bool:
        return all(_gain(setup, variant, "clean")(mean) >= least for setup in ROWS)

    return (f"accuracy at least {least:g} points above LIF at every decay", holds)


METHODS = {
    "plain": Method("", {"plain": []}, list(SETUPS)),
    "at": Method(
        "Madry et al.: robust to PGD at the radius of training, at some clean accuracy",
        {"at": [{"name": "at"}]},
        ["conv"],
    ),
    "trades": Method("Zhang et al.: a better balance of clean and robust", {"trades": [{"name": "trades"}]}, ["conv"]),
    "rat": Method("Ding et al.: more robust than adversarial training alone", {"rat": [{"name": "rat"}]}, ["conv"]),
    "sr": Method(
        "later paper, CIFAR-10: PGD-7 0.9 % without, 8.6 % with SR, clean 92.5 to 91.0 %",
        {
            "sr 0.02": [{"name": "sr"}],
            "sr 0.1": [{"name": "sr", "weight": 0.1}],
            "sr l1 0.02": [{"name": "sr", "form": "l1"}],
        },
        ["conv"],
        (
            (
                "gradient L1 falls by at least 30 %",
                lambda mean: mean("conv", "sr 0.02", "gradient L1") <= 0.7 * mean("conv", "plain", "gradient L1"),
            ),
            ("PGD-10 gains at least 20 points", lambda mean: _gain("conv", "sr 0.02", "pgd-10@0.1")(mean) >= 20),
            ("clean loses at most 5 points", lambda mean: _gain("conv", "sr 0.02", "clean")(mean) >= -5),
        ),
    ),
    "tgo": Method(
        "CIFAR-10, WRN-16: FGSM 14.1 to 51.4 %, PGD-10 0.0 to 6.1 %, clean 93.3 to 88.8 %; 40 % fewer near threshold",
        {"tgo": [{"name": "tgo"}], "tgo, no noise": [{"name": "tgo", "sigma": 0.0}]},
        ["conv, triangular"],
        (
            (
                "share near threshold in layer 1 falls by at least 25 %",
                lambda mean: (
                    mean("conv, triangular", "tgo", "near 1") <= 0.75 * mean("conv, triangular", "plain", "near 1")
                ),
            ),
            ("PGD-10 does not fall", lambda mean: _gain("conv, triangular", "tgo", "pgd-10@0.1")(mean) >= 0),
            ("clean loses at most 3 points", lambda mean: _gain("conv, triangular", "tgo", "clean")(mean) >= -3),
        ),
    ),
    "slif": Method(
        "a mean gain of 3.28 (third party, presumably % of return in control tasks)",
        {"slif": [{"name": "slif"}]},
        ROWS,
        (
            (
                "mean gain over all decays at least 0.5 points",
                lambda mean: sum(_gain(setup, "slif", "clean")(mean) for setup in ROWS) / len(ROWS) >= 0.5,
            ),
            (
                "no run worse by more than 1.5 points",
                lambda mean: min(gain for setup in ROWS for gain in mean.gains(setup, "slif", "clean")) >= -1.5,
            ),
        ),
    ),
    "trr": Method(
        "ImageNet 74.8 %, ModelNet40 90.6 % with two time steps",
        {"trr": [{"name": "trr", "reversed": "input"}]},
        ["events"],
        (
            (
                "KL of the reversed pass on unseen clips falls by at least 5 %",
                lambda mean: mean("events", "trr", "reversal KL") <= 0.95 * mean("events", "plain", "reversal KL"),
            ),
            ("accuracy not worse by more than 1.5 points", lambda mean: _gain("events", "trr", "clean")(mean) >= -1.5),
        ),
    ),
    "lfm": Method(
        "better than dropout under attack in person re-identification",
        {"lfm 0.15": [{"name": "lfm"}], "lfm 0.5": [{"name": "lfm", "probability": 0.5}]},
        ["conv, 300 images"],
        (
            (
                "PGD-10 gains at least 1.5 points",
                lambda mean: _gain("conv, 300 images", "lfm 0.15", "pgd-10@0.1")(mean) >= 1.5,
            ),
            ("clean loses at most 3 points", lambda mean: _gain("conv, 300 images", "lfm 0.15", "clean")(mean) >= -3),
        ),
    ),
    "sca": Method(
        "more robust than a multilayer perceptron to Auto-PGD without adversarial training",
        {"sca": [{"name": "sca"}]},
        ["linear"],
        (
            (
                "PGD-50 at 0.15 at least 10 points above a perceptron with 64 hidden units",
                lambda mean: mean("linear", "sca", "pgd-50@0.15") >= mean("perceptron", "plain", "pgd-50@0.15") + 10,
            ),
            (
                "PGD-50 at 0.15 above a linear classifier",
                lambda mean: mean("linear", "sca", "pgd-50@0.15") > mean("linear", "plain", "pgd-50@0.15"),
            ),
        ),
    ),
    "self_connection": Method(
        "eigenvalues of the dynamics can adapt (theory)",
        {
            "full": [{"name": "self_connection"}],
            "diagonal": [{"name": "self_connection", "matrix": "diagonal"}],
        },
        ROWS,
        (_rows_gain("full", 8),),
    ),
    "stochastic": Method(
        "Rademacher complexity falls exponentially (theory)",
        {"p = 0.9": [{"name": "stochastic"}], "p = 0.7": [{"name": "stochastic", "probability": 0.7}]},
        ["conv, 300 images"],
    ),
    "cap": Method(
        "graphs: better generalization, flatter minima",
        {"cap": [{"name": "cap"}]},
        ["conv, 300 images"],
        (
            (
                "gap of test and training loss falls by at least 15 %",
                lambda mean: (
                    mean("conv, 300 images", "cap", "loss gap") <= 0.85 * mean("conv, 300 images", "plain", "loss gap")
                ),
            ),
            ("clean accuracy not worse", lambda mean: _gain("conv, 300 images", "cap", "clean")(mean) >= 0),
        ),
    ),
}
