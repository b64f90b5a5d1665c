"""What ends a program before it is done, told to whoever started it."""


class Failure(Exception):  # noqa: N818 -- says what is the case
    """The message says what is the case and what to do about it."""
