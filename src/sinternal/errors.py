"""What can go wrong, named by what the user has to fix."""


class SInternalError(Exception):
    """Root of every error that is meant for people: one line that says what, where and how to fix it."""

    def __str__(self) -> str:
        """The line; line breaks and what else cannot be printed, in names by others, are spelled out or blanks."""
        text = super().__str__()
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


class RecipeError(SInternalError, ValueError):
    """A recipe, or an override of one, is not valid."""

    mistakes: tuple[str, ...] = ()
    """Each of several mistakes, the most telling first; empty where the message itself tells of the only one."""


class DataError(SInternalError, ValueError):
    """Rows are missing, empty or of the wrong form."""


class ModelError(SInternalError, ValueError):
    """A model directory cannot be used."""


class StoreError(SInternalError, OSError):
    """An artifact on disk is damaged or cannot be written."""


class RegistryError(SInternalError, LookupError):
    """No plug-in has this name."""


class MissingExtraError(SInternalError, RuntimeError):
    """A feature needs packages that the core does not bring."""


class EngineError(SInternalError, RuntimeError):
    """An engine cannot work: its server is away, refuses the key, or does not know the model."""


class LaunchError(SInternalError, RuntimeError):
    """The processes of a training could not be started, or died."""


class BudgetError(SInternalError, RuntimeError):
    """The run has spent what it was allowed to."""
