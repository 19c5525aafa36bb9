"""The solvers that publish nothing: stateless, and dns-persist-01."""

from typing import Any

import pytest

from harness.client import finish
from letsencrypt_tiny.client.challenges import table
from letsencrypt_tiny.client.challenges.persist import Persist
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.order import ClientConfig

ACCOUNT = "https://ca.example/account/1"
NAME, ADDRESS = ("dns", "a.example"), ("ip", "192.0.2.1")


def fault(challenge: dict[str, Any], *issuers: str) -> str:
    """Judge a challenge by the names that were known before."""
    return Persist(issuers).fault({"type": "dns-persist-01", **challenge}, ACCOUNT)


@pytest.mark.parametrize("challenge", [
    {"issuer-domain-names": ["ca.example"]}, {"issuer-domain-names": ["x.example", "CA.Example."]},
    {"issuer-domain-names": ["ca.example"], "accounturi": ACCOUNT},
    {"issuer-domain-names": ["ca.example"], "accounturi": None},
    {"issuer-domain-names": ["other.example"], "token": "unneeded"}])
def test_what_fits_the_records(challenge: dict[str, Any]) -> None:
    assert fault(challenge, "ca.example", "other.example") == ""


@pytest.mark.parametrize("challenge, why", [
    ({"issuer-domain-names": ["x.example"]}, "that name x.example, not ca.example: see"),
    ({"issuer-domain-names": []}, "that name nobody, not ca.example"),
    ({"issuer-domain-names": ["ca.example"], "accounturi": ACCOUNT + "2"},
     f"for the account {ACCOUNT}2, not {ACCOUNT}"),
    ({"issuer-domain-names": ["a.ca.example", "ca.example.evil"]}, "not ca.example"),
    ({}, "is none: “issuer-domain-names” is missing"),
    ({"issuer-domain-names": "ca.example"}, "is none"),
    ({"issuer-domain-names": ["ca.example"] * 11}, "is none"),
    ({"issuer-domain-names": [1]}, "is none"),
    ({"issuer-domain-names": ["ca.example"], "accounturi": 1}, "is none"),
    ({"issuer-domain-names": ["\x1b[2Jx"]}, r"that name \x1b[2Jx, not")])
def test_what_fits_not(challenge: dict[str, Any], why: str) -> None:
    assert why in fault(challenge, "ca.example")


def test_what_was_not_known_was_not_published() -> None:
    assert "publish what “letsencrypt-tiny records” prints now" in fault(
        {"issuer-domain-names": ["ca.example"]})


def test_the_two_publish_nothing() -> None:
    made = table.solvers(ClientConfig(Access("https://x/"), issuers=("ca.example",)))
    persist, stateless = made["dns-persist-01"], made["stateless"]
    assert not persist.has_token and stateless.has_token and stateless.type == "http-01"
    assert persist.serves(NAME) and not persist.serves(ADDRESS)
    assert stateless.serves(NAME) and stateless.serves(ADDRESS)
    assert persist.fault({"issuer-domain-names": ["ca.example"]}, ACCOUNT) == ""
    assert stateless.fault({}, ACCOUNT) == ""
    for solver in persist, stateless:   # each order may respond
        assert [finish(solver.present(NAME, "", "t")) for _ in range(2)] == [True, True]
        finish(solver.clean(NAME, ""))
        solver.close()


def test_http_01_is_answered_one_way() -> None:
    """Whichever of the two is preferred."""
    made = table.solvers(ClientConfig(Access("https://x/")))
    for types in ("stateless", "http-01"), ("http-01", "stateless"):
        assert table.choose(made, types) == {"http-01": made[types[0]]}
