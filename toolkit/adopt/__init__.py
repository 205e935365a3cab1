"""Networks of other frameworks, adopted: read by watching them run, translated, and proven equal spike for spike."""

from .adopt import Adopted, adopt_module

__all__ = ["Adopted", "adopt_module"]
