"""Faults in memory: what flipped bits of a Program's stored integers cost, by chance, by search, and proved."""
