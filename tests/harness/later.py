"""Days go by between two runs, as far as it is about what has failed (RELIABILITY.md, back-off)."""

import json
from pathlib import Path

DAYS = 3 * 86400   # seconds; longer than anything waits


def later(state: Path, seconds: int = DAYS) -> None:
    """Let what is remembered of failures, in a state directory, be of that long ago."""
    for path in [*state.glob("cert-*.json"), *state.glob("outages.json")]:
        if path.is_symlink() or not path.is_file():    # nor would the program believe that
            continue
        try:
            found = json.loads(path.read_text())
            known = [found] if path.name != "outages.json" else list(found.values())
            failed = [item for item in known if {"failed", "last"} & item.keys()]
        except (OSError, ValueError, AttributeError):   # a test made it what it is
            continue
        for item in failed:
            for member in {"failed", "last", "since"} & item.keys():
                item[member] -= seconds
        if failed:
            path.write_text(json.dumps(found))
