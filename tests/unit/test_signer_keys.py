"""The account key: every form of it, passphrases, gpg, new ones, and what is not taken."""

import os
import pty
import re
import resource
import select
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Callable, Iterator

import pytest

from harness import soak
from harness.accountd import (AS_ROOT, GOOD, command, conf, openssl, pem, request, run,
                              signing_input, talk, verified, write_key)
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.signer import keyfile

LINE = GOOD + b"\r\n"


def with_terminal(arguments: list[str], typed: list[str]) -> tuple[int, bytes, str]:
    """Run the program with a terminal of its own, typing at each prompt.

    Returns exit status, standard output (a pipe) and what stood on the terminal.
    """
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    words = command("--config=/dev/null", *arguments)
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(in_read, 0)
        os.dup2(out_write, 1)
        os.closerange(3, 64)
        os.execv(words[0], words)
    os.close(in_read)
    os.close(out_write)
    os.write(in_write, LINE)
    os.close(in_write)
    shown = b""
    prompts = 0
    end = time.monotonic() + 30
    while time.monotonic() < end and select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the other end is closed
            break
        shown += data
        if shown.count(b"Passphrase of") > prompts and shown.endswith(b": "):
            os.write(terminal, typed[prompts].encode() + b"\n")
            prompts += 1
    os.close(terminal)
    with open(out_read, "rb") as out:
        output = out.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output, shown.decode()


def encrypted(form: str, passphrase: str) -> bytes:
    """A key as openssl encrypts it."""
    kind, _, cipher = form.partition(" ")
    words = ["rsa", "-traditional"] if cipher.startswith("-") and kind == "RSA:2048" else (
        ["ec"] if cipher.startswith("-") else ["pkcs8", "-topk8", *cipher.split()])
    extra = [cipher] if cipher.startswith("-") else []
    return openssl(*words, *extra, "-passout", f"pass:{passphrase}", data=pem(kind))


@pytest.mark.parametrize("form", ["RSA:2048 -aes256", "RSA:2048 -des3", "RSA:2048", "EC:P-256",
                                  "EC:P-384 -aes128"])
def test_encrypted_key(form: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(encrypted(form, "grüße 7"))
    key.chmod(0o600)
    kind = form.split(" ", maxsplit=1)[0]
    alg = {"RSA": "RS256", "EC:P-256": "ES256", "EC:P-384": "ES384"}[
        "RSA" if kind.startswith("RSA") else kind]
    status, output, shown = with_terminal([f"--privkey=file:{key}", "--stdio"],
                                          ["wrong", "grüße 7"])
    assert f'1 OK {{"alg":"{alg}"'.encode() in output, (status, shown)
    assert shown.count("Passphrase of") == 2 and shown.count("wrong passphrase") == 1
    assert "grüße" not in shown, "no echo"
    lines = output.split(b"\r\n")
    if alg == "RS256":
        assert status == 0 and len(lines) == 4
    else:  # the line is meant for an RSA key
        assert status == 1 and len(lines) == 3 and "NOSIGN alg is not" in shown


def test_encrypted_key_three_tries(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(encrypted("EC:P-256", "right"))
    key.chmod(0o600)
    status, output, shown = with_terminal([f"--privkey=file:{key}", "--stdio"],
                                          ["wrong", "", "wrong"])
    assert (status, output) == (1, b"")
    assert shown.count("Passphrase of") == 3 and "cannot be decrypted" in shown


def test_encrypted_key_without_a_terminal(tmp_path: Path) -> None:
    """The standard input is the client's: it is never taken for a passphrase."""
    key = tmp_path / "key"
    key.write_bytes(encrypted("RSA:2048", "right"))
    key.chmod(0o600)
    done = run(f"--privkey=file:{key}", "--stdio", data=b"right\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no terminal to ask for its passphrase on" in done.stderr


FORMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "PKCS#1": ("RSA:2048", lambda: openssl("rsa", "-traditional", data=pem("RSA:2048"))),
    "SEC1": ("EC:P-256", lambda: openssl("ec", data=pem("EC:P-256"))),
    "SEC1 with parameters": ("EC:P-256", lambda: openssl("ecparam", "-name", "prime256v1")
                             + openssl("ec", data=pem("EC:P-256"))),
    "after text": ("RSA:2048", lambda: openssl("pkey", "-text", data=pem("RSA:2048"))),
    "after a certificate": ("EC:P-384", lambda: openssl(
        "req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=x", data=pem("EC:P-384"))
        + pem("EC:P-384")),
    "CR LF": ("EC:P-384", lambda: pem("EC:P-384").replace(b"\n", b"\r\n")),
    "RSA 3072": ("RSA:3072", lambda: pem("RSA:3072")),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, tmp_path: Path) -> None:
    kind, make = FORMS[form]
    key = tmp_path / "key"
    key.write_bytes(make())
    key.chmod(0o600)
    alg = {"RSA": "RS256", "EC:P-256": "ES256", "EC:P-384": "ES384"}[
        "RSA" if kind.startswith("RSA") else kind]
    line = signing_input(request(alg=alg), {})
    answers, log, status = talk(key, line + b"\r\n")
    assert status == 0 and "warning" not in log
    assert verified(kind, line, answers[0], tmp_path)


def damaged() -> bytes:
    """An RSA key whose modulus is another's."""
    text = openssl("rsa", "-traditional", "-outform", "DER", data=pem("RSA:2048"))
    other = openssl("rsa", "-traditional", "-outform", "DER", data=pem("RSA:2048:other"))
    modulus = slice(12, 12 + 256)
    return (b"-----BEGIN RSA PRIVATE KEY-----\n"
            + openssl("base64", data=text[:modulus.start] + other[modulus] + text[modulus.stop:])
            + b"-----END RSA PRIVATE KEY-----\n")


NOT_TAKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "Ed25519": (lambda: pem("ED25519"), "a key of kind Ed25519; account keys are RSA of 2048 to"),
    "X448": (lambda: pem("X448"), "a key of kind X448"),
    "RSA-PSS": (lambda: pem("RSA-PSS"), "a key of kind RSA-PSS"),
    "DSA": (lambda: b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
            "a key of kind DSA"),
    "OpenSSH": (lambda: b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"
                b"-----END OPENSSH PRIVATE KEY-----\n", "a key of kind OPENSSH"),
    "P-521": (lambda: pem("EC:P-521"), "an EC key on P-521; account keys are"),
    "P-521 SEC1": (lambda: openssl("ec", data=pem("EC:P-521")), "an EC key on P-521"),
    "secp256k1": (lambda: pem("EC:secp256k1"), "a malformed private key (Unsupported ECC curve"),
    "RSA 1024": (lambda: pem("RSA:1024"), "an RSA key of 1024 bits; account keys are"),
    "public": (lambda: openssl("pkey", "-pubout", data=pem("RSA:2048")),
               "not a private key but a public key"),
    "certificate": (lambda: openssl("req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=x",
                                    data=pem("RSA:2048")), "not a private key but a certificate"),
    "DER": (lambda: openssl("pkey", "-outform", "DER", data=pem("RSA:2048")),
            "not a private key in PEM format"),
    "empty": (lambda: b"", "not a private key in PEM format"),
    "junk": (lambda: b"\xff\0 junk", "not a private key in PEM format"),
    "junk inside": (lambda: b"-----BEGIN PRIVATE KEY-----\nanVuaw==\n-----END PRIVATE KEY-----\n",
                    "a malformed private key"),
    "cut": (lambda: pem("RSA:2048")[:800], "not a private key in PEM format"),
    "lines missing": (lambda: b"".join(pem("RSA:2048").splitlines(True)[:9]
                                       + pem("RSA:2048").splitlines(True)[-1:]),
                      "a malformed private key"),
    "damaged": (damaged, "a damaged key"),
}


@pytest.mark.parametrize("case", NOT_TAKEN)
def test_keys_not_taken(case: str, tmp_path: Path) -> None:
    make, message = NOT_TAKEN[case]
    key = tmp_path / "key"
    key.write_bytes(make())
    key.chmod(0o600)
    done = run(f"--privkey=file:{key}", "--stdio", data=LINE)
    text = done.stderr.decode()
    assert f"error: file:{key}: {message}" in text and text.count("\n") == 1
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("mode, warns", [(0o600, False), (0o400, False), (0o640, True),
                                         (0o604, True), (0o620, True)])
def test_mode_of_the_file(mode: int, warns: bool, tmp_path: Path) -> None:
    key = write_key(tmp_path, "EC:P-256")
    key.chmod(mode)
    done = run(f"--privkey=file:{key}", "--stdio", "--quiet")
    assert done.returncode == 0
    assert (f"(mode {mode:04o}; chmod 0600 it)" in done.stderr.decode()) == warns


@pytest.mark.skipif(not AS_ROOT, reason="needs root to become another user")
def test_unreadable_file(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        key = write_key(Path(directory), "EC:P-256")
        done = run(f"--privkey=file:{key}", "--stdio", user=65534, group=65534, extra_groups=[])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"error: file:{key}: cannot read the account key: " \
                                   "Permission denied\n"


def test_descriptor(tmp_path: Path) -> None:
    with open(write_key(tmp_path, "RSA:2048"), "rb") as file:
        done = run(f"--privkey=fd:{file.fileno()}", "--stdio", data=LINE, pass_fds=[file.fileno()])
    assert done.returncode == 0 and done.stdout.count(b"\r\n") == 3


@pytest.fixture(name="gnupg")
def _gnupg() -> Iterator[str]:
    home = tempfile.mkdtemp(prefix="gpg")  # short: holds sockets
    environment = {"GNUPGHOME": home, "PATH": "/usr/bin:/bin"}
    yield home
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
    shutil.rmtree(home, ignore_errors=True)


GPG = "gpg --quiet --batch --pinentry-mode loopback --passphrase"


def test_gpg(gnupg: str, tmp_path: Path) -> None:
    environment = {"GNUPGHOME": gnupg, "TMPDIR": str(tmp_path), "PATH": "/nonexistent"}
    subprocess.run([*GPG.split(), "secret", "-o", tmp_path / "key.gpg", "-c"], check=True,
                   input=pem("RSA:2048"), env={"GNUPGHOME": gnupg, "PATH": "/usr/bin:/bin"})
    file = conf(tmp_path / "key", "privkey = gpg:%T/key.gpg", f"gpg = {GPG} secret")
    done = run(f"--config={file}", "--stdio", data=LINE, env=environment)
    assert done.returncode == 0, done.stderr
    assert verified("RSA:2048", GOOD, done.stdout.split(b"\r\n")[2], tmp_path)

    conf(tmp_path / "key", "privkey = gpg:%T/key.gpg", f"gpg = {GPG} wrong")
    done = run(f"--config={file}", "--stdio", env=environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot decrypt the account key: gpg ended with status 2" in done.stderr


def test_gpg_words_and_environment(tmp_path: Path) -> None:
    """No shell; a client's bytes stay its own; GPG_TTY arrives, what misleads a shell doesn't."""
    key = write_key(tmp_path, "RSA:2048")
    script = tmp_path / "decrypt"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\nenv >{tmp_path}/env\n'
                      f"cat >{tmp_path}/stdin\ncat {key}\n")
    script.chmod(0o755)
    file = conf(key, f"privkey = gpg:{tmp_path}/a $(id) b.gpg", f"gpg = {script} ;  $HOME `id`")
    done = run(f"--config={file}", "--stdio", data=LINE,
               env={"GPG_TTY": "/dev/pts/9", "BASH_ENV": "/evil", "LD_PRELOAD": "", "PATH": "/x"})
    assert done.returncode == 0 and done.stdout.count(b"\r\n") == 3, done.stderr
    assert (tmp_path / "words").read_text().split("\n") == [
        ";", "$HOME", "`id`", "-o", "-", "--decrypt", "--", f"{tmp_path}/a $(id) b.gpg", ""]
    assert (tmp_path / "stdin").read_bytes() == b""
    environment = (tmp_path / "env").read_text()
    assert "GPG_TTY=/dev/pts/9\n" in environment and "PATH=/usr/bin:/bin\n" in environment
    assert "BASH_ENV" not in environment and "LD_PRELOAD" not in environment

    conf(key, "privkey = gpg:/x", "gpg = /none/gpg")
    done = run(f"--config={file}", "--stdio")
    assert done.returncode == 1 and b"gpg = /none/gpg: cannot run it: No such file" in done.stderr


GENERATED = {"rsa:2048": (0o000, "2048 bit"), "rsa:3072": (0o022, "3072 bit"),
             "rsa:4096": (0o077, "4096 bit"), "ec:P-256": (0o777, "P-256"),
             "ec:P-384": (0o077, "P-384")}


@pytest.mark.parametrize("kind", soak.kinds(GENERATED))
def test_genkey(kind: str, tmp_path: Path) -> None:
    umask, text = GENERATED[kind]
    key = tmp_path / "account.key"
    done = run(f"--genkey={kind}", f"--privkey=file:{key}", umask=umask)
    assert (done.returncode, done.stderr) == (0, b"")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert key.read_text().endswith("-----END PRIVATE KEY-----\n")
    shown = openssl("pkey", "-noout", "-text", "-check", data=key.read_bytes()).decode()
    assert text in shown
    printed = re.fullmatch(rf"{key}: (RSA \d+ bits|EC P-\d+), thumbprint ([\w-]{{43}})\n",
                           done.stdout.decode())
    assert printed
    greeting = run(f"--privkey=file:{key}", "--stdio").stdout.decode()
    assert f'"jwk-thumbprint":"{printed.group(2)}"' in greeting
    # and never again
    before = key.read_bytes(), key.stat()
    done = run(f"--genkey={kind}", f"--privkey=file:{key}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{key}: exists already; an account key is never overwritten" in done.stderr.decode()
    assert (key.read_bytes(), key.stat()) == before


def test_genkey_symlink(tmp_path: Path) -> None:
    for target in ("nowhere", "victim"):
        (tmp_path / "victim").write_text("mine")
        (tmp_path / f"to-{target}").symlink_to(target)
        done = run("--genkey=ec:P-256", f"--privkey=file:{tmp_path}/to-{target}")
        assert done.returncode == 1 and b"exists already" in done.stderr
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("link", [False, True])
def test_genkey_of_one_that_comes_meanwhile(link: bool, tmp_path: Path) -> None:
    """A long key takes its time."""
    path, victim = tmp_path / "key", tmp_path / "victim"
    place = keyfile.check_new(str(path), "--genkey=rsa:4096")
    victim.write_text("mine")
    (path.symlink_to if link else path.hardlink_to)(victim)
    with pytest.raises(Error, match=f"^{path}: exists already; an account key is never overwr"):
        keyfile.write_new(place, str(path), b"new")
    assert victim.read_text() == "mine" and path.is_symlink() == link
    os.close(place)


def test_genkey_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = run("--genkey=ec:P-256", f"--privkey=file:{tmp_path}/key", preexec_fn=full)
    assert done.returncode == 1 and b"cannot write the account key: File too large" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, status, message", [
    (["--genkey=rsa:1024", "--privkey=file:{}/key"], 2, "--genkey=rsa:1024: not one of rsa:2048,"),
    (["--genkey=ed25519", "--privkey=file:{}/key"], 2, "--genkey=ed25519: not one of"),
    (["--genkey=ec:P-256", "--privkey=gpg:{}/key"], 2, "--genkey writes to the path of --privkey="),
    (["--genkey=ec:P-256"], 2, "which account key?"),
    (["--genkey=ec:P-256", "--privkey=file:{}/none/key"], 1, "no directory for the account key"),
    (["--genkey=ec:P-256", "--privkey=file:{}/"], 1, "names a directory, not a file"),
])
def test_genkey_errors(arguments: list[str], status: int, message: str, tmp_path: Path) -> None:
    done = run(*[argument.format(tmp_path) for argument in arguments])
    text = done.stderr.decode()
    assert message in text and text.count("\n") == 1
    assert (done.returncode, done.stdout) == (status, b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
def test_genkey_as_root_for_another(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    done = run("--genkey=ec:P-256", f"--privkey=file:{tmp_path}/a key")
    assert (done.returncode, done.stdout) == (1, b"") and not list(tmp_path.iterdir())
    assert ("runuser -u nobody -- letsencrypt-tiny-accountd --genkey=ec:P-256 "
            f"--privkey='file:{tmp_path}/a key'\n") in done.stderr.decode()
