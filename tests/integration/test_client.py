"""The client program and the way of a certificate: real servers, a real signer, /proc to judge."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca
from harness.caddy import CaddyACME
from harness.client import Master, Outcome, names_of
from harness.hostile import Hostile, Response
from harness.pebble import Pebble
from harness.run import Users
from letsencrypt_tiny.common.wire import order as order_protocol
from letsencrypt_tiny.common.wire.order import (Account, AccountObject, AccountUpdate, Failed,
                                                Issued, Progress)


@pytest.fixture
def master(users: Users) -> Iterator[Master]:
    """A master, whose client runs as _letsencrypt-client."""
    with Master.made() as made:
        yield made


# --- the way of a certificate ------------------------------------------------------------------

def test_certificate(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    registered = master.register().only(AccountObject)
    assert registered.account["status"] == "valid"
    outcome = master.run(master.order("two", "a.example", "b.example"))
    assert outcome.status == 0 and not outcome.of(Failed), outcome
    assert names_of(outcome.only(Issued).chain) == ["a.example", "b.example"]
    assert outcome.only(Account).url == registered.url
    states = [answer.state for answer in outcome.of(Progress)]
    assert states[0] in ("pending", "ready") and states[-1] == "valid"
    assert "landlock" in outcome.stderr.splitlines()[0]
    assert "thumbprint" not in outcome.stderr


def test_the_nuisances_of_pebble(pebble_nuisance: Pebble, master: Master) -> None:
    """Bad nonces, authorizations used again, up to 15 seconds until each validation."""
    master.use(pebble_nuisance)
    master.register()
    orders = [master.order(f"s{i}", f"s{i}.example", "shared.example") for i in range(6)]
    outcome = master.run(*orders, timeout=90)
    assert outcome.status == 0 and len(outcome.of(Issued)) == 6, outcome
    # Six times up to 15 seconds, one after the other, would be late.
    waited = [sum(answer.wait for answer in outcome.of(Progress) if answer.section == f"s{i}")
              for i in range(6)]
    assert max(waited) < 60


def but_looks(outcome: Outcome) -> int:
    """Count the requests, but for looks at an order: on a busy machine some are too early."""
    return outcome.requests - outcome.stderr.count("/my-order/")


def test_many_orders_over_few_connections(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    master.access["jobs"] = 3
    outcome = master.run(*(master.order(f"m{i}.example") for i in range(20)))
    assert len(outcome.of(Issued)) == 20 and outcome.connections == 3, outcome
    # directory, account, a nonce for each connection; five each, and looks
    assert but_looks(outcome) <= 1 + 1 + 3 + 20 * 5
    assert 20 <= outcome.requests - but_looks(outcome) <= 20 * 5


def test_one_name_needs_one_connection(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    outcome = master.run(master.order("single.example"))
    assert outcome.only(Issued) and (but_looks(outcome), outcome.connections) == (8, 1)


def test_a_remembered_account_saves_a_request(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    account = master.register().only(Account)
    master.config.update(account_url=account.url, account_key=account.key)
    outcome = master.run(master.order("remembered.example"))
    assert outcome.only(Issued) and not outcome.of(Account) and but_looks(outcome) == 7


@pytest.mark.parametrize("remembered", ["nobody", "other"])
def test_a_stale_account_is_found_again(pebble_tame: Pebble, master: Master,
                                        remembered: str) -> None:
    master.use(pebble_tame)
    account = master.register().only(Account)
    master.config.update(account_url=account.url + remembered,
                         account_key=account.key if remembered == "nobody" else "A" * 43)
    outcome = master.run(master.order("stale.example"))
    assert outcome.only(Issued) and outcome.only(Account) == account


def test_the_signers_keyid_is_the_account(pebble_tame: Pebble, master: Master) -> None:
    """lacme-accountd(1) with keyid sends no public key."""
    master.use(pebble_tame)
    master.keyid = master.register().only(Account).url
    outcome = master.run(master.order("keyid.example"))
    assert outcome.only(Issued) and but_looks(outcome) == 7
    assert master.run(AccountUpdate()).only(AccountObject).url == master.keyid


def test_two_keys_for_the_same_names_take_turns(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    outcome = master.run(master.order("ec", "both.example"),
                         master.order("rsa", "both.example", key=ca.genkey("rsa:2048")))
    assert {issued.section for issued in outcome.of(Issued)} == {"ec", "rsa"}
    assert outcome.connections == 1


def test_a_failed_order_does_not_harm_another(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    other_names = master.order("mismatch", "x.example")._replace(
        csr=master.order("y.example").csr)
    outcome = master.run(master.order("good.example"), other_names,
                         master.order("*.wild.example"), master.order("also-good.example"))
    assert outcome.status == 0
    assert {issued.section for issued in outcome.of(Issued)} == {"good.example",
                                                                 "also-good.example"}
    failed = {answer.section: answer for answer in outcome.of(Failed)}
    assert set(failed) == {"mismatch", "*.wild.example"}
    assert "dns-01" in failed["*.wild.example"].message
    assert failed["mismatch"].type


def test_why_a_validation_failed(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    master.serve(Path("/nonexistent"))
    outcome = master.run(master.order("s", "fails.example", "fails-too.example"))
    failed = outcome.only(Failed)
    assert failed.section == "s" and "fails.example: " in failed.message
    assert failed.type == "unauthorized" and "404" in failed.message


def test_an_earlier_order_is_taken_up_again(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    request = master.order("again.example")
    first = master.run(request)
    url = first.of(Progress)[-1].url
    again = master.run(request._replace(url=url))
    assert again.only(Issued).chain == first.only(Issued).chain
    assert again.requests == 5    # directory, nonce, account, order, certificate
    for useless in (url + "x", "https://127.0.0.1:1/order", "http://x/"):
        other = master.run(request._replace(url=useless))
        assert other.only(Issued).chain != first.only(Issued).chain


def test_killed_and_taken_up_again(hostile: Hostile, master: Master) -> None:
    """The token file that a killed client left is in nobody's way."""
    master.use(hostile)
    master.register()
    request = master.order("killed.example")
    hostile.on["challenge"] = lambda _request, _default: Response.json({"status": "pending"})
    client = master.start([request])
    assert client.stdout is not None
    url = None
    while url is None:
        answer = order_protocol.parse_answer(client.stdout.readline())
        if isinstance(answer, Progress) and answer.wait:
            url = answer.url
    client.kill()
    client.communicate()
    master.signer.wait(10)
    assert len(os.listdir(master.challenges)) == 1
    hostile.on.clear()
    outcome = master.run(request._replace(url=url))
    assert outcome.only(Issued) and outcome.of(Progress)[0].url == url
    assert len(hostile.asked("newOrder")) == 1


def test_terminated_it_answers_and_cleans_up(master: Master) -> None:
    with Pebble(sleeptime=15, noncereject=0) as server:
        master.use(server)
        master.register()
        client = master.start([master.order("a.example"), master.order("b.example")])
        assert client.stdout is not None
        first = client.stdout.readline()
        while not os.listdir(master.challenges):
            pass
        client.terminate()
        outcome = master.finish(client, 10)
        assert outcome.status == 0 and first
        assert [answer.message for answer in outcome.of(Failed)] == ["interrupted"] * 2
        assert os.listdir(master.challenges) == []


def test_the_time_for_an_order_ends(master: Master) -> None:
    with Pebble(sleeptime=60, noncereject=0) as server:
        master.use(server)
        master.register()
        master.access["timeout"] = 2
        failed = master.run(master.order("late.example")).only(Failed)
    assert "still pending" in failed.message and failed.retry_after


def test_alternate_chains(master: Master) -> None:
    with Pebble(nosleep=True, alternate_roots=2, noncereject=0) as server:
        master.use(server)
        master.register()
        outcome = master.run(master.order("without.example"),
                             master.order("with.example", alternates=True))
    issued = {answer.section: answer for answer in outcome.of(Issued)}
    assert issued["without.example"].alternates == ()
    chains = {issued["with.example"].chain, *issued["with.example"].alternates}
    assert len(chains) == 3 and all(names_of(chain) == ["with.example"] for chain in chains)


def test_caddy(caddy: CaddyACME, master: Master) -> None:
    """A second opinion on the protocol: Smallstep's."""
    master.use(caddy)
    master.register()
    chain = master.run(master.order("s", "a.example", "b.example")).only(Issued).chain
    assert names_of(chain) == ["a.example", "b.example"]


def test_without_a_signer(hostile: Hostile, master: Master) -> None:
    """The directory is fetched, and what needs a signature is refused without asking."""
    master.use(hostile)
    idle = master.run(signer=False)
    assert idle.status == 0 and not idle.answers and hostile.asked("directory")
    outcome = master.run(master.order("a.example"), master.order("b.example"), signer=False)
    assert outcome.status == 1 and len(outcome.of(Failed)) == 2
    assert all("no account key manager" in failed.message and failed.outcome == "lost"
               for failed in outcome.of(Failed))
    assert {request.resource for request in hostile.requests} == {"directory"}


def test_the_thumbprint_of_the_account_decides_about_an_earlier_order(pebble_tame: Pebble,
                                                                      master: Master) -> None:
    master.use(pebble_tame)
    key = master.register().only(Account).key
    request = master.order("whose.example")
    first = master.run(request)
    url = first.of(Progress)[-1].url
    for account, same in ((key, True), ("B" * 43, False)):
        again = master.run(request._replace(url=url, account=account))
        assert (again.only(Issued).chain == first.only(Issued).chain) is same
