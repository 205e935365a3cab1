"""The Program as one file of C99: integers only, no heap, nothing but the standard library."""

from .write import sizes, to_c, unsupported

__all__ = ["sizes", "to_c", "unsupported"]
