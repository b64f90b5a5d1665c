"""What ends a program early, with a message for whoever started it."""


class Failure(Exception):  # noqa: N818 -- says what is the case
    """The message says what is the case and what to do about it."""
