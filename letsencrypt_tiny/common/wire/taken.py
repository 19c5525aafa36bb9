"""What the signer says of another client's account key that it is to take over: one line, which
people read, too."""

import re
from typing import NamedTuple

from ..errors import ProtocolError

MAX_LINE = 8192   # bytes

# what has become of the key -> how that is told
TAKEN, WOULD_BE_TAKEN, SAME, OTHER = "taken", "would be taken", "same", "other"
_WORDS = {TAKEN: "taken over", WOULD_BE_TAKEN: "would be taken over", SAME: "is that key already",
          OTHER: "is another key, and stays"}
_LINE = re.compile(rf"(.+): ({'|'.join(_WORDS.values())}): ([^:,]{{1,40}}), "
                   r"thumbprint ([A-Za-z0-9_-]{43})\n\Z", re.S)


class Taken(NamedTuple):
    """What has become of a key."""

    state: str        # one of the above
    path: str         # where our account key is
    kind: str         # of the other client's key, such as “EC P-256”
    thumbprint: str   # of that, too (RFC 7638)


def format_taken(taken: Taken) -> str:
    """Return the line."""
    return (f"{taken.path}: {_WORDS[taken.state]}: {taken.kind}, thumbprint "
            f"{taken.thumbprint}\n")


def parse_taken(line: str) -> Taken:
    """Read the line; raises ProtocolError."""
    found = _LINE.match(line)
    if found is None or len(line) > MAX_LINE:
        raise ProtocolError("the account key manager does not say what has become of the account "
                            "key")
    path, words, kind, thumbprint = found.groups()
    state = next(state for state, known in _WORDS.items() if known == words)
    return Taken(state, path, kind, thumbprint)
