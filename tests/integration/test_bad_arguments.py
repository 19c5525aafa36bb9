"""Bad command lines: exit status 2 and a last line that says why; nothing is touched."""

import re

import pytest

from harness.hostile import Hostile
from harness.run import CLIENT_USER, Site, as_user, run
from harness.verdict import errors, only_error, snapshot


@pytest.mark.alike(3)
@pytest.mark.parametrize("args", [
    (), ("frobnicate",), ("newOrder", "--frobnicate"), ("--frobnicate",), ("newOrder", "nosuch"),
    ("status", "nosuch"), ("status", "--force"), ("check", "a"),
    ("newOrder", "--min-days"), ("newOrder", "--min-days=soon"), ("newOrder", "--register"),
    ("newOrder", "--force", "--min-days=3"), ("account", "--force"), ("account", "nocolon"),
    ("account", "mailto:a b"), ("revokeCert",), ("revokeCert", "--reason=whatever", "x"),
    ("revokeCert", "--reason=7", "x"), ("account", "--json"), ("--conf=x", "check"),
    ("newOrder", "--config-certs=/nonexistent.conf"), ("--config=/nonexistent.conf", "check"),
    ("newOrder", "\x1b[2J")], ids=lambda args: " ".join(args) or "none")
def test_command_lines(args: tuple[str, ...], good: Site) -> None:
    """Exit status 2 and a last line that says why; nothing is touched."""
    good.configure()
    before = snapshot(good.lib, good.etc)
    done = good.run(*args)
    assert done.returncode == 2 and done.stdout == ""
    assert len(errors(done)) <= 1   # argparse says “letsencrypt-tiny: error: …” below the usage
    assert re.match(r"(letsencrypt-tiny: )?error: .{10}", done.stderr.splitlines()[-1])
    assert snapshot(good.lib, good.etc) == before


@pytest.mark.parametrize("args", [
    ("--frobnicate",), ("x",), ("--stdio", "--genkey=ec:P-256"), ("--genkey=dsa",),
    ("--confine=x",), ("--stdio", "--privkey=nonsense"), ("--config=/nonexistent.conf",)],
    ids=" ".join)
def test_command_lines_of_the_signer(args: tuple[str, ...], good: Site) -> None:
    only_error(run(good.signer(*args)), 2)


@pytest.mark.parametrize("program", ["client", "webserver"])
@pytest.mark.parametrize("args", [(), ("--frobnicate",), ("x", "y"), ("3", "4"), ("-1",),
                                  ("9" * 30,)])
def test_command_lines_of_children(program: str, args: tuple[str, ...], good: Site) -> None:
    path = good.prefix.client if program == "client" else good.prefix.webserver
    done = run(as_user(CLIENT_USER, [str(path), *args]))
    assert done.returncode in (1, 2)
    assert len(errors(done)) == 1, done.stderr


def test_check_changes_nothing(good: Site, server: Hostile) -> None:
    """Neither where all is well nor where a key is open to everybody; and nobody is asked."""
    good.certificate("later", ["later.example"])
    good.configure()
    key = good.file("a", "privkey.pem")
    for mode, status in ((0o600, 0), (0o644, 1)):
        key.chmod(mode)
        before = snapshot(good.lib, good.etc, good.rundir)
        done = good.run("check")
        after = snapshot(good.lib, good.etc, good.rundir)
        key.chmod(0o600)
        assert (done.returncode, len(errors(done))) == (status, status), done.stderr
        assert before == after
    assert not server.requests
