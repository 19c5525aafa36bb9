"""The client's end of the signer's socket: what a refusal is to it, and of which signer."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.accountd import Running, request, write_key
from letsencrypt_tiny.client import signer as client
from letsencrypt_tiny.client.signer import Refused, Signer, SignerError
from letsencrypt_tiny.common.errors import LocalProtocolError
from letsencrypt_tiny.common.wire import jose, jsonfields
from letsencrypt_tiny.common.wire.signer import (MAX_REQUEST, Greeting, format_greeting,
                                                 format_refusal, format_signature)

JWK = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
OLD = Greeting("ES256", JWK, jose.thumbprint(JWK))
NEW = OLD._replace(refusals=True)
SIGNATURE = b"1" * 64


class Played:
    """A signer that says what a test wants; ``sock`` is its own end."""

    def __init__(self, greeting: Greeting, *answers: bytes) -> None:
        self.theirs, self.sock = socket.socketpair()
        self.sock.sendall(format_greeting(greeting) + b"".join(answers))
        self.signer = Signer(self.theirs)

    def heard(self) -> bytes:
        """All that it was sent."""
        self.theirs.close()
        with self.sock.makefile("rb") as file:
            return file.read()

    def close(self) -> None:
        """The end."""
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def new() -> Iterator[Played]:
    """One that refuses a request, and signs the next."""
    played = Played(NEW, format_refusal("not today"), format_signature(SIGNATURE))
    yield played
    played.close()


@pytest.fixture
def old() -> Iterator[Played]:
    """One of an earlier version, or lacme's; what it says after a refusal nobody expects."""
    played = Played(OLD, format_refusal("not today"), format_signature(SIGNATURE))
    yield played
    played.close()


def test_a_refusal_is_that_requests_alone(new: Played) -> None:
    with pytest.raises(Refused, match="^the account key manager refused to sign: not today$"):
        new.signer.sign(b"{}", b"1")
    assert new.signer.sign(b"{}", b"2") == SIGNATURE
    assert new.heard() == b"NOSIGN\r\ne30.MQ\r\ne30.Mg\r\n"


def test_a_refusal_of_an_old_signer_is_the_end(old: Played) -> None:
    for _ in range(3):
        with pytest.raises(SignerError, match="^the account key manager refused to sign: not "
                                              "today$") as caught:
            old.signer.sign(b"{}", b"1")
        assert not isinstance(caught.value, Refused)
    assert old.heard() == b"e30.MQ\r\n", "not told of what it doesn't know"


@pytest.mark.parametrize("answer, words", [
    (b"AAAA\r\n", "3 bytes"), (b"OK\r\n", "canonical"), (b"", "does not answer"),
    (b"x" * 20000, "longer"), (b"NOSIGN\rx\r\n", "bare CR")])
def test_what_is_no_answer_is_the_end(answer: bytes, words: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the signer knows: the lines are out of step."""
    if not answer:
        monkeypatch.setattr(client, "SIGNATURE_TIMEOUT", 0.2)
    played = Played(NEW, answer)
    for _ in range(2):
        with pytest.raises(SignerError, match=words) as caught:
            played.signer.sign(b"{}", b"")
        assert not isinstance(caught.value, Refused)
        played.sock.sendall(format_signature(SIGNATURE))   # too late
    played.close()


def test_a_signer_that_is_gone_is_the_end(new: Played) -> None:
    new.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(Refused):
        new.signer.sign(b"{}", b"")
    assert new.signer.sign(b"{}", b"") == SIGNATURE
    for _ in range(2):
        with pytest.raises(SignerError, match="closed the connection") as caught:
            new.signer.sign(b"{}", b"")
        assert not isinstance(caught.value, Refused)


def test_what_is_too_large_is_never_sent(new: Played) -> None:
    with pytest.raises(LocalProtocolError, match="more than 65536 bytes"):
        new.signer.sign(b"{}", b"x" * MAX_REQUEST)
    with pytest.raises(Refused):
        new.signer.sign(b"{}", b"1")
    assert new.heard() == b"NOSIGN\r\ne30.MQ\r\n"


def test_one_conversation_with_the_real_signer(tmp_path: Path) -> None:
    with Running(tmp_path, write_key(tmp_path, "RSA:2048")) as running:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(running.path))
        with sock:
            signer = Signer(sock)
            assert signer.greeting.refusals
            good = signer.sign(jsonfields.dump(request()), b"")
            for _ in range(3):
                with pytest.raises(Refused, match="nonce is not base64url"):
                    signer.sign(jsonfields.dump(request(nonce="")), b"")
                assert signer.sign(jsonfields.dump(request()), b"") == good
        assert running.stop() == 0
    assert running.log.read_text().count("[1] NOSIGN") == 3
