"""The face: the verbs of ``import spikeproof as sp``, from a float network to what is left of it on the chip."""
