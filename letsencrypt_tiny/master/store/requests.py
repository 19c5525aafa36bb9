"""Signing requests that a CA has issued for, kept for the renewals of the same key: ``requests/``.

To make one takes a process.  A directory of its own has them, so that a run with nothing due has
nothing more to list.
"""

from collections.abc import Sequence

from ...common import log
from ...common.errors import Error
from ...common.wire import jose
from .journal import filename_of
from .statefile import StateFile

MAX_SIZE = 256 << 10   # bytes


class Requests:
    """What is kept below the state ``directory``."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def kept(self, section: str, key: bytes, arguments: Sequence[str]) -> bytes:
        """Return the request (DER) that was made with these ``arguments`` of openssl's and the key
        with this fingerprint; b"" if there is none.

        One that has changed on the disk is none, nor is that of another key or for other names;
        nor what somebody else could have written, for another one can be made.
        """
        try:
            obj = self._file(section).read()
            der = jose.decode(str(obj.get("csr", "")).encode("ascii", "replace"))
        except Error as exc:   # whoever writes it tells
            log.debug(exc)
            return b""
        return der if obj.get("of") == _of(key, arguments, der) else b""

    def keep(self, section: str, key: bytes, arguments: Sequence[str], der: bytes) -> None:
        """Keep a request, below a state directory that is there; that it can't be is a warning."""
        if self.kept(section, key, arguments) != der:
            self._file(section).try_to_write({"of": _of(key, arguments, der),
                                              "csr": jose.encode_text(der)})

    def _file(self, section: str) -> StateFile:
        return StateFile(f"{self._directory}/requests", filename_of(section, "csr-"), MAX_SIZE)


def _of(key: bytes, arguments: Sequence[str], der: bytes) -> str:
    """What a request is of; arguments hold no zero bytes (execve(2))."""
    from hashlib import sha256
    return sha256(b"\0".join([key, *(text.encode() for text in arguments), der])).hexdigest()
