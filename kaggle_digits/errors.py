"""The one exception for what a user can fix; every module may raise it."""


class UserError(Exception):
    """A problem that the user caused and can fix.

    The command line prints its message as exactly one line on standard error and exits with
    status 2; a notebook shows the same line in place of a traceback. The message names the file,
    row, column or key, what was expected, what was found and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows."""
        return [f"{type(self).__name__}: {self}"]


def explained(error: OSError) -> UserError:
    """Return what the operating system refused as one line for people."""
    where = f"{error.filename}: " if error.filename else ""
    return UserError(f"{where}{error.strerror or error}; fix that and repeat the command")
