"""The one exception that means "the user can mend this"; every module may raise it."""


class UserError(Exception):
    """A problem that the user caused and can mend.

    The command line prints its message as exactly one line on standard error and exits with
    status 2. The message names the file, row, column or key, what was expected, what was found and
    what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
