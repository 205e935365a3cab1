"""Packages that not everybody needs: they come with an extra, and whoever needs one that is missing is told which."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtraError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Surround the import of what an extra of pyproject.toml brings.

    Args:
        name: of the extra.

    Raises:
        MissingExtraError: a package is not installed; the message holds the command that gets it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingExtraError):
            raise
        package = (error.name or "").partition(".")[0]
        message = f"Python package {package!r} is not installed; pip install 'spikeproof[{name}]'"
        raise MissingExtraError(message, name=error.name) from error
