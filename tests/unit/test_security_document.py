"""SECURITY.md: each claim names a test, and each test that it names exists and is run."""

import ast
import functools
import re
from pathlib import Path
from collections.abc import Iterator

import pytest

TREE = Path(__file__).resolve().parents[2]
TEXT = (TREE / "SECURITY.md").read_text()
ATTACKS = [*range(1, 67)]


@functools.lru_cache(None)
def stages() -> set[str]:
    """Return the directories of tests that ``make check`` runs."""
    script = (TREE / "tests/check.sh").read_text()
    default = re.search(r"^\[ \$# -gt 0 \] \|\| stages=\((.*)\)$", script, re.M)
    assert default
    return {stage for stage in default.group(1).split() if (TREE / "tests" / stage).is_dir()}


@functools.lru_cache(None)
def defined_in(file: str) -> set[str]:
    """Return the tests in a file below ``tests``, without importing it."""
    path = TREE / "tests" / file
    if file.partition("/")[0] not in stages() or not path.is_file():
        return set()
    return {node.name for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef) and not any(
                re.search(r"\bskip\b|xfail", ast.unparse(item)) for item in node.decorator_list)}


def named(text: str) -> list[tuple[str, str]]:
    """Return the pairs (file, test) that a cell or paragraph names: “`file`: `test`, `test`; …”."""
    pairs, file = [], ""
    for word in re.findall(r"`([^`]*)`", text):
        if word.endswith(".py") and "/test_" in word:
            file = word
        elif re.match(r"test_\w", word):
            pairs.append((file, word))
    return pairs


def tables(text: str) -> Iterator[list[list[str]]]:
    """Yield the rows of each table, its heading first."""
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def faults(text: str) -> list[str]:
    """Return what is wrong with the document."""
    found, numbers = [], []
    for paragraph in re.split(r"\n(?=\n|\||- )", text):
        for file, test in named(paragraph):
            if test not in defined_in(file):
                found.append(f"no such test: “{file}”: “{test}”")
    for heading, *rows in tables(text):
        if heading[-1] != "shown by":
            continue
        for row in rows:
            if len(row) != len(heading):
                found.append(f"a broken row: {row}")
            elif heading[0] == "" and row[1].startswith("**"):
                continue   # a heading
            elif not named(row[-1]):
                found.append(f"no test: {row}")
            elif heading[0] == "":
                numbers += [int(number) for number in row[0].split()]
    if sorted(numbers) != ATTACKS:   # each stands with whose it is
        found.append(f"attacks: {sorted(set(ATTACKS) ^ set(numbers)) or numbers}")
    remains = text.partition("## What remains\n")[2]
    for item in re.split(r"\n(?=- )", remains.strip()):
        if not named(item):
            found.append(f"no test: {item}")
    return found


def test_every_claim_names_a_test_that_exists() -> None:
    assert faults(TEXT) == []
    assert len(named(TEXT)) > 150


@pytest.mark.parametrize("old, new, fault", [
    ("`test_nothing_is_reflected`", "`test_nothing_is_reflectd`", "no such test: “unit/test_web"),
    ("`unit/test_webserver.py`: `test_nothing", "`test_nothing", "no such test: “”"),
    ("`unit/test_webserver.py`: `test_nothing", "`soak/test_frozen_client.py`: `test_nothing",
     "no such test: “soak/"),
    ("`unit/test_webserver.py`: `test_nothing_is_reflected`", "by inspection", "no test: "),
    ("(`unit/test_shell.py`: `test_shell`; `integration/test_told.py`: `test_hooks_of_others`)", "",
     "no test: - `notify`"),
    ("\n| 17 |", "\n| |", "attacks: [17]"), ("\n| 17 |", "\n| 16 |", "attacks: [17]"),
    ("| nothing of a request comes back in an answer |", "| nothing |  |", "a broken row")])
def test_faults_are_found(old: str, new: str, fault: str) -> None:
    assert TEXT.count(old) == 1
    found = faults(TEXT.replace(old, new))
    assert len(found) == 1 and found[0].startswith(fault), found
