"""Keys in tokens: PKCS #11 URIs (RFC 7512), and how openssl is told to use one.

By the provider of Debian 13's pkcs11-provider, or the engine of Debian 12's
libengine-pkcs11-openssl.  The key never leaves the token, so nobody here ever has it.  A PIN is
read by whoever uses the token, from the file that ``pin-source`` names: one in the URI itself
would be seen by every user of the machine, on openssl's command line.
"""

import os
import re
import sys
from typing import NamedTuple

from .errors import Error

SCHEME = "pkcs11:"
MAX_URI = 2000   # characters
# What may choose a key, a module and a PIN (§2.3)
_PATH = {"token", "manufacturer", "serial", "model", "library-manufacturer", "library-version",
         "library-description", "object", "type", "id", "slot-manufacturer", "slot-description",
         "slot-id"}
_QUERY = {"pin-source", "module-path"}
_PCHAR = r"(?:[A-Za-z0-9._~\[\]:@!$'()*+,=&/-]|%[0-9A-Fa-f]{2})*\Z"
_FILE = r"/[A-Za-z0-9._~@+,/-]+\Z"

LIBRARIES = f"/usr/lib/{getattr(sys.implementation, '_multiarch', '')}"
# In this order: modules that use openssl themselves deadlock without a default provider.  And
# some crash where they are taken down, when all is done.
_CONFIGURATION = """\
openssl_conf = init
[init]
providers = providers
[providers]
default = default_section
pkcs11 = pkcs11_section
[default_section]
activate = 1
[pkcs11_section]
pkcs11-module-quirks = no-deinit
MODULE
activate = 1
"""
PROVIDER, ENGINE = "ossl-modules/pkcs11.so", "engines-3/pkcs11.so"


class Token(NamedTuple):
    """A private key in a token."""

    uri: str            # as openssl is given it
    module: str = ""    # file of the PKCS #11 module; "": those that p11-kit knows
    pin: str = ""       # file with the PIN; "": it needs none


def is_uri(text: str) -> bool:
    """True for what is to be a PKCS #11 URI."""
    return text.startswith(SCHEME)


def parse(text: str) -> Token:
    """Parse the URI of a private key; raises ValueError."""
    path, _, query = text.removeprefix(SCHEME).partition("?")
    if len(text) > MAX_URI:
        raise ValueError(f"longer than {MAX_URI} characters")
    chosen = _attributes(path, ";", _PATH)
    given = _attributes(query, "&", _QUERY)
    if "object" not in chosen and "id" not in chosen:
        raise ValueError("it names no key: object=LABEL or id=%XX is missing")
    if chosen.setdefault("type", "private") != "private":
        raise ValueError("type is not “private”")
    pin, module = given.get("pin-source", "").removeprefix("file:"), given.get("module-path", "")
    for name, file in (("pin-source", pin), ("module-path", module)):
        if name in given and (not re.match(_FILE, file) or ".." in file.split("/")):
            raise ValueError(f"{name} is not the absolute path of a file"
                             + (", file:/PATH" if file is pin else ""))
    uri = SCHEME + ";".join(f"{name}={value}" for name, value in chosen.items())
    return Token(uri + (f"?pin-source=file:{pin}" if pin else ""), module, pin)


def _attributes(text: str, separator: str, known: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name.lower() == "pin-value":
            raise ValueError("a PIN can't stand here, where others see it: write it to a file, "
                             "and that into the URI, ?pin-source=file:/PATH")
        if not equals or name not in known or name in found or not re.match(_PCHAR, value):
            raise ValueError(f"“{name}” is not an attribute of a key's PKCS #11 URI (RFC 7512), "
                             "or its value is none")
        found[name] = value
    return found


class Use(NamedTuple):
    """How openssl uses a key in a token."""

    arguments: list[str]
    environment: dict[str, str]     # of openssl's, as well
    configuration: bytes            # of openssl's, for OPENSSL_CONF; b"": none


def use(token: Token, form: str, key: str) -> Use:
    """Return how openssl uses a key in a ``token``.

    ``form`` and ``key`` are what the subcommand calls the key's form and place: ``-keyform`` and
    ``-key``, for instance.  Raises Error where openssl can't.
    """
    if os.path.exists(f"{LIBRARIES}/{PROVIDER}"):
        module = f"pkcs11-module-path = {token.module}\n" if token.module else ""
        return Use([key, token.uri], {}, _CONFIGURATION.replace("MODULE\n", module).encode())
    if os.path.exists(f"{LIBRARIES}/{ENGINE}"):
        return Use(["-engine", "pkcs11", form, "engine", key, token.uri],
                   {"PKCS11_MODULE_PATH": token.module} if token.module else {}, b"")
    raise Error("openssl has no way to keys in tokens: install the package pkcs11-provider, or "
                "libengine-pkcs11-openssl on Debian 12")
