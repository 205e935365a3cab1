"""Loops in C and what they are called from; the bits of PyTorch's own operators, faster."""
