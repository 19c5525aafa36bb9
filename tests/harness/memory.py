"""The memory of other processes, and what may be found in it.  For root."""

import re
from collections.abc import Iterator
from pathlib import Path

from . import ca


def read(pid: int) -> Iterator[bytes]:
    """Yield the memory of a process, one mapping after the other; raises PermissionError."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if line.split()[1].startswith("r") and start < 1 << 63:
                try:
                    memory.seek(start)
                    yield memory.read(end - start) or b""
                except PermissionError:
                    raise
                except OSError:
                    pass   # [vvar]


def forms(pem: str) -> list[bytes]:
    """Return a private EC key as it may lie in memory: a line of its text, and the number both
    ways round."""
    text = ca.openssl("pkey", "-noout", "-text", stdin=pem.encode()).decode()
    digits = re.search(r"priv:\s*((?:[0-9a-f]{2}[:\s]*)+)", text)
    if digits is None:
        raise ValueError("not an EC key")
    number = bytes.fromhex(re.sub(r"[:\s]", "", digits.group(1)))[-32:]
    return [pem.splitlines()[1].encode(), number, number[::-1]]
