"""Integer sums of solver variables, built before the solver sees them."""

from dataclasses import dataclass, field
from typing import Any

Literal = Any
"""A Boolean variable of the solver, its negation, or 0 or 1."""


@dataclass
class Sum:
    """constant + sum of coefficient times variable.

    Attributes:
        constant: an integer.
        terms: coefficient by the variable's index.
    """

    constant: int = 0
    terms: dict[int, int] = field(default_factory=dict)

    def add(self, other: "Sum", factor: int = 1) -> None:
        """Add ``factor`` times another sum."""
        self.constant += factor * other.constant
        terms = self.terms
        for index, coefficient in other.terms.items():
            terms[index] = terms.get(index, 0) + factor * coefficient


def of_literal(literal: Literal) -> Sum:
    """Return a literal as a sum."""
    if isinstance(literal, int):
        return Sum(literal)
    index = literal.index
    return Sum(0, {index: 1}) if index >= 0 else Sum(1, {-index - 1: -1})
