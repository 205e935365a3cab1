"""Targets that run a network: float PyTorch, exact Loihi integers, ONNX Runtime, Lava."""
