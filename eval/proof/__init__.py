"""Proofs about a Program: that no input of a ball changes its class, or an input that does."""
