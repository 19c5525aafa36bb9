"""What README.md tells to type is typed, in its order, as it stands there."""

import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from harness import documents
from harness.foreign import BASE, DATA, server
from harness.pebble import Pebble
from harness.run import Prefix
from harness.typed import HOSTS, Host

pytestmark = pytest.mark.root


class Typed(NamedTuple):
    """What comes of a command: what is to be seen on the terminal, and the exit status."""

    shows: tuple[str, ...] = ()
    answers: str = ""
    status: int = 0


ORDERED = "certificate installed, valid until"
TYPED = {
    "sudo letsencrypt-tiny add example.org www.example.org --notify='systemctl reload nginx'":
        Typed(("account key: made: ", "Do you agree to them\\?",
               f"account: made https://{HOSTS[0]}", ORDERED, "running “systemctl reload nginx”",
               "nginx    ssl_certificate /"), "yes\n"),
    "letsencrypt-tiny status": Typed(("● example.org ", "━━", "renewal ")),
    "letsencrypt-tiny status example.org": Typed(("issuer +CN=Pebble", "chain ", "key ")),
    # nothing is due
    "letsencrypt-tiny status --json | jq -r '.sections[] | select(.due) | .section'":
        Typed((r"\A\Z",)),
    "letsencrypt-tiny status --check --warning=14 --critical=5":
        Typed(("LETSENCRYPT-TINY OK - 1 certificate",)),
    "letsencrypt-tiny status --metrics=-":
        Typed((r'_not_after_timestamp_seconds\{section="example.org"\} \d+\n',)),
    "journalctl -t letsencrypt-tiny": Typed(),
    "letsencrypt-tiny failures": Typed((r"\A\Z",)),
    "letsencrypt-tiny check": Typed(("1 certificate configured; nothing wrong was found",)),
    # loopback is what the names have here, where a CA can't go
    "letsencrypt-tiny check --online":
        Typed((f"ok: the directory https://{HOSTS[0]}/directory is there",
               "example.org: ok: no CAA record", "is no address of the Internet"), status=1),
    "letsencrypt-tiny newOrder --dry-run":
        Typed((f"the account is https://{HOSTS[1]}/", "would be installed")),
    "letsencrypt-tiny newOrder --force example.org": Typed((ORDERED,)),
    "letsencrypt-tiny add example.org mail.example.org": Typed((ORDERED,)),
    "letsencrypt-tiny records": Typed((r"example\.org\.\s+IN CAA", r"IN TLSA\s+3 1 1 ")),
    "letsencrypt-tiny account --rollover": Typed(("the account key's thumbprint is .* now",)),
    "letsencrypt-tiny revokeCert example.org": Typed(("example.org: revoked",), "yes\n"),
    "letsencrypt-tiny remove example.org": Typed(("revoke its certificate, too", "stays as it is"),
                                                 "no\n"),
    "letsencrypt-tiny import certbot --dry-run": Typed(("would be", "nothing was changed")),
    "letsencrypt-tiny import certbot":
        Typed(("mail: key and certificate copied to ", "hook, for you to decide")),
}
# Not typed here: what installs packages on this machine, which is tried in clean chroots
LEFT_OUT = {"sudo apt install make git", "make demo", "make check",
            "make deb && sudo apt install ./build/letsencrypt-tiny*_all.deb"}


@pytest.fixture
def host(prefix: Prefix) -> Iterator[Host]:
    """A host without anything, whose administrator once had certbot."""
    with Pebble(nosleep=True, http_port=80, dns_port=53) as pebble, Host(prefix, pebble) as made:
        shutil.copytree(DATA / "certbot/etc", made.etc / "letsencrypt", symlinks=True)
        for path in (made.etc / "letsencrypt").rglob("*"):
            if path.is_file() and not path.is_symlink():
                text = path.read_text().replace(f"{BASE}/certbot/etc", "/etc/letsencrypt")
                path.write_text(text.replace(server(), f"https://{HOSTS[0]}/directory"))
        yield made


def test_each_is_known() -> None:
    """There is no command that isn't typed, and none is typed that isn't there."""
    found = {one.text for one in documents.shown("README.md") if not one.is_file}
    assert found == {*TYPED, *LEFT_OUT}


def test_all_are_typed(host: Host) -> None:
    for one in documents.shown("README.md"):
        if one.is_file:
            section, = re.findall(r"^\[(.*)\]$", one.text, re.M)
            written = (host.conf / f"certs.conf.d/{section}.conf").read_text()
            assert re.sub(r"^#.*\n", "", written, flags=re.M) == one.text
        elif one.text in TYPED:
            wanted = TYPED[one.text]
            done = host.type(one.text, wanted.answers)
            assert done.returncode == wanted.status, (one, done.stdout)
            for pattern in wanted.shows:
                assert re.search(pattern, done.stdout), (one, pattern, done.stdout)
    assert host.told.read_text().splitlines() == ["reload nginx"] * 3
