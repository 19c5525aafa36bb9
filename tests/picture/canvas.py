"""A sheet of cells, each a character and a style; lines that meet join.

>>> sheet = Canvas()
>>> sheet.box(0, 0, 12, 3, "CA")
>>> sheet.write(2, 1, "Pebble", "bold")
>>> print(sheet.text())
╭─ CA ─────╮
│ Pebble   │
╰──────────╯
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
LINES = {UP: "│", DOWN: "│", UP | DOWN: "│", LEFT: "─", RIGHT: "─", LEFT | RIGHT: "─",
         DOWN | RIGHT: "╭", DOWN | LEFT: "╮", UP | RIGHT: "╰", UP | LEFT: "╯",
         UP | DOWN | RIGHT: "├", UP | DOWN | LEFT: "┤", LEFT | RIGHT | DOWN: "┬",
         LEFT | RIGHT | UP: "┴", UP | DOWN | LEFT | RIGHT: "┼"}
MASKS = {sign: mask for mask, sign in LINES.items() if mask not in (UP, DOWN, LEFT, RIGHT)}
HEADS = {LEFT: "◀", RIGHT: "▶", UP: "▲", DOWN: "▼"}

# One cell for one cell, where there is no UTF-8
_ASCII = str.maketrans({**{sign: "+" for sign in MASKS}, **dict(zip(
    "│─━◀▶▲▼●✔✗–×“”…", "|-=<>^v**X-x\"\"."))})

COLOURS = {"bold": "1", "dim": "2", "title": "1", "good": "32", "bad": "31", "key": "33",
           "line": "2", "way": "36", "trust": "1;34"}


class Run(NamedTuple):
    """Characters of one style beside each other, from column ``x`` of line ``y`` on."""

    x: int
    y: int
    text: str
    style: str


def ascii_only(text: str) -> str:
    """Return what a terminal without UTF-8 is shown."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def is_utf8(environ: Mapping[str, str] | None = None) -> bool:
    """Say whether the locale has UTF-8.

    Python puts LC_CTYPE into the environment where it is C (PEP 538): what it was started with
    counts.
    """
    if environ is None:
        words = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
        environ = dict(word.partition("=")[::2] for word in words)
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    return locale.lower().replace("-", "").endswith("utf8")


class Canvas:
    """The sheet, as large as what is on it.

    Styles are the words in ``COLOURS``, or "".
    """

    def __init__(self) -> None:
        self._text: dict[tuple[int, int], tuple[str, str]] = {}
        self._lines: dict[tuple[int, int], tuple[int, str]] = {}

    # --- drawing -----------------------------------------------------------------------------

    def write(self, x: int, y: int, text: str, style: str = "") -> None:
        """Put a text, over whatever is there."""
        for place, sign in enumerate(text, x):
            self._text[place, y] = sign, style

    def across(self, x1: int, x2: int, y: int, style: str = "line") -> None:
        """Draw a line from left to right, which joins those that it meets at its ends."""
        for x in range(x1, x2 + 1):
            self._join(x, y, (LEFT if x > x1 else 0) | (RIGHT if x < x2 else 0), style)

    def down(self, x: int, y1: int, y2: int, style: str = "line") -> None:
        """Draw a line downwards, which joins those that it meets at its ends."""
        for y in range(y1, y2 + 1):
            self._join(x, y, (UP if y > y1 else 0) | (DOWN if y < y2 else 0), style)

    def box(self, x: int, y: int, width: int, height: int, title: str = "", style: str = "line",
            title_style: str = "title") -> None:
        """Draw a box, with a title in its upper line."""
        right, bottom = x + width - 1, y + height - 1
        for row in y, bottom:
            self.across(x, right, row, style)
        for column in x, right:
            self.down(column, y, bottom, style)
        if title:
            self.write(x + 2, y, f" {title} ", title_style)

    def arrow(self, x1: int, x2: int, y: int, label: str = "", style: str = "way",
              both: bool = False) -> None:
        """Draw an arrow from column ``x1`` to ``x2``, whichever is left of the other, over what is
        between them, with a label in its middle; its head is beside ``x2``, and with ``both``
        another one beside ``x1``."""
        low, high = min(x1, x2) + 1, max(x1, x2) - 1
        self.write(low, y, "─" * (high - low + 1), style)
        forward = RIGHT if x2 > x1 else LEFT
        heads = {forward, (LEFT | RIGHT) ^ forward} if both else {forward}
        if LEFT in heads:
            self.write(low, y, HEADS[LEFT], style)
        if RIGHT in heads:
            self.write(high, y, HEADS[RIGHT], style)
        if label:
            room = high - low + 1
            self.write(low + (room - len(label) - 2 + (forward == LEFT)) // 2, y, f" {label} ")

    def fall(self, x: int, y1: int, y2: int, up: bool = False, style: str = "way") -> None:
        """Draw an arrow in a column, from row ``y1`` down to ``y2`` or, with ``up``, the other way
        round; it joins a line where it comes from."""
        for y in range(y1, y2 + 1):
            self.write(x, y, "│", style)
        self.write(x, y1 if up else y2, HEADS[UP if up else DOWN], style)
        if up:
            self.down(x, y2, y2 + 1)
        else:
            self.down(x, y1 - 1, y1)

    def _join(self, x: int, y: int, mask: int, style: str) -> None:
        before, _ = self._lines.get((x, y), (0, ""))
        self._lines[x, y] = before | mask, style

    # --- what is there -----------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        places = [*self._text, *self._lines]
        return (max((x for x, _ in places), default=-1) + 1,
                max((y for _, y in places), default=-1) + 1)

    def cell(self, x: int, y: int) -> tuple[str, str]:
        """Return character and style."""
        if (x, y) in self._text:
            return self._text[x, y]
        mask, style = self._lines.get((x, y), (0, ""))
        return LINES.get(mask, " "), style

    def runs(self) -> Iterator[Run]:
        """Yield what is there, from the top left; a run has no two spaces in a row."""
        columns, rows = self.size
        for y in range(rows):
            run = Run(0, y, "", "")
            for x in range(columns):
                sign, style = self.cell(x, y)
                if sign == " " and (not run.text or run.text.endswith(" ")):
                    if run.text:
                        yield run._replace(text=run.text.rstrip())
                    run = Run(0, y, "", "")
                elif run.text and (style == run.style or sign == " "):
                    run = run._replace(text=run.text + sign)
                else:
                    if run.text.strip():
                        yield run._replace(text=run.text.rstrip())
                    run = Run(x, y, sign, style)
            if run.text.strip():
                yield run._replace(text=run.text.rstrip())

    def text(self, utf8: bool = True, colour: bool = False) -> str:
        """Return the lines for a terminal."""
        lines: list[str] = [""] * self.size[1]
        ends = [0] * len(lines)
        for run in self.runs():
            text = run.text if utf8 else ascii_only(run.text)
            code = COLOURS.get(run.style, "") if colour else ""
            lines[run.y] += " " * (run.x - ends[run.y]) + (
                f"\033[{code}m{text}\033[0m" if code else text)
            ends[run.y] = run.x + len(run.text)
        return "\n".join(lines)
