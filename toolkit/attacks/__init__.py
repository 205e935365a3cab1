"""Attacks: settings in the constructor, a final call that checks, projects and judges. Found by name."""

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Attack

ATTACKS: "Registry[type[Attack]]" = Registry(
    "attack",
    __name__,
    {
        "fgsm": "gradient:FGSM",
        "pgd": "gradient:PGD",
        "apgd": "strong:APGD",
        "sa-pgd": "strong:SAPGD",
        "r-fgsm": "iterative:RFGSM",
        "pgd-any": "iterative:AnyPGD",
        "mi-fgsm": "iterative:MIFGSM",
        "corner-search": "corner:CornerSearch",
        "square": "blind:Square",
        "hopskipjump": "blind:HopSkipJump",
        "noise": "blind:Noise",
        "spike-gradient": "spikes:SpikeFlip",
        "spike-search": "spikes:SpikeSearch",
        "spike-noise": "spikes:SpikeNoise",
        "spike-timing": "timing:SpikeTiming",
        "spike-timing-search": "timing:SpikeTimingSearch",
        "spike-timing-noise": "timing:SpikeTimingNoise",
    },
    base="base:Attack",
)
