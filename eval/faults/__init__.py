"""Faults in memory: what flipped bits of a Program's stored integers do to its answers, by chance, by search, proved."""
