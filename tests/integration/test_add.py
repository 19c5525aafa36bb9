"""One command from nothing to a certificate, and one back (add, remove)."""

import os
import pwd
import re
import stat
from pathlib import Path

import pytest

from harness import judge, terminal
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, SIGNER_USER, Site
from harness.verdict import errors, only_error, snapshot, tidy


@pytest.fixture
def bare(site: Site, pebble: Pebble) -> Site:
    """A site as the package leaves it: neither key nor account nor certificates; what is usual
    here stands in certs.conf, as defaults."""
    site.use(pebble)
    site.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    site.certs[""] = {"CAfile": str(pebble.roots())}
    (site.etc / "certs.conf.d").mkdir()
    return site


def conf(site: Site, name: str) -> Path:
    return site.etc / f"certs.conf.d/{name}.conf"


def test_from_nothing(bare: Site) -> None:
    done = bare.run("add", "new.example", "www.new.example", "--tos-agreed",
                    f"--notify=touch {bare.path}/told")
    assert done.returncode == 0 and errors(done) == [], done.stderr
    info = bare.account_key.stat()
    assert (pwd.getpwuid(info.st_uid).pw_name, stat.S_IMODE(info.st_mode)) == (SIGNER_USER, 0o600)
    assert conf(bare, "new.example").read_text().splitlines()[-3:] == [
        "[new.example]", "names = new.example, www.new.example",
        f"notify = touch {bare.path}/told"]
    chain, key = bare.file("new.example"), bare.file("new.example", "privkey.pem")
    assert judge.names(chain) == {"new.example", "www.new.example"}
    assert judge.matches(chain, key) and (bare.path / "told").exists()
    for step in ("account key: made: ", "account: made https://", f"{conf(bare, 'new.example')} "
                 "written", "nothing wrong was found", "certificate installed"):
        assert step in done.stderr, step
    for line in (f"ssl_certificate {chain};", f"ssl_certificate_key {key};",
                 f"SSLCertificateFile {chain}", f"smtpd_tls_chain_files = {key}, {chain}",
                 f"ssl_key = <{key}"):
        assert line in done.stdout, line
    tidy(bare)


def test_again(bare: Site) -> None:
    """The same changes nothing; what is new is done, and no more."""
    assert bare.run("add", "again.example", "--tos-agreed").returncode == 0
    before = snapshot(bare.etc, bare.lib / "certs", bare.lib / "accountd")
    done = bare.run("add", "again.example")     # nobody has to agree once more
    assert done.returncode == 0 and "installed" not in done.stderr, done.stderr
    assert f"{conf(bare, 'again.example')} is as wanted" in done.stderr
    assert snapshot(bare.etc, bare.lib / "certs", bare.lib / "accountd") == before
    assert bare.run("add", "again.example", "--notify=true").returncode == 0
    assert conf(bare, "again.example").read_text().endswith(
        "[again.example]\nnames = again.example\nnotify = true\n")
    assert snapshot(bare.lib / "certs", bare.lib / "accountd").items() <= before.items()
    assert bare.run("add", "again.example", "www.again.example").returncode == 0
    assert conf(bare, "again.example").read_text().endswith(
        "[again.example]\nnames = again.example, www.again.example\nnotify = true\n")
    assert judge.names(bare.file("again.example")) == {"again.example", "www.again.example"}
    # one that was killed as its file was in place
    left = conf(bare, "again.example").with_name(".again.example.conf.new")
    left.hardlink_to(conf(bare, "again.example"))
    assert bare.run("add", "again.example").returncode == 0 and not left.exists()


def test_what_fails_leaves_nothing_half_done(bare: Site, pebble: Pebble) -> None:
    """Key and account stay, as the next attempt needs them."""
    pebble.set_a("lost.example", "127.0.0.77")
    done = bare.run("add", "lost.example", "--tos-agreed")
    assert "lost.example" in only_error(done)
    assert "is taken back" in done.stderr and os.listdir(bare.etc / "certs.conf.d") == []
    assert os.listdir(bare.lib / "certs") == [] and bare.account_key.exists()
    tidy(bare)
    pebble.set_a("lost.example", "127.0.0.1")
    done = bare.run("add", "lost.example")
    assert done.returncode == 0 and "account: https://" in done.stderr, done.stderr
    # neither is an addition to what is there
    pebble.set_a("other.lost.example", "127.0.0.77")
    before = snapshot(bare.etc, bare.lib / "certs")
    done = bare.run("add", "lost.example", "other.lost.example")
    assert "lost.example" in only_error(done) and "is as it was" in done.stderr
    assert conf(bare, "lost.example").read_text().endswith("\nnames = lost.example\n")
    assert snapshot(bare.lib / "certs").items() <= before.items()


def test_nobody_has_agreed(bare: Site) -> None:
    """The terms are shown; nothing is configured."""
    line = only_error(bare.run("add", "terms.example"), 2)
    assert "terms of service of" in line and "data:text" in line and "--tos-agreed" in line
    assert os.listdir(bare.etc / "certs.conf.d") == [] and os.listdir(bare.lib / "certs") == []


def test_somebody_at_the_terminal(bare: Site) -> None:
    """Who says no has neither account nor certificate; who says yes is asked once."""
    command = bare.command("add", "asked.example")
    status, text = terminal.shown(command, ENVIRONMENT, answers="no\n")
    assert status == 2 and "Do you agree to them?  [yes/no]" in text, text
    assert "without an account there is no certificate" in text
    assert os.listdir(bare.etc / "certs.conf.d") == [] and os.listdir(bare.lib / "certs") == []
    status, text = terminal.shown(command, ENVIRONMENT, answers="yes\n")
    assert status == 0 and text.count("[yes/no]") == 1 and "account: made https://" in text, text
    status, text = terminal.shown(bare.command("add", "b.asked.example"), ENVIRONMENT)
    assert status == 0 and "[yes/no]" not in text, text


@pytest.mark.parametrize("arguments, told", [
    (("https://a.example/",), "is a URL, but a certificate is for a name alone: “a.example”"),
    (("a.example", "--ca=nosuch"), "there is no CA “nosuch”"),
    (("a.example", "--challenge=http-1"), "challenge = http-1: "),
    (("a.example", "--notify=a\nb"), "one line"), (("*.a.example",), "a wildcard needs"),
    (("a.example", "--contact=x"), "--contact: “x” is not a contact URL"), ((), "name the host")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_what_is_refused_at_once(arguments: tuple[str, ...], told: str, bare: Site) -> None:
    bare.configure()
    before = snapshot(bare.etc, bare.lib)
    assert told in only_error(bare.run("add", "--tos-agreed", *arguments), 2)
    assert snapshot(bare.etc, bare.lib) == before


def test_what_is_the_administrators_stays_his(bare: Site) -> None:
    assert bare.run("add", "own.example", "--tos-agreed").returncode == 0
    file = conf(bare, "own.example")
    file.write_text(file.read_text() + "min-days = 10\n")
    bare.certs["mine.example"] = {"names": "mine.example"}
    bare.configure()
    before = snapshot(bare.etc)
    for name in ("own.example", "mine.example"):
        line = only_error(bare.run("add", name, f"www.{name}", "--notify=true"), 2)
        assert f"[{name}] is yours" in line and f"add www.{name} to its names and set notify = " \
            "true there" in line
        assert bare.run("add", name).returncode == 0
    assert snapshot(bare.etc) == before
    assert judge.names(bare.file("mine.example")) == {"mine.example"}


# --- remove --------------------------------------------------------------------------------------

def test_removed(bare: Site) -> None:
    """The files stay, unless they are to go; added again, what is there is found."""
    assert bare.run("add", "gone.example", "--tos-agreed").returncode == 0
    files = snapshot(bare.lib / "certs")
    done = bare.run("remove", "gone.example")
    assert done.returncode == 0 and "is not revoked" in done.stderr, done.stderr
    assert os.listdir(bare.etc / "certs.conf.d") == [] and snapshot(bare.lib / "certs") == files
    left = rf"{bare.lib}/certs/\.gone\.example {bare.lib}/certs/gone\.example " \
           rf"{bare.lib}/state/cert-gone\.example\.json"
    assert re.fullmatch("SECTION .*\ngone\\.example: no such section, its certificate expires "
                        rf".* UTC: {left}\n", bare.run("status").stdout)
    done = bare.run("add", "gone.example")
    assert done.returncode == 0 and snapshot(bare.lib / "certs") == files, done.stderr
    done = bare.run("remove", "--purge", "gone.example")
    assert done.returncode == 0, done.stderr
    assert os.listdir(bare.etc / "certs.conf.d") == [] and os.listdir(bare.lib / "certs") == []
    assert not [name for name in os.listdir(bare.lib / "state") if "gone.example" in name]
    assert "there is no section [gone.example]" in only_error(bare.run("remove", "gone.example"),
                                                              2)


def test_only_a_file_of_its_own_is_removed(bare: Site) -> None:
    bare.certs["mine.example"] = {"names": "mine.example"}
    bare.configure()
    conf(bare, "two.example").write_text("[two.example]\nnames = two.example\n"
                                         "[more.example]\nnames = more.example\n")
    before = snapshot(bare.etc)
    for name in ("mine.example", "two.example", "more.example"):
        assert f"is not the file of [{name}] alone" in only_error(bare.run("remove", name), 2)
    assert snapshot(bare.etc) == before


def test_removed_and_revoked(bare: Site, pebble: Pebble) -> None:
    """At a terminal it is asked; what can't be revoked is not removed, either."""
    assert bare.run("add", "old.example", "--tos-agreed").returncode == 0
    assert bare.run("add", "other.example").returncode == 0
    serials = {name: judge.serial(bare.file(name)) for name in ("old.example", "other.example")}
    command = bare.command("remove", "old.example")
    aside = bare.account_key.rename(bare.account_key.with_name("aside"))
    bare.genkey()                                # of an account that the CA knows nothing good of
    assert bare.register().returncode == 0
    status, text = terminal.shown(command, ENVIRONMENT, answers="yes\n")
    assert status == 1 and "nothing is removed" in text and conf(bare, "old.example").exists(), text
    aside.replace(bare.account_key)
    status, text = terminal.shown(command, ENVIRONMENT, answers="yes\n")
    assert status == 0 and not conf(bare, "old.example").exists(), text
    status, text = terminal.shown(bare.command("remove", "other.example"), ENVIRONMENT,
                                  answers="no\n")
    assert status == 0 and not conf(bare, "other.example").exists(), text
    assert {name: (pebble.certificate_status(serial) or {}).get("Status")
            for name, serial in serials.items()} == {
        "old.example": "Revoked", "other.example": "Valid"}


def test_a_key_of_two(bare: Site) -> None:
    """What another section is for stays, whatever is purged."""
    assert bare.run("add", "one.example", "--tos-agreed").returncode == 0
    key = bare.file("one.example", "privkey.pem")
    bare.certs["two.example"] = {"names": "two.example", "certificate-key": str(key)}
    assert bare.run("newOrder", "two.example").returncode == 0
    before = key.read_bytes()
    assert bare.run("remove", "--purge", "one.example").returncode == 0
    assert key.read_bytes() == before and not bare.file("one.example").exists()
    assert judge.matches(bare.file("two.example"), key)
