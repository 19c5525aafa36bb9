"""How a CA is reached.  A room of its own: a night with nothing due needs no more of the wire."""

from typing import NamedTuple

MAX_ORIGINS = 16


class Access(NamedTuple):
    """How a CA is reached: what the settings of a CA say of it, for master and client."""

    server: str                    # the directory's URL (RFC 8555 §7.1.1)
    timeout: int = 90              # seconds an order may wait for the server in all; 0: no limit
    verify: bool = True            # verify the server's certificate
    ca_file: str = ""              # PEM bundle to trust instead of the system's
    tls_minimum: str = ""          # "TLSv1.2" …; "" is the library's default
    tls_maximum: str = ""
    ciphers: str = ""              # openssl cipher list; "" is the library's default
    proxy: str = ""                # http://[user:password@]host:port; "" is the environment's
    jobs: int | None = None        # connections to the server at most; None: what it is worth
    answer_timeout: int = 90       # seconds for one answer of the server, connecting included
    origins: tuple[str, ...] = ()  # https://HOST[:PORT], other than the directory's, of its URLs
