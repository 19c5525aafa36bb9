"""What nginx has in its configuration, as far as it matters who answers for a name at port 80.

Read from what “nginx -T” prints: all files, each behind a line with its name.  Pure functions.
"""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_FILE = re.compile(r"^# configuration file (.*):$", re.M)
_TOKEN = re.compile(r"""\s+ | \#[^\n]* | (?P<mark>[{};])
                        | "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)'
                        | (?P<word>(?:\$\{[^}]*\}|\\.|[^\s{};"'\#]|(?<=\S)\#)+)""", re.X | re.S)
_MOST = 100   # files in one another


class Server(NamedTuple):
    """A server {}."""

    file: str
    line: int
    listens: tuple[tuple[str, ...], ...]    # the words of each directive
    names: tuple[str, ...]

    @property
    def at_80(self) -> bool:
        """Whether it is at the port of HTTP, without TLS."""
        return not self.listens or any(
            re.search(r"(?:^|:)80\Z|^[^:]*[^:0-9][^:]*\Z|^\[[^]]*\]\Z", words[0])
            and "ssl" not in words for words in self.listens if words)

    @property
    def is_default(self) -> bool:
        """Whether it answers for names that are nobody's."""
        return any("default_server" in words for words in self.listens)


class Found(NamedTuple):
    """What there is."""

    servers: tuple[Server, ...]
    includes: tuple[str, ...]     # patterns in http {}: in their order


def parse(text: str) -> Found:
    """Read what “nginx -T” prints; what makes no sense is left out."""
    parts = _FILE.split(text)
    files = dict(zip(parts[1::2], parts[2::2]))
    if not files:
        return Found((), ())
    reader = _Reader(files, os.path.dirname(next(iter(files))))
    reader.read(next(iter(files)), (), 0)
    return Found(tuple(reader.servers), tuple(reader.includes))


def answers(found: Found, name: str) -> Server | None:
    """Return the server that answers for a name at port 80; None if there is none."""
    there = [server for server in found.servers if server.at_80]
    labels = name.split(".")
    wanted = [name, *("*." + ".".join(labels[start:]) for start in range(1, len(labels)))]
    for word in wanted:   # the longest first, as nginx does
        for server in there:
            if word in server.names or word[1:] in server.names:
                return server
    for server in there:
        if any(_fits(pattern, name) for pattern in server.names):
            return server
    return next((server for server in there if server.is_default), there[0] if there else None)


def _fits(pattern: str, name: str) -> bool:
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1])
    try:
        return pattern.startswith("~") and re.search(pattern[1:].lstrip("*"), name) is not None
    except re.error:
        return False


class _Reader:
    """Goes through the files, as they include each other."""

    def __init__(self, files: dict[str, str], directory: str) -> None:
        self._files = files
        self._directory = directory
        self.servers: list[Server] = []
        self.includes: list[str] = []
        self._open: list[tuple[str, int, list[tuple[str, ...]], list[str]]] = []   # server {}s

    def read(self, file: str, inside: tuple[str, ...], depth: int) -> None:
        """Read a file that stands ``inside`` of blocks of these names."""
        blocks, words, start = list(inside), list[str](), 0
        for token, mark, line in _tokens(self._files[file]):
            if not mark:
                start = start if words else line
                words.append(token)
            elif token == "{":
                blocks.append(words[0] if words else "")
                if blocks[-2:] == ["http", "server"]:
                    self._open.append((file, start, [], []))
            elif token == "}" and blocks:
                if blocks[-2:] == ["http", "server"] and self._open:
                    where, number, listens, names = self._open.pop()
                    self.servers.append(Server(where, number, tuple(listens), tuple(names)))
                blocks.pop()
            elif words:
                self._directive(words, blocks, depth)
            words = words if not mark else []

    def _directive(self, words: Sequence[str], blocks: Sequence[str], depth: int) -> None:
        if words[0] == "include" and len(words) == 2 and depth < _MOST:
            pattern = os.path.join(self._directory, words[1])
            if list(blocks) == ["http"]:
                self.includes.append(pattern)
            for file in sorted(self._files):
                if os.path.dirname(file) == os.path.dirname(pattern) \
                        and fnmatch.fnmatchcase(file, pattern):
                    self.read(file, tuple(blocks), depth + 1)
        elif list(blocks[-2:]) == ["http", "server"] and self._open:
            if words[0] == "listen":
                self._open[-1][2].append(tuple(words[1:]))
            elif words[0] == "server_name":
                self._open[-1][3].extend(word.lower() for word in words[1:])


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield each token, whether it is one of {};, and its line."""
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is not None:
            yield match.group(kind), kind == "mark", line
        line += match.group().count("\n")
