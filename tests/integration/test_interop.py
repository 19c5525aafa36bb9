"""Our programs and Debian's lacme, each with the other's account key manager; and OpenSSH between.

lacme 0.8 takes a bad nonce for the end, so Pebble is tame here.
"""

import contextlib
import os
import subprocess
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import ca, judge
from harness.judge import INSTALLED, NEW, expect
from harness.lacme import Lacme
from harness.net import await_socket
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Prefix, Site
from harness.sshd import SSHD

LACME_ACCOUNTD = "/usr/bin/lacme-accountd"
OPERATIONS = "operations = read register account-update\n"


@pytest.fixture
def lacme(pebble_tame: Pebble) -> Iterator[Lacme]:
    """A configuration of lacme for Pebble."""
    with Lacme(pebble_tame) as made:
        yield made


@pytest.fixture
def ready(site: Site, pebble_tame: Pebble) -> Site:
    """A site for Pebble, with a key that lacme-accountd takes too."""
    site.use(pebble_tame)
    site.genkey("rsa:2048")
    return site


@contextlib.contextmanager
def listening(argv: list[str], path: Path) -> Iterator[Path]:
    """Run an account key manager that makes a socket; it must remove it at SIGTERM."""
    with subprocess.Popen(argv, env=ENVIRONMENT, stdin=subprocess.DEVNULL) as process:
        try:
            await_socket(path, process)
            assert judge.mode(path) == 0o600
            yield path
        finally:
            process.terminate()
            process.wait(10)
    assert process.returncode == 0 and not path.exists()


def lacme_issues(lacme: Lacme, pebble: Pebble, *options: str) -> None:
    """Let lacme(8) register an account and obtain a certificate."""
    done = lacme.run(*options, "account", "--register", "--tos-agreed",
                     "mailto:root@interop.example")
    assert done.returncode == 0, done.stderr
    chain = lacme.certificate("a", ["lacme.example", "www.lacme.example"])
    done = lacme.run(*options, "newOrder", "a")
    assert done.returncode == 0, done.stderr
    assert judge.names(chain) == {"lacme.example", "www.lacme.example"}
    judge.verify(chain, chain, pebble.roots())


def we_issue(site: Site, pebble: Pebble, *options: str) -> None:
    """Let letsencrypt-tiny(8) register an account and obtain a certificate."""
    expect(site.run(*options, "account", "--register", "--tos-agreed"), 0,
           r"Terms of Service: \S+", r"Key ID: https://\S+", stdout=r"\{.*\}\n")
    key, chain = site.path / "a.key", site.path / "a.pem"
    key.write_text(ca.genkey())
    key.chmod(0o600)
    site.certificate("a", ["interop.example", "www.interop.example"], certificate_key=str(key),
                     certificate_chain=str(chain))
    expect(site.run(*options, "newOrder", "a"), 0, f"a: {NEW}", f"a: {INSTALLED}")
    assert judge.names(chain) == {"interop.example", "www.interop.example"}
    judge.verify(chain, chain, pebble.roots())


# --- lacme(8) and our account key manager ----------------------------------------------------

def test_lacme_starts_our_account_key_manager(lacme: Lacme, prefix: Prefix, pebble_tame: Pebble
                                              ) -> None:
    """As it would start its own; with keyid too, once the account is known."""
    lacme.main["accountd"]["command"] = str(prefix.accountd)
    lacme_issues(lacme, pebble_tame)
    url = next(line for line in lacme.register().stderr.splitlines() if "https://" in line)
    with open(lacme.path / "accountd.conf", "a", encoding="ascii") as file:
        file.write(f"keyid = {url[url.index('https://'):].rstrip('.')}\n")
    chain = lacme.certificate("b", ["keyid.lacme.example"])
    done = lacme.run("newOrder", "b")
    assert done.returncode == 0, done.stderr
    assert judge.names(chain) == {"keyid.lacme.example"}


def test_lacme_uses_our_socket(lacme: Lacme, prefix: Prefix, pebble_tame: Pebble) -> None:
    del lacme.main["accountd"]
    path = lacme.path / "S.letsencrypt-tiny"
    with listening([str(prefix.accountd), "--quiet", f"--privkey=file:{lacme.account_key}",
                    "--config=/dev/null", f"--socket={path}"], path):
        lacme_issues(lacme, pebble_tame, f"--socket={path}")


def test_lacme_within_a_policy(lacme: Lacme, prefix: Prefix, pebble_tame: Pebble) -> None:
    """What it asks for to order is what a policy allows by default; and to register, by name."""
    def choose(policy: str) -> None:
        lacme.main["accountd"]["command"] = f"{prefix.accountd} --policy={policy}"

    origin = pebble_tame.directory.rpartition("/")[0]
    with open(lacme.path / "accountd.conf", "a", encoding="ascii") as file:
        for name, more in ("orders", ""), ("account", OPERATIONS):
            file.write(f"[policy {name}]\norigins = {origin}\nidentifiers = .lacme.example\n{more}")
    choose("account")
    done = lacme.register()
    assert done.returncode == 0, done.stderr
    choose("orders")
    chain = lacme.certificate("b", ["a.lacme.example", "b.lacme.example"])
    lacme.certs["b"].update(keyUsage="digitalSignature, keyEncipherment", hash="sha384")
    done = lacme.run("newOrder", "b")
    assert done.returncode == 0, done.stderr
    assert judge.names(chain) == {"a.lacme.example", "b.lacme.example"}
    lacme.certificate("c", ["evil.example"])
    for command in (["newOrder", "c"], ["account", "--deactivate"],
                    ["account", "mailto:evil@harness.example"]):
        done = lacme.run(*command)
        assert done.returncode != 0 and "NOSIGN" in done.stderr, done.stderr


@pytest.mark.alike(2)
@pytest.mark.parametrize("command, why", [
    (["newOrder", "c"], "evil.example is not one of its identifiers"),
    (["account", "--deactivate"], "not a request that a policy knows"),
    (["account", "mailto:evil@harness.example"], "not a request that a policy knows"),
    (["account", "--register", "--tos-agreed"], "register is not allowed")])
def test_a_refusal_never_reaches_the_ca(command: list[str], why: str, lacme: Lacme,
                                        prefix: Prefix, pebble_tame: Pebble) -> None:
    """lacme takes any line for a signature: none comes, so as much is sent as was signed."""
    lacme.main["accountd"]["command"] = str(prefix.accountd)
    done = lacme.register()
    assert done.returncode == 0, done.stderr
    log = lacme.path / "log"
    log.touch(0o666)
    log.chmod(0o666)
    text = (lacme.path / "accountd.conf").read_text()
    (lacme.path / "accountd.conf").write_text(
        f"{text}logfile = {log}\n[policy orders]\nidentifiers = .lacme.example\n"
        f"origins = {pebble_tame.directory.rpartition('/')[0]}\n")
    lacme.main["accountd"]["command"] = f"{prefix.accountd} --policy=orders"
    lacme.certificate("c", ["evil.example"])
    before = pebble_tame.log.count(" POST ")
    done = lacme.run(*command)
    assert done.returncode != 0 and "lost connection with lacme-accountd" in done.stderr
    sent = pebble_tame.log.count(" POST ") - before
    found = log.read_text()
    assert found.count("] NOSIGN ") == 1 and why in found
    assert sent == found.count("] SIGNED "), (sent, found)


# --- letsencrypt-tiny(8) and lacme-accountd(1) ---------------------------------------------------

def test_we_start_lacme_accountd(ready: Site, pebble_tame: Pebble) -> None:
    """As _letsencrypt-accountd, with its configuration file and all its quiet."""
    ready.main["accountd"].update(command=LACME_ACCOUNTD, confine="auto")   # it knows no other
    we_issue(ready, pebble_tame)


def test_we_use_the_socket_of_lacme_accountd(ready: Site, pebble_tame: Pebble) -> None:
    """By the option, which beats [accountd], and by the configuration, which has none."""
    path = ready.path / "S.lacme"
    with listening([LACME_ACCOUNTD, "--quiet", f"--privkey=file:{ready.account_key}",
                    f"--socket={path}"], path):
        we_issue(ready, pebble_tame, f"--socket={path}")
        del ready.main["accountd"]
        ready.main["client"]["socket"] = str(path)
        expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    expect(ready.run("newOrder", "--force"), 1, "a: forced",
           rf"error: a: {path}: No such file or directory "
           r"\(is letsencrypt-tiny-accountd running\? .*")


# --- and OpenSSH between -------------------------------------------------------------------------

def test_account_key_manager_on_another_host(ready: Site, pebble_tame: Pebble) -> None:
    """ssh -T HOST letsencrypt-tiny-accountd --stdio, as the man page says."""
    ready.configure()
    own = f"{ready.prefix.accountd} --config={ready.etc}/accountd.conf --quiet"
    with SSHD() as sshd:
        ready.main["accountd"] = {"user": "", "group": "", "command": " ".join(
            [*sshd.client, "-T", "signer", own, "--stdio"])}
        we_issue(ready, pebble_tame)
        sshd.stop()
        expect(ready.run("newOrder", "--force"), 1, "a: forced",
               r"accountd: ssh: connect to host 127\.0\.0\.1 port \d+: Connection refused",
               r"error: a: the account key manager \(letsencrypt-tiny-accountd\) failed: "
               "it closed the connection")


def test_forced_command(ready: Site, pebble_tame: Pebble) -> None:
    """A key that can do nothing but sign."""
    ready.configure()
    own = f"{ready.prefix.accountd} --config={ready.etc}/accountd.conf --quiet --stdio"
    with SSHD(f'restrict,command="{own}"') as sshd:
        ready.main["accountd"] = {"user": "", "group": "", "command": " ".join(
            [*sshd.client, "-T", "signer", "letsencrypt-tiny-accountd", "--stdio"])}
        we_issue(ready, pebble_tame)


def test_forwarded_socket(ready: Site, pebble_tame: Pebble) -> None:
    """ssh -R HOST letsencrypt-tiny --socket, as the other man page says."""
    del ready.main["accountd"]
    ours, theirs = ready.path / "S.here", ready.path / "S.there"
    with SSHD() as sshd, listening(
            [str(ready.prefix.accountd), "--quiet", "--config=/dev/null", f"--socket={ours}",
             f"--privkey=file:{ready.account_key}"], ours):
        forwarded = [*sshd.client, "-T", "-o", "ExitOnForwardFailure=yes", "-R", f"{theirs}:{ours}",
                     "signer"]
        for number, command in enumerate((["account", "--register", "--tos-agreed"],
                                          ["newOrder"])):
            ready.certificate("a", ["forwarded.example"])
            done = subprocess.run(
                [*forwarded, *ready.command(f"--socket={theirs}", *command)], env=ENVIRONMENT,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
            if number == 0:
                expect(done, 0, r"Terms of Service: \S+", r"Key ID: https://\S+",
                       stdout=r"\{.*\}\n")
            else:
                expect(done, 0, f"a: {NEW}", r"a: generating the private key .*", f"a: {INSTALLED}")
            os.unlink(theirs)   # sshd leaves it, as its manual says
    assert judge.names(ready.file("a")) == {"forwarded.example"}
