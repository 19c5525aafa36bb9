"""Reads files that other clients, and perhaps others than root, have written.

Plain files only, of a size that is not without end; links are followed where nobody but root could
have put them; nothing is executed.  Whatever goes wrong is an Error that names the file.
"""

import os

from ....common import trusted
from ....common.errors import Error, ProtocolError
from ....common.wire.jsonfields import JsonObject, parse_object
from ....common.x509.certificate import Certificate
from ....common.x509.der import X509Error
from ...store import installed

MAX_SIZE = 1 << 20   # bytes of a file
MAX_FILES = 10000    # in a directory


def read(path: str, limit: int = MAX_SIZE) -> bytes:
    """Return what a file holds; raises Error."""
    try:
        with open(trusted.open_file(path, anybody=True), "rb") as file:
            found = file.read(limit + 1)
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:   # a NUL in what a file gave as a path
        raise Error("a path with a NUL in it") from exc
    if len(found) > limit:
        raise Error(f"{path}: larger than {limit} bytes")
    return found


def text(path: str) -> str:
    """Return the text of a file, whatever it holds that is not UTF-8 replaced; raises Error."""
    return read(path).decode("utf-8", "replace")


def optional(path: str) -> str:
    """Return the text of a file, "" if there is none; raises Error."""
    return text(path) if os.path.lexists(path) else ""


def json(path: str) -> JsonObject:
    """Return the JSON object that a file holds, {} if there is none; raises Error."""
    try:
        return parse_object(read(path), path, MAX_SIZE) if os.path.lexists(path) else {}
    except ProtocolError as exc:
        raise Error(str(exc)) from exc


def member(obj: JsonObject, *names: str) -> str:
    """Return the string that is called so in an object, "" if there is none; ``names`` lead through
    objects in it."""
    value: object = obj
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def listing(directory: str) -> list[str]:
    """Return the names in a directory, in order; none if it isn't there.  Raises Error."""
    try:
        with os.scandir(directory) as entries:
            found = [entry.name for _, entry in zip(range(MAX_FILES + 1), entries)]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise Error(f"{directory}: {exc.strerror}") from exc
    if len(found) > MAX_FILES:
        raise Error(f"{directory}: more than {MAX_FILES} files")
    return sorted(found)


def certificate(path: str) -> Certificate:
    """Return the first certificate of a PEM file; raises Error."""
    try:
        return installed.read_certificate(path, anybody=True)
    except X509Error:
        raise
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror}") from exc


def names(path: str) -> tuple[str, ...]:
    """Return the names that the certificate in a file is for; raises Error."""
    return tuple(value for kind, value in certificate(path).names if kind in ("dns", "ip"))
