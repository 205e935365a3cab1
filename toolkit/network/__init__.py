"""The network in PyTorch: layers, neurons that scan over time, joins, surrogates, and and backward passes."""
