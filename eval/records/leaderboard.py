"""Records of the leaderboard: one file a method and data set, one JSON object a claim."""

import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from ...toolkit.errors import FileError, InputError
from .base import FORMS, UNKNOWN, Data, FormName, Part, Record, read_model


class Claim(Part):
    """One figure about one method.

    Attributes:
        method: its name.
        kind: "reported" by the paper, "measured" by us on the float or quantized network, or measured by us on the
            "deployed" Program.
        form: of the network; None where a paper does not say.
        condition: "clean", the name of a protocol ("standard", "strong": worst case over its attacks), or, for reported
            ones, the paper's attack.
        quantity: what is told, as "accuracy".
        unit: of value and spread.
        value: mean over seeds.
        spread: sample standard deviation over seeds; None with fewer than two.
        values: a value a seed.
        samples: test samples a seed; None where not said.
        reliable: whether no alarm was raised for any seed; None where no alarms were computed.
        alarms: codes that were raised.
        threat_model: of a condition with an attack.
        source: command and record, or paper and how it was read.
    """

    method: str
    kind: Literal["reported", "measured", "deployed"]
    form: FormName | None
    condition: str
    quantity: str
    unit: str
    value: float
    spread: float | None = None
    values: tuple[float, ...] = ()
    samples: int | None = None
    reliable: bool | None = None
    alarms: tuple[str, ...] = ()
    threat_model: str | None = None
    source: str


class Entry(Record):
    """All that is known of a method on a data set.

    Attributes:
        method: its name; the header's recipe is that of the first seed.
        deploys: how the method reaches the chip, or why it does not.
        seeds: of training.
        plan: protocols, samples that were attacked, and radius.
        keys: of the cells that were measured, by seed.
        claims: measured, deployed and reported.
    """

    data: Data
    recipe: dict[str, Any]
    method: str
    deploys: str
    seeds: tuple[int, ...]
    plan: dict[str, Any]
    keys: dict[str, str]
    claims: tuple[Claim, ...]

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: the recipe's name was only in the recipe."""
        recipe = values.get("recipe")
        name = recipe.get("name", UNKNOWN) if isinstance(recipe, dict) else UNKNOWN
        return super().of_schema_1({"name": name} | values)

    def find(self, form: FormName, condition: str, quantity: str = "accuracy") -> Claim | None:
        """Return our claim on ``quantity``, None if there is none."""
        kind = "deployed" if form == "program" else "measured"
        for claim in self.claims:
            if (claim.kind, claim.form, claim.condition, claim.quantity) == (kind, form, condition, quantity):
                return claim
        return None


def claim_over_seeds(values: Sequence[float], **facts: Any) -> Claim:
    """Return a claim of the mean and sample standard deviation of ``values``, one a seed.

    Raises:
        InputError: there are none.
    """
    if not values:
        raise InputError(f"claim on {facts.get('quantity')}: no values; measure at least one seed")
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Claim(value=statistics.fmean(values), spread=spread, values=tuple(values), **facts)


def measured_claims(method: str, results: Mapping[int, Mapping[str, Any]], source: str) -> Iterable[Claim]:
    """Yield our claims about a method from the results of its cells.

    Args:
        method: its name.
        results: by seed, with ``forms`` (accuracy a condition, facts), ``costs`` and ``refused``.
        source: command that measured them.
    """
    first = next(iter(results.values()))
    for form in FORMS:
        if form not in first["forms"]:
            continue
        per_seed = [result["forms"][form] for result in results.values()]
        common = {"method": method, "kind": "deployed" if form == "program" else "measured", "form": form}
        for condition, facts in per_seed[0]["accuracy"].items():
            # What could not be proved of one seed's Program has no mean.
            if any(condition not in one["accuracy"] for one in per_seed):
                continue
            every = [one["accuracy"][condition] for one in per_seed]
            alarms = sorted({code for one in every for code in one.get("alarms", ())})
            attacked = condition != "clean"
            yield claim_over_seeds(
                [100 * one["value"] for one in every],
                **common,
                condition=condition,
                quantity="accuracy",
                unit="percent",
                samples=facts["samples"],
                reliable=not alarms if attacked else None,
                alarms=tuple(alarms),
                threat_model=facts.get("threat_model"),
                source=source,
            )
        for quantity, unit in QUANTITIES.items():
            if quantity in per_seed[0]["facts"]:
                values = [one["facts"][quantity] for one in per_seed]
                yield claim_over_seeds(values, **common, condition="clean", quantity=quantity, unit=unit, source=source)
    for quantity, unit in COSTS.items():
        if quantity in first["costs"]:
            values = [result["costs"][quantity] for result in results.values()]
            yield claim_over_seeds(
                values,
                method=method,
                kind="measured",
                form="float",
                condition="training",
                quantity=quantity,
                unit=unit,
                source=source,
            )


def reported_claims(method: str) -> list[Claim]:
    """Return what papers claim about a method, from the packaged list."""
    text = resources.files(__package__).joinpath("reported.toml").read_text(encoding="utf-8")
    claims = [Claim(kind="reported", form=None, **entry) for entry in tomllib.loads(text)["claim"]]
    return [claim for claim in claims if claim.method in method.split("+")]


QUANTITIES = {
    "spike rate": "spikes a hidden neuron and step",
    "synaptic operations": "a sample",
    "zero-gradient share": "share of entries at hidden spikes",
    "gradient L1": "L1 norm of the input gradient, mean a sample",
}
COSTS = {"seconds an epoch": "s"}


def read(path: Path) -> Entry:
    """Return the entry in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Entry, path, "run 'spikeproof leaderboard'")


def read_all(folder: Path) -> list[Entry]:
    """Return all entries in ``folder``, in the order of their methods' names, "plain" first.

    Raises:
        FileError: there are none, or one is damaged.
    """
    found = [read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise FileError(f"{folder}: no records of methods; run 'spikeproof leaderboard' first")
    return sorted(found, key=lambda entry: (not entry.method.startswith("plain"), entry.method))
