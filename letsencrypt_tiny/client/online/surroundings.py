"""This machine's addresses and resolvers: read before the process confines itself."""

import ipaddress
import re
from collections.abc import Iterator

from ...common.names import address
from .asking import MOST, PORT, Server

RESOLV_CONF = "/etc/resolv.conf"
FIB_TRIE, IF_INET6 = "/proc/net/fib_trie", "/proc/net/if_inet6"
MAX_FILE = 4 << 20    # bytes

_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")


def read(path: str) -> str:
    """Return a text of the system's; "" if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_FILE)
    except OSError:
        return ""


def resolvers(text: str) -> list[Server]:
    """Return the name servers of resolv.conf(5); without any, this machine's."""
    found: list[Server] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append((address(words[1]), PORT))
            except ValueError:
                pass    # with a zone (RFC 4007 §11), or none
    return found[:MOST] or [("127.0.0.1", PORT)]


def addresses(fib_trie: str, if_inet6: str) -> frozenset[str]:
    """Return the addresses of this machine, by the texts of those files (proc(5))."""
    return frozenset([*_LOCAL.findall(fib_trie), *_ipv6(if_inet6)])


def _ipv6(text: str) -> Iterator[str]:
    for line in text.splitlines():
        try:
            yield str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))
        except (ValueError, IndexError):
            pass


def is_ours(text: str, known: frozenset[str]) -> bool:
    """True if an address is of this machine's; all of 127.0.0.0/8 is."""
    return text in known or text.startswith("127.")


def server(text: str) -> Server:
    """Return ADDRESS[:PORT] of a setting, an IPv6 address with a port in brackets.

    Raises ValueError.
    """
    match = re.match(r"\[([^\]]+)\](?::([0-9]{1,5}))?\Z|([0-9.]+):([0-9]{1,5})\Z", text)
    if match is None:
        return address(text), PORT
    return address(match.group(1) or match.group(3)), int(match.group(2) or match.group(4) or PORT)
