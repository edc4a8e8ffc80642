"""The errors that the command line turns into a single line and an exit code."""


class UserError(Exception):
    """The user's input or set-up is wrong. The text names the thing, the value and what would work."""

    exit_code = 2


class AnswerIsNo(UserError):
    """Nothing is wrong with the input, but what was asked for does not hold: a check failed."""

    exit_code = 1
