"""A new key and its certificate take their places together, or not at all."""

import os
import signal
import subprocess
import time

import pytest

from harness import daemon, judge, proc, soak
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import expect
from harness.run import ENVIRONMENT, Site
from test_keys import digest, next_key

PAIRS = ("fullchain.pem", "cert.pem")


@pytest.fixture
def issued(site: Site, hostile: Hostile) -> Site:
    """A site with an account and a certificate in the section "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    assert site.run("newOrder").returncode == 0
    return site


def whole(site: Site) -> bool:
    """Tell whether the key fits all the certificates."""
    return all(judge.matches(site.file("a", name), site.file("a", "privkey.pem"))
               for name in PAIRS)


def waiting(site: Site) -> list[str]:
    """Return what waits in the state directory."""
    return sorted(name.partition("-")[0] for name in os.listdir(site.lib / "state")
                  if name.endswith(".pem"))


def test_the_key_was_removed_and_the_ca_is_down(issued: Site, hostile: Hostile) -> None:
    """The old certificate gets no key that isn't its own; a backup of that makes it whole."""
    key, cert = issued.file("a", "privkey.pem"), issued.file("a")
    old, before = key.read_bytes(), cert.read_bytes()
    key.unlink()
    hostile.on["newOrder"] = lambda _request, _default: Response.problem(
        "serverInternal", "down", 503, {"Retry-After": "3600"})
    issued.main["client"]["timeout"] = "1"
    for _ in range(2):
        assert issued.run("newOrder", "a").returncode == 1
        assert not key.exists() and cert.read_bytes() == before
        assert waiting(issued) == ["key"]
    key.write_bytes(old)
    key.chmod(0o600)
    expect(issued.run("--quiet", "newOrder"), 0)
    assert whole(issued) and cert.read_bytes() == before
    key.unlink()
    hostile.on.clear()
    expect(issued.run("--quiet", "newOrder", "a"), 0)
    assert whole(issued) and cert.read_bytes() != before and waiting(issued) == []
    assert key.read_bytes() != old and judge.mode(key) == 0o600


def test_a_new_key_and_a_wrong_ca_file(issued: Site, hostile: Hostile) -> None:
    """Key and chain wait together; one certificate is issued for that key."""
    right, issued.certs["a"]["CAfile"] = issued.certs["a"]["CAfile"], str(issued.file("a"))
    issued.certs["a"]["key-type"] = "rsa:2048"
    for _ in range(3):
        assert issued.run("newOrder").returncode == 1
        assert whole(issued) and waiting(issued) == ["issued", "key"]
    issued.certs["a"]["CAfile"] = right
    expect(issued.run("--quiet", "newOrder"), 0)
    assert whole(issued) and waiting(issued) == []
    assert len(hostile.asked("newOrder")) == 2


def test_the_key_cannot_be_read_meanwhile(issued: Site, hostile: Hostile) -> None:
    """What was issued is kept, and is installed once the key is as it was."""
    key, before = issued.file("a", "privkey.pem"), issued.file("a").read_bytes()
    issued.certs["a"]["reuse-key"] = "yes"

    def finalize(_request: Request, default: Default) -> Response:
        key.chmod(0o644)
        return default()
    hostile.on["finalize"] = finalize
    assert issued.run("newOrder", "--force").returncode == 1
    assert issued.file("a").read_bytes() == before and waiting(issued) == ["issued"]
    key.chmod(0o600)
    expect(issued.run("--quiet", "newOrder"), 0)
    assert whole(issued) and issued.file("a").read_bytes() != before
    assert len(hostile.asked("newOrder")) == 2


def killed(site: Site, call: str, number: int, *args: str) -> bool:
    """Run newOrder, the master being killed at its ``number``th ``call``; False if it wasn't."""
    done = subprocess.run(
        ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", "signal=none",
         "-e", f"inject={call}:signal=KILL:when={number}", "--",
         *site.command("--quiet", "newOrder", *args)], stdin=subprocess.DEVNULL, env=ENVIRONMENT,
        capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 10
    while done.returncode == -signal.SIGKILL and any(_runs(pid) for pid in _orphans()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def _orphans() -> list[int]:
    return [pid for pid in proc.children(os.getpid())
            if pid not in {server.pid for server in daemon.running}]


def _runs(pid: int) -> bool:
    try:
        return bool(proc.read(pid))
    except (ProcessLookupError, PermissionError):
        return False


# Most of wait4(2) are between two steps, and of unlinkat(2) for what is never there
@pytest.mark.parametrize("call, stride", [
    ("renameat", soak.stride(27)), ("wait4", soak.stride(24)), ("unlinkat", soak.stride(50))])
def test_killed_at_any_step_of_a_replacement(call: str, stride: int, issued: Site,
                                             hostile: Hostile) -> None:
    """The pair on the disk is the old one or the new one, and the next run needs no new order."""
    kinds = ["ec:P-384", "ec:P-256"]
    number, kills, was_killed = 1, 0, True
    while was_killed:
        kinds.reverse()
        issued.certs["a"]["key-type"] = kinds[1]
        before = len(hostile.asked("newOrder"))
        was_killed = killed(issued, call, number)
        assert whole(issued), number
        expect(issued.run("--quiet", "newOrder"), 0)
        assert whole(issued)
        assert f"NIST CURVE: {kinds[1][3:]}" in judge.x509(issued.file("a"), "-text")
        assert len(hostile.asked("newOrder")) - before <= 2
        number += stride
        kills += was_killed
    assert kills >= 1
    expect(issued.run("--quiet", "newOrder"), 0)
    assert waiting(issued) == []


@pytest.mark.parametrize("call, stride", [
    ("renameat", soak.stride(30)), ("linkat", 1), ("wait4", soak.stride(40))])
def test_killed_at_any_step_with_a_next_key(call: str, stride: int, issued: Site,
                                            hostile: Hostile) -> None:
    """The pair is whole; what was published as the next key is the next, or is in use."""
    issued.certs["a"]["next-key"] = "yes"
    expect(issued.run("--quiet", "newOrder"), 0)
    number, was_killed = 1, True
    while was_killed:
        published = next_key(issued)
        was_killed = killed(issued, call, number, "--force")
        assert whole(issued), number
        left = next_key(issued)
        if left != published:
            assert digest(issued.file("a", "privkey.pem")) == published
        expect(issued.run("--quiet", "newOrder"), 0)
        assert whole(issued)
        number += stride
    assert number >= 3
    expect(issued.run("--quiet", "newOrder"), 0)
    assert waiting(issued) == ["key"] and next_key(issued) is not None


def test_a_key_in_a_directory_that_others_can_write(issued: Site, hostile: Hostile) -> None:
    """What can't be written is known before a certificate is asked for."""
    key = issued.file("a", "privkey.pem")
    place = issued.path / "keys"
    place.mkdir()
    issued.certs["a"]["certificate-key"] = str(place / "key")
    place.chmod(0o777)
    assert issued.run("newOrder").returncode == 1
    assert len(hostile.asked("newOrder")) == 1 and key.exists()
