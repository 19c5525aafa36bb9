"""The challenge files, in the working directory: which of them are given out."""

import os
from collections.abc import Sequence

from ..common.wire.challenge import MAX_KEY_AUTHORIZATION, key_authorization


class Challenges:
    """Files named like tokens, each with a key authorization (RFC 8555 §8.1)."""

    def __init__(self, thumbprints: Sequence[str] = (), rooms: int = 0) -> None:
        """``thumbprints`` of the account keys to answer for; none: for any key.  ``rooms``: the
        files are in so many directories below this one, which are called 0, 1, 2 …"""
        self._thumbprints = tuple(thumbprints)
        self._prefixes = [f"{room}/" for room in range(rooms)] or [""]

    def find(self, token: str) -> bytes | None:
        """Return the content of the first good file of a token's."""
        return next((content for prefix in self._prefixes
                     if (content := self._find(prefix, token)) is not None), None)

    def _find(self, prefix: str, token: str) -> bytes | None:
        """Return the content of a token's file; None unless it is a small plain file, with the
        key authorization of one of the account keys.

        O_NONBLOCK: to open a FIFO must not wait for its writer.  To read from a position is
        possible in plain files only.
        """
        try:
            fd = os.open(prefix + token, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            content = os.pread(fd, MAX_KEY_AUTHORIZATION + 1, 0)
        except OSError:
            return None
        finally:
            os.close(fd)
        return content if self._is_good(token, content) else None

    def _is_good(self, token: str, content: bytes) -> bool:
        if not self._thumbprints:
            return len(content) <= MAX_KEY_AUTHORIZATION
        return content in [key_authorization(token, key) for key in self._thumbprints]
