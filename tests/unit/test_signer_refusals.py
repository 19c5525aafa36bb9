"""What becomes of a conversation in which something was refused, or explained, and how often."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.accountd import (GOOD, HELLO, Client, Running, conf, request, signing_input, talk,
                              write_key)
from letsencrypt_tiny.common.wire.signer import MAX_REFUSALS

BAD = signing_input(request(nonce=""))
REASON = b"NOSIGN nonce is not base64url"
EXPLAIN = b"EXPLAIN "


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "EC:P-256")


def good(number: int = 0) -> bytes:
    """A request for an EC key, each another one."""
    return signing_input(request(alg="ES256", nonce=f"n{number}"))


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path, write_key(tmp_path, "RSA:2048")) as running:
        yield running


def test_who_says_so_goes_on(running: Running) -> None:
    """One conversation: what is refused in it is refused, and all else is signed."""
    with running.connect(hello=True) as client:
        signature = client.sign(GOOD)
        for line in (BAD, b"", b"NOSIGN", b"EXPLAIN", b"OK", GOOD + b".", b"\xff"):
            assert re.fullmatch(rb"NOSIGN [\x20-\x7e]+", client.ask(line)), line
            assert client.sign(GOOD) == signature
        client.sock.sendall((BAD + b"\r\n" + GOOD + b"\r\n") * 50)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == (REASON + b"\r\n" + signature + b"\r\n") * 50
    assert running.log.read_text().count("[1] NOSIGN") == 57


@pytest.mark.parametrize("line", [BAD, b"", b"junk", b"EXPLAIN " + GOOD, b"OK", b"nosign",
                                  b"NOSIGN ", b"NOSIGN x", b" NOSIGN", GOOD + b"\n"])
def test_who_does_not_is_left_without_a_word(line: bytes, running: Running) -> None:
    """Silence on the wire, for lacme's client takes any line for a signature."""
    with running.connect() as client:
        assert client.ask(line) == b"" and client.rest() == b""
    with running.connect() as client:
        client.sign(GOOD)
        assert client.ask(line) == b"" and client.rest() == b""
    assert running.log.read_text().count("] NOSIGN ") == 2


def test_only_the_first_line_says_so(running: Running) -> None:
    with running.connect() as client:
        client.sign(GOOD)
        assert client.ask(HELLO[:-2]) == b"" and client.rest() == b""
    with running.connect() as client:
        client.sock.sendall(HELLO)   # has no answer: the next line is the next one's
        assert client.sign(GOOD)


def test_a_conversation_with_a_refusal_ends_with_status_1(key: Path) -> None:
    assert talk(key, HELLO + BAD + b"\r\n" + good() + b"\r\n")[2] == 1
    assert talk(key, HELLO + good() + b"\r\n")[2] == 0
    assert talk(key, HELLO)[::2] == ([], 0)


def test_an_address_in_a_url(key: Path) -> None:
    """What reading one needs has been loaded before a signer is confined."""
    line = signing_input(request(alg="ES256", url="https://[2001:db8::1]/x"))
    answers, log, status = talk(key, line + b"\r\n")
    assert len(answers) == 1 and status == 0, log


# --- EXPLAIN -------------------------------------------------------------------------------------

def limited(key: Path, per_hour: int) -> tuple[str, str]:
    """Options: a policy for the origin of these requests."""
    file = conf(key, "[policy p]", "identifiers = example.org", "origins = https://ca.example",
                f"requests-per-hour = {per_hour}")
    return f"--config={file}", "--policy=p"


def test_explain(key: Path) -> None:
    """With and without a policy: as it would be judged, but nothing is signed or counted."""
    order = {"identifiers": [{"type": "dns", "value": "example.org"}]}
    foreign = {"identifiers": [{"type": "dns", "value": "example.com"}]}
    lines = [EXPLAIN + signing_input(request(alg="ES256"), payload)
             for payload in (order, foreign, None)] + [EXPLAIN + BAD, EXPLAIN, EXPLAIN + b"OK"]
    answers, log, status = talk(key, HELLO + b"\r\n".join(lines * 2) + b"\r\n", *limited(key, 1))
    assert answers == 2 * [
        b"OK", b'NOSIGN policy "p": example.com is not one of its identifiers '
        b'(setting "identifiers" of [policy p])', b"OK",
        b"NOSIGN alg is not that of the account key, ES256",
        b"NOSIGN not a JWS signing input (RFC 7515 section 5.1)",
        b"NOSIGN not a JWS signing input (RFC 7515 section 5.1)"]
    assert (log, status) == ("", 0)
    answers, log, status = talk(key, HELLO + b"\r\n".join(lines) + b"\r\n")
    assert answers[:3] == [b"OK"] * 3 and answers[3].startswith(b"NOSIGN alg")
    assert (log, status) == ("", 0)


def test_explain_uses_no_rate_up(key: Path) -> None:
    asked = [EXPLAIN + good(number) for number in range(5)]
    lines = [*asked, good(), *asked, good(1), *asked]
    answers, log, status = talk(key, HELLO + b"\r\n".join(lines) + b"\r\n", *limited(key, 1))
    assert answers[:5] == answers[6:11] == answers[12:] == [b"OK"] * 5
    assert len(answers[5]) == 86 and answers[11].startswith(b'NOSIGN policy "p": more than 1 ')
    assert log.count("SIGNED") == 1 and log.count("AUDIT") == 2 and status == 1


def test_explain_is_logged_for_who_debugs(key: Path) -> None:
    data = HELLO + EXPLAIN + good() + b"\r\n" + EXPLAIN + BAD + b"\r\n"
    log = talk(key, data, "--debug")[1]
    assert log.count("[stdio] EXPLAIN OK: header={") == 1
    assert log.count("[stdio] EXPLAIN alg is not that of the account key, ES256: header={") == 1
    assert talk(key, data)[1] == ""


def test_the_longest_line(key: Path) -> None:
    """What could be signed can be explained; what is longer ends the conversation."""
    def line(size: int) -> bytes:
        start = signing_input(request(alg="ES256")) + b"e30g"   # {} and spaces
        return start + b"ICAg" * ((size - len(start)) // 4)

    longest = line(65536)
    assert len(longest) in range(65533, 65537)
    answers, _, status = talk(key, HELLO + EXPLAIN + longest + b"\r\n" + longest + b"\r\n")
    assert answers[0] == b"OK" and len(answers[1]) == 86 and status == 0
    answers, _, _ = talk(key, HELLO + EXPLAIN + longest + b"ICAg\r\n" + good() + b"\r\n")
    assert answers == [b"NOSIGN line longer than 65544 bytes"]


# --- bounds --------------------------------------------------------------------------------------

ENOUGH = f"warning: [stdio] {MAX_REFUSALS} refusals and explanations are enough\n"


def test_refusals_end(key: Path) -> None:
    """10,000 answers; a thousand in the log, with the first and what of it is said."""
    answers, log, status = talk(key, HELLO + b"junk\r\n" * (MAX_REFUSALS + 50))
    assert len(answers) == MAX_REFUSALS == 10_000 and len(set(answers)) == 1 and status == 1
    assert log.count("[stdio] NOSIGN") == 1001 and log.endswith(ENOUGH)
    assert log.count("warning: more than 1000 connections and refusals within an hour") == 1
    assert log.count("\n") == 1003


def test_explanations_end(key: Path) -> None:
    """Together with refusals; with --debug no more of them are logged than of those."""
    asked = EXPLAIN + good() + b"\r\n"
    answers, log, _ = talk(key, HELLO + asked * 1100 + good() + b"\r\n", "--debug")
    assert answers[:-1] == [b"OK"] * 1100 and len(answers[-1]) == 86
    assert log.count("EXPLAIN OK") == 1000 and log.count("SIGNED") == 1
    answers, log, _ = talk(key, HELLO + asked * 6000 + b"junk\r\n" * 6000 + good() + b"\r\n")
    assert answers.count(b"OK") == 6000 and len(answers) == MAX_REFUSALS
    assert log.endswith(ENOUGH) and "SIGNED" not in log


def test_what_is_signed_is_not_limited(key: Path) -> None:
    lines = b"".join(good(number) + b"\r\n" for number in range(300)) + BAD + b"\r\n"
    answers, log, _ = talk(key, HELLO + lines * 4)
    assert len(answers) == 1204 and log.count("SIGNED") == 1200


def test_refusals_count_with_connections(tmp_path: Path) -> None:
    """The first of each connection goes with it; what is signed is logged whatever happens."""
    before = "from letsencrypt_tiny.signer import conversation as c\nc.LOGGED = 6"
    with Running(tmp_path, write_key(tmp_path, "RSA:2048"), before=before) as running:
        def ask(*lines: bytes) -> None:
            with running.connect(hello=True) as client:
                assert all(map(client.ask, lines))

        def logged(number: int) -> tuple[int, int, int]:
            log = running.log.read_text()
            return tuple(log.count(f"[{number}] {word}")   # type: ignore[return-value]
                         for word in ("connection of", "NOSIGN", "SIGNED"))

        ask(BAD, GOOD, BAD, BAD)     # one and two
        ask(BAD)                     # and one
        assert (logged(1), logged(2)) == ((1, 3, 1), (1, 1, 0))
        ask(BAD, BAD, BAD, GOOD, BAD)    # and one, and one, which makes six
        assert logged(3) == (1, 2, 1)
        log = running.log.read_text()
        assert log.count("more than 6 connections and refusals within an hour: of further") == 1
        ask(BAD, GOOD, BAD)
        assert logged(4) == (0, 0, 1)
        assert running.stop() == 0


def test_explanations_leave_the_log_to_others(tmp_path: Path) -> None:
    """Who only asks is in the log with a connection."""
    before = "from letsencrypt_tiny.signer import conversation as c\nc.LOGGED = 3"
    with Running(tmp_path, write_key(tmp_path, "RSA:2048"), before=before) as running:
        with running.connect(hello=True) as client:
            assert [client.ask(EXPLAIN + GOOD) for _ in range(20)] == [b"OK"] * 20
            assert client.ask(BAD) == client.ask(BAD) == REASON
        assert running.stop() == 0
        log = running.log.read_text()
        assert log.count("[1] NOSIGN") == 2 and "EXPLAIN" not in log


def test_the_end_of_one_is_none_of_others(tmp_path: Path) -> None:
    before = "from letsencrypt_tiny.signer import conversation as c\nc.MAX_REFUSALS = 3"
    with Running(tmp_path, write_key(tmp_path, "RSA:2048"), before=before) as running:
        def exhaust(client: Client) -> None:
            assert [client.ask(BAD) for _ in range(3)] == [REASON] * 3
            assert client.ask(GOOD) == b""

        with running.connect(hello=True) as other, running.connect(hello=True) as client:
            other.ask(BAD)
            exhaust(client)
            assert other.sign(GOOD)
        assert "[2] 3 refusals and explanations are enough" in running.log.read_text()
        assert running.stop() == 0
