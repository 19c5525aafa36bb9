"""http-01 (RFC 8555 §8.3): a file named like the token, in the challenge directory.

That is the working directory, which the web server serves.
"""

import os
import threading

from ...common.errors import Error
from ...common.names import Identifier
from ...common.wire import challenge
from ...common.wire.jsonfields import JsonObject
from ..scheduler import Steps


class Http01:
    """The files of the challenge directory.

    Two orders may share a pending authorization, so each file is there until the last
    of them has released it.
    """

    type = "http-01"
    has_token = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[str, int] = {}

    def serves(self, _identifier: Identifier) -> bool:
        """Whatever the web server is asked for, it answers."""
        return True

    def fault(self, _challenge: JsonObject, _account: str) -> str:
        """Whatever the challenge is, it is all right."""
        return ""

    def present(self, _identifier: Identifier, token: str, thumbprint: str) -> Steps[bool]:
        """Provide the file; see ``Solver``."""
        yield from ()    # a file is there at once
        with self._lock:
            users = self._users.get(token, 0)
            if not users:
                try:
                    _write(token, challenge.key_authorization(token, thumbprint))
                except OSError as exc:
                    raise Error("cannot write into the challenge directory: "
                                f"{exc.strerror}") from exc
            self._users[token] = users + 1
            return not users

    def clean(self, _identifier: Identifier, token: str) -> Steps[None]:
        """Remove the file unless another order needs it."""
        yield from ()
        with self._lock:
            self._users[token] -= 1
            if not self._users[token]:
                del self._users[token]
                _remove(token)

    def close(self) -> None:
        """Remove what is left at the end."""
        with self._lock:
            for token in self._users:
                _remove(token)
            self._users.clear()


def _write(name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o644)
    except FileExistsError:
        # A token of an earlier run that was killed: its order has been taken up again.
        os.unlink(name)
        fd = os.open(name, flags, 0o644)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def _remove(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:
        pass    # the master removes the directory
