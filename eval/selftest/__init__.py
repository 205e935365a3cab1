"""Whether this machine, with these versions, gives the right answers: ``spikeproof selftest``."""
