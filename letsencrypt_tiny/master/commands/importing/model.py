"""What another client has: accounts and certificates, in words that all clients have in common.

Readers fill it, and judge nothing: whatever is in it came from files that others may have written.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Account(NamedTuple):
    """An account at a CA."""

    server: str        # URL of the CA's directory
    key: str           # path of its private key
    url: str = ""      # of the account (RFC 8555 §7.1.2), "" if the client doesn't write it down


class Hook(NamedTuple):
    """A command that the client runs."""

    when: str          # such as “after a renewal”
    command: str
    source: str        # where that stands: FILE (SETTING)


class Found(NamedTuple):
    """A certificate that the client renews."""

    name: str                          # what it is called there
    source: str                        # the file that says so
    names: tuple[str, ...]             # that it is for; () if ``settings`` have them
    server: str = ""                   # URL of the CA's directory, "" if nobody knows
    key: str = ""                      # path of its private key, "" if that stays where it is
    chain: str = ""                    # path of the certificate with its chain
    settings: Mapping[str, str] = {}   # of a section, but for names, challenge and ca
    challenge: str = ""                # its type, "" for http-01
    hooks: tuple[Hook, ...] = ()
    left: tuple[str, ...] = ()         # what can't be taken over of it


class Estate:
    """All that a client has, as far as it could be read."""

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self.certificates: list[Found] = []
        self.hooks: list[Hook] = []       # of all certificates
        self.left: list[str] = []         # what can't be taken over, a line each, and why
