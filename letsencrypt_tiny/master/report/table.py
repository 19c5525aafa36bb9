"""The status table."""

from collections.abc import Sequence


def status_table(rows: Sequence["tuple[str, str, str, str]"]) -> str:
    """Return (section, expiry, state, names) as aligned columns with a heading."""
    lines = [("SECTION", "EXPIRES", "STATE", "NAMES"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join("  ".join([*(line[c].ljust(widths[c]) for c in range(3)), line[3]]).rstrip()
                     for line in lines)
