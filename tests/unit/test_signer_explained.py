"""letsencrypt-tiny-accountd --explain: what the configuration allows, in words."""

from pathlib import Path

import pytest

from harness.accountd import conf, run, write_key
from letsencrypt_tiny.common.wire.policy import OPERATIONS
from letsencrypt_tiny.signer import explaining

POLICIES = """\
[policy web1]
identifiers = www.example.org, example.org, .shop.example.org, *.example.org, 192.0.2.1
requests-per-hour = 300
[policy any]
identifiers = *
origins = https://ca.example, https://ca.example:14000
profiles = *
operations = read, external-account-binding, new-order
requests-per-hour = 0
urls = any
[eab k1]
key = QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    key = write_key(tmp_path, "EC:P-256")
    file = conf(key, f"privkey = file:{key}", POLICIES)
    file.chmod(0o600)
    return file


def told(*arguments: str, status: int = 0) -> tuple[str, str]:
    """What it writes, each row on one line; and what is wrong."""
    done = run(*arguments)
    assert done.returncode == status, done.stderr
    text = done.stdout.decode()
    assert all(len(line) <= 80 for line in text.splitlines()[2:])
    return text.replace("\n              ", " "), done.stderr.decode()


def test_all_policies(file: Path) -> None:
    text, wrong = told(f"--config={file}", "--explain")
    assert wrong == ""
    head, web1, everything = text.split("\n\n")
    assert head.splitlines() == [
        str(file), f"  account key file:{file.parent}/EC:P-256.pem",
        "  account     whichever the client names (no keyid)",
        "  [eab]       k1: a MAC by HS256 for policy any",
        "  no --policy whoever reaches the account key manager may have any request of the "
        "account signed, for any name, at any CA"]
    assert web1.splitlines()[:4] == [
        "[policy web1]",
        "  names       192.0.2.1; example.org; the wildcard *.example.org; all below "
        "shop.example.org but wildcards; www.example.org (identifiers)",
        "  CAs         https://acme-v02.api.letsencrypt.org (origins, by default)",
        "  profiles    none is named (profiles, by default)"]
    assert web1.splitlines()[6:] == ["  requests    300 an hour at most (requests-per-hour)",
                                     "  URLs        in their one canonical form (urls, by default)"]
    signs, refuses = web1.splitlines()[4:6]
    assert "finalize (have it issued);" in signs and "revoke (revoke a certificate)" in refuses
    assert signs.endswith("(operations, by default)")
    rows = dict(line.strip().split(maxsplit=1) for line in everything.splitlines()[1:])
    assert rows["names"] == "any name and address (identifiers)"
    assert rows["CAs"] == "https://ca.example, https://ca.example:14000 (origins)"
    assert rows["profiles"] == "any (profiles)" and rows["URLs"] == "in any form (urls)"
    assert rows["requests"] == "any number (requests-per-hour)"
    assert "finalize" not in rows["signs"] and "finalize" in rows["refuses"]
    assert rows["signs"].endswith("external one) (operations)")


def test_one_policy(file: Path) -> None:
    """As a forced command has it: nothing of the others."""
    text, _ = told(f"--config={file}", "--policy=web1", "--explain", "--quiet")
    assert "[policy web1]" in text and "[policy any]" not in text and "no --policy" not in text
    assert "k1: a MAC by HS256 for no policy" in text


def test_no_key_is_read_and_none_is_shown(file: Path) -> None:
    """A passphrase is not asked for; a MAC key stays where it is."""
    key = file.parent / "EC:P-256.pem"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    text, wrong = told(f"--config={file}", "--explain")
    assert "QUFB" not in text and wrong == ""
    text, _ = told("--privkey=pkcs11:token=t;object=o", "--explain")
    assert "pkcs11:token=t;object=o" in text


def test_nothing_configured(tmp_path: Path) -> None:
    key = write_key(tmp_path, "EC:P-256")
    text, _ = told(f"--privkey=file:{key}", "--explain")
    assert text.endswith("at any CA\n\nThere is no [policy NAME].\n")
    file = conf(key, f"privkey = file:{key}", "keyid = https://ca.example/acct/1")
    assert "https://ca.example/acct/1 (keyid); no client learns the public key" in told(
        f"--config={file}", "--explain")[0]


@pytest.mark.parametrize("before, after, status, message", [
    ("EC:P-256.pem", "none.pem", 1, "none.pem: cannot read the account key: No such file"),
    ("example.org,", "exam_ple..org,", 2, "[policy web1]: identifiers = "),
    ("key = Q", "key = !", 2, "[eab k1]: key: not base64url"),
    ("urls = any", "url = any", 2, "unknown setting “url”"),
])
def test_what_is_wrong(file: Path, before: str, after: str, status: int, message: str) -> None:
    """In one line; a mistake in one policy, whichever is asked for."""
    file.write_text(file.read_text().replace(before, after, 1))
    done = run(f"--config={file}", "--policy=any", "--explain")
    assert done.returncode == status
    wrong = done.stderr.decode()
    assert wrong.count("\n") == 1 and wrong.startswith("error: ") and message in wrong


def test_no_such_policy(file: Path) -> None:
    done = run(f"--config={file}", "--policy=web2", "--explain")
    assert done.returncode == 2 and b"there are web1, any" in done.stderr


def test_a_file_of_that_name_is_read_as_before(file: Path) -> None:
    """--explain FILE, and “-”, in one word or two."""
    for arguments in (["--explain", "-"], ["--explain=-"]):
        done = run(f"--config={file}", *arguments, data=b"junk\n")
        assert done.returncode == 1 and done.stdout.startswith(b"1: policy=none verdict=refused")


def test_each_operation_has_words() -> None:
    assert set(explaining._DOES) == set(OPERATIONS)
