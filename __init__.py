"""Is a spiking network still accurate, robust and sparse once it is integers on a neuromorphic chip.

The four folders follow the way of the data: ``toolkit`` trains and attacks in PyTorch, ``export`` turns the
quantized network into NIR, an integer Program and ONNX, ``hw_targets`` runs it, ``eval`` measures every form again.
"""

__version__: str
__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Return ``__version__``: what the installation was made from, as git's tags name it; looked up when asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("spikeproof")
    except PackageNotFoundError:  # a tree that was never installed
        return "0.0+unknown"
