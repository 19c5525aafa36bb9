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
