"""check --online with a client that is lost: what it says is checked, and shown without harm."""

import signal
from typing import Any

import pytest

from harness.machine import Machine
from harness.run import Result
from harness.words import line as spoken_line
from harness.words import leave, receive, wait_for
from letsencrypt_tiny.common.wire.order import Failed
from letsencrypt_tiny.common.wire.probe import Finding, Probed


def answered(machine: Machine, *answers: Any) -> "Result[str]":
    machine.section("a", ["a.example"])
    machine.client.plays(receive(), *answers)
    return machine.run("check", "--online")


def test_a_client_that_is_right(machine: Machine) -> None:
    done = answered(machine, Finding("", "ca", "ok", "there"), Probed(""),
                    Finding("a.example", "caa", "warning", "text \x1b[2J", "do\nthis"),
                    Probed("a.example"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("ca.example: ok: there\n"
                           "a.example: warning: text \\x1b[2J; do\\x0athis\n")
    probes = machine.client.told("requests")[0]
    assert [item["request"] for item in probes] == ["Probe", "Probe"]
    machine.clean()


@pytest.mark.parametrize("words, why", [
    ([Finding("other", "caa", "ok", "x")], "for a section that it was not asked for"),
    ([Probed("a.example"), Finding("a.example", "caa", "ok", "x")], "that it was not asked for"),
    ([Probed("")], "the ACME client ended before its work was done"),
    ([spoken_line(b'{"answer":"Finding","section":"","topic":"x","verdict":"ok"}')], "“text” is"),
    ([spoken_line(b"junk")], "not valid JSON"),
    ([Failed("", "no", "lost"), Failed("a.example", "no more", "lost")], "no more")])
def test_a_client_that_is_lost(words: list[Any], why: str, machine: Machine) -> None:
    done = answered(machine, *words)
    assert done.returncode == 1 and why in done.stdout, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and "verdict" not in done.stdout
    machine.clean()


def test_a_web_server_that_ends(machine: Machine) -> None:
    """It is told of; what else there is to be said is said."""
    machine.section("a", ["a.example"])
    machine.webserver.plays(leave(3))
    go_on = machine.path / "go on"
    machine.client.plays(receive(), Probed(""), wait_for(go_on),
                         Finding("a.example", "caa", "ok", "fine"), Probed("a.example"))
    with machine.popen("check", "--online") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "letsencrypt-tiny: error: the challenge web server ended with status 3\n")
        go_on.touch()
        assert process.stdout.read() == "a.example: ok: fine\n"
        assert process.wait(20) == 1
    machine.clean()


def test_interrupted(machine: Machine) -> None:
    machine.section("a", ["a.example"])
    machine.client.misbehaves("silent", receive())
    with machine.popen("check", "--online") as process:
        machine.client.wait_for("requests")
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    machine.clean()
