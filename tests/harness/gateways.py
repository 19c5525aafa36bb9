"""Whatever a gateway answers, once or for a whole run, to whichever request: a certificate comes.

In the same run or the next, of the one order there is.  The client runs in this process, without
waiting, as the master has it: one run after the other, with what the journal remembers in between.

``ONCE``, ``WHOLE_RUN`` and ``HEEDED`` are all the cases there are, for tests/soak; what the suite
takes of them every day is chosen from the same faults and requests.
"""

import itertools
import time
from typing import Any

from letsencrypt_tiny.client import outcome, transport
from letsencrypt_tiny.client.challenges import table
from letsencrypt_tiny.client.replies import Replies
from letsencrypt_tiny.client.requests import whole_run
from letsencrypt_tiny.client.session import Session
from letsencrypt_tiny.common.wire import order as order_protocol
from letsencrypt_tiny.common.wire.order import (Access, Account, Answer, ClientConfig, Failed,
                                                Issued, Order, Progress)

from . import ca, oddities
from .client import GREETING, JWK, finish
from .hostile import Hostile

REQUESTS = ("directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "order",
            "finalize", "certificate")
FAULTS = tuple(oddities.FAULTS)
# What leaves it open whether the server heeded the request, or is said by the server after it did
AFTER = ("502 html", "504 empty", "408 html", "closed", "reset", "cut in the status",
         "cut in the header", "cut in the body", "silence", "500 html", "503 problem", "garbage")
MAKING = ("newOrder", "challenge", "finalize")    # requests after which something is there

Case = tuple[str, str]                  # request, fault
Heeded = tuple[str, str, bool]          # … and whether newOrder shows the order there is

ONCE: tuple[Case, ...] = tuple(itertools.product(REQUESTS, FAULTS))
WHOLE_RUN = ONCE
HEEDED: tuple[Heeded, ...] = tuple(itertools.product(MAKING, AFTER, (True, False)))


def some(shift: int) -> list[Case]:
    """Return each fault once; the requests take turns, beginning with the ``shift``-th."""
    return [(REQUESTS[(index + shift) % len(REQUESTS)], fault)
            for index, fault in enumerate(FAULTS)]


def some_heeded() -> list[Heeded]:
    """Return each fault once, with all pairs of the other two."""
    return [(MAKING[index % len(MAKING)], fault, bool(index % 2))
            for index, fault in enumerate(AFTER)]


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


class Runs:
    """One run after the other, with what the master's journal has in between."""

    def __init__(self, server: Hostile, csr: bytes, fault: str) -> None:
        self.access = Access(server.directory, ca_file=str(server.ca_file))
        self._mute = fault == "silence"
        self.account = Account("", "")
        self.request = Order("s", (("dns", "a.test"),), csr)
        self.failures: list[Failed] = []

    def run(self) -> bool:
        """True if the certificate came."""
        config = ClientConfig(self.access, account_url=self.account.url,
                              account_key=self.account.key)
        route = transport.find_route(transport.parse_url(self.access.server, "x"), None)
        patience = 0.8 if self._mute and not self.failures else 20    # in the first run
        signer: Any = FakeSigner()
        session = Session(self.access.server, route, transport.tls_context(self.access), signer,
                          time.time, patience)
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


def request() -> bytes:
    """Return a CSR for a.test."""
    return ca.openssl("req", "-outform", "DER", stdin=ca.request(["a.test"],
                                                                 ca.genkey()).encode())


def prepare(server: Hostile) -> None:
    """Let it know the account, and show an unfinished order again (as Boulder does)."""
    server._accounts.append({"jwk": JWK, "status": "valid"})
    server.reuse = True
    server.processing = 1


def meet_once(server: Hostile, csr: bytes, resource: str, fault: str) -> None:
    """One answer is wrong."""
    runs = Runs(server, csr, fault)
    oddities.once(server, resource, oddities.FAULTS[fault])
    _comes(runs, server)


def meet_for_a_run(server: Hostile, csr: bytes, resource: str, fault: str) -> None:
    """All answers to a request are wrong, for a whole run; the next run ends well."""
    runs = Runs(server, csr, fault)
    oddities.once(server, resource, oddities.FAULTS[fault], 100)
    if runs.run():    # by what a refusal brought along
        assert resource == "newNonce" and server.asked("finalize"), server.requests
        return
    failure, = runs.failures
    assert failure.outcome != "refused" and failure.message.isprintable(), failure
    server.on.clear()
    assert runs.run(), runs.failures
    _one_order(server)


def meet_after_it_was_heeded(server: Hostile, csr: bytes, resource: str, fault: str,
                             reuse: bool) -> None:
    """Also where the server makes an order for each newOrder: then it has a list of them.

    (What a server says itself, or what can't be read, is no reason to look into that.)
    """
    server.reuse = reuse or fault in ("500 html", "503 problem", "garbage")
    runs = Runs(server, csr, fault)
    oddities.once(server, resource, oddities.FAULTS[fault], heeded=True)
    _comes(runs, server)


def _comes(runs: Runs, server: Hostile) -> None:
    assert runs.run() or runs.run(), runs.failures
    _one_order(server)


def _one_order(server: Hostile) -> None:
    assert len(server.orders) == len(server.certificates) == 1, server.requests
