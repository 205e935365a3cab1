"""Every exception that spikeproof raises on purpose.

SpikeproofError
├── InputError          refused: the message names the file, key or layer and the remedy
│   ├── RecipeError     a recipe key
│   ├── FileError       a file that is missing, corrupt or not what it should be
│   ├── MissingExtraError   a package of an extra is not installed
│   └── UnsupportedError    a layer, graph or Program that cannot be lowered or run exactly
├── TargetError         a target that is absent, died, hung or answered nonsense
├── DisagreementError   two forms that should be equal were measured to differ
└── OtherProcessError   nothing is wrong: another process of the same training goes on
"""


class SpikeproofError(Exception):
    """Root of all errors raised on purpose; its message is one line meant for the user."""


class InputError(SpikeproofError):
    """Input was refused before anything was changed."""


class RecipeError(InputError):
    """A recipe holds an unknown key, a wrong type or an impossible value."""


class FileError(InputError):
    """A file is missing, unreadable, corrupt or of another kind."""


class MissingExtraError(InputError, ModuleNotFoundError):
    """Something needs a package that an extra brings; the message holds the command that gets it."""


class UnsupportedError(InputError):
    """A layer, graph or Program cannot be expressed exactly; the message holds every reason."""


class TargetError(SpikeproofError):
    """A target is unavailable or failed while running."""


class DisagreementError(SpikeproofError):
    """Forms that must agree bit for bit do not."""


class OtherProcessError(SpikeproofError):
    """The process was started by a training on several devices and has done its share; only the first one goes on."""
