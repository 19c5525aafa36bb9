"""The signer's policy: rates, and the audit log."""

import re
import threading
from typing import Any

import pytest

from harness.policies import (ALL, DEFAULT, b64, built, certificate, csr, extension_request,
                              finalize, greeting, judge, line, order, tlv)
from letsencrypt_tiny.common import log
from letsencrypt_tiny.signer import policy


def test_rate_limit() -> None:
    """Within any hour, by a clock that nobody sets; what is refused isn't counted."""
    clock = [1000.0]
    guard = policy.Guard([DEFAULT._replace(per_hour=10), ALL], lambda: clock[0])

    def ask(payload: Any) -> str:
        clock[0] += 60
        return guard.judge(line(payload), greeting()).why

    for _ in range(20):
        assert "not allowed" in ask({"status": "deactivated"})
    assert [ask(None) for _ in range(10)] == [""] * 10
    limit = "policy “default”: more than 10 requests within an hour (setting " \
        "“requests-per-hour” of [policy default])"
    assert [ask({}) for _ in range(10)] == [limit] * 10
    assert "not allowed" in ask({"status": "deactivated"})
    clock[0] = 1000 + 60 * 21 + 3600 - 61
    assert ask(None) == limit
    assert ask(None) == "" and ask(None) == ""
    assert [ask(None) for _ in range(20)].count("") <= 10


def test_rate_limit_of_threads() -> None:
    guard = policy.Guard([DEFAULT._replace(per_hour=100)])
    allowed: list[str] = []
    request = line(None)

    def ask() -> None:
        allowed.extend(guard.judge(request, greeting()).why for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 400 and allowed.count("") == 100


@pytest.mark.parametrize("payload, text", [
    (order("example.org", "a.example.net"), "policy=default verdict=allowed operation=new-order "
     "origin=https://ca.example identifiers=example.org,a.example.net"),
    (order("example.com"), "policy=default verdict=refused operation=new-order "
     'origin=https://ca.example why="policy “default”: example.com is not one of its '
     'identifiers (setting “identifiers” of [policy default])" identifiers=example.com'),
    ({"status": "deactivated"}, "policy=default verdict=refused operation=deactivate "
     'origin=https://ca.example why="policy “default”: deactivate is not allowed '
     '(setting “operations” of [policy default])" identifiers=-'),
    ({"ſtatus": "deactivated"}, "policy=default verdict=refused operation=- "
     'origin=https://ca.example why="not a request that a policy knows" identifiers=-'),
    (None, "policy=default verdict=allowed operation=read origin=https://ca.example "
     "identifiers=-")])
def test_audit(payload: Any, text: str) -> None:
    assert str(judge(payload, DEFAULT)) == text


def test_audit_lines_cannot_be_forged() -> None:
    """Not by a name, nor by a url, nor by what a CSR holds."""
    forged = 'x" verdict=allowed operation=read identifiers=a'
    for verdict in (judge(order(forged)), judge(order("example.org", profile=forged)),
                    judge(None, url=f"https://{forged}/"), judge({forged: 1}),
                    finalize(csr("subjectAltName=DNS:example.org", subject=f"/CN={forged}")),
                    finalize(built(extension_request(tlv(0x30, tlv(
                        0x30, b"\x06\x03\x55\x1d\x11",
                        tlv(4, tlv(0x30, tlv(0x82, forged.encode()))))))))):
        found = re.fullmatch(r'policy=\S+ verdict=refused operation=\S+ origin=\S+ '
                             r'why="([^"]*)" identifiers=\S+', str(verdict))
        assert found and "\n" not in str(verdict)


def test_audit_lines_of_huge_names_are_whole() -> None:
    """In the log, where a line has 4096 characters at most, the reason comes to its end."""
    der = certificate("DNS:example.org,otherName:1.2.3;UTF8:" + "x" * 9000)
    verdict = judge({"certificate": b64(der)}, ALL)
    assert re.match(r'policy=all verdict=refused operation=revoke origin=https://ca.example '
                    r'why="policy “all”: [0-9a-f]+… is not one of its identifiers '
                    r'\(setting “identifiers” of \[policy all\]\)" identifiers=',
                    log.printable(verdict))
