"""The policy that the master derives, and a client that has gone over to somebody else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from harness.accountd import b64_text as b64
from harness.acme import order, request
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Prefix, Site

OWN, FOREIGN = "www.good.example", "www.evil.example"

STAND_IN = """#!/usr/bin/python3 -IS
import base64, json, os, socket, sys
attempts = json.load(open(os.path.join({path!r}, "attempts")))
open(int(sys.argv[1]), "rb").readline()   # before it comes the greeting is the master's
sock = socket.socket(fileno=int(sys.argv[2]))
lines = sock.makefile("rb")
greeting = json.loads(lines.readline()[5:])
jwk = json.loads(lines.readline())
sock.sendall(b"NOSIGN\\r\\n")
orders = [json.loads(line) for line in sys.stdin]
def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
for attempt in attempts:
    header = {{"alg": greeting["alg"], "nonce": "abcd", "url": attempt["url"]}}
    header.update({{"jwk": jwk}} if attempt["jwk"] else {{"kid": attempt["kid"]}})
    payload = attempt["payload"]
    if payload == "its own CSR":
        payload = {{"csr": orders[0]["csr"]}}
    body = b"" if payload is None else json.dumps(payload).encode()
    sock.sendall((b64(json.dumps(header).encode()) + "." + b64(body) + "\\r\\n").encode())
    os.write(2, b"ANSWER " + lines.readline())
"""


@pytest.fixture
def betrayed(prefix: Prefix, pebble: Pebble) -> Iterator[Site]:
    """A site with an account, whose client has gone over to somebody else."""
    site = Site(prefix)
    site.open_account(pebble)
    site.certificate("a", [OWN])
    (site.path / "client").write_text(STAND_IN.format(path=str(site.path)))
    (site.path / "client").chmod(0o755)
    site.main["client"]["command"] = str(site.path / "client")
    yield site
    site.remove()


def answers(site: Site, attempts: list[dict[str, Any]], *command: str) -> list[str]:
    """What the stand-in is answered when it asks for these signatures."""
    (site.path / "attempts").write_text(json.dumps(attempts))
    done = site.run(*command)
    return re.findall(r"ANSWER (.*)", done.stderr)


def test_a_client_gone_over_to_somebody_else(betrayed: Site, pebble: Pebble) -> None:
    """During newOrder: nothing but the order at hand, for the key at hand."""
    origin = pebble.directory.rpartition("/")[0]

    def ask(payload: Any, with_jwk: bool = False, url: str = origin, kid: str = origin
            ) -> dict[str, Any]:
        return {"url": f"{url}/x", "kid": f"{kid}/x", "jwk": with_jwk, "payload": payload}

    good = [ask({"onlyReturnExisting": True}, True), ask(order(OWN)), ask(None), ask({}),
            ask("its own CSR")]
    bad = [ask({"status": "deactivated"}), ask({"contact": []}),
           ask({"termsOfServiceAgreed": True}),
           ask({"termsOfServiceAgreed": True}, True), ask({}, True), ask(order(FOREIGN)),
           ask(order(OWN, FOREIGN)), ask({**order(OWN), "profile": "x"}),
           ask({"csr": b64(request(OWN))}),     # for a key of its own
           ask({"csr": b64(request(FOREIGN))}), ask({"certificate": b64(b"0")}),
           ask({"protected": "e30", "payload": "e30", "signature": "AAAA"}),
           ask(None, url="https://evil.example"), ask(None, kid="https://evil.example")]
    found = answers(betrayed, good, "newOrder")
    assert len(found) == 5 and not any(answer.startswith("NOSIGN") for answer in found), found
    found = answers(betrayed, [*bad, *good], "newOrder")
    for attempt, answer in zip(bad, found):
        assert answer.startswith("NOSIGN "), (attempt, answer)
    # what comes after a refusal is as good as before
    assert len(found) == len(bad) + 5
    assert not any(answer.startswith("NOSIGN") for answer in found[len(bad):]), found
    # who wants it otherwise
    betrayed.main["accountd"]["policy"] = "no"
    found = answers(betrayed, bad, "newOrder")
    assert len(found) == len(bad)
    assert not any(answer.startswith("NOSIGN") for answer in found), found


@pytest.mark.alike(2)
@pytest.mark.parametrize("command, allowed", [
    (["account"], []), (["account", "mailto:a@example.org"], ["update"]),
    (["account", "--register", "--tos-agreed"], ["register"]),
    (["account", "--deactivate", "--yes"], ["deactivate"])])
def test_the_other_commands(command: list[str], allowed: list[str], betrayed: Site,
                            pebble: Pebble) -> None:
    """As their options say."""
    origin = pebble.directory.rpartition("/")[0]
    attempts = {"update": ({"contact": []}, False), "register": ({}, True),
                "deactivate": ({"status": "deactivated"}, False), "order": (order(OWN), False),
                "revoke": ({"certificate": "AAAA"}, False)}
    for name, (payload, with_jwk) in attempts.items():
        found = answers(betrayed, [{"url": f"{origin}/x", "kid": f"{origin}/x", "jwk": with_jwk,
                                    "payload": payload}], *command)
        assert len(found) == 1 and found[0].startswith("NOSIGN") is (name not in allowed), found


def test_an_administrators_policy_holds_too(site: Site, pebble: Pebble) -> None:
    """Both must allow it; the client tells why it could not go on."""
    site.open_account(pebble)
    site.certificate("a", [OWN])
    site.accountd["policy mine"] = {"identifiers": FOREIGN,
                                    "origins": pebble.directory.rpartition("/")[0]}
    site.main["accountd"]["command"] = f"{site.prefix.accountd} --policy=mine"
    expect(site.run("newOrder"), 1, f"a: {NEW}", "a: generating .*",
           rf"accountd: warning: \[stdio\] NOSIGN policy “mine”: {OWN} is not one of its "
           r"identifiers \(setting “identifiers” of \[policy mine\]\): header=.*",
           rf"error: a: the account key manager refused to sign: policy \"mine\": {OWN} is "
           r"not one of its identifiers \(setting \"identifiers\" of \[policy mine\]\)")
    site.accountd["policy mine"]["identifiers"] = OWN
    expect(site.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")
