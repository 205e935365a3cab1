"""Loihi's integer arithmetic and its batched exact simulation."""
