"""The record of a study of capacity: networks of several widths, attacked by themselves and by each other."""

import statistics
from pathlib import Path
from typing import Any

from pydantic import Field

from .base import Data, FormName, Part, Record, Share, read_model

CLEAN = "clean"


class Seen(Part):
    """One form of one network under one condition.

    Attributes:
        accuracy: on test samples.
        sensitive: share of hidden neurons whose rate differs by more than 0.25 from the clean one; None where neurons
            have no rate (a GCN's), and on clean samples.
    """

    accuracy: Share
    sensitive: float | None = None


class StudiedNetwork(Part):
    """A network, trained once.

    Attributes:
        name: kind and width, as "spiking-16".
        seed: of training.
        key: of its cell.
        forms: by form and condition: "clean", "edges from spiking-4", "edges by chance".
        surfaces: by form, p_true - max p_other on a plane through one test sample; rows are steps along a random
            direction, columns along the attack's, both from -2 to 2 lengths of the attack.
    """

    name: str
    seed: int
    key: str
    forms: dict[FormName, dict[str, Seen]]
    surfaces: dict[FormName, tuple[tuple[float, ...], ...]] = Field(default_factory=dict)


class Trained(Part):
    """A GCN after one way of training.

    Attributes:
        training: "plain", "feature", "weight" or "cap".
        seed: of training.
        accuracy: on test nodes.
        train_loss: cross-entropy on training nodes.
        test_loss: the same on test nodes.
        feature_sharpness: what the training loss gains where the features are moved as CAP moves them.
        weight_sharpness: the same of weights.
    """

    training: str
    seed: int
    accuracy: Share
    train_loss: float
    test_loss: float
    feature_sharpness: float
    weight_sharpness: float

    @property
    def gap(self) -> float:
        """Test loss above training loss."""
        return self.test_loss - self.train_loss


class GraphStudy(Record):
    """A study of capacity, attacks and their transfer.

    Attributes:
        plan: widths, budgets and radii.
        threat_model: in words.
        networks: one a width, kind and seed.
        trained: ways of training a GCN; empty where they were not asked for.
    """

    data: Data
    recipe: dict[str, Any]
    plan: dict[str, Any]
    threat_model: str
    networks: tuple[StudiedNetwork, ...]
    trained: tuple[Trained, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of networks, in order, each once."""
        return list(dict.fromkeys(network.name for network in self.networks))

    @property
    def attacks(self) -> list[str]:
        """Attacks that networks make: "edges", "features" or "pgd"."""
        made = [condition.split(" from ")[0] for condition in self.conditions if " from " in condition]
        return list(dict.fromkeys(made))

    @property
    def conditions(self) -> list[str]:
        """All conditions, in order."""
        found = (condition for network in self.networks for form in network.forms.values() for condition in form)
        return list(dict.fromkeys(found))

    def of(self, name: str) -> list[StudiedNetwork]:
        """Return the networks of a name, one a seed."""
        return [network for network in self.networks if network.name == name]

    def accuracies(self, name: str, form: FormName, condition: str) -> list[float]:
        """Return accuracies in percent, one a seed; empty where there is no such form."""
        found = [network.forms[form][condition].accuracy for network in self.of(name) if form in network.forms]
        return [100 * share.value for share in found]

    def sensitive(self, name: str, form: FormName, condition: str) -> list[float]:
        """Return shares of sensitive neurons in percent, one a seed; empty where there are none."""
        found = [network.forms[form][condition].sensitive for network in self.of(name) if form in network.forms]
        return [100 * share for share in found if share is not None]

    def transfer(self, attack: str, form: FormName) -> dict[tuple[str, str], float | None]:
        """Return the mean rate of transfer over seeds by (source, target); None where a source hurt itself not at all.

        ATR(s -> t) = (clean_t - attacked_t by s) / (clean_s - attacked_s by s), the diagonal is 1. A form that a
        network has not (a GCN is never deployed) is its float one.
        """
        found: dict[tuple[str, str], float | None] = {}
        for source in self.names:
            for target in self.names:
                rates = []
                for made, met in zip(self.of(source), self.of(target), strict=True):
                    own, lost = (
                        _lost(made, form, f"{attack} from {source}"),
                        _lost(met, form, f"{attack} from {source}"),
                    )
                    if own <= 0:
                        break
                    rates.append(lost / own)
                else:
                    found[source, target] = statistics.fmean(rates)
                    continue
                found[source, target] = None
        return found


def _lost(network: StudiedNetwork, form: FormName, condition: str) -> float:
    seen = network.forms.get(form) or network.forms["float"]
    return seen[CLEAN].accuracy.value - seen[condition].accuracy.value


def read(path: Path) -> GraphStudy:
    """Return the study in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(GraphStudy, path, "run 'spikeproof study graphs'")
