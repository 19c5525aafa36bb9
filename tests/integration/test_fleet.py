"""One signer and many hosts, by the real sshd: what each may have signed; and certificates that are
made centrally and pushed to where they are used."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import ca, judge
from harness.net import await_socket
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, ROOT, SIGNER_USER, Site
from harness.sshd import SSHD

PUSH, RECEIVE = (ROOT / "examples" / f"{name}-certificate.sh" for name in ("push", "receive"))


@pytest.fixture
def ready(site: Site, pebble_tame: Pebble) -> Site:
    """A site with an account, and a policy for one host, which it is."""
    site.open_account(pebble_tame)
    origin = pebble_tame.directory.rpartition("/")[0]
    site.accountd["policy web1"] = {"identifiers": "web1.example, .web1.example",
                                    "origins": origin}
    site.accountd["policy any"] = {"identifiers": "*", "origins": origin}
    site.certificate("a", ["web1.example", "www.web1.example"])
    site.certificate("b", ["web2.example"])
    return site


def by_ssh(site: Site, sshd: SSHD, *asks: str) -> None:
    site.main["accountd"] = {"user": "", "group": "", "command": shlex.join(
        [*sshd.client, "-T", "signer", *asks])}


def only_its_own(site: Site) -> None:
    """Names of its policy it has, and no others."""
    done = site.run("newOrder")
    assert done.returncode == 1, done.stderr
    assert "a: certificate installed" in done.stderr
    assert "web2.example is not one of its identifiers" in done.stderr
    assert judge.names(site.file("a")) == {"web1.example", "www.web1.example"}
    assert not site.file("b").exists()


def test_a_policy_by_forced_command(ready: Site) -> None:
    """Whatever it asks for; and --explain says the same."""
    ready.configure()
    own = f"{ready.prefix.accountd} --config={ready.etc}/accountd.conf --quiet"
    done = subprocess.run([*own.split(), "--explain", "--policy=web1"], env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "names web1.example; all below web1.example but wildcards " \
        "(identifiers)" in " ".join(done.stdout.split())
    with SSHD(f'restrict,command="{own} --stdio --policy=web1"') as sshd:
        by_ssh(ready, sshd, *own.split(), "--stdio", "--policy=any")
        only_its_own(ready)
        done = ready.run("account", "--deactivate", "--yes")
        assert done.returncode == 1 and "deactivate is not allowed" in done.stderr


@contextmanager
def activated(path: Path, log: Path, *argv: str) -> Iterator[None]:
    """A program to which systemd's tool hands a socket, as its socket unit would."""
    with open(log, "wb") as file, subprocess.Popen(
            ["/usr/bin/systemd-socket-activate", f"--listen={path}", *argv], env=ENVIRONMENT,
            stderr=file, stdin=subprocess.DEVNULL) as process:
        try:
            await_socket(path, process)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()


@pytest.mark.skipif(not os.path.exists("/usr/bin/systemd-socket-activate"),
                    reason="no systemd-socket-activate")
@pytest.mark.skipif(not os.path.exists("/usr/bin/nc"), reason="no nc (netcat-openbsd)")
def test_a_policy_by_socket(ready: Site, tmp_path: Path) -> None:
    """As letsencrypt-tiny-accountd@web1.socket has it; ssh(1) reaches the socket, and no key."""
    ready.configure()
    path = ready.rundir / "web1"
    with activated(path, tmp_path / "log", str(ready.prefix.accountd),
                   f"--config={ready.etc}/accountd.conf", "--policy=web1"), \
            SSHD(f'restrict,command="nc -UN {path}"') as sshd:
        by_ssh(ready, sshd, "letsencrypt-tiny-accountd", "--stdio")
        only_its_own(ready)
        # and on this host, owned as by SocketUser=
        shutil.chown(path, SIGNER_USER, SIGNER_USER)
        path.chmod(0o600)
        del ready.main["accountd"], ready.certs["b"]
        ready.main["client"]["socket"] = str(path)
        done = ready.run("newOrder", "--force")
        assert done.returncode == 0, done.stderr
    assert f"listening on {path} (inherited)" in (tmp_path / "log").read_text()


# --- certificates that are pushed ----------------------------------------------------------------

class Pushed:
    """A host that receives certificates: ``directory`` is where, ``told`` how often it was told."""

    def __init__(self, site: Site) -> None:
        self.directory = site.path / "ssl" / "web"
        self.directory.parent.mkdir()
        self.log = site.path / "told"
        self.script = site.path / "reload"
        self.reload("exit 0")

    def reload(self, last: str) -> None:
        """What the command does after it was noted."""
        self.script.write_text(f"#!/bin/sh\necho told >>{self.log}\n{last}\n")
        self.script.chmod(0o755)

    @property
    def options(self) -> str:
        """What stands before the key in authorized_keys."""
        return f'restrict,command="{RECEIVE} {self.directory} {self.script}"'

    @property
    def told(self) -> int:
        return self.log.read_text().count("told") if self.log.exists() else 0

    def has(self, site: Site) -> bool:
        """True if it has what the site has, and nobody else can read the key; nothing is left."""
        key = self.directory / "privkey.pem"
        assert judge.mode(key) == 0o600 and key.stat().st_uid == 0
        assert judge.mode(self.directory / "fullchain.pem") == 0o644
        assert {path.name for path in self.directory.parent.iterdir()} == {
            "web", "web.lock", os.readlink(self.directory)}
        return all((self.directory / name).read_bytes() == site.file("a", name).read_bytes()
                   for name in ("privkey.pem", "fullchain.pem"))

    def take(self, text: str) -> "subprocess.CompletedProcess[str]":
        """As it comes from sshd."""
        return subprocess.run([RECEIVE, self.directory, self.script], input=text, text=True,
                              env=ENVIRONMENT, capture_output=True, timeout=60, check=False)

    def push(self, sshd: SSHD, text: str) -> "subprocess.CompletedProcess[str]":
        """Send this, and ask for something else than what is to be done with it."""
        return subprocess.run([*sshd.client, "-T", "signer", "sh -c 'touch /srv/evil'"], input=text,
                              env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
                              check=False)


def test_pushed_certificates(ready: Site) -> None:
    """By “notify”; what fails there is tried again by the next run."""
    pushed = Pushed(ready)
    del ready.certs["b"]
    with SSHD(pushed.options) as sshd:
        ready.certs["a"]["notify"] = (f"SSH='{' '.join(sshd.client)}' {PUSH} "
                                      f"{ready.lib}/certs/a signer")
        pushed.reload("exit 3")
        done = ready.run("newOrder")
        assert done.returncode == 1 and f"it is in place, but “{pushed.script}” failed" in \
            done.stderr and "push-certificate: signer has not taken" in done.stderr
        assert pushed.told == 1
        pushed.reload("exit 0")
        done = ready.run("newOrder")
        assert done.returncode == 0, done.stderr
        assert pushed.has(ready) and pushed.told == 2
        nothing_else(pushed, ready)
        another(pushed, sshd)
        sshd.stop()
        done = subprocess.run([PUSH, ready.lib / "certs/a", "signer"], capture_output=True,
                              env={**ENVIRONMENT, "SSH": " ".join(sshd.client)}, check=False)
        assert done.returncode == 1 and b"signer has not taken" in done.stderr


def another(pushed: Pushed, sshd: SSHD) -> None:
    """The link is what changes, so that no other reader sees a key with another's certificate."""
    before = os.readlink(pushed.directory)
    key, chain = pair(pushed)
    done = pushed.push(sshd, key + chain)
    assert done.returncode == 0 and pushed.told == 3, done
    assert (pushed.directory / "fullchain.pem").read_text() == chain
    assert os.readlink(pushed.directory) != before
    assert not (pushed.directory.parent / before).exists()
    assert judge.mode(pushed.directory / "privkey.pem") == 0o600
    assert not os.path.exists("/srv/evil")


def pair(pushed: Pushed, days: str = "1") -> tuple[str, str]:
    """A key and a certificate for it."""
    key = pushed.directory.parent.parent / "another.key"
    key.write_text(ca.genkey())
    return key.read_text(), ca.openssl("req", "-x509", "-key", str(key), "-subj", "/CN=x",
                                       "-days", days).decode()


def nothing_else(pushed: Pushed, site: Site) -> None:
    """Whatever else comes changes nothing, nor does the same again."""
    key, chain = (site.file("a", name).read_text() for name in ("privkey.pem", "fullchain.pem"))
    before = os.readlink(pushed.directory)
    (pushed.directory.parent / "web.new-killed").mkdir()   # one that was killed
    for text, why in ((key + chain, ""), ("", "no private key"), (chain, "no private key"),
                      (key, "no certificate"), (ca.genkey() + chain, "is for another key"),
                      (key + chain + "#" * 300000, "more than 256 KiB")):
        done = pushed.take(text)
        assert done.returncode == (1 if why else 0) and why in done.stderr, done
        assert pushed.has(site) and pushed.told == 2 and os.readlink(pushed.directory) == before


def test_what_is_there_already_is_left_alone(ready: Site) -> None:
    """A directory, which is not ours to replace."""
    pushed = Pushed(ready)
    pushed.directory.mkdir()
    done = subprocess.run([RECEIVE, pushed.directory], input="", env=ENVIRONMENT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and done.stderr == (
        f"receive-certificate: {pushed.directory} is there and no link: move it away\n")
    assert not list(pushed.directory.iterdir())
