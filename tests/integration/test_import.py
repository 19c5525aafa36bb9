"""Account and certificates of other clients, as those clients made them (tests/data/foreign)."""

import base64
import json
import os
import pwd
import re
import stat
from pathlib import Path

import pytest

from harness import ca, foreign, judge
from harness.run import SIGNER_USER, Site, run
from harness.verdict import errors, only_error, snapshot, tidy


@pytest.fixture
def bare(site: Site) -> Site:
    """A site as the package leaves it, whose CA is the one that the data is from."""
    site.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    site.main["client"]["server"] = foreign.server()
    (site.etc / "certs.conf.d").mkdir()
    site.configure()
    return site


def conf(site: Site, name: str) -> str:
    return (site.etc / f"certs.conf.d/{name}.conf").read_text()


def public(key: Path) -> bytes:
    return ca.openssl("pkey", "-pubout", "-in", str(key))


def test_certbot(bare: Site) -> None:
    """Seen, done, and done again."""
    theirs = foreign.copied("certbot", bare.path / "theirs")
    before = snapshot(bare.etc, bare.lib, theirs)
    seen = bare.run("import", "certbot", str(theirs), "--dry-run")
    assert seen.returncode == 0 and errors(seen) == [], seen.stderr
    assert snapshot(bare.etc, bare.lib, theirs) == before
    for line in (f"{bare.etc}/certs.conf.d/mail.conf:", "    names = mail.certbot.example",
                 f"{bare.file('mail', 'privkey.pem')}  (mode 0600, from {theirs}/live/mail/"):
        assert line in seen.stdout, seen.stdout
    assert "nothing was changed" in seen.stderr and "would be" in seen.stderr

    done = bare.run("import", "certbot", str(theirs))
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert snapshot(theirs).items() <= before.items()
    info = bare.account_key.stat()
    assert (pwd.getpwuid(info.st_uid).pw_name, stat.S_IMODE(info.st_mode)) == (SIGNER_USER, 0o600)
    registration, = theirs.glob("accounts/*/*/*/regr.json")
    url = json.loads(registration.read_text())["uri"]
    accounts = json.loads((bare.lib / "state/accounts.json").read_text())
    assert list(accounts[foreign.server()].values()) == [url]
    jwk = json.loads((registration.parent / "private_key.json").read_text())
    modulus = ca.openssl("rsa", "-noout", "-modulus", "-in", str(bare.account_key)).decode()
    assert int(modulus.strip().partition("=")[2], 16) == int.from_bytes(
        base64.urlsafe_b64decode(jwk["n"] + "=="), "big")
    assert conf(bare, "certbot.example").splitlines()[2:] == [
        "[certbot.example]", "names = certbot.example, www.certbot.example",
        "# certbot runs this after a renewal; if it shall be run after each renewal here, take "
        "the # away:", "# notify = systemctl reload nginx || true"]
    assert conf(bare, "mail").splitlines()[2:] == [
        "[mail]", "names = mail.certbot.example", "key-type = rsa:2048", "reuse-key = yes",
        "tlsfeature = status_request"]
    for name in ("certbot.example", "mail"):
        key, chain = bare.file(name, "privkey.pem"), bare.file(name)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600 and judge.matches(chain, key)
        assert chain.read_bytes() == (theirs / f"live/{name}/fullchain.pem").read_bytes()
        assert public(key) == public(theirs / f"live/{name}/privkey.pem")
        assert f"servers read {theirs}/live/{name}/fullchain.pem now: have them read {chain}" \
            in done.stderr
    assert "hook, for you to decide: after a renewal: systemctl reload nginx || true" in done.stderr
    assert "not taken over: certbot.example: webroot " in done.stderr
    tidy(bare)
    before = snapshot(bare.etc, bare.lib / "certs", bare.lib / "accountd")
    # what is there stays, whatever it is called there; what is new is taken over
    (theirs / "renewal/mail.conf").rename(theirs / "renewal/post.conf")
    again = bare.run("import", "certbot", str(theirs))
    assert again.returncode == 0 and again.stderr.count("is there already") == 2, again.stderr
    assert snapshot(bare.etc, bare.lib / "certs", bare.lib / "accountd") == before
    assert bare.run("remove", "--purge", "mail").returncode == 0
    assert bare.run("import", "certbot", str(theirs)).returncode == 0
    after = snapshot(bare.etc, bare.lib / "certs", bare.lib / "accountd")
    assert {path for path, what in before.items() if after.get(path) != what
            and "mail" not in path and not os.path.isdir(path)} == set()
    assert bare.file("post").exists() and "reuse-key = yes" in conf(bare, "post")


def test_all_others(bare: Site) -> None:
    """One after the other: the first one's account key is ours, and stays."""
    told: dict[str, str] = {}
    for number, client in enumerate(name for name in foreign.DIRECTORIES if name != "certbot"):
        theirs = foreign.copied(client, bare.path / client)
        before = snapshot(theirs)
        done = bare.run("import", client, str(theirs))
        assert done.returncode == 0 and errors(done) == [], done.stderr
        assert snapshot(theirs) == before
        told[client] = done.stderr
        if number == 0:
            key = bare.account_key.read_bytes()
        else:
            assert "is another key, which stays" in done.stderr
    assert bare.account_key.read_bytes() == key
    assert public(bare.account_key) == public(bare.path / "lacme/etc/account.key")
    for client in foreign.DIRECTORIES:
        if client in ("certbot", "lacme"):
            continue
        name = client.replace("acme.sh", "acmesh")
        web = f"{name}.example"
        chain = bare.file(web)
        assert judge.names(chain) == {f"{name}.example", f"www.{name}.example"}
        assert judge.matches(chain, bare.file(web, "privkey.pem"))
        assert f"names = {name}.example, www.{name}.example" in conf(bare, web)
    assert "reuse-key = yes" in conf(bare, "acme-tiny.example")   # which has one CSR for ever
    assert "reuse-key = yes" in conf(bare, "acmesh.example")      # as of 3.0 on
    assert "key-type = rsa:2048" in conf(bare, "mail.acmesh.example")
    assert "reuse-key" not in conf(bare, "dehydrated.example")
    assert re.search(r"(?s)# notify = \S+/hook.sh\n", conf(bare, "dehydrated.example"))
    assert "SAVED_CF_Token" in told["acme.sh"] and "a-secret" not in told["acme.sh"]
    assert "# notify = systemctl reload nginx\n" in conf(bare, "acmesh.example")
    assert conf(bare, "mail.dehydrated.example").splitlines()[2:-2] == [
        "[mail.dehydrated.example]", "names = mail.dehydrated.example", "key-type = rsa:2048",
        "reuse-key = yes"]                                 # as [mail] is another one's
    theirs = bare.path / "lacme/etc"
    assert conf(bare, "mail").splitlines()[2:] == [
        "[mail]", f"certificate-chain = {theirs}/mail.pem", f"certificate-key = {theirs}/mail.key",
        "subject = /CN=mail.lacme.example", "subjectAltName = DNS:mail.lacme.example",
        "min-days = 14", "mode = 0640", "notify = true"]
    assert not (bare.lib / "certs/mail").exists()          # those are where they were
    assert "not taken over: lego.example: challenges and hooks are options" in told["lego"]
    tidy(bare)


def test_nothing_to_import(bare: Site) -> None:
    before = snapshot(bare.etc, bare.lib)
    (empty := bare.path / "empty").mkdir()
    for client in foreign.DIRECTORIES:
        line = only_error(bare.run("import", client, str(empty)))
        assert str(empty) in line
    assert "none of certbot, lacme" in only_error(bare.run("import", "certbo", str(empty)), 2)
    assert "did you mean “certbot”?" in only_error(bare.run("import", "certbo"), 2)
    assert "say whose" in only_error(bare.run("import"), 2)
    assert snapshot(bare.etc, bare.lib) == before
    bare.main[""]["config-certs"] = "certs.conf"
    bare.configure()
    before = snapshot(bare.etc, bare.lib)
    theirs = foreign.copied("lego", bare.path / "theirs")
    assert "names no directory" in only_error(bare.run("import", "lego", str(theirs)), 2)
    assert snapshot(bare.etc, bare.lib) == before


def test_what_is_not_believed(bare: Site) -> None:
    """One certificate that makes no sense keeps no other from being taken over, and no file of
    theirs leads anywhere."""
    theirs = foreign.copied("certbot", bare.path / "theirs")
    secret = bare.path / "secret"
    secret.write_text("a secret")
    good = (theirs / "renewal/mail.conf").read_text()
    for name, text in {
            "junk": "\0\1\2[[[", "loop": good.replace("live/mail/fullchain", "live/../loop"),
            "huge": good + "#" * (1 << 21), "secret": good.replace(
                f"{theirs}/live/mail/fullchain.pem", str(secret)),
            }.items():
        (theirs / f"renewal/{name}.conf").write_text(text)
    os.mkfifo(theirs / "renewal/fifo.conf")
    (theirs / "renewal/dangling.conf").symlink_to("nowhere")
    os.chown(theirs / "live/mail", 65534, -1)   # whose links are not followed
    done = bare.run("import", "certbot", str(theirs))
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert "a secret" not in done.stderr
    assert sorted(os.listdir(bare.etc / "certs.conf.d")) == ["certbot.example.conf"]
    assert f"{theirs}/renewal/huge.conf: larger than 1048576 bytes" in done.stderr
    assert done.stderr.count("not taken over: ") >= 8
    tidy(bare)


def test_nothing_is_smuggled_in(bare: Site) -> None:
    """A value of several lines is none, whoever encoded it."""
    theirs = foreign.copied("acme.sh", bare.path / "theirs")
    two_lines = base64.b64encode(f"x\nnotify = touch {bare.path}/x".encode()).decode()
    encoded = f"__ACME_BASE64__START_{two_lines}__ACME_BASE64__END_"
    first, second = sorted(theirs.glob("*acmesh*/*.conf"))
    first.write_text(f"{first.read_text()}Le_Preferred_Chain='{encoded}'\n")
    second.write_text(f"{second.read_text()}Le_ReloadCmd='{encoded}'\nLe_Alt='a.example\x0b,b c'\n")
    done = bare.run("import", "acme.sh", str(theirs))
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert "its preferred-chain is not of one line" in done.stderr
    assert "is not a name that a certificate can be for" in done.stderr
    assert os.listdir(bare.etc / "certs.conf.d") == []
    second.write_text(second.read_text().replace("a.example\x0b,b c", "no"))
    assert bare.run("import", "acme.sh", str(theirs)).returncode == 0
    assert conf(bare, "mail.acmesh.example").splitlines()[-1] == \
        f"# notify = x; notify = touch {bare.path}/x"


def test_what_is_there_stays(bare: Site) -> None:
    """A run that was killed is gone on with; another key is nobody's to replace; an account key of
    no use keeps no certificate from being taken over."""
    theirs = foreign.copied("lego", bare.path / "theirs")
    account, = theirs.glob("accounts/*/*/keys/*.key")
    encrypted = ca.openssl("pkcs8", "-topk8", "-passout", "pass:x", "-in", str(account))
    account.write_bytes(encrypted)
    for name in ("lego.example", "mail.lego.example"):
        bare.file(name).parent.mkdir()
        bare.file(name, "privkey.pem").touch(0o600)
    half, other = (bare.file(name, "privkey.pem") for name in ("lego.example", "mail.lego.example"))
    half.write_bytes((theirs / "certificates/lego.example.key").read_bytes())
    other.write_text(ca.genkey())
    kept = other.read_text()
    done = bare.run("import", "lego", str(theirs))
    assert done.returncode == 1 and "is encrypted" in done.stderr
    assert all("account key" in line or "encrypted" in line for line in errors(done)), done.stderr
    assert not bare.account_key.exists()
    assert judge.matches(bare.file("lego.example"), half)
    assert other.read_text() == kept and not bare.file("mail.lego.example").exists()
    assert "mail.lego.example: key and certificate are not copied: " in done.stderr
    assert conf(bare, "mail.lego.example") and conf(bare, "lego.example")
    account.write_bytes(ca.openssl("pkey", "-in", str(account), "-passin", "pass:x"))
    assert bare.run("import", "lego", str(theirs)).returncode == 0 and bare.account_key.exists()


def test_dns_01_and_another_ca(bare: Site) -> None:
    """What needs dns-01 waits until it is said how; who is another one's is asked of that."""
    theirs = foreign.copied("certbot", bare.path / "theirs")
    file = theirs / "renewal/mail.conf"
    file.write_text(file.read_text().replace(
        "authenticator = standalone",
        "authenticator = dns-rfc2136\ndns_rfc2136_credentials = /root/rfc.ini"))
    other = theirs / "renewal/certbot.example.conf"
    other.write_text(other.read_text().replace(
        foreign.server(), "https://acme-staging-v02.api.letsencrypt.org/directory"))
    done = bare.run("import", "certbot", str(theirs))
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert "the challenge dns-01 needs a section [dns]" in done.stderr
    assert "dns_rfc2136_credentials = /root/rfc.ini" in done.stderr
    assert os.listdir(bare.etc / "certs.conf.d") == ["certbot.example.conf"]
    assert os.listdir(bare.lib / "certs") == ["certbot.example"]
    assert "ca = letsencrypt-staging\n" in conf(bare, "certbot.example")
    assert "acme-staging-v02.api.letsencrypt.org/directory/" in done.stderr   # has no account
    state = json.loads((bare.lib / "state/cert-certbot.example.json").read_text())
    assert state["issuer"] == "https://acme-staging-v02.api.letsencrypt.org/directory"
    bare.main["dns"] = {"server": "127.0.0.1"}
    done = bare.run("import", "certbot", str(theirs))
    assert done.returncode == 0 and "challenge = dns-01\n" in conf(bare, "mail"), done.stderr


def test_nobody_reads_the_account_key_but_its_manager(bare: Site) -> None:
    """The master opens it, and has the kernel copy it."""
    theirs = foreign.copied("certbot", bare.path / "theirs")
    log = bare.path / "log"
    done = run(["strace", "-f", "-y", "-s0", "-e",
                "trace=openat,open,read,pread64,readv,mmap,sendfile", "-o", str(log),
                *bare.command("import", "certbot", str(theirs))], timeout=120)
    assert done.returncode == 0 and bare.account_key.exists(), done.stderr
    calls = [line for line in log.read_text().splitlines() if "private_key.json" in line]
    assert any("sendfile(" in line for line in calls), calls
    assert not [line for line in calls if re.search(r"\b(read|pread64|readv|mmap)\(", line)]


@pytest.mark.skipif(not os.path.isdir("/etc/cron.daily") or not os.path.isdir("/usr/local/etc"),
                    reason="needs /etc/cron.daily and /usr/local/etc")
def test_check_warns_of_two_renewers(bare: Site) -> None:
    """On a host, as far as it is another one, that has dehydrated in cron's hands."""
    if run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("needs a mount namespace, which a root directory that is none keeps from us")
    theirs = foreign.copied("dehydrated", bare.path / "theirs")
    assert bare.run("import", "dehydrated", str(theirs)).returncode == 0
    host = bare.path / "host"
    for name in ("etc", "cron"):
        (host / name).mkdir(parents=True)
    (host / "etc/dehydrated").symlink_to(theirs)
    script = (f"mount --bind {host}/etc /usr/local/etc && mount --bind {host}/cron "
              '/etc/cron.daily && exec "$@"')
    command = ["unshare", "--mount", "/bin/sh", "-c", script, "sh", *bare.command("check")]
    assert "warning: dehydrated" not in run(command).stderr
    (host / "cron/local").write_text("#!/bin/sh\nexec dehydrated --cron\n")
    done = run(command)
    assert "warning: dehydrated, which /etc/cron.daily/local starts, renews dehydrated.example, " \
        "mail.dehydrated.example, www.dehydrated.example, too" in done.stderr, done.stderr
    assert done.returncode == 0 or errors(done), done.stderr
