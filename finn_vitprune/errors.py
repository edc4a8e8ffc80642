"""The one error that the command line turns into a single line and exit code 2."""


class UserError(Exception):
    """The user's input or set-up is wrong. The text names the thing, the value and what would work."""
