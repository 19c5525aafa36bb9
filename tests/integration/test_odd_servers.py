"""The client program and servers that are odd, but a certificate can be had from."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import oddities, soak
from harness.client import Master, names_of
from harness.hostile import Hostile, Request, Response
from harness.run import Users
from letsencrypt_tiny.common.wire.order import Account, AccountObject, Failed, Issued, Progress


@pytest.fixture
def master(users: Users) -> Iterator[Master]:
    """A master, whose client runs as _letsencrypt-client."""
    with Master.made() as made:
        yield made


# The others have one run of the whole program together: test_odd_servers_whole.py
@pytest.mark.parametrize("word", soak.some(
    [word for word in oddities.WORDS
     if word not in oddities.OF_AN_ORDER or word in oddities.WAITING], 2))
def test_a_certificate_can_be_had(hostile: Hostile, master: Master, word: str) -> None:
    oddities.WORDS[word](hostile)
    master.use(hostile)
    account = master.register()
    assert account.only(AccountObject).url and account.only(Account).url
    master.config.update(account_url=account.only(Account).url,
                         account_key=account.only(Account).key)
    outcome = master.run(master.order("www.a.test"))
    assert names_of(outcome.only(Issued).chain) == ["www.a.test"], outcome
    assert len(hostile.orders) == len(hostile.certificates) == 1
    assert all(request.headers["accept-encoding"] == "identity" for request in hostile.requests)
    if word == "account-bare":
        assert len(hostile.asked("newAccount")) == 1    # and it was remembered
    if word == "cut-header":
        assert "the connection was closed in the middle of an HTTP response" in outcome.stderr
    if word == "skewed-date":
        assert 2 in [answer.wait for answer in outcome.of(Progress)]
    if word == "html-502":
        assert "newOrder: HTTP status 502: Bad Gateway nginx; trying again" in outcome.stderr


def test_two_answers_and_another_section(hostile: Hostile, master: Master) -> None:
    """What comes unasked on the connection they share is none of the other one's."""
    oddities.two_answers(hostile)
    master.use(hostile)
    master.register()
    master.access["jobs"] = 1
    outcome = master.run(*(master.order(f"{name}.test") for name in "abc"))
    assert {issued.section: names_of(issued.chain) for issued in outcome.of(Issued)} == {
        f"{name}.test": [f"{name}.test"] for name in "abc"}, outcome
    assert outcome.connections == 1 and len(hostile.orders) == 3


def test_port_443(master: Master, hostile_ca: Any) -> None:
    """Every URL bears it, and the directory's doesn't."""
    with Hostile(authority=hostile_ca, port=443) as hostile:
        hostile.directory = "https://127.0.0.1/directory"
        master.use(hostile)
        master.register()
        assert master.run(master.order("a.test")).only(Issued)
        assert hostile.asked("finalize")[0].protected["url"].startswith("https://127.0.0.1:443/")
        assert hostile.asked("finalize")[0].headers["host"] == "127.0.0.1"


def test_burst(hostile: Hostile, master: Master) -> None:
    """Six sections, eight requests a second; three: tests/soak/test_slow_servers.py."""
    master.use(hostile)
    master.register()
    oddities.burst(hostile, 8)
    names = [f"{name}.test" for name in "abcdef"]
    outcome = master.run(*(master.order(name) for name in names))
    assert sorted(issued.section for issued in outcome.of(Issued)) == names, outcome
    assert len(hostile.orders) == 6


def test_come_back(hostile: Hostile, master: Master) -> None:
    """The message says whose wish it is; the next run takes the order up."""
    master.use(hostile)
    master.register()
    hostile.processing, hostile.retry_after = 1, "600"
    request = master.order("a.test")
    outcome = master.run(request)
    failed = outcome.only(Failed)
    assert "the CA asks to come back in 600 s" in failed.message
    assert (failed.outcome, failed.retry_after) == ("unfinished", 600)
    last = outcome.of(Progress)[-1]
    assert master.run(request._replace(url=last.url, finalize=last.finalize)).only(Issued)
    assert len(hostile.orders) == 1


def test_agreement(hostile: Hostile, master: Master) -> None:
    """RFC 8555 §7.3.3."""
    master.use(hostile)
    master.register()
    oddities.agreement(hostile)
    failed = master.run(master.order("a.test")).only(Failed)
    assert "Terms have changed" in failed.message and failed.type == "userActionRequired"
    assert "https://ca.test/agree?token=x" in failed.message
    assert "https://ca.test/terms-2" in failed.message


def test_json_problem_429(hostile: Hostile, master: Master) -> None:
    """Typed application/json: shown, and the moment to come back is told."""
    master.use(hostile)
    master.register()
    oddities.once(hostile, "newOrder", oddities.told(429, "rateLimited", "3600",
                                                     "application/json"))
    failed = master.run(master.order("a.test")).only(Failed)
    assert failed.message.startswith("newOrder: not now (rateLimited); the CA asks to come back "
                                     "in 3600 s")
    assert (failed.outcome, failed.retry_after, failed.type) == ("busy", 3600, "rateLimited")


def test_valid_bare_is_taken_up(hostile: Hostile, master: Master) -> None:
    """Whichever run comes to it: of the order that there is."""
    oddities.valid_bare(hostile)
    master.use(hostile)
    master.register()
    master.access["timeout"] = 4
    oddities.once(hostile, "certificate", oddities.page(504), 99)
    request = master.order("a.test")
    last = master.run(request).of(Progress)[-1]
    assert last.state == "valid"
    del hostile.on["certificate"]
    assert master.run(request._replace(url=last.url, finalize=last.finalize)).only(Issued)
    assert len(hostile.orders) == len(hostile.certificates) == 1


@pytest.mark.alike(2)
@pytest.mark.parametrize("answer, orders", [
    (oddities.page(504), 1), (oddities.page(404), 2),
    (lambda _server: Response.problem("malformed", "no such order", 404), 2),
    (oddities.page(403), 1), (oddities.page(200), 1)])
def test_gone(hostile: Hostile, master: Master, answer: Any, orders: int) -> None:
    """An order is given up when the server says that there is none, not because of a gateway."""
    master.use(hostile)
    master.register()
    hostile.processing, hostile.retry_after = 1, "600"
    request = master.order("a.test")
    last = master.run(request).of(Progress)[-1]
    request = request._replace(url=last.url, finalize=last.finalize)
    master.access["timeout"] = 1
    oddities.once(hostile, "order", answer, 99,
                  when=lambda asked: hostile.url(asked.path[1:]) == last.url)
    hostile.processing = 0
    outcome = master.run(request)
    assert len(outcome.of(Issued)) == orders - 1
    del hostile.on["order"]
    assert orders == 2 or master.run(request).only(Issued)
    assert len(hostile.orders) == orders


@pytest.mark.parametrize("resource", ["newOrder", "finalize"])
def test_slow_answers(hostile: Hostile, master: Master, resource: str) -> None:
    """slow-order, slow-finalize: what was asked for is looked for, in the same run."""
    master.use(hostile)
    master.register()
    master.access["answer_timeout"] = 1
    done = 0

    def handler(_request: Request, default: Any) -> Response:
        nonlocal done
        done += 1
        response: Response = default()
        if done == 1:
            hostile.stopping.wait(2.5)
        return response
    hostile.on[resource] = handler
    assert master.run(master.order("a.test")).only(Issued)
    assert len(hostile.orders) == len(hostile.certificates) == 1


def test_the_limit_of_an_answer_is_a_setting(hostile: Hostile, master: Master) -> None:
    master.use(hostile)
    oddities.once(hostile, "directory", oddities.silence, 9)
    master.access["answer_timeout"] = 1
    failed = master.run(master.order("a.test")).only(Failed)
    assert "no complete answer within 1 seconds (setting “answer-timeout”)" in failed.message
    del hostile.on["directory"]
    master.register()


def test_words_of_a_gateway_are_shown(hostile: Hostile, master: Master) -> None:
    master.use(hostile)
    master.register()
    master.access["timeout"] = 1
    oddities.once(hostile, "newOrder", oddities.page(502), 99)
    failed = master.run(master.order("a.test")).only(Failed)
    assert failed.message == "newOrder: HTTP status 502: Bad Gateway nginx"
    assert failed.outcome == "busy"
