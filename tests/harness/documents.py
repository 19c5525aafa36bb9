"""What a document in Markdown shows: commands to type, lines of files."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .run import ROOT

_PROGRAM = "letsencrypt-tiny"
# a command in the middle of a sentence
_TYPED = re.compile(rf"(?:sudo|journalctl|{_PROGRAM}(?:-accountd)?) \S")
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


class Shown(NamedTuple):
    """One of a document's commands, or the lines of a file ("\\n" at their ends), and where."""

    text: str
    heading: str
    is_file: bool = False


def shown(name: str) -> list[Shown]:
    """Return what a document of the tree shows, in its order: each line of an indented block that
    is of no file, and each command in a sentence.  The comments of a shell are left out."""
    return list(_shown((ROOT / name).read_text(encoding="utf-8")))


def _shown(text: str) -> Iterator[Shown]:
    heading, paragraphs = "", re.split(r"\n\n+", text.strip("\n"))
    for paragraph in paragraphs:
        if paragraph.startswith("#"):
            heading = paragraph.partition("\n")[0].lstrip("# ")
            paragraph = paragraph.partition("\n")[2]
        if paragraph.startswith("    "):
            lines = re.sub(r"^    ", "", paragraph, flags=re.M)
            if lines.startswith("["):
                yield Shown(f"{lines}\n", heading, True)
            else:
                for line in lines.replace("\\\n", "").splitlines():
                    command = re.sub(r"(^|\s+)#.*", "", line).strip()
                    if command:
                        yield Shown(command, heading)
        else:
            for span in _SPAN.findall(paragraph):
                if _TYPED.match(span):
                    yield Shown(" ".join(span.split()), heading)


class Cell(NamedTuple):
    """What a client wants for a task: its steps in order, commands and the lines of files."""

    steps: list[tuple[str, str]]    # "" and a command, or the path of a file and its lines
    said: str                       # instead

    def counted(self) -> str:
        """Return how README's table counts it."""
        commands = sum(not path for path, _ in self.steps)
        lines = sum(text.count("\n") for path, text in self.steps if path)
        if not self.steps:
            return "0" if self.said.startswith("Nothing") else "–"
        return f"{commands} + {lines}" if lines else str(commands)


def tasks() -> dict[str, dict[str, Cell]]:
    """Return what TASKS.md has: heading -> client -> cell."""
    found: dict[str, dict[str, Cell]] = {}
    task: dict[str, Cell] = {}
    cell = Cell([], "")
    for paragraph in (ROOT / "TASKS.md").read_text(encoding="utf-8").split("\n\n"):
        if paragraph.startswith("## "):
            task = found.setdefault(paragraph[3:].strip(), {})
        elif found and (said := re.fullmatch(r"([A-Za-z.-]+):(?: (.*))?", paragraph.strip())):
            cell = task[said[1]] = Cell([], said[2] or "")
        elif paragraph.startswith("    "):
            lines = re.sub(r"^    ", "", paragraph.rstrip("\n"), flags=re.M)
            if path := re.match(r"# (/\S+)\n", lines):
                cell.steps.append((path[1], f"{lines[path.end():]}\n"))
            else:
                cell.steps.extend(("", line) for line in lines.splitlines())
    return found
