"""Reads shell files as far as they are assignments, and executes nothing.

    NAME=word   NAME='…'   NAME="… ${NAME} …"   export NAME=…   # comment

Of a “$” only names are replaced that stand further up.  Every other line is told by its number; one
that begins what may last for several lines (if, a function, an open quote, <<), so that nobody
knows whether what follows will be executed, ends the reading.
"""

import re
from collections.abc import Mapping

_LINE = re.compile(r"\s*(?:export\s+|declare\s+-x\s+)?([A-Za-z_][A-Za-z0-9_]{0,99})=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=^-]+")
_NAME = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_END = re.compile(r"\s*;?\s*(?:\s#.*)?\Z")
_OPENS = re.compile(r"\s*(?:if|for|while|until|case|select|function|\{|\()(?:\s|\Z)"
                    r"|.*(?:<<|[{(\\&|]\s*\Z)|\s*[A-Za-z_][A-Za-z0-9_]*\s*\(\s*\)|[^=]+=\(")
MAX_LINE = MAX_VALUE = 10000   # characters
MAX_NAMES = 2000               # variables


class Shell:
    """The variables of shell files that are read one after the other."""

    def __init__(self, before: Mapping[str, str]) -> None:
        self.values: dict[str, str] = dict(before)
        self.left: list[str] = []    # FILE, line N: what was not understood

    def read(self, text: str, path: str) -> None:
        """Read the text of one more file; ``path`` is for messages."""
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            where = f"{path}, line {number}"
            try:
                name, value = assignment(line, self.values)
            except ValueError:
                if opens(line):
                    self.left.append(f"{where}, and what follows: not a plain assignment")
                    return
                self.left.append(f"{where}: not a plain assignment")
            else:
                if len(self.values) >= MAX_NAMES:
                    self.left.append(f"{where}, and what follows: too many variables")
                    return
                self.values[name] = value

    def get(self, name: str, default: str = "") -> str:
        """Return a value, ``default`` if it is empty or there is none."""
        return self.values.get(name) or default


def opens(line: str) -> bool:
    """Say whether what a line begins may go on in the next one."""
    return len(line) > MAX_LINE or _OPENS.match(line) is not None \
        or line.count("'") % 2 == 1 or line.count('"') % 2 == 1 or line.count("`") % 2 == 1


def assignment(line: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return name and value of a line that is a plain assignment; ``known`` are the variables that
    there are.  Raises ValueError for any other line."""
    match = _LINE.match(line)
    if match is None or len(line) > MAX_LINE:
        raise ValueError("not an assignment")
    value, rest = "", line[match.end():]
    while rest and not rest[0].isspace() and rest[0] not in ";#":
        part, rest = _part(rest, known)
        value = _joined(value, part)
    if not _END.match(rest):
        raise ValueError("more than an assignment")
    return match.group(1), value


def _joined(value: str, part: str) -> str:
    if len(value) + len(part) > MAX_VALUE:   # each may hold the one before twice
        raise ValueError("a long value")
    return value + part


def _part(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the value of the first part of a word, and the rest.  Raises ValueError."""
    if text[0] == "'":
        value, quote, rest = text[1:].partition("'")
        if not quote:
            raise ValueError("an open quote")
        return value, rest
    if text[0] == '"':
        return _quoted(text[1:], known)
    if text[0] == "$":
        return _variable(text, known)
    match = _PLAIN.match(text)
    if match is None:
        raise ValueError("not a plain word")
    return match.group(), text[match.end():]


def _quoted(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return what stands before a double quote, and what comes behind it.  Raises ValueError."""
    value = ""
    while text and text[0] != '"':
        if text[0] == "`":
            raise ValueError("a command")
        if text[0] == "$":
            part, text = _variable(text, known)
        elif text[0] == "\\" and text[1:2] in tuple('"\\$`'):
            part, text = text[1], text[2:]
        else:
            part, text = text[0], text[1:]
        value = _joined(value, part)
    if not text:
        raise ValueError("an open quote")
    return value, text[1:]


def _variable(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the value of the variable that a text begins with, and the rest.  Raises ValueError.
    """
    match = _NAME.match(text)
    if match is None:
        raise ValueError("more than a variable")
    name = match.group(1) or match.group(2)
    if name not in known:
        raise ValueError(f"nobody knows {name}")
    return known[name], text[match.end():]
