"""What a network's outputs are for: how they are trained, judged and attacked. Data sets name their task."""

from .base import Task
from .classes import CLASSES, Classes

__all__ = ["CLASSES", "Classes", "Task"]
