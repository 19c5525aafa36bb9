"""From nothing to a certificate: both forms of configuration, every kind of key, two servers."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import ca, judge
from harness.caddy import CaddyACME
from harness.hostile import Hostile, unbase64url
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, SIGNER_USER, WEBSERVER_USER, Result, Site, run

SIGNER_FAILED = (r"the account key manager \(letsencrypt-tiny-accountd\) failed: "
                 "it closed the connection")
FILES = {"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"}


def register(site: Site) -> None:
    """Register the account."""
    expect(site.register(), 0, r"Terms of Service: \S+", r"Key ID: https://\S+",
           stdout=r"\{.*\}\n")


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site with an account at Pebble."""
    site.use(pebble)
    site.genkey()
    register(site)
    return site


def generating(site: Site, section: str, kind: str = "ec:P-256") -> str:
    """Return the line that tells of a new server key."""
    path = re.escape(str(site.file(section, "privkey.pem")))
    return rf"{section}: generating the private key {path} \({kind}\)"


def first(site: Site, section: str, kind: str = "ec:P-256") -> list[str]:
    """Return the lines that tell of a section's first certificate."""
    return [f"{section}: {NEW}", generating(site, section, kind), f"{section}: {INSTALLED}"]


def check_short_form(site: Site, section: str, names: list[str], roots: Path) -> None:
    """Check the four files of the short form, and all there is to say of them."""
    directory = site.file(section, "")
    assert set(os.listdir(directory)) == FILES
    assert judge.mode(directory.resolve()) == 0o755
    for name in FILES:
        info = (directory / name).lstat()
        assert (info.st_uid, info.st_gid) == (0, 0)
        assert judge.mode(directory / name) == (0o600 if name == "privkey.pem" else 0o644)
    cert, chain, full = (directory / f"{name}.pem" for name in ("cert", "chain", "fullchain"))
    assert cert.read_text().count("-----BEGIN ") == 1
    assert full.read_text() == cert.read_text() + chain.read_text()
    assert judge.matches(cert, directory / "privkey.pem")
    assert judge.names(cert) == set(names)
    judge.verify(cert, chain, roots)


# --- the short form ------------------------------------------------------------------------------

def test_two_names_through_all_of_pebbles_nuisances(site: Site, pebble_nuisance: Pebble) -> None:
    """Bad nonces, reused authorizations, late validations."""
    site.use(pebble_nuisance)
    site.genkey()
    register(site)
    site.certificate("two", ["two.nuisance.example", "www.two.nuisance.example"])
    expect(site.run("newOrder"), 0, *first(site, "two"))
    check_short_form(site, "two", ["two.nuisance.example", "www.two.nuisance.example"],
                     pebble_nuisance.roots())


def test_short_form(ready: Site, pebble: Pebble) -> None:
    names = ["short.example", "www.short.example"]
    ready.certificate("short.example", names)
    expect(ready.run("newOrder"), 0, *first(ready, "short.example"))
    check_short_form(ready, "short.example", names, pebble.roots())
    text = judge.x509(ready.file("short.example", "cert.pem"), "-text")
    assert "ASN1 OID: prime256v1" in text
    # nothing else was written anywhere
    assert judge.tree(ready.rundir) == {"lock"}
    version, = os.listdir(ready.lib / "certs/.short.example")
    assert os.readlink(ready.lib / "certs/short.example") == f".short.example/{version}"
    within = f"certs/.short.example/{version}"
    assert judge.tree(ready.lib) == {
        "certs", "certs/short.example", "certs/.short.example", within,
        *(f"{within}/{name}" for name in FILES), "state", "state/accounts.json",
        "state/cert-short.example.json", "accountd",
        "accountd/account.key"}
    for path in (ready.lib / "state").iterdir():
        assert judge.mode(path) == 0o600


def test_names_are_normalized_and_many(ready: Site, pebble: Pebble) -> None:
    """Twenty names, in any case, some of them twice."""
    names = [f"n{number}.many.example" for number in range(20)]
    ready.certificate("many", [*names, "N0.Many.EXAMPLE"])
    expect(ready.run("newOrder"), 0, *first(ready, "many"))
    check_short_form(ready, "many", names, pebble.roots())


def test_ip_addresses(ready: Site, pebble: Pebble) -> None:
    """RFC 8738, beside a host name."""
    ready.main["webserver"]["listen"] += f", [::1]:{pebble.http_port}"
    ready.certificate("ip", ["127.0.0.1", "0:0::1", "ip.example"])
    expect(ready.run("newOrder"), 0, *first(ready, "ip"))
    check_short_form(ready, "ip", ["127.0.0.1", "::1", "ip.example"], pebble.roots())


def test_many_sections_of_every_key_type(ready: Site, pebble: Pebble) -> None:
    """One run, one client; each section gets its own; two key types for the same names."""
    kinds = {"ec256": "ec:P-256", "ec384": "ec:P-384", "rsa2048": "rsa:2048",
             "rsa3072": "rsa:3072"}
    for section, kind in kinds.items():
        ready.certificate(section, ["types.example"], key_type=kind)
    for number in range(4):
        ready.certificate(f"other{number}", [f"other{number}.example"])
    lines = [line for section in ready.certs
             for line in first(ready, section, kinds.get(section, "ec:P-256"))]
    expect(ready.run("newOrder"), 0, *lines, "8 installed, 0 failed")
    shown = {"ec256": "NIST CURVE: P-256", "ec384": "NIST CURVE: P-384",
             "rsa2048": r"Public-Key: \(2048 bit\)", "rsa3072": r"Public-Key: \(3072 bit\)"}
    for section in ready.certs:
        expected = ["types.example"] if section in kinds else [f"{section}.example"]
        check_short_form(ready, section, expected, pebble.roots())
        text = judge.x509(ready.file(section, "cert.pem"), "-text")
        assert re.search(shown.get(section, shown["ec256"]), text)


def test_named_sections_only(ready: Site) -> None:
    for section in ("one", "two"):
        ready.certificate(section, [f"{section}.named.example"])
    expect(ready.run("newOrder", "two"), 0, *first(ready, "two"))
    assert set(os.listdir(ready.lib / "certs")) == {"two", ".two"}
    expect(ready.run("newOrder", "three"), 2,
           r"error: there is no section \[three\] in the certificates' configuration")


def test_a_bad_section_harms_no_other(ready: Site, pebble: Pebble) -> None:
    """Its own files stay byte for byte, the others are installed."""
    ready.certificate("bad", ["bad.example"])
    expect(ready.run("newOrder"), 0, *first(ready, "bad"))
    before = {name: ready.file("bad", name).read_bytes() for name in FILES}
    ready.certificate("bad", ["bad.example", "elsewhere.example"])
    ready.certificate("unwritable", ["unwritable.example"],
                      certificate="/srv/nowhere/at/all.pem",
                      certificate_key=str(ready.path / "unwritable.key"))
    ready.certificate("good", ["good.example"])
    ready.certificate("fine", ["fine.example"])
    pebble.set_a("elsewhere.example", "127.0.0.77")
    expect(ready.run("newOrder"), 1, *first(ready, "good"), *first(ready, "fine"),
           "bad: its names have changed", rf"unwritable: {NEW}",
           r"error: bad: .*elsewhere\.example.*127\.0\.0\.77.*",
           "error: unwritable: /srv/nowhere: no such directory, needed for "
           "/srv/nowhere/at/all.pem",
           "2 installed, 2 failed", "  bad: .*", "  unwritable: .*")
    assert {name: ready.file("bad", name).read_bytes() for name in FILES} == before
    assert not (ready.path / "unwritable.key").exists()
    for section in ("good", "fine"):
        check_short_form(ready, section, [f"{section}.example"], pebble.roots())


# --- the explicit form ---------------------------------------------------------------------------

def test_explicit_form(ready: Site, pebble: Pebble) -> None:
    """lacme's settings: paths, owner and mode of one's choice, a key generated."""
    ssl = ready.path / "ssl"
    ssl.mkdir()
    www = pwd.getpwnam(WEBSERVER_USER)
    ready.certificate(
        "explicit", certificate=str(ssl / "cert.pem"), certificate_key=str(ssl / "key.pem"),
        certificate_chain=str(ssl / "chain.pem"), subject="/CN=explicit.example",
        subjectAltName="DNS:explicit.example, DNS:www.explicit.example",
        owner=f"root:{WEBSERVER_USER}", mode="0640")
    expect(ready.run("newOrder"), 0, f"explicit: {NEW}",
           rf"explicit: generating the private key {ssl}/key\.pem \(ec:P-256\)",
           f"explicit: {INSTALLED}")
    assert set(os.listdir(ssl)) == {"cert.pem", "key.pem", "chain.pem"}
    assert judge.mode(ssl / "key.pem") == 0o600 and (ssl / "key.pem").stat().st_gid == 0
    for name in ("cert.pem", "chain.pem"):
        info = (ssl / name).stat()
        assert (judge.mode(ssl / name), info.st_uid, info.st_gid) == (0o640, 0, www.pw_gid)
    assert (ssl / "cert.pem").read_text().count("-----BEGIN ") == 1
    chain = (ssl / "chain.pem").read_text()
    assert chain.startswith((ssl / "cert.pem").read_text()) and chain.count("-----BEGIN ") == 2
    assert judge.matches(ssl / "chain.pem", ssl / "key.pem")
    assert judge.names(ssl / "chain.pem") == {"explicit.example", "www.explicit.example"}
    judge.verify(ssl / "cert.pem", ssl / "chain.pem", pebble.roots())
    assert not (ready.lib / "certs").exists() or os.listdir(ready.lib / "certs") == []


def test_existing_key_is_kept(ready: Site) -> None:
    """Not a byte of it, nor its owner, mode or time, changes; chown and chmod are lacme's names."""
    key, chain = ready.path / "rsa.key", ready.path / "rsa.pem"
    key.write_text(ca.genkey("rsa:2048"))
    key.chmod(0o440)
    os.utime(key, (1, 1))
    before = key.read_bytes(), key.stat()
    ready.certificate("rsa", certificate_key=str(key), certificate_chain=str(chain),
                      subject="/CN=rsa.example", chown=WEBSERVER_USER, chmod="400")
    expect(ready.run("newOrder"), 0, f"rsa: {NEW}", f"rsa: {INSTALLED}")
    after = key.stat()
    assert key.read_bytes() == before[0]
    for field in ("st_ino", "st_mode", "st_uid", "st_gid", "st_mtime"):
        assert getattr(after, field) == getattr(before[1], field), field
    assert judge.matches(chain, key)
    assert judge.mode(chain) == 0o400
    assert chain.stat().st_uid == pwd.getpwnam(WEBSERVER_USER).pw_uid


def requested(hostile: Hostile) -> str:
    """Return what openssl shows of the last certificate signing request that was sent."""
    payload = hostile.asked("finalize")[-1].payload
    return ca.openssl("req", "-inform", "DER", "-noout", "-text",
                      stdin=unbase64url(payload["csr"])).decode()


def test_what_is_asked_for(site: Site, hostile: Hostile) -> None:
    """subject, keyUsage, hash and tlsfeature are in the request, and nothing that wasn't set."""
    site.use(hostile)
    site.genkey()
    register(site)
    site.certificate("full", ["b.example"], subject="/CN=a.example/O=Anybody & Sons",
                     subjectAltName="DNS:c.example", hash="sha512", key_type="rsa:2048",
                     keyUsage="digitalSignature, keyEncipherment", tlsfeature="status_request")
    expect(site.run("newOrder"), 0, *first(site, "full", "rsa:2048"))
    text = requested(hostile)
    assert re.search(r"Subject: CN ?= ?a\.example, O ?= ?Anybody & Sons\n", text)
    assert re.search(r"DNS:a\.example, DNS:b\.example, DNS:c\.example\n", text)
    assert "X509v3 Key Usage: critical\n" in text
    assert re.search(r"^ *Digital Signature, Key Encipherment$", text, re.M)
    assert "TLS Feature" in text and "status_request" in text
    assert "Signature Algorithm: sha512WithRSAEncryption" in text
    site.certificate("plain", ["plain.example"])
    expect(site.run("newOrder", "plain"), 0, *first(site, "plain"))
    text = requested(hostile)
    assert re.search(r"Subject: *\n", text) and "DNS:plain.example\n" in text
    assert "Subject Alternative Name: critical\n" in text    # RFC 5280 §4.2.1.6
    assert "Key Usage" not in text and "TLS Feature" not in text


# --- notify --------------------------------------------------------------------------------------

def test_notify_once_for_each_command(ready: Site) -> None:
    """The command knows its sections, and runs when all files are in place."""
    told = ready.path / "told"
    common = f'echo "$LETSENCRYPT_TINY_SECTIONS" >>{told}'
    for section in ("a", "b"):
        ready.certificate(section, [f"{section}.notify.example"], notify=common)
    own = f'test -s {ready.file("c")} && echo "c: $LETSENCRYPT_TINY_SECTIONS" | tee -a {told}'
    ready.certificate("c", ["c.notify.example"], notify=own)
    ready.certificate("d", ["d.notify.example"])
    lines = [line for section in "abcd" for line in first(ready, section)]
    expect(ready.run("newOrder"), 0, *lines, "4 installed, 0 failed", "c: c",
           f"running “{re.escape(common)}” for (a, b|b, a)", f"running “{re.escape(own)}” for c")
    assert sorted(told.read_text().splitlines()) in (["a b", "c: c"], ["b a", "c: c"])
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(told.read_text().splitlines()) == 2


# --- account keys --------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["rsa:2048", "ec:P-256", "ec:P-384"])
def test_account_keys(kind: str, site: Site, pebble: Pebble) -> None:
    """Made by the account key manager itself, as its own user."""
    site.use(pebble)
    done = run(site.signer(f"--genkey={kind}"))
    expect(done, 0, stdout=rf"{site.account_key}: (RSA|EC) .*, thumbprint [\w-]{{43}}\n")
    register(site)
    site.certificate("a", ["account-keys.example"])
    expect(site.run("newOrder"), 0, *first(site, "a"))
    assert judge.names(site.file("a")) == {"account-keys.example"}


def on_terminal(argv: list[str], *typed: str) -> "tuple[Result[str], str]":
    """Run a command with a controlling terminal on which a line is typed at each prompt.

    Returns how it ended and what stood on the terminal.
    """
    ours, theirs = os.openpty()
    shown = b""
    with subprocess.Popen(["/usr/bin/setsid", "--ctty", *argv], stdin=theirs, env=ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        try:
            for number, line in enumerate(typed, 1):
                while shown.count(b"assphrase of") < number:
                    shown += os.read(ours, 1024)    # OSError if nobody asks any more
                os.write(ours, line.encode() + b"\n")
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    os.close(ours)
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr), shown.decode()


def test_encrypted_account_key(ready: Site) -> None:
    """The passphrase goes from the terminal to the account key manager, past the master."""
    key = ca.openssl("pkey", "-aes256", "-passout", "pass:Sesame", "-in", str(ready.account_key))
    ready.account_key.write_bytes(key)
    ready.certificate("a", ["encrypted.example"])
    done, shown = on_terminal(ready.command("newOrder"), "Sesame")
    expect(done, 0, *first(ready, "a"))
    assert re.search(r"assphrase.*account\.key", shown) and "Sesame" not in shown
    done, shown = on_terminal(ready.command("newOrder", "--force"), "Barley", "Wheat", "Rye")
    expect(done, 1, "a: forced", r"accountd: warning: file:\S+/account\.key: wrong passphrase",
           r"accountd: error: file:\S+/account\.key: cannot be decrypted: wrong passphrase.*",
           f"error: a: {SIGNER_FAILED}")
    expect(ready.run("newOrder", "--force"), 1, "a: forced",
           r"accountd: error: file:\S+: the account key is encrypted, and there is no terminal to "
           "ask for its passphrase on", f"error: a: {SIGNER_FAILED}")
    assert judge.matches(ready.file("a"), ready.file("a", "privkey.pem"))


@pytest.fixture
def gpg(ready: Site) -> Iterator[dict[str, str]]:
    """The environment of gpg with a home of the account key manager's user."""
    home = Path("/run") / f"gpg-{os.getpid()}"     # short, for it holds sockets
    home.mkdir(mode=0o700)
    shutil.chown(home, SIGNER_USER, SIGNER_USER)
    environment = {"GNUPGHOME": str(home), "PATH": "/usr/bin:/bin"}
    yield environment
    subprocess.run(["/usr/bin/gpgconf", "--kill", "all"], env=environment, check=True)
    shutil.rmtree(home)


def test_gpg_account_key(ready: Site, gpg: dict[str, str]) -> None:
    command = f"gpg --quiet --homedir {gpg['GNUPGHOME']} --batch --pinentry-mode loopback " \
              "--passphrase"
    sealed = ready.lib / "accountd/account.key.gpg"
    subprocess.run([*command.split(), "Sesame", "-o", str(sealed), "-c", str(ready.account_key)],
                   check=True, env=gpg)
    shutil.chown(sealed, SIGNER_USER, SIGNER_USER)
    shutil.chown(gpg["GNUPGHOME"], SIGNER_USER, SIGNER_USER)
    for path in Path(gpg["GNUPGHOME"]).iterdir():
        shutil.chown(path, SIGNER_USER, SIGNER_USER)
    subprocess.run(["/usr/bin/gpgconf", "--kill", "all"], env=gpg, check=True)
    ready.account_key.unlink()
    ready.accountd[""] = {"privkey": f"gpg:{sealed}", "gpg": f"{command} Sesame"}
    ready.certificate("a", ["gpg.example"])
    expect(ready.run("newOrder"), 0, *first(ready, "a"))
    ready.accountd[""]["gpg"] = f"{command} Barley"
    expect(ready.run("newOrder", "--force"), 1, "a: forced", "accountd: gpg: .*",
           rf"accountd: error: gpg:{sealed}: cannot decrypt the account key: gpg ended with "
           "status 2",
           f"error: a: {SIGNER_FAILED}")


# --- another server ------------------------------------------------------------------------------

def test_caddy(site: Site, caddy: CaddyACME) -> None:
    """Smallstep's code validates at port 80, which is free: so ``listen`` is left to auto."""
    site.use(caddy)
    del site.main["webserver"]["listen"]
    # Two orders of one account at once are too much for its index of them: serverInternal, at times
    site.main["client"]["jobs"] = "1"
    site.genkey()
    expect(site.register(), 0, r"Key ID: https://\S+", stdout=r"\{.*\}\n")
    site.certificate("a", ["a.caddy.example", "b.caddy.example"])
    site.certificate("b", ["c.caddy.example"], key_type="rsa:2048")
    expect(site.run("newOrder"), 0, *first(site, "a"), *first(site, "b", "rsa:2048"),
           "2 installed, 0 failed")
    check_short_form(site, "a", ["a.caddy.example", "b.caddy.example"], caddy.roots())
    check_short_form(site, "b", ["c.caddy.example"], caddy.roots())
    expect(site.run("--quiet", "newOrder"), 0)
