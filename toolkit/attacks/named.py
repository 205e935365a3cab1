"""The attack that a recipe names: the one door from settings to attacks, built in or of another package."""

from dataclasses import fields

from ..config import AttackSettings
from ..errors import InputError
from . import ATTACKS
from .base import Attack


def make_attack(settings: AttackSettings, batch: int) -> Attack:
    """Return the attack that a recipe's entry names; its other keys are the arguments of the constructor.

    Raises:
        InputError: there is no attack of that name, or it has no such setting.
    """
    kind = ATTACKS.get(settings.name)
    known = {one.name for one in fields(kind) if one.init}
    given = settings.model_dump(exclude={"name"})
    # ``steps`` stands in every recipe that was written down, also for attacks that take none.
    unknown = sorted(set(given) - known - set(type(settings).model_fields))
    if unknown:
        raise InputError(
            f"attack {settings.name!r}: {', '.join(unknown)}: unknown; it takes {', '.join(sorted(known))}"
        )
    return kind(batch=batch, **{key: value for key, value in given.items() if key in known})
