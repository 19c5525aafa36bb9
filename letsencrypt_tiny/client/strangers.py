"""Who answers in the server's place: what speaks no TLS, or another one; somebody's page.

What OpenSSL says of a handshake (RFC 8446 §4) is not what an administrator looks for.
"""

import ssl

from ..common.log import printable
from ..common.wire import problems
from .transport import CutOff, TransportError

MAX_WORDS = 300    # characters

# What OpenSSL's versions call bytes that are no record of TLS (RFC 8446 §5.1)
_NO_TLS = frozenset({
    "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "BAD_PACKET_LENGTH", "UNEXPECTED_MESSAGE"})
# X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH:
# no other CA would help
_ITS_OWN = frozenset({9, 10, 62, 64})


def handshake(authority: str, error: OSError) -> TransportError:
    """Return what is to be told of a TLS handshake that failed, and what to look at."""
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        return CutOff(f"{authority}: the connection was closed in the TLS handshake")
    return TransportError(f"{authority}: {_why(error)}")


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = printable(error.verify_message, MAX_WORDS).rstrip(".")
        hint = "" if error.verify_code in _ITS_OWN else " (setting “ca-file”)"
        return f"the CA's server certificate is not trusted: {why}{hint}"
    reason = str(getattr(error, "reason", None) or "")
    if reason in _NO_TLS:
        return "what answers there does not speak TLS (is it a port for plain http?)"
    version, alert, said = reason.partition("ALERT_")    # RFC 8446 §6
    if alert or version == "TLSV1_UNRECOGNIZED_NAME":
        said = (said or version.removeprefix("TLSV1_")).lower().replace("_", " ")
        return (f"the CA refuses the TLS handshake: {printable(said, MAX_WORDS)} (settings "
                "“SSL_version” and “SSL_cipher_list”)")
    return f"the TLS handshake failed: {printable(error.strerror or error, MAX_WORDS)}"


def page(body: bytes, media_type: str) -> str:
    """Return the first words of a page that came instead of what was asked for, "" for none."""
    words = printable(problems.from_text(body, 0).detail, MAX_WORDS) \
        if media_type.startswith("text/") else ""
    return f": “{words}” (does a proxy, or a web server, answer in its place?)" if words else ""
