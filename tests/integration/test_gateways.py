"""Whatever a gateway answers, once or for a whole run, to whichever request: a certificate comes.

In the same run or the next, of the one order there is.  In this process, without waiting.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import ca, oddities
from harness.client import GREETING, JWK, finish
from harness.hostile import Hostile
from letsencrypt_tiny.client import outcome, transport
from letsencrypt_tiny.client.challenges import table
from letsencrypt_tiny.client.replies import Replies
from letsencrypt_tiny.client.requests import whole_run
from letsencrypt_tiny.client.session import Session
from letsencrypt_tiny.common.wire import order as order_protocol
from letsencrypt_tiny.common.wire.order import (Access, Account, Answer, ClientConfig, Failed,
                                                Issued, Order, Progress)

REQUESTS = ("directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "order",
            "finalize", "certificate")


class FakeSigner:
    """Signs anything: the server doesn't look."""

    greeting = GREETING

    def sign(self, _protected: bytes, _payload: bytes) -> bytes:
        return b"s" * 64


class Notes(Replies):
    """What the master reads."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.answers: list[Answer] = []

    def _write(self, line: bytes) -> None:
        self.answers.append(order_protocol.parse_answer(line))


@pytest.fixture(scope="module")
def csr() -> bytes:
    """Of a key that stays the same."""
    return ca.openssl("req", "-outform", "DER", stdin=ca.request(["a.test"],
                                                                 ca.genkey()).encode())


@pytest.fixture
def server(hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """It knows the account, and shows an unfinished order again (as Boulder does)."""
    monkeypatch.chdir(tmp_path)
    hostile._accounts.append({"jwk": JWK, "status": "valid"})
    hostile.reuse = True
    hostile.processing = 1
    yield hostile


class Runs:
    """One run after the other, with what the master's journal has in between."""

    def __init__(self, server: Hostile, csr: bytes) -> None:
        self.access = Access(server.directory, ca_file=str(server.ca_file))
        self.account = Account("", "")
        self.request = Order("s", (("dns", "a.test"),), csr)
        self.failures: list[Failed] = []

    def run(self) -> bool:
        """True if the certificate came."""
        config = ClientConfig(self.access, account_url=self.account.url,
                              account_key=self.account.key)
        route = transport.find_route(transport.parse_url(self.access.server, "x"), None)
        session: Any = Session(self.access.server, route, transport.tls_context(self.access),
                               FakeSigner(), time.time, 0.4)  # type: ignore[arg-type]
        notes = Notes()
        try:
            finish(whole_run(config, session, [self.request], notes, table.solvers(config)))
        except Exception as exc:
            notes.failed(self.request, exc, outcome.RUN)
        session.close()
        return any(list(map(self._note, notes.answers)))

    def _note(self, answer: Answer) -> bool:
        if isinstance(answer, Account):
            self.account = answer
        elif isinstance(answer, Progress) and answer.url:
            self.request = self.request._replace(url=answer.url, finalize=answer.finalize)
        elif isinstance(answer, Failed):
            self.failures.append(answer)
            if answer.outcome == "refused":
                self.request = self.request._replace(url=None, finalize=None)
        return isinstance(answer, Issued)


CASES = list(itertools.product(REQUESTS, oddities.FAULTS))


@pytest.mark.parametrize("resource, fault", CASES)
def test_one_wrong_answer(server: Hostile, csr: bytes, resource: str, fault: str) -> None:
    runs = Runs(server, csr)
    oddities.once(server, resource, oddities.FAULTS[fault])
    assert runs.run() or runs.run(), runs.failures
    assert len(server.orders) == len(server.certificates) == 1


@pytest.mark.parametrize("resource, fault", CASES)
def test_nothing_but_wrong_answers_for_a_run(server: Hostile, csr: bytes, resource: str,
                                             fault: str) -> None:
    runs = Runs(server, csr)
    oddities.once(server, resource, oddities.FAULTS[fault], 100)
    came = runs.run()
    if came:    # by what a refusal brought along
        assert resource == "newNonce" and server.asked("finalize")
        return
    failure, = runs.failures
    assert failure.outcome != "refused" and failure.message.isprintable(), failure
    server.on.clear()
    assert runs.run(), runs.failures
    assert len(server.orders) == len(server.certificates) == 1


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("resource", ["newOrder", "challenge", "finalize"])
@pytest.mark.parametrize("fault", [
    "502 html", "504 empty", "408 html", "closed", "reset", "cut in the status",
    "cut in the header", "cut in the body", "silence", "500 html", "503 problem", "garbage"])
def test_a_wrong_answer_to_what_was_heeded(server: Hostile, csr: bytes, resource: str,
                                           fault: str, reuse: bool) -> None:
    """Also where the server makes an order for each newOrder: then it has a list of them.

    (What a server says itself, or what can't be read, is no reason to look into that.)
    """
    server.reuse = reuse or fault in ("500 html", "503 problem", "garbage")
    runs = Runs(server, csr)
    oddities.once(server, resource, oddities.FAULTS[fault], heeded=True)
    assert runs.run() or runs.run(), runs.failures
    assert len(server.orders) == len(server.certificates) == 1
