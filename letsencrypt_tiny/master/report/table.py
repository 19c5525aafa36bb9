"""The status table."""

from collections.abc import Sequence


def status_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells as there are headings as aligned columns.

    A column whose heading is in small letters is left out if no row has anything in it.
    """
    shown = [number for number, heading in enumerate(headings)
             if heading.isupper() or any(row[number] for row in rows)]
    lines = [[heading.upper() for heading in headings],
             *([cell or "-" for cell in row] for row in rows)]
    *aligned, last = shown
    widths = {column: max(len(line[column]) for line in lines) for column in aligned}
    return "\n".join("  ".join([*(line[column].ljust(widths[column]) for column in aligned),
                                line[last]]).rstrip() for line in lines)
