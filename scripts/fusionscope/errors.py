"""The one error that is the user's to mend: its text is a sentence, shown without a traceback."""


class InputError(ValueError):
    """Bad input. The message names what is wrong, where, and what to do about it."""
