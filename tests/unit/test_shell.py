"""Commands of the administrator's: what they are given, and how long they may take."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from letsencrypt_tiny.common import log
from letsencrypt_tiny.master.peers.shell import run_shell

pytestmark = pytest.mark.root


def test_shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", "/evil")
    monkeypatch.setenv("SECRET", "s")
    status = run_shell("echo $A; echo err >&2; env | sort; pwd; ls /proc/self/fd; exit 5",
                       {"A": "x y"}, 10)
    assert status == 5
    out, err = capfd.readouterr()
    assert out == "", "standard output is for what was asked for"
    lines = err.splitlines()
    assert lines[:2] == ["x y", "err"]
    variables: dict[str, str] = dict(line.split("=", 1) for line in lines if "=" in line)
    assert set(variables) - {"_", "OLDPWD", "PWD", "SHLVL"} == {
        "A", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"}
    assert variables["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    at = lines.index("/")
    assert lines[at + 1:] == ["0", "1", "2", "3"], "3 is the directory that ls lists"


def test_shell_that_does_not_end(capfd: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "level", log.NORMAL)
    start = time.monotonic()
    assert run_shell("exec sleep 60", {}, 0.2) == 128 + signal.SIGTERM
    assert time.monotonic() - start < 3
    assert "“exec sleep 60” did not end within 0 seconds" in capfd.readouterr().err


@pytest.mark.parametrize("command, status", [
    ("sleep 1000", signal.SIGTERM), ("sleep 1000; true", signal.SIGTERM),
    ("sleep 1000 & sleep 1000 & wait", signal.SIGTERM),
    ("(trap '' TERM; sleep 1000; sleep 1000) & wait", signal.SIGTERM),
    ("trap '' TERM; sleep 1000; sleep 1000", signal.SIGKILL),
    ("sleep 1000 | sleep 1000", signal.SIGTERM), ("kill -STOP $$; true", signal.SIGTERM)])
def test_its_whole_process_group_ends(command: str, status: int) -> None:
    """What is left would be found, and made fail, by the suite: see no_process_left."""
    assert run_shell(command, {}, 0.3) == 128 + status


def test_what_goes_on_in_the_background_stays(tmp_path: Path) -> None:
    """Where the command itself has ended in time."""
    assert run_shell(f"(sleep 0.5; touch {tmp_path}/done) & exit 3", {}, 10) == 3
    deadline = time.monotonic() + 5
    while not (tmp_path / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_standard_output() -> None:
    """Descriptor 1 was closed when Python started: sys.stdout is None then."""
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); os.open('/dev/null', os.O_RDWR)\n"
            "from letsencrypt_tiny.master.peers.shell import run_shell\n"
            "assert sys.stdout is None\n"
            "sys.exit(run_shell('exit 7', {}, 5))")
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", "/usr/bin/python3", "-I", "-c",
                           code, str(Path(__file__).parents[2])], stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == 7, done.stderr
