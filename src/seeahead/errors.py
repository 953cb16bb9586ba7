"""Every error a user can cause. Each message is one line: what was given, what is allowed, what to do.

SeeaheadError (a ValueError)
├── InputError        a setting, prompt or argument is wrong
│   └── ImageError    a picture cannot be used
├── ModelError        a model folder, checkpoint or model type cannot be used
└── DrafterError      a drafter is unknown, or cannot serve this target
"""


class SeeaheadError(ValueError):
    """Base class: the message is meant for the user and is complete without a traceback."""


class InputError(SeeaheadError):
    """A setting, prompt or argument is wrong."""


class ImageError(InputError):
    """A picture cannot be used: missing, broken, too large or refused."""


class ModelError(SeeaheadError):
    """A model folder, checkpoint or model type cannot be used."""


class DrafterError(SeeaheadError):
    """A drafter is unknown, or cannot serve this target."""
