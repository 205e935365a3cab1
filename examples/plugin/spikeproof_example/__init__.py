"""One of each kind that spikeproof finds by name, each in one file; the entry points stand in pyproject.toml."""
