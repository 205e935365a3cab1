"""Is a spiking network still accurate, robust and sparse once it is integers on a neuromorphic chip.

The four folders follow the way of the data: ``toolkit`` trains and attacks in PyTorch, ``export`` turns the
quantized network into NIR, an integer Program and ONNX, ``hw_targets`` runs it, ``eval`` measures every form again.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
