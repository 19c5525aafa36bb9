"""Asks the signer what it would sign, without having it signed: for ``check``."""

import socket
from collections.abc import Sequence

from ...common.errors import Error, ProtocolError
from ...common.wire import signer as wire

ANSWER_SECONDS = 30


class Explainer:
    """A signer that has greeted, and says that it can explain itself (``Greeting.refusals``)."""

    def __init__(self, sock: socket.socket) -> None:
        """Take the greeting, which was looked at before, off ``sock``.  Raises Error."""
        self._socket = sock
        self._lines = wire.LineBuffer(wire.MAX_ANSWER)
        sock.settimeout(ANSWER_SECONDS)
        self._read()
        self._read()
        self._send(wire.format_hello())

    def why_not(self, lines: Sequence[bytes]) -> str:
        """Return why the first of the requests that would be refused would be; "" if none.

        ``lines`` are those of ``wire.explanations``.  Raises Error.
        """
        for line in lines:
            self._send(line)
            try:
                why = wire.parse_explanation(self._read())
            except ProtocolError as exc:
                raise Error("the account key manager (letsencrypt-tiny-accountd) failed: "
                            f"{exc}") from exc
            if why:
                return why
        return ""

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as exc:
            raise self._gone(exc) from exc

    def _read(self) -> bytes:
        while (line := self._lines.next_line()) is None:
            try:
                data = self._socket.recv(4096)
            except OSError as exc:
                raise self._gone(exc) from exc
            if not data:
                raise Error("the account key manager (letsencrypt-tiny-accountd) failed: it "
                            "closed the connection")
            self._lines.feed(data)
        return line

    @staticmethod
    def _gone(exc: OSError) -> Error:
        return Error("the account key manager (letsencrypt-tiny-accountd) "
                     + ("does not answer" if isinstance(exc, TimeoutError)
                        else f"failed: {exc.strerror}"))
