"""The client's end of the signer's socket: signatures by the account key, and nothing else.

Where the signer has a next key (RFC 8555 §7.3.5) they may be that one's.
"""

import socket
import threading

from ..common.wire import jose, signer as signer_protocol
from ..common.errors import Error, ProtocolError
from ..common.wire.signer import Greeting

# Seconds.  Before it greets, the signer may ask for a passphrase, or ssh for a password.
GREETING_TIMEOUT = 300.0
SIGNATURE_TIMEOUT = 60.0


class SignerError(Error):
    """The signer is gone, silent or hung up: no further request can be signed."""


class Refused(SignerError):
    """The signer refused this one request; it can be asked for others."""


class Signer:
    """One conversation with the signer, used by many orders in turn."""

    greeting: Greeting     # what holds for the key that signs
    by_next: bool          # that is the next one

    def __init__(self, sock: socket.socket) -> None:
        """Wait for the greeting; raises SignerError."""
        self._socket = sock
        self._lines = signer_protocol.LineBuffer(signer_protocol.MAX_ANSWER)
        self._lock = threading.Lock()
        self._failure: SignerError | None = None
        sock.settimeout(GREETING_TIMEOUT)
        try:
            self.greeting = signer_protocol.parse_greeting(self._read_line(), self._read_line())
            if self.greeting.refusals:
                sock.sendall(signer_protocol.format_hello())
        except (OSError, ProtocolError) as exc:
            raise self._translate(exc) from exc
        sock.settimeout(SIGNATURE_TIMEOUT)
        self.by_next, self._greetings = False, (self.greeting, self.greeting.as_next())

    def follow(self, by_next: bool) -> None:
        """Have the next key sign what comes, or the account key; raises ProtocolError if there is
        none.  Nothing may be under way."""
        greeting = self._greetings[by_next]
        if greeting is None:
            raise ProtocolError("the account key manager has no next key")
        self.greeting, self.by_next = greeting, by_next

    def sign(self, protected: bytes, payload: bytes) -> bytes:
        """Return the signature of a JWS; see ``sign_input``."""
        return self.sign_input(jose.signing_input(protected, payload), self.by_next)

    def sign_input(self, signing_input: bytes, by_next: bool = False) -> bytes:
        """Return the signature of a signing input: the account key's, unless it is for the next
        one; or the MAC of an external account binding.

        Raises Refused for this request alone, SignerError for it and all that follow, and
        LocalProtocolError for one that is too large to be signed.
        """
        request = signer_protocol.format_request(signing_input, by_next)
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                self._socket.sendall(request)
                return signer_protocol.parse_signature(self._read_line())
            except (OSError, ProtocolError) as exc:
                if isinstance(exc, signer_protocol.Refusal) and self.greeting.refusals:
                    raise Refused(str(exc)) from exc
                # After a timeout the lines are out of step; an old signer refuses and hangs up.
                self._failure = self._translate(exc)
                raise self._failure from exc

    def _read_line(self) -> bytes:
        while True:
            line = self._lines.next_line()
            if line is not None:
                return line
            data = self._socket.recv(16384)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._lines.feed(data)

    @staticmethod
    def _translate(exc: Exception) -> SignerError:
        if isinstance(exc, signer_protocol.Refusal):
            return SignerError(str(exc))
        if isinstance(exc, TimeoutError):
            return SignerError("the account key manager (letsencrypt-tiny-accountd) does not "
                               "answer")
        reason = exc.strerror or exc if isinstance(exc, OSError) else exc
        return SignerError(f"the account key manager (letsencrypt-tiny-accountd) failed: {reason}")
