"""The signer's command line and settings."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.accountd import (AS_ROOT, GOOD, KID, Home, as_nobody, command, conf, run, write_key)


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


@pytest.mark.parametrize("arguments, status, message", [
    (["--nonsense"], 2, "option --nonsense not recognized"),
    (["extra"], 2, "“extra” is not an option"),
    (["--socket"], 2, "option --socket requires argument"),
    (["--stdio", "--genkey=rsa:2048"], 2, "--stdio and --genkey exclude each other"),
    ([], 2, "which account key?"),
    (["--privkey="], 2, "which account key?"),
    (["--privkey=/a.key"], 2, "--privkey = /a.key: neither file:PATH nor gpg:PATH"),
    (["--privkey=file:"], 2, "neither file:PATH nor gpg:PATH"),
    (["--privkey=http://a"], 2, "neither file:PATH nor gpg:PATH"),
    (["--privkey=file:%x"], 2, "--privkey: “%x”: %x is not a specifier"),
    (["--privkey=file:/a", "--confine=maybe"], 2, "--confine=maybe: not one of"),
    (["--config=/none.conf"], 2, "/none.conf: cannot read the configuration"),
    (["--config=%q"], 2, "--config: “%q”: %q is not a specifier"),
    (["--privkey=file:/none.key"], 1,
     "file:/none.key: cannot read the account key: No such file or directory (“letsencrypt-tiny "
     "add NAME” makes one, and so does --genkey=ec:P-256)\n"),
    (["--privkey=file:/"], 1, "file:/: cannot read the account key: Is a directory"),
    (["--privkey=fd:77"], 1, "fd:77: cannot read the account key: Bad file descriptor"),
    (["--privkey=file:/dev/zero"], 1, "not a key in PEM format"),
])
def test_bad_options(arguments: list[str], status: int, message: str) -> None:
    done = run(*arguments)
    text = done.stderr.decode()
    assert message in text and text.startswith("error: ") and text.count("\n") == 1
    assert (done.returncode, done.stdout) == (status, b"")


@pytest.mark.parametrize("lines, message", [
    (["colour = red"], "unknown setting “colour” (valid: confine, gpg, keyid, logfile, privkey,"),
    (["[accountd]", "privkey = file:/a"], "unknown section [accountd]"),
    (["quiet = perhaps"], "quiet = perhaps: neither “yes” nor “no”"),
    (["confine = maybe"], "confine = maybe: not one of auto, required, no"),
    (["keyid = http://ca.example/1"], "keyid = http://ca.example/1: not an https URL"),
    (["privkey = pkcs11:x"], "privkey = pkcs11:x: “x” is not an attribute of a key's PKCS #11 URI"),
    (["privkey = ftp:x"], "privkey = ftp:x: neither file:PATH"),
    (["privkey = file:%y/x"], "privkey: “%y/x”: %y is not a specifier"),
    (["privkey = file:/x", "logfile = %z"], "logfile: “%z”: %z is not a specifier"),
    (["privkey = file:/x", "logfile = /none/log"], "logfile = /none/log: cannot open it"),
    (["privkey"], "line 1: "),
    ([""], "Neither --privkey nor the setting “privkey” of"),
])
def test_bad_settings(lines: list[str], message: str, tmp_path: Path) -> None:
    file = conf(tmp_path / "key", *lines)
    done = run(f"--config={file}", "--stdio")
    text = done.stderr.decode()
    assert message in text and text.count("\n") == 1
    assert str(file) in text or "logfile" in text
    assert (done.returncode, done.stdout) == (2, b"")


def test_settings_options_and_specifiers(tmp_path: Path, key: Path) -> None:
    directory = {"TMPDIR": str(tmp_path)}
    file = conf(key, "# as lacme's", "privkey = file:%T/RSA:2048.pem", "gpg = gpg --quiet",
                "socket = %T/S", "logfile = %T/log-%U", f"keyid = {KID}", "quiet = No")
    done = run("--config=%T/accountd.conf", "--stdio", data=GOOD + b"\r\n", env=directory)
    assert done.returncode == 0 and b"SIGNED" in done.stderr, done.stderr
    assert f'"kid":"{KID}"'.encode() in done.stdout
    assert "SIGNED" in (tmp_path / f"log-{os.getuid()}").read_text()
    done = run(f"--config={file}", "--stdio", "-q", data=GOOD + b"\r\n", env=directory)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(f"--config={file}", "--stdio", "--privkey=file:%T/none", env=directory)
    assert done.returncode == 1 and f"file:{tmp_path}/none".encode() in done.stderr


@pytest.mark.skipif(not AS_ROOT, reason="writes files for another user")
def test_places_of_a_user_without_privilege(key: Path) -> None:
    """%E and %t of a user, who is not root."""
    with Home() as home:
        (home / "letsencrypt-tiny").mkdir(mode=0o755)
        (home / "account.key").write_bytes(key.read_bytes())
        os.chown(home / "account.key", 65534, 65534)
        (home / "account.key").chmod(0o600)
        file = home / "letsencrypt-tiny/accountd.conf"
        file.write_text(f"privkey = file:{home}/account.key\n")

        def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(command(*arguments), env=environment, timeout=60, **as_nobody(),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)

        done = start("--stdio", XDG_CONFIG_HOME=str(home))
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"1 OK")
        done = start(XDG_CONFIG_HOME=str(home))
        assert done.returncode == 2 and b"socket: \xe2\x80\x9c%t/S.letsencrypt-tiny" in done.stderr
        assert b"is XDG_RUNTIME_DIR set?" in done.stderr
        file.chmod(0o600)  # root's
        done = start("--stdio", XDG_CONFIG_HOME=str(home))
        assert done.returncode == 2 and f"{file}: cannot read".encode() in done.stderr


@pytest.mark.parametrize("option, text", [
    ("--help", "--genkey=KIND"), ("-h", "--stdio"), ("--version", "letsencrypt-tiny-accountd 1.")])
def test_help_and_version(option: str, text: str) -> None:
    done = run(option)
    assert (done.returncode, done.stderr) == (0, b"") and text in done.stdout.decode()
