"""The contract of every data set: where its arrays come from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from ..task import CLASSES, Task

Arrays = dict[str, NDArray[Any]]
NAMES = ("x_train", "y_train", "x_test", "y_test")
Layout = Literal["channels-first", "channels-last"]
Cut = tuple[int | None, int | None]


@dataclass(frozen=True)
class Baseline:
    """What an answer is worth that no network gives.

    Attributes:
        name: as "bicubic".
        outputs: of the test samples, (samples, outputs), as the network's.
    """

    name: str
    outputs: NDArray[Any]


@dataclass(frozen=True)
class Found:
    """What was read; checked, converted and cut afterwards.

    Attributes:
        arrays: ``x_train y_train x_test y_test``: images (samples, channels, height, width) as uint8 or as floats in
            [0, 1], or events (samples, time, channels, height, width); labels (samples,), or the targets of a task.
        whole: how many training and test samples there are, where fewer were read; None for those of ``arrays``.
        classes: how many; None for the largest training label + 1.
        layout: "channels-first" or "channels-last"; None where nobody said so, and it is to be looked at.
        task: what outputs are for.
        baseline: None where there is none.
    """

    arrays: Arrays
    whole: tuple[int, int] | None = None
    classes: int | None = None
    layout: Layout | None = "channels-first"
    task: Task = CLASSES
    baseline: Baseline | None = None


class DataSource(ABC):
    """A data set that recipes can name; the arguments of its constructor are its keys in the section ``data``.

    Attributes:
        title: what it is called wherever results on it are shown; a subset is never called by the name of the whole.
        events: whether it holds recordings that are cut into the recipe's time steps.
        classed: whether its task has classes; known before anything is read.
        path_name: what data of the user's own are called, instead of the name in the recipe.
        place: what messages call the place of the arrays, instead of that name.
    """

    title: ClassVar[str] = ""
    events: ClassVar[bool] = False
    classed: ClassVar[bool] = True
    path_name: str | None = None
    place: str | None = None

    @abstractmethod
    def read(self, cut: Cut, steps: int) -> Found:
        """Return the arrays.

        Args:
            cut: how many training and test samples are needed, None for all; more may be returned.
            steps: bins of a recording; 0 where the caller named none, which is never so where ``events``.

        Raises:
            FileError: a file cannot be read, or is not the published one.
            InputError: the content is refused.
        """


class FromFolder(DataSource):
    """A data set in a folder.

    Args:
        path: the folder; None looks under ``$SPIKEPROOF_DATA``.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
