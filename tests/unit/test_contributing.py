"""CONTRIBUTING.md: the files that it names are there, and what it says to run runs."""

import re
import shlex
import subprocess

import pytest

from harness import documents
from harness.run import ENVIRONMENT, ROOT

COMMANDS = [one.text for one in documents.shown("CONTRIBUTING.md")]


def test_files_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:letsencrypt_tiny|tests|programs|man|config)/[^`\s]+)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    """Of make it is seen that there is a rule; of pytest, that there are such tests."""
    argv = shlex.split(command)
    if argv[0] == "make":
        argv.insert(1, "-n")
    elif "pytest" in argv:
        argv = [name for word in argv for name in
                (sorted(map(str, ROOT.glob(word))) if "*" in word else [word])]
        argv += ["--collect-only", "-p", "no:cacheprovider"]
    else:
        assert argv[0] == "tests/check.sh"
        text = (ROOT / argv[0]).read_text()
        assert all(f"\n{stage}() {{" in text for stage in argv[1:])
        return
    done = subprocess.run(argv, cwd=ROOT, env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_a_row_of_each_table() -> None:
    """What the steps for a new challenge lead to is there for the one that they tell of."""
    for name in ("master/settings/proofs.py", "client/challenges/table.py",
                 "master/responders/table.py"):
        assert "tls-alpn-01" in (ROOT / "letsencrypt_tiny" / name).read_text(), name
    assert "tlsserver" in (ROOT / "letsencrypt_tiny/common/paths.py").read_text()
