"""Shell files of other clients: assignments are read as the shell reads them; nothing is executed.
"""

import subprocess
from pathlib import Path

import pytest

from letsencrypt_tiny.master.commands.importing.assignments import MAX_VALUE, Shell

PLAIN = r"""
# a comment
A=plain
B='single $A `id` "quotes"'
C="double $A ${B}/x \"\$A\\"
export D=a/b.c:d@e%f+g=h,i-j^k
E=
F=''"$A"'x'y   # and more
 G="#no comment"
I="$A$A";
J=$C
K="a\b"
"""


def read(text: str, **known: str) -> Shell:
    shell = Shell(known)
    shell.read(text, "f")
    return shell


def test_as_the_shell_reads_it(tmp_path: Path) -> None:
    """Its judge is the shell itself."""
    (tmp_path / "file").write_text(PLAIN)
    shell = read(PLAIN)
    names = "ABCDEFGIJK"
    script = 'f=$0; . "$f"; for v in ' + " ".join(f'"${name}"' for name in names) \
        + '; do printf "%s\\n" "$v"; done'
    done = subprocess.run(["/bin/sh", "-c", script, str(tmp_path / "file")], capture_output=True,
                          text=True, check=True)
    assert done.stdout.splitlines() == [shell.values[name] for name in names]
    assert shell.left == [] and set(shell.values) == set(names)


@pytest.mark.parametrize("line", [
    "A=$(touch {}/x)", "A=`touch {}/x`", 'A="$(touch {}/x)"', 'A="`touch {}/x`"',
    "A=b touch {}/x", "A=b; touch {}/x", "A=b & touch {}/x", "A=b | touch {}/x", "touch {}/x",
    "A=$unknown", "A=${{B:-c}}", "A=${{B}}c*", "A=~/x", "A=b>{}/x", "A=a\\ b", "A=a{{b,c}}",
    "A+=b", "A = b", "9=a", "A=$((1+1))", "A=$'x'", "A=?", "A=[a]", ". {}/x", "source {}/x",
    "eval A=b", "A=b#c d"])
def test_what_is_more_than_an_assignment(line: str, tmp_path: Path) -> None:
    """It is told by its number, and the next line is read."""
    line = line.format(tmp_path)
    shell = read(f"B=1\n{line}\nC=2\n")
    assert shell.values == {"B": "1", "C": "2"}
    assert shell.left == ["f, line 2: not a plain assignment"] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", [
    "if true; then", "for x in a; do", "while true", "case x in", "f() {", "f ()", "function f",
    "{", "(", "cat <<END", "A='", 'A="', "A=`", "A=b \\", "true &&", "true ||", "true |", "A=(",
    "A=(a b)", "x" * 20000])
def test_what_may_go_on_in_the_next_line(line: str) -> None:
    """Whether what follows is executed, and as what, nobody knows: it is not read."""
    shell = read(f"B=1\n{line}\nC=2\n")
    assert shell.values == {"B": "1"}
    assert shell.left == ["f, line 2, and what follows: not a plain assignment"]


def test_values_don_t_grow_without_end() -> None:
    shell = read("A=" + "x" * 1000 + "\n" + 'A="$A$A"\n' * 1000)
    assert len(shell.values["A"]) <= MAX_VALUE
    shell = read("".join(f"A{number}=x\n" for number in range(5000)))
    assert len(shell.values) == 2000 and "too many variables" in shell.left[0]
