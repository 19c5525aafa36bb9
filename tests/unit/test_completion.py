"""Completion by shells: all commands and options, and the sections that there are."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.machine import Machine
from harness.run import ROOT
from letsencrypt_tiny.master.arguments import COMMANDS, OPTIONS

BASH, ZSH = ROOT / "share/letsencrypt-tiny.bash", ROOT / "share/_letsencrypt-tiny"
GENERAL = {"--config", "--socket", "--quiet", "--debug", "--help", "--version"}
_ASK = """compopt() { :; }
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_letsencrypt_tiny "$1" "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words: str) -> set[str]:
    """Return what bash offers for the last of these words."""
    done = subprocess.run(["bash", "-eu", "-c", _ASK, "bash", BASH, *words],
                          capture_output=True, text=True, check=True)
    assert not done.stderr
    return set(done.stdout.splitlines())


def options(command: str) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in OPTIONS[command]}


def test_commands() -> None:
    found = complete("letsencrypt-tiny", "")
    assert found == set(COMMANDS.values())
    assert complete("letsencrypt-tiny", "--quiet", "re") == {"records", "remove", "revokeCert"}
    assert all(f"'{command}:" in ZSH.read_text() for command in found)


@pytest.mark.parametrize("command", OPTIONS)
def test_options(command: str) -> None:
    found = {word.rstrip("=") for word in complete("letsencrypt-tiny", command, "--")}
    assert found == GENERAL | options(command)
    text = ZSH.read_text()
    part = text[text.index(f"\n    {command}"):].split(";;")[0] if options(command) else ""
    assert all(f"{name}[" in part or f"{name}=[" in part for name in options(command))


def test_values() -> None:
    """What is typed after “=” is a word of its own to bash."""
    assert complete("letsencrypt-tiny", "add", "--challenge", "=", "tl") == {"tls-alpn-01"}
    assert complete("letsencrypt-tiny", "revoke", "--reason", "=") >= {"keyCompromise"}
    assert complete("letsencrypt-tiny", "import", "lac") == {"lacme"}
    assert complete("letsencrypt-tiny", "--config", "=", "/etc/host") >= {"/etc/hostname"}
    assert complete("letsencrypt-tiny", "tidy", "") == set()


def test_sections(machine: Machine, tmp_path: Path) -> None:
    for name in "alpha.example", "beta.example":
        machine.section(name)
    program = tmp_path / "letsencrypt-tiny"
    program.write_text("#!/bin/sh\nexec " + " ".join(map(_quoted, machine.argv())) + ' "$@"\n')
    program.chmod(0o755)
    machine.run("status")
    assert complete(str(program), "renew", "") == {"alpha.example", "beta.example"}
    assert complete(str(program), "status", "b") == {"beta.example"}


def _quoted(word: str) -> str:
    return f"'{word}'"


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_its_own() -> None:
    subprocess.run(["zsh", "-n", ZSH], check=True)
