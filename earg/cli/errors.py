"""What a command fails with."""


class CommandError(RuntimeError):
    """What a person asked for cannot be done; the message says why."""
