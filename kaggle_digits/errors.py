"""The one exception for what a user can fix; every module may raise it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Where nothing may be written.
READ_ONLY = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))
# What to do where the operating system refuses something; else it says all there is to say.
ADVICE = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "a file is in the place of a folder; give another path",
    errno.EEXIST: "give another path",
    errno.ENOSPC: "make space and repeat the command",
    **dict.fromkeys(READ_ONLY, "change its permissions, or give another path"),
}


class UserError(Exception):
    """A problem that the user caused and can fix.

    The command line prints its message as exactly one line on standard error and exits with
    status 2; a notebook shows the same line in place of a traceback. The message names the file,
    row, column or key, what was expected, what was found and what to do.

    Args:
        message: the line.
        hint: where to read more, in brackets at its end.

    Attributes:
        problem: the line without the hint.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.problem = " ".join(str(message).split())
        super().__init__(f"{self.problem} ({hint})" if hint else self.problem)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows."""
        return [f"{type(self).__name__}: {self}"]


def explained(error: OSError) -> UserError:
    """Return what the operating system refused as one line for people."""
    where = f"{error.filename}: " if error.filename else ""
    advice = ADVICE.get(error.errno, "fix that and repeat the command")
    return UserError(f"{where}{error.strerror or error}; {advice}")


@contextmanager
def reported_in_one_line(program: str) -> Iterator[None]:
    """End a script by one line on standard error where a user can fix what is wrong, or stops it.

    Args:
        program: what the line begins with.

    Raises:
        SystemExit: with status 2, or 130 after Ctrl-C.
    """
    try:
        yield
    except (UserError, OSError) as error:
        line = explained(error) if isinstance(error, OSError) else error
        print(f"{program}: {line}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{program}: stopped by Ctrl-C; repeat the command to continue", file=sys.stderr)
        raise SystemExit(130) from None
