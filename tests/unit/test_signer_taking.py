"""--import: other clients' account keys become ours, in whatever form they are."""

import json
import os
import re
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.accountd import b64_text, openssl, pem, run
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.signer import taking

FORMS = {"PKCS#8 RSA": ("RSA:2048", ()), "PKCS#1": ("RSA:2048", ("rsa", "-traditional")),
         "PKCS#8 EC": ("EC:P-256", ()), "SEC1": ("EC:P-384", ("ec",))}
TOLD = r"{}: ([a-z ,]+): (RSA \d+ bits|EC P-\d+), thumbprint ([\w-]{{43}})\n"


def numbers(key: bytes) -> dict[str, int]:
    """The numbers of an RSA key, by openssl."""
    text = openssl("rsa", "-noout", "-text", data=key).decode()
    found = {name: int(re.sub(r"[\s:]", "", value), 16) for name, value in re.findall(
        r"(?m)^(\w+):((?:\n +[0-9a-f:]+)+)", text)}
    found["publicExponent"] = 65537
    return found


def jwk(kind: str) -> dict[str, Any]:
    """A private JSON Web Key, put together by nothing of ours, as certbot's."""
    def encoded(number: int, size: int = 0) -> str:
        return b64_text(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))
    if kind.startswith("RSA"):
        known = numbers(pem(kind))
        return {"kty": "RSA", **{name: encoded(known[where]) for name, where in (
            ("n", "modulus"), ("e", "publicExponent"), ("d", "privateExponent"),
            ("p", "prime1"), ("q", "prime2"), ("dp", "exponent1"), ("dq", "exponent2"),
            ("qi", "coefficient"))}}
    text = openssl("ec", "-noout", "-text", data=pem(kind)).decode()
    private, public = (bytes.fromhex(re.sub(r"[\s:]", "", part)) for part in re.findall(
        r"(?:priv|pub):((?:\n +[0-9a-f:]+)+)", text))
    half = len(public) // 2
    return {"kty": "EC", "crv": kind.partition(":")[2],
            "d": encoded(int.from_bytes(private, "big"), half),
            "x": b64_text(public[1:1 + half]), "y": b64_text(public[1 + half:])}


def public(key: bytes) -> bytes:
    return openssl("pkey", "-pubout", data=key)


def taken(source: Path, place: Path, *options: str) -> tuple[int, str, str]:
    """Import a key; return status, what has become of it, and its thumbprint."""
    done = run(f"--import=file:{source}", f"--privkey=file:{place}", *options)
    printed = re.fullmatch(TOLD.format(place), done.stdout.decode())
    assert printed and done.stderr == b"", done
    return done.returncode, printed.group(1), printed.group(3)


@pytest.mark.parametrize("form, umask", zip(FORMS, (0, 0o777, 0o22, 0o777)))
def test_pem(form: str, umask: int, tmp_path: Path) -> None:
    kind, options = FORMS[form]
    text = openssl(*options, data=pem(kind)) if options else pem(kind)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.write_bytes(b"whoever wrote this\n" + text)
    theirs.chmod(0o400)
    done = run(f"--import=file:{theirs}", f"--privkey=file:{ours}", umask=umask)
    assert (done.returncode, done.stderr) == (0, b"")
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600
    assert ours.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    openssl("pkey", "-noout", "-check", data=ours.read_bytes())
    assert public(ours.read_bytes()) == public(pem(kind))
    assert theirs.read_bytes().endswith(text)
    greeting = run(f"--privkey=file:{ours}", "--stdio").stdout.decode()
    assert f'"jwk-thumbprint":"{done.stdout.decode()[-44:-1]}"' in greeting


@pytest.mark.parametrize("kind", ["RSA:2048", "EC:P-256", "EC:P-384"])
def test_json_web_key(kind: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "private_key.json", tmp_path / "ours"
    theirs.write_text("\n" + json.dumps(jwk(kind)))
    theirs.chmod(0o400)
    assert taken(theirs, ours)[:2] == (0, "taken over")
    openssl("pkey", "-noout", "-check", data=ours.read_bytes())
    assert public(ours.read_bytes()) == public(pem(kind))
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600


def test_again_and_another(tmp_path: Path) -> None:
    theirs, other, ours = (tmp_path / name for name in ("theirs", "other", "ours"))
    theirs.write_bytes(pem("EC:P-256"))
    other.write_bytes(pem("EC:P-384"))
    for path in theirs, other:
        path.chmod(0o400)
    status, words, thumbprint = taken(theirs, ours, "--dry-run")
    assert (status, words) == (0, "would be taken over") and not ours.exists()
    assert taken(theirs, ours) == (0, "taken over", thumbprint)
    before = ours.read_bytes(), ours.stat()
    assert taken(theirs, ours) == (0, "is that key already", thumbprint)
    for options in ((), ("--dry-run",)):
        assert taken(other, ours, *options)[:2] == (1, "is another key, and stays")
    assert (ours.read_bytes(), ours.stat()) == before
    for target in "nowhere", str(theirs):   # whoever has put a link there meant it
        (link := tmp_path / f"to-{os.path.basename(target)}").symlink_to(target)
        done = run(f"--import=file:{other}", f"--privkey=file:{link}")
        assert done.returncode == 1 and link.is_symlink()
    assert not (tmp_path / "nowhere").exists() and theirs.read_bytes() == pem("EC:P-256")


def test_by_descriptor(tmp_path: Path) -> None:
    descriptor = os.memfd_create("key")
    os.write(descriptor, pem("EC:P-256"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    done = run(f"--import=fd:{descriptor}", f"--privkey=file:{tmp_path}/ours",
               pass_fds=(descriptor,))
    os.close(descriptor)
    assert done.returncode == 0 and public((tmp_path / "ours").read_bytes()) == public(
        pem("EC:P-256"))


def broken() -> dict[str, tuple[bytes, str]]:
    """What is no account key -> what is said of it."""
    good = jwk("RSA:2048")
    one = jwk("EC:P-256")
    huge = b64_text(((1 << 20000) + 1).to_bytes(2501, "big"))

    def text(key: dict[str, Any], **changes: Any) -> bytes:
        return json.dumps({name: value for name, value in {**key, **changes}.items()
                           if value is not None}).encode()
    return {
        "empty": (b"", "not a private key in PEM format"),
        "certificate": (openssl("req", "-x509", "-new", "-subj", "/CN=x", "-key", "/dev/stdin",
                                data=pem("EC:P-256")), "not a private key but a certificate"),
        "encrypted": (openssl("pkcs8", "-topk8", "-passout", "pass:x", data=pem("EC:P-256")),
                      "is encrypted"),
        "Ed25519": (pem("ED25519"), "Ed25519"), "RSA 1024": (pem("RSA:1024"), "1024 bits"),
        "no JSON": (b"{", "not valid JSON"), "no kty": (text(good, kty=None), "“kty” is missing"),
        "oct": (text(good, kty="oct"), "neither of RSA nor EC"),
        "public only": (text(good, d=None), "“d”"),
        "padded": (text(good, d="AQAB="), "“d”"), "number": (text(good, d=5), "“d”"),
        "other d": (text(good, d=good["e"]), "malformed JSON Web Key"),
        "other p": (text(good, p=good["q"]), "malformed JSON Web Key"),
        "p = 0": (text(good, p=""), "malformed JSON Web Key"),
        "huge n": (text(good, n=huge), "malformed JSON Web Key"),
        "huge p": (text(good, p=huge), "malformed JSON Web Key"),
        "other point": (text(one, x=one["y"]), "malformed JSON Web Key"),
        "d = 0": (text(one, d="AA"), ""), "other d of EC": (text(one, d="AQ"), ""),
        "P-521": (text(one, crv="P-521"), ""), "curve": (text(one, crv="x"), "malformed"),
        "nested": (b'{"a":' * 5000, "nested too deeply")}


def test_what_is_no_account_key() -> None:
    """One line says why, and nothing of it."""
    secrets = [value for kind in ("RSA:2048", "EC:P-256") for value in jwk(kind).values()
               if len(value) > 9]
    for what, (text, message) in broken().items():
        with pytest.raises(Error) as raised:
            taking.read(text, "file:theirs")
        told = str(raised.value)
        assert message in told and told.startswith("file:theirs: "), (what, told)
        assert "\n" not in told and not any(value in told for value in secrets), (what, told)


@pytest.mark.parametrize("text, message", [
    (b"{" + b"}" * 5, "is not valid JSON"), (b"-----BEGIN", "not a private key in PEM format"),
    (b"x" * 70000, "larger than")])
def test_nothing_is_written(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(text)
    (tmp_path / "theirs").chmod(0o400)
    done = run(f"--import=file:{tmp_path}/theirs", f"--privkey=file:{tmp_path}/ours")
    assert (done.returncode, done.stdout) == (1, b"") and done.stderr.count(b"\n") == 1, done
    assert message in done.stderr.decode() and os.listdir(tmp_path) == ["theirs"]


def test_no_part_of_a_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(pem("EC:P-256"))
    (tmp_path / "theirs").chmod(0o400)
    done = run(f"--import=file:{tmp_path}/theirs", f"--privkey=file:{tmp_path}/ours",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    assert done.returncode == 1 and b"cannot write the account key: File too large" in done.stderr
    assert os.listdir(tmp_path) == ["theirs"]


@pytest.mark.parametrize("arguments, message", [
    (["--import=gpg:{}/x"], "neither file:PATH nor fd:NUMBER"),
    (["--import=fd:x"], "neither file:PATH nor fd:NUMBER"),
    (["--import=file:"], "neither file:PATH nor fd:NUMBER"),
    (["--import=file:{}/x", "--privkey=gpg:{}/ours"], "--import writes to the path of --privkey="),
    (["--import=file:{}/x", "--genkey=ec:P-256"], "exclude each other"),
    (["--dry-run"], "--dry-run needs --import"),
    (["--import=file:{}/x", "--if-none"], "--if-none needs --genkey")])
def test_what_makes_no_sense(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(f"--privkey=file:{tmp_path}/ours",
               *[argument.format(tmp_path) for argument in arguments])
    assert (done.returncode, done.stdout) == (2, b"") and message in done.stderr.decode()
    assert not list(tmp_path.iterdir())
