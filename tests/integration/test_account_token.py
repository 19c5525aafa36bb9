"""An account key in a token: registered, ordered with, and never anywhere else."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import accountd, proc
from harness.pebble import Pebble
from harness.run import SIGNER_USER, Site
from harness.softhsm import GROUP, PIN, Token, pin_file


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    with Pebble(nosleep=True, noncereject=0) as server:
        yield server


@pytest.fixture
def token() -> Iterator[Token]:
    with Token(SIGNER_USER) as made:
        yield made


@pytest.fixture
def ready(site: Site, pebble: Pebble, token: Token) -> Site:
    """A site whose account key is in a token; the signer is in the group that may use it."""
    site.use(pebble)
    pin = pin_file(site.path / "pin")
    os.chown(pin, site.account_key.parent.stat().st_uid, -1)
    site.main["accountd"]["group"] = GROUP
    site.certificate("a", ["a.example"])
    return site


def use(site: Site, uri: str) -> None:
    """Let the signer use this key."""
    site.accountd[""]["privkey"] = f"{uri}?pin-source=file:{site.path}/pin"


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind, alg", [("ec:P-256", "ES256"), ("ec:P-384", "ES384"),
                                       ("rsa:2048", "RS256")])
def test_an_account_with_a_key_in_a_token(kind: str, alg: str, ready: Site, token: Token) -> None:
    """With confinement required, as ever; no PIN on a command line or in a message."""
    use(ready, token.key("account", kind))
    done = ready.register()
    assert done.returncode == 0, done.stderr
    done, programs = ready.executed("--debug", "newOrder")
    assert done.returncode == 0 and "a: certificate installed" in done.stderr, done.stderr
    assert "landlock" in done.stderr and PIN not in done.stderr
    assert not any(PIN in word for argv in programs for word in argv)
    assert [argv for argv in programs if "pkeyutl" in argv]
    assert not ready.account_key.exists()
    done = ready.run("check")
    assert done.returncode == 0 and f"the account key manager answers: {alg}, " in done.stderr


class Signing:
    """A signer with --stdio, as its user in the group that may use SoftHSM."""

    def __init__(self, site: Site) -> None:
        argv = [f"--regid={GROUP}" if word.startswith("--regid=") else word
                for word in site.signer("--stdio")]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"})
        self.greeting = self._line(), self._line()
        self.helper, = proc.children(self.process.pid)

    def ask(self, line: bytes) -> str:
        """Return the answer to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\r\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def __enter__(self) -> "Signing":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def status(pid: int, field: str) -> str:
    """Return a field of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:"))


def test_who_signs_is_another_process_than_who_listens(ready: Site, token: Token) -> None:
    """The one ends with the other; it hears digests and has nothing else open."""
    use(ready, token.key("account"))
    with Signing(ready) as signer:
        assert signer.greeting[0].startswith("1 OK ")
        links = {name: os.readlink(f"/proc/{signer.helper}/fd/{name}")
                 for name in os.listdir(f"/proc/{signer.helper}/fd")}
        assert {name for name in links if name not in "012"} == {"3"}
        assert links["0"] == links["1"] == "/dev/null" and links["3"].startswith("socket:")
        assert [status(pid, "NoNewPrivs") for pid in (signer.helper, signer.process.pid)] == \
            ["1", "1"]
        assert (status(signer.process.pid, "Seccomp"), status(signer.helper, "Seccomp")) == \
            ("2", "0")
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{signer.helper}") and status(signer.helper, "State") != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_token_goes_away(ready: Site, token: Token) -> None:
    """What can't be signed is refused, and why is told; then it can again."""
    use(ready, token.key("account"))
    with Signing(ready) as signer:
        line = accountd.signing_input(accountd.request(alg="ES256"), {"csr": "x"})
        (ready.path / "pin").rename(ready.path / "gone")
        assert signer.ask(accountd.HELLO + line).startswith("NOSIGN openssl pkeyutl failed: ")
        (ready.path / "gone").rename(ready.path / "pin")
        assert len(signer.ask(line).strip()) == 86   # 64 bytes
        os.kill(signer.helper, 9)
        assert signer.ask(line).startswith("NOSIGN whoever uses the token has ended")


@pytest.mark.parametrize("what, why", [
    ("no key", "the account key cannot be used: openssl pkey failed: "),
    ("wrong PIN", "the account key cannot be used: openssl pkey failed: "),
    ("open PIN", "others than its owner can read the PIN"),
    ("no PIN file", "No such file or directory")])
def test_what_is_not_there(what: str, why: str, ready: Site, token: Token) -> None:
    """One line, that names the key."""
    use(ready, token.key("account"))
    if what == "no key":
        use(ready, f"pkcs11:token={token.label};object=nobody")
    elif what == "wrong PIN":
        (ready.path / "pin").write_text("000000")
    elif what == "open PIN":
        (ready.path / "pin").chmod(0o644)
    else:
        (ready.path / "pin").unlink()
    done = ready.run("--quiet", "account")
    assert done.returncode == 1 and why in done.stderr and PIN not in done.stderr
    assert re.search(r"pkcs11:token=\S+: ", done.stderr)


@pytest.mark.parametrize("uri, why", [
    ("pkcs11:object=a?pin-value=4711", "a PIN can't stand here"),
    ("pkcs11:token=a", "it names no key"), ("pkcs11:", "it names no key")])
def test_bad_settings(uri: str, why: str, ready: Site) -> None:
    ready.accountd[""]["privkey"] = uri
    done = ready.run("--quiet", "account")
    assert done.returncode in (1, 2) and why in done.stderr and "4711" not in done.stderr
    assert "/accountd.conf: privkey = pkcs11:" in done.stderr
