"""Readers of other clients' files: what they find, and what they make of files that are broken."""

import os
import random
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import foreign
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.commands.importing import certbot, rivals
from letsencrypt_tiny.master.commands.importing.model import Estate
from letsencrypt_tiny.master.commands.importing.table import CLIENTS
from letsencrypt_tiny.master.settings.certificates import Section

HOST = foreign.server().partition("://")[2].partition("/")[0]
KNOWN = {HOST: foreign.server()}
# client -> what its account key and its first certificate are called, below its directory
KEYS = {"certbot": ("/private_key.json", "/live/certbot.example/privkey.pem"),
        "lacme": ("/account.key", ""),
        "dehydrated": ("/account_key.pem", "/certs/dehydrated.example/privkey.pem"),
        "acme-tiny": ("/account.key", "/domain.key"),
        "acme.sh": ("/ca/127.0.0.1/dir/account.key", "/acmesh.example_ecc/acmesh.example.key"),
        "lego": ("/root@foreign.example.key", "/certificates/lego.example.key")}
TIMES = 40   # that each client's files are broken


def read(client: str, directory: Path) -> Estate:
    return CLIENTS[client].read(str(directory), KNOWN)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_found(client: str, tmp_path: Path) -> None:
    found = read(client, foreign.copied(client, tmp_path / "x"))
    account, = found.accounts
    assert account.key.endswith(KEYS[client][0]) and os.path.exists(account.key)
    assert account.server == ("" if client == "acme-tiny" else foreign.server())
    if client in ("acme-tiny", "lacme"):    # which don't write it down
        assert account.url == ""
    else:
        assert account.url.startswith(foreign.server().replace("/dir", "/my-account/"))
    name = client.replace(".", "")
    names = [frozenset(rivals.names_of(one)) for one in found.certificates]
    assert sorted(names, key=len) == [
        frozenset({("dns", f"mail.{name}.example")}),
        frozenset({("dns", f"{name}.example"), ("dns", f"www.{name}.example")})]
    first = found.certificates[names.index(max(names, key=len))]
    assert first.key.endswith(KEYS[client][1]) and bool(first.key) == (client != "lacme")
    assert first.server == account.server and first.challenge == ""


@pytest.mark.parametrize("client", CLIENTS)
def test_broken_files(client: str, tmp_path: Path) -> None:
    """Whatever is in them: an Error, or what could be read."""
    directory = foreign.copied(client, tmp_path / "x")
    files = [path for path in sorted((tmp_path / "x").rglob("*"))
             if path.is_file() and not path.is_symlink()]
    chance = random.Random(client)
    for _ in range(TIMES):
        path = chance.choice(files)
        good = path.read_bytes()
        path.write_bytes(broken(good, chance))
        try:
            found = read(client, directory)
        except Error as exc:
            assert str(exc)
        else:
            assert all(isinstance(line, str) for line in found.left)
        path.write_bytes(good)
    read(client, directory)


def broken(good: bytes, chance: random.Random) -> bytes:
    """Break a file in one of many ways."""
    text = bytearray(good)
    kind = chance.randrange(6)
    if kind == 0:
        return bytes(chance.randbytes(chance.randrange(2000)))
    if kind == 1:
        return bytes(text[:chance.randrange(len(text) + 1)])
    if kind == 2:
        for _ in range(20):
            text[chance.randrange(len(text))] = chance.randrange(256)
        return bytes(text)
    if kind == 3:
        return good + b"\0" * (2 << 20)
    if kind == 4:
        return b'{"a":' * 5000
    lines = good.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_plain_files(client: str, tmp_path: Path) -> None:
    """Nobody waits for a FIFO, and a link in a directory of somebody else's leads nowhere."""
    directory = foreign.copied(client, tmp_path / "x")
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    files = [path for path in sorted((tmp_path / "x").rglob("*")) if path.is_file()]
    for number, path in enumerate(files):
        path.unlink()
        if number % 3 == 0:
            os.mkfifo(path)
        elif number % 3 == 1:
            path.mkdir()
        else:
            path.symlink_to(secret)
    try:
        assert "a secret" not in "".join(read(client, directory).left)
    except Error as exc:
        assert "a secret" not in str(exc)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_link_of_others(tmp_path: Path) -> None:
    directory = foreign.copied("dehydrated", tmp_path / "x")
    (tmp_path / "secret").write_text("secret.example\n")
    (directory / "domains.txt").unlink()
    (directory / "domains.txt").symlink_to(tmp_path / "secret")
    assert [one.name for one in read("dehydrated", directory).certificates] == ["secret.example"]
    os.chown(directory, 65534, -1)
    with pytest.raises(Error, match="a symbolic link in a directory that is not root's"):
        read("dehydrated", directory)


def test_certbots_settings(tmp_path: Path) -> None:
    """Of certbot's settings those that have a counterpart; of others the names alone."""
    directory = foreign.copied("certbot", tmp_path / "x")
    conf = directory / "renewal/mail.conf"
    conf.write_text(
        conf.read_text().replace("rsa_key_size = 2048", "rsa_key_size = 4096").replace(
            "authenticator = standalone", "authenticator = dns-rfc2136\n"
            "dns_rfc2136_credentials = /root/rfc.ini\neab_hmac_key = hidden-secret\n"
            "preferred_chain = \"ISRG Root X1\"\nserver_junk = x\npre_hook = 'stop \"it\"'")
        .replace("server = https", "server = https"))
    found = {one.name: one for one in certbot.read(str(directory), {}).certificates}["mail"]
    assert found.challenge == "dns-01" and found.settings == {
        "key-type": "rsa:4096", "preferred-chain": "ISRG Root X1", "preferred-profile": "",
        "required-profile": "", "reuse-key": "yes", "tlsfeature": "status_request"}
    told = "\n".join(found.left)
    assert "dns_rfc2136_credentials = /root/rfc.ini" in told and "server_junk" in told
    assert "eab_hmac_key" in told and "hidden-secret" not in told
    assert [hook.command for hook in found.hooks] == ['stop "it"']


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """The root of a host that has certbot and acme.sh."""
    for client, place in (("certbot", "etc/letsencrypt"), ("acme.sh", "root/.acme.sh")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        foreign.copied(client, tmp_path / "made" / client).rename(tmp_path / place)
        for path in (tmp_path / place).rglob("*.conf"):
            path.write_text(path.read_text().replace(
                str(tmp_path / "made" / client / foreign.DIRECTORIES[client]),
                str(tmp_path / place)))
    yield tmp_path


def section(*names: str) -> Section:
    """A section, as far as its names are concerned."""
    blank = dict.fromkeys(Section._fields)
    return Section(**{**blank, "name": names[0],   # type: ignore[arg-type]
                      "identifiers": tuple(("dns", name) for name in names)})


def told(host: Path, *sections: Section) -> list[str]:
    return list(rivals.found(sections, KNOWN, str(host)))


def test_two_renewers(host: Path) -> None:
    ours = section("www.certbot.example", "mail.acmesh.example", "other.example")
    assert told(host, ours) == []   # nothing starts them
    wants = host / "etc/systemd/system/timers.target.wants"
    wants.mkdir(parents=True)
    (wants / "certbot.timer").symlink_to("/lib/systemd/system/certbot.timer")
    line, = told(host, ours)
    assert line.startswith("certbot, which certbot.timer starts, renews www.certbot.example, too "
                           f"({host}/etc/letsencrypt/renewal/certbot.example.conf): ")
    assert "systemctl disable --now certbot.timer" in line
    assert told(host, section("other.example")) == []
    crontab = host / "var/spool/cron/crontabs/root"
    crontab.parent.mkdir(parents=True)
    crontab.write_text('7 0 * * * "/root/.acme.sh"/acme.sh --cron --home "/root/.acme.sh"\n')
    assert [line.split()[0] for line in told(host, ours)] == ["certbot,", "acme.sh,"]
    crontab.write_text("#7 0 * * * /root/.acme.sh/acme.sh --cron\n")
    (wants / "certbot.timer").unlink()
    assert told(host, ours) == []
    # Debian's table for certbot does nothing where systemd runs
    table = host / "etc/cron.d/certbot"
    table.parent.mkdir()
    table.write_text("0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && "
                     "perl -e 'sleep int(rand(43200))' && certbot -q renew\n")
    assert len(told(host, ours)) == 1
    (host / "run/systemd/system").mkdir(parents=True)
    assert told(host, ours) == []
