"""The one error that the user can fix: its text is a sentence, shown without a traceback."""


class InputError(ValueError):
    """Bad input. The message names what is wrong, where, and what to do about it."""
