"""What openssl complains of, in a line."""

import re

from . import log

# A line of openssl's error queue: THREAD:error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:DATA
_QUEUED = re.compile(r"[0-9A-F]+:error:[0-9A-F]+:([^:]*):[^:]*:([^:]*):")


def complaint(stderr: bytes) -> str:
    """Return the most telling of what openssl wrote to standard error: what failed, and why."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    queue = _reasons(lines)
    plain = [line for line in lines if line and not line.startswith(("-----", "Engine "))
             and not _QUEUED.match(line)]
    # openssl verify says “error 10 at 0 depth lookup: …”
    plain = [line for line in plain if line.startswith("error") and ":" in line] or plain + queue
    why = f" ({queue[0]})" if queue and queue[0] not in plain[0] else ""
    return log.printable(plain[0] + why, 300) if plain else "no reason given"


def _reasons(lines: list[str]) -> list[str]:
    """The reasons in the error queue, a token's first: as if it were a file, its key is looked
    for among files before."""
    found = [match.groups() for match in map(_QUEUED.match, lines) if match]
    return [reason for library, reason in sorted(found, key=lambda item: item[0] != "pkcs11")]
