"""A signer without memory ends, so that there is a new one; none is alive that can't sign."""

import subprocess
from pathlib import Path

import pytest

from harness.accountd import Client, GOOD, Running, command, write_key
from letsencrypt_tiny.common import shortage
from letsencrypt_tiny.signer import account_key

# Each signature keeps a MiB, of 96 that the limit of its own leaves it
LEAKS = """
from letsencrypt_tiny.common import shortage
from letsencrypt_tiny.signer import account_key, main
shortage.explain()
main.MEMORY, main.STACK = 96 << 20, 0
sign, kept = account_key.AccountKey.sign, []
def leaks(self, data):
    kept.append(bytearray(1 << 20))
    return sign(self, data)
account_key.AccountKey.sign = leaks
"""
LINE = f"error: {shortage.MESSAGE}\n"


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


def sign_to_the_end(client: Client) -> int:
    """How many are signed before the connection is closed."""
    return next(number for number in range(1000) if not client.ask(GOOD))


def test_without_memory_a_standing_signer_ends(tmp_path: Path, key: Path) -> None:
    with Running(tmp_path, key, before=LEAKS) as signer:
        with signer.connect() as first, signer.connect() as second:
            second.sign(GOOD)
            assert sign_to_the_end(first) > 10
            assert signer.process.wait(20) == 1
            assert second.rest() == b""
        said = signer.log.read_text()
        assert said.count(LINE) == 1 and "Traceback" not in said
        assert not signer.path.exists(), "the next one makes it anew"


def test_without_memory_a_run_of_one_conversation_ends(tmp_path: Path, key: Path) -> None:
    done = subprocess.run(
        command("--config=/dev/null", f"--privkey=file:{key}", "--stdio", "--quiet", before=LEAKS),
        input=(GOOD + b"\r\n") * 200, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (1, LINE)
    assert 10 < done.stdout.count(b"\r\n") < 100


def test_pycryptodomes_want_of_memory_is_one(monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
    made = account_key.load(key.read_bytes(), "key", lambda _: b"")
    for text, kind in (("Error 2 during scalar multiplication", MemoryError),
                       ("Error 2 while instantiating SHA256", MemoryError),
                       ("Error 22 while x", ValueError), ("Fault detected", ValueError)):
        def fail(_: object, text: str = text) -> bytes:
            raise ValueError(text)
        monkeypatch.setattr(made._scheme, "sign", fail)
        with pytest.raises(kind):
            made.sign(b"x")
