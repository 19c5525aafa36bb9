"""Man pages: the commands in them are understood, and what they list of a table is all of it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.master import arguments
from letsencrypt_tiny.master.commands.importing.table import CLIENTS
from letsencrypt_tiny.signer import arguments as of_signer

MAN = Path(__file__).resolve().parents[2] / "man"
GENERAL = {"config", "socket", "quiet", "debug", "help"}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each line that a person is to type, with its page, as words; without what follows a
    pipe or the like."""
    for path in sorted(MAN.iterdir()):
        text = re.sub(r"\\e\n *", "", path.read_text())
        blocks = re.findall(r"(?s)^\.Bd -literal.*?\n(.*?)^\.Ed$", text, re.M)
        for line in re.findall(r"(?m)^(?:sudo )?(letsencrypt-tiny(?:-accountd)? .*)$", "\n".join(
                [*blocks, *re.findall(r"(?m)^\.Dl (.*)$", text)])):
            line = line.replace(r"\(aq", "'").replace(r"\-", "-")
            yield path.name, shlex.split(re.split(r" (?:[|&;<>]|&&)(?: |$)", line)[0])


def test_there_are_some() -> None:
    assert len(list(commands())) > 40 and len({page for page, _ in commands()}) == 4


@pytest.mark.parametrize("page, words", commands(), ids=lambda value: value if isinstance(
    value, str) else " ".join(value))
def test_is_understood(page: str, words: list[str]) -> None:
    if words[0] != "letsencrypt-tiny":
        assert of_signer.parse(words[1:])
        return
    found = arguments.plain(words[1:])
    assert found is not None and found.words, words
    command = arguments.meant(found.words[0])
    assert command, words
    given = {word[2:].partition("=")[0].replace("-", "_") for word in words[1:]
             if word.startswith("--")}
    assert given <= arguments.OPTIONS.get(command, set()) | GENERAL, words


def test_where_other_clients_files_are() -> None:
    """migrate(7): each client, and each place that is looked at for it, in that order."""
    text = (MAN / "letsencrypt-tiny-migrate.7").read_text()
    section, = re.findall(r"(?s)^\.Sh CLIENTS\n(.*?)^\.Sh ", text, re.M)
    listed = {client: tuple(re.findall(r"/[^ ,]+", rest)) for client, rest in re.findall(
        r"(?m)^\.It Cm (\S+)(.*)$", section)}
    assert listed == {client.name: client.places for client in CLIENTS.values()}
