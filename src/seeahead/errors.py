"""Every error a user can cause. Each message is one line: what was given, what is allowed, what to do.

Words of somebody else, which a message repeats, go through `shown` or `escaped`.
"""


class SeeaheadError(ValueError):
    """Base class: the message is meant for the user and is complete without a traceback."""


class InputError(SeeaheadError):
    """A setting, prompt or argument is wrong."""


class ImageError(InputError):
    """An image cannot be used: missing, broken, too large or refused."""


class LengthError(InputError):
    """A prompt is longer than there is room for."""


class ModelError(SeeaheadError):
    """A model folder, checkpoint or model type cannot be used."""


class FaultError(ModelError):
    """A part of one answer of a batch failed with an exception that is no error of ours, `raised`."""

    def __init__(self, raised: Exception) -> None:
        super().__init__(f"a part of this answer failed ({type(raised).__name__}); the error's `raised` says more")
        self.raised = self.__cause__ = raised


class DrafterError(SeeaheadError):
    """A drafter is unknown, or cannot serve this target."""


def escaped(text: str, limit: int = 120) -> str:
    """Somebody else's words as they may stand in a message: on one line, without control characters, not endless."""
    # Cut before escaping, so that a huge text costs nothing, and after it, since escaping makes letters longer.
    ends = text if len(text) <= 2 * limit else text[:limit] + text[-limit:]
    line = repr(ends)[1:-1]
    return line if len(line) <= limit else f"{line[: limit // 2]}…{line[1 - limit + limit // 2 :]}"


def shown(text: str) -> str:
    """The same between quotes."""
    return f"'{escaped(text)}'"


def counted(num: int, noun: str) -> str:
    """`num` of something that makes its plural with an s: 1 question, 2 questions."""
    return f"{num} {noun}{'' if num == 1 else 's'}"


def allowed(fault: str) -> str:
    """What pydantic says of a wrong value, in words that stand behind "allowed: "."""
    words = fault.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable to ")[0]
    return words.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
