"""The attack that a recipe names: the one door from settings to attacks, built in or of another package."""

from ..named import make
from ..settings import AttackSettings
from . import ATTACKS
from .base import Attack


def make_attack(settings: AttackSettings, batch: int) -> Attack:
    """Return the attack that a recipe's entry names; its other keys are the arguments of the constructor.

    Raises:
        InputError: there is no attack of that name, or a setting is out of range.
    """
    return make(ATTACKS.get(settings.name), settings, batch=batch)
