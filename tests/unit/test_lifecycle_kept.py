"""What is issued stays remembered until it is installed, or turns out to be wrong for good."""

from pathlib import Path
from typing import Any

import pytest

from harness import ca
from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.x509.certificate import Certificate, parse_chain
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.master.plan import lifecycle, orders, renewal
from letsencrypt_tiny.master.plan.keytype import key_type
from letsencrypt_tiny.master.plan.lifecycle import Facts
from letsencrypt_tiny.master.settings import certificates, main
from letsencrypt_tiny.master.plan import issuers
from letsencrypt_tiny.master.store.installed import Installed
from letsencrypt_tiny.master.store.journal import Revoked, SectionState

ORDER = Facts(directory="D", account="A", order="O", order_key="K")
NOW = 1_800_000_000


def after(*events: tuple[str, Facts], state: SectionState = SectionState()
          ) -> tuple[str, SectionState]:
    """Return where a section is after these events, from DUE on."""
    phase = lifecycle.DUE
    for event, facts in events:
        phase, state = lifecycle.step(phase, event, state, facts)
    return phase, state


NOTHING = Facts()
ISSUED = ((lifecycle.ORDERED, NOTHING), (lifecycle.PROGRESS, ORDER),
          (lifecycle.CHAIN, ORDER._replace(order=None, issued=NOW)))


def test_a_chain_is_remembered_with_its_order() -> None:
    phase, state = after(*ISSUED)
    assert phase == lifecycle.ISSUED
    assert state == SectionState("D", "A", "O", "K", kept=NOW)
    assert lifecycle.resume(state) == lifecycle.DUE


def test_a_chain_without_order() -> None:
    """A client that tells of no order; and the order of before was for another key."""
    state = SectionState("D", "A", "O", "OTHER")
    assert after(ISSUED[0], ISSUED[2], state=state)[1] == \
        SectionState("D", "A", None, "K", kept=NOW)


@pytest.mark.parametrize("events, kept, order", [
    ([lifecycle.KEPT], NOW, "O"), ([lifecycle.REJECTED], 0, None),
    ([lifecycle.VERIFIED, lifecycle.NOT_WRITTEN], NOW, "O"),
    ([lifecycle.VERIFIED, lifecycle.WRITTEN], 0, None),
    ([lifecycle.KEPT, lifecycle.TAKEN_UP, lifecycle.KEPT], NOW, "O"),
    ([lifecycle.KEPT, lifecycle.TAKEN_UP, lifecycle.REJECTED], 0, None),
    ([lifecycle.KEPT, lifecycle.TAKEN_UP, lifecycle.VERIFIED, lifecycle.WRITTEN], 0, None)])
def test_what_becomes_of_it(events: list[str], kept: int, order: str | None) -> None:
    _, state = after(*ISSUED, *((event, NOTHING) for event in events))
    assert (state.kept, state.order) == (kept, order)


def test_a_new_order_is_not_mistaken_for_the_kept_one() -> None:
    _, state = after(*ISSUED, (lifecycle.KEPT, NOTHING))
    assert after(*ISSUED[:2], state=state)[1].kept == NOW      # the same order once more
    assert after(ISSUED[0], (lifecycle.PROGRESS, ORDER._replace(order="P")), state=state)[1] == \
        SectionState("D", "A", "P", "K")


def test_what_is_installed_is_remembered() -> None:
    wishes = Facts(directory="D", key_type="ec:P-256", ca_file="F", access="0:0 0644")
    _, state = after(*ISSUED, (lifecycle.VERIFIED, NOTHING), (lifecycle.WRITTEN, wishes))
    assert (state.issuer, state.key_type, state.ca_file, state.access) == \
        ("D", "ec:P-256", "F", "0:0 0644")
    for phase in (lifecycle.DUE, lifecycle.INSTALLED):
        followed, settled = lifecycle.step(phase, lifecycle.SETTLED, state, Facts(access="x"))
        assert followed == phase and settled == state._replace(access="x")


# --- plans -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A section's plan, made with the state given."""
    path = tmp_path_factory.mktemp("plan")
    (path / "main.conf").write_text("")
    (path / "certs.conf").write_text("[a]\nnames = a.example\n")
    config = main.load(str(path / "main.conf"))
    section = certificates.load(config, [str(path / "certs.conf")]).sections["a"]
    issuer = issuers.configured(config)[""]
    csr = parse_csr(ca.openssl("req", "-outform", "DER",
                               stdin=ca.request(["a.example"], ca.genkey()).encode()))
    key = orders.plan(section, issuer, csr, SectionState(), ("http-01",)).order_key
    known = SectionState(issuer.directory, "A", "O", key, kept=NOW)

    def plan(state: SectionState = known, **changes: Any) -> Any:
        return orders.plan(section, issuer, csr, state._replace(**changes), ("http-01",))
    return plan


def test_which_chain_is_tried_again(plain: Any) -> None:
    assert plain().kept and plain().resume == "O"
    assert not plain(kept=0).kept and plain(kept=0).resume == "O"
    for other in (plain(order_key="x"), plain(directory="x"), plain().anew()):
        assert not other.kept and other.resume is None and other.account == ""


# --- moments ---------------------------------------------------------------------------------

@pytest.mark.parametrize("ahead, waits", [
    (-1, False), (0, False), (1, True), (3600, True), (DAY, True), (DAY + 1, False),
    (366 * DAY, False), ((1 << 40) - NOW, False)])
def test_waits_are_bounded(ahead: int, waits: bool) -> None:
    assert renewal.waits(SectionState(not_before=NOW + ahead), NOW) is waits


def issue(tmp_path: Path, key: str = "", days: float = 90) -> Certificate:
    """Return a certificate for a.example, valid from an hour ago."""
    authority = ca.CA(tmp_path)
    text = authority.issue(ca.request(["a.example"], key or ca.genkey()), days=days)
    return parse_chain(text.encode())[0]


def test_what_is_worth_keeping(tmp_path: Path) -> None:
    leaf = issue(tmp_path)
    begin = leaf.not_before
    for issued, now, worth in ((0, 0, True), (0, 6, True), (0, 7, False), (1, 0, False),
                               (-400, 0, False), (58, 59, True), (58, 61, False),
                               # as it looks while our clock is ahead
                               (61, 62, True), (61, 67, True), (61, 68, False), (100, 106, True),
                               (100, 107, False), (100, 99, False)):
        assert renewal.worth_keeping(leaf, begin + issued * DAY, begin + now * DAY) is worth


# --- wishes ----------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["ec:P-256", "ec:P-384", "rsa:2048", "rsa:3072", "ed25519"])
def test_key_types(kind: str, tmp_path: Path) -> None:
    spki = issue(tmp_path, ca.genkey(kind)).spki
    assert key_type(spki) == (kind if ":" in kind else "")
    for end in range(0, len(spki), 7):
        assert key_type(spki[:end]) == ""
    assert key_type(spki[:20] + b"\xff" * (len(spki) - 20)) in ("", kind)


@pytest.mark.parametrize("state, revoked, reason", [
    ({}, {}, ""), ({"issuer": "D"}, {}, ""), ({"issuer": "X"}, {}, "its CA has changed, from X"),
    ({"directory": "X"}, {}, "its CA has changed, from X"),
    ({"directory": "X", "order": "O"}, {}, ""), ({"directory": "X", "issuer": "D"}, {}, ""),
    ({"key_type": "ec:P-256"}, {}, ""), ({"key_type": "rsa:2048"}, {}, ""),
    ({"kept": NOW}, {}, "what was issued 2027-01-15 08:00 UTC is not installed yet"),
    ({}, {"certificates": frozenset(["x"]), "keys": frozenset(["y"])}, "")])
def test_why_it_is_due(state: Any, revoked: Any, reason: str, plain: Any, tmp_path: Path) -> None:
    leaf, section = issue(tmp_path), plain().section
    found = renewal.decide(section, Installed(leaf), SectionState(**state), leaf.not_before,
                           None, "D", Revoked(**revoked))
    assert (found.reason if found.due else "") == reason
    assert renewal.decide(section, Installed(leaf), SectionState(**state), leaf.not_before,
                          -1, "D", Revoked(**revoked)).reason == "forced"
    # nobody says which CA is wanted
    assert "CA" not in renewal.decide(section, Installed(leaf), SectionState(**state),
                                      leaf.not_before).reason
