"""Bad configuration: one line with file, section and setting, exit status 2, nothing changed."""

import re
from pathlib import Path

import pytest

from harness.hostile import Hostile
from harness.run import Site, run
from harness.verdict import errors, only_error, refused

LONG = "x" * 300

# Bad values by setting; each is refused by a message with file, section and setting.
MAIN: dict[str, dict[str, list[str]]] = {
    "": {"config-certs": ["%z"],
         "library-directory": ["relative", "/", "/srv/../etc", "."],
         "run-directory": ["relative", "/", "/srv/../etc"],
         "openssl": ["openssl", "./openssl"]},
    "client": {"user": ["nosuchuser", "0x", "root root"], "group": ["nosuchgroup"],
               "command": ["./client", "bin/client"],
               "server": ["http://127.0.0.1/", "https://", "127.0.0.1", "https://a b", "file:///",
                          "https://user@host/", "https://host:0/", "https://host:99999/",
                          "https://host/#fragment", "ftp://host/", "https://ca.example.:443/dir",
                          "https://user:s3cret@host/"],
               "timeout": ["-1", "1.5", "soon", "86401", "9" * 20, "0x10", "٣", "1_0"],
               "SSL_verify": ["maybe", "2", "yes no"],
               "SSL_version": ["SSLv3", "TLSv9", "!TLSv1_2", "TLSv1_2:TLSv1:!", "TLSv1,TLSv1_3"],
               "SSL_cipher_list": ["NOSUCHCIPHER"],
               "ca-file": ["relative.pem"],
               "proxy": ["https://proxy:1/", "proxy:port", "http://", "http://a b/",
                         "http://p:99999/", "http://user:s3cret@a b/", "http://p-:1",
                         "http://user:s3cret@p-:1"],
               "jobs": ["0", "65", "-1", "many"], "confine": ["maybe", "Auto", "1"]},
    "webserver": {"listen": ["80", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "[::g]:80",
                             "256.0.0.1:80", "localhost:80", "relative.sock", "/" + LONG],
                  "challenge-directory": ["relative", "%z/x", "/nonexistent/directory"],
                  "user": ["nosuchuser"], "group": ["nosuchgroup"],
                  "command": ["./webserver"], "iptables": ["maybe"], "confine": ["maybe"]},
    "accountd": {"user": ["nosuchuser"], "group": ["nosuchgroup"], "command": ["./accountd"],
                 "quiet": ["maybe"], "confine": ["maybe"]}}

CERTS: dict[str, list[str]] = {
    "names": ["a..b", "-a.example", "*.example", "https://a.example/",
              "a.example:8443", "a.example.",
              "\u2603.example", "a.example/x", "$(id).example", "DNS:a.example",
              "999.1.1.1", "::g", "x" * 64 + ".example", "a.example;b.example"],
    "certificate": ["relative.pem", "/srv/", "/srv/../x"],
    "certificate-chain": ["relative.pem", "/srv/x/."],
    "certificate-key": ["relative.key", "/srv/../x"],
    "min-days": ["soon", "1.5", "100001", "9" * 30], "CAfile": ["relative.pem", "/nonexistent.pem"],
    "hash": ["sha0", "$(id)"], "keyUsage": ["sign", "critical, $ENV::HOME"],
    "subject": ["CN=a.example", "/XX=a", "/CN=a=b", "/CN=", "/CN=$ENV::HOME", "/CN=" + LONG],
    "subjectAltName": ["a.example", "DNS:$ENV::HOME", "email:a@b.example", "DNS:", "IP:a.example",
                       "DNS:a.example\\,DNS:b.example"],
    "tlsfeature": ["stapling", "24"], "owner": ["nosuchuser", "root:nosuchgroup", ":root", "a:b:c"],
    "chown": ["nosuchuser"], "mode": ["rw-r--r--", "888", "4755", "0666", "0o644"],
    "chmod": ["0777"], "key-type": ["rsa:1024", "dsa", "ec:P-224", "ec:"]}

ACCOUNTD: dict[str, list[str]] = {
    "privkey": ["account.key", "file:", "http://x/", "fd:x", "fd:999999", "file:%z"],
    "keyid": ["http://a.example/", "account"], "quiet": ["maybe"], "confine": ["maybe"],
    "logfile": ["/nonexistent/log", "%z"]}


@pytest.mark.alike(3)
@pytest.mark.parametrize("section, setting, value", [
    (section, setting, value) for section, settings in MAIN.items()
    for setting, values in settings.items() for value in values])
def test_main_configuration(section: str, setting: str, value: str, good: Site,
                            server: Hostile) -> None:
    if setting == "listen":   # for those that listen names a socket of another kind
        good.main[section].pop("challenge-directory", None)
    good.main[section][setting] = value
    told = refused(good, 2)
    assert f"{good.config}" in told and setting in told, told
    assert not section or f"[{section}]" in told, told
    assert not server.requests and "s3cret" not in told


@pytest.mark.alike(3)
@pytest.mark.parametrize("setting, value", [
    (setting, value) for setting, values in CERTS.items() for value in values])
def test_certificates(setting: str, value: str, good: Site, server: Hostile) -> None:
    good.certs["a"][setting] = value
    told = refused(good, 1)
    assert str(good.etc / "certs.conf") in told and "[a]" in told and setting in told, told
    assert told.count("[a]") == 1 and not told.startswith("error: a:"), "its name, once"
    assert not server.requests


@pytest.mark.parametrize("setting, value", [
    (setting, value) for setting, values in ACCOUNTD.items() for value in values])
def test_accountd(setting: str, value: str, good: Site, tmp_path: Path) -> None:
    good.accountd[""][setting] = value
    done = run(good.signer("--stdio"))
    told = only_error(done, 2)
    assert setting in told and str(good.etc / "accountd.conf") in told, told


@pytest.mark.parametrize("name, text, expected", [
    ("letsencrypt-tiny.conf", "[clent]\n", r"unknown section \[clent\]"),
    ("letsencrypt-tiny.conf", "timeout = 1\n", "unknown setting “timeout”"),
    ("letsencrypt-tiny.conf", "[client]\nTimeout = 1\n", r"\[client\]: unknown setting “Timeout”"),
    ("letsencrypt-tiny.conf", "[webserver]\nserver = x\n", r"\[webserver\]: unknown setting"),
    ("letsencrypt-tiny.conf", "[accountd]\nsocket = x\n", r"\[accountd\]: unknown setting"),
    ("letsencrypt-tiny.conf", "[client]\ntimeout\n", "line 2"),
    ("letsencrypt-tiny.conf", "[client]\ntimeout = 1\ntimeout = 2\n", "line 3.*given before"),
    ("letsencrypt-tiny.conf", "[client\n", "line 1"),
    ("letsencrypt-tiny.conf", "[[client]]\n", "line 1: sections cannot be nested"),
    ("letsencrypt-tiny.conf", "[client]\nserver = https://a\x1b[2J\n", "line 2.*control character"),
    ("letsencrypt-tiny.conf", "[client]\n[client]\n", "line 2"),
    ("certs.conf", "name = a.example\n", "unknown setting “name”"),
    ("certs.conf", "[a]\nname = a.example\n", r"\[a\]: unknown setting “name”"),
    ("certs.conf", "[a]\nnotify = x\n", r"\[a\]: no names"),
    ("certs.conf", "[../../etc]\nnames = a.example\n", r"\[../../etc\]: this name cannot name"),
    ("certs.conf", f"[{LONG}]\nnames = a.example\n", "longer than"),
    ("certs.conf", "[b]\nnames = b.example\n"
     "certificate-key = /srv/k\ncertificate = /srv/c\ncertificate-chain = /srv/c\n",
     "is already the file of"),
    ("certs.conf", "[a]\nnames = a.example\ncertificate-key = /srv/k\ncertificate = /srv/k\n",
     "is the certificate-key of"),
    ("certs.conf", "[a]\nnames = '''a.example'''\n", "triple quotes"),
    ("certs.conf", "[a]\nnames = a.example,\n\tb.example\n", "line 3"),
    ("certs.conf", "[a]\nnames = " + ", ".join(f"n{i}.example" for i in range(1001)) + "\n",
     "more than 1000 names"),
], ids=range(21))
def test_malformed_files(name: str, text: str, expected: str, good: Site) -> None:
    good.write(name, text)
    # what can't be read stops everything, a bad section only itself
    section = name == "certs.conf" and text[0] == "[" and not re.match("line|triple", expected)
    told = refused(good, 1 if section else 2, expected=expected)
    assert str(good.etc / name) in told


@pytest.mark.alike(3)
@pytest.mark.parametrize("kind, name", [
    (kind, name) for kind in ("missing", "binary", "directory", "writable", "huge", "unreadable")
    for name in ("letsencrypt-tiny.conf", "certs.conf", "accountd.conf")
    if (kind, name) != ("directory", "certs.conf")])   # that is how many files are given
def test_unusable_files(kind: str, name: str, good: Site) -> None:
    path = good.etc / name
    good.configure()
    good._written += ["letsencrypt-tiny.conf", "certs.conf", "accountd.conf"]
    path.unlink()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\0")
    elif kind == "directory":
        path.mkdir()
    elif kind == "writable":
        path.write_text("")
        path.chmod(0o666)
    elif kind == "huge":
        path.write_text("# comment\n" * 8_000_000)
    elif kind == "unreadable":
        path.symlink_to(path)
    try:
        if name == "accountd.conf":
            done = run(good.signer("--stdio"))
        else:
            done = good.run("newOrder", "--force")
        assert str(path) in only_error(done, 2)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.touch(0o644)


def test_configuration_of_the_signer_through_the_master(good: Site) -> None:
    """The signer's own complaint, under its name, and the master's for the section."""
    good.accountd[""]["privkey"] = "nonsense"
    done = good.run("newOrder", "--force")
    assert done.returncode == 1
    assert re.search(r"^accountd: error: .*privkey = nonsense", done.stderr, re.M), done.stderr
    assert len(errors(done)) == 1
