"""What a terminal can show: how wide it is, which characters, and colours (no-color.org)."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from typing import NamedTuple

LEAST, USUAL = 40, 80      # columns

# Select Graphic Rendition (ECMA-48 §8.3.117)
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Terminal(NamedTuple):
    """What it can show."""

    columns: int = USUAL
    colour: bool = False
    unicode: bool = True

    def style(self, style: str, text: str) -> str:
        """Return ``text`` in a style, words of STYLES; as it is where there are no colours."""
        codes = ";".join(STYLES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[m" if self.colour and codes and text else text

    def sign(self, unicode: str, ascii: str) -> str:
        """Return the one that it can show."""
        return unicode if self.unicode else ascii


def terminal(descriptor: int) -> Terminal | None:
    """Return what the terminal on a descriptor can show, None if there is none."""
    if not os.isatty(descriptor):
        return None
    try:
        columns = os.get_terminal_size(descriptor).columns
    except OSError:
        columns = 0
    kind = os.environ.get("TERM", "")
    return Terminal(max(columns or USUAL, LEAST),
                    not os.environ.get("NO_COLOR") and kind not in ("", "dumb"),
                    _is_utf8(_environment()) and kind != "dumb")


def _environment() -> Mapping[str, str]:
    """Return the environment as it was given: Python takes the locale C for another one, and says
    so in that which it has made (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = (entry.partition(b"=") for entry in file.read().split(b"\0"))
            return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    except OSError:
        return os.environ


def _is_utf8(environment: Mapping[str, str]) -> bool:
    """Say whether the locale's characters are those of Unicode (setlocale(3))."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if environment.get(name):
            return environment[name].lower().replace("-", "").partition("@")[0].endswith("utf8")
    return False


def width(text: str) -> int:
    """Return how many columns ``text`` takes, which has no control characters."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else
               0 if unicodedata.combining(char) else 1 for char in text)


def cut(text: str, columns: int) -> str:
    """Return ``text``, or what there is room for of it, and an ellipsis."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def pad(text: str, columns: int) -> str:
    """Return ``text`` in so many columns: cut, or with spaces behind it."""
    shown = cut(text, columns)
    return shown + " " * (columns - width(shown))


def wrap(text: str, columns: int) -> Iterator[str]:
    """Yield the lines of ``text``, broken between words, or in them where one is too long."""
    line = ""
    for word in text.split():
        while width(word) > columns:
            if line:
                yield line
                line = ""
            head = word
            while width(head) > columns:
                head = head[:-1 - max(0, (width(head) - columns) // 2 - 1)]
            head = head or word[0]
            yield head
            word = word[len(head):]
        if line and width(line) + 1 + width(word) > columns:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield line
