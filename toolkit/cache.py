"""Where what is made for this machine is kept: compiled loops, environments of other Pythons, the last self-test."""

import os
from pathlib import Path

from platformdirs import user_cache_path

VARIABLE = "SPIKEPROOF_CACHE"


def cache_folder() -> Path:
    """Return spikeproof's cache folder, which need not exist; the environment variable SPIKEPROOF_CACHE moves it."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else user_cache_path("spikeproof", appauthor=False)
