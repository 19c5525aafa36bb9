"""What the probes of a conversation need, and what is said of what they meet."""

import pytest

from letsencrypt_tiny.client import main
from letsencrypt_tiny.client.online import prober, reach
from letsencrypt_tiny.client.online.prober import Prober
from letsencrypt_tiny.common.clock import when
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire.order import (Access, AccountUpdate, ClientConfig, Order,
                                                Revocation)
from letsencrypt_tiny.common.wire.probe import Probe

CONFIG = ClientConfig(Access("https://ca.example/dir"))
PROBE = Probe("a.example", ("dns", "a.example"), "http-01", public=False)


def unreached(no_route: bool = False) -> reach.Unreached:
    error = reach.Unreached("refused")
    error.no_route = no_route
    return error


# --- ports ---------------------------------------------------------------------------------------

def test_ports() -> None:
    assert Prober(CONFIG, [PROBE]).ports == {53, 80, 443}
    more = PROBE._replace(nameservers=("192.0.2.1:5353", "[::1]:54", "192.0.2.2"))
    assert Prober(CONFIG, [PROBE, more]).ports == {53, 54, 80, 443, 5353}


def test_no_other_run_has_them() -> None:
    for request in (Order("a", (), b""), AccountUpdate(), Revocation("x", b"")):
        assert main.open_prober(CONFIG, [request]) is None
    assert main.open_prober(CONFIG, [PROBE]) is not None


# --- addresses -----------------------------------------------------------------------------------

@pytest.mark.parametrize("addresses, reached, verdicts", [
    (["192.0.2.1"], [None], ["ok"]),
    (["192.0.2.1"], [unreached()], ["error"]),
    (["192.0.2.1"], [reach.Astray("404")], ["error"]),
    (["192.0.2.1"], [unreached(no_route=True)], ["warning"]),
    (["::1", "192.0.2.1"], [unreached(), None], ["warning", "ok"]),    # CAs fall back
    (["::1", "192.0.2.1"], [unreached(), unreached()], ["error", "error"]),
    (["::1", "192.0.2.1"], [reach.Astray("404"), None], ["error", "ok"]),
    (["192.0.2.1", "192.0.2.2"], [unreached(), None], ["error", "ok"])])
def test_addresses(addresses: list[str], reached: list[Error | None], verdicts: list[str]) -> None:
    found = list(Prober(CONFIG, [PROBE])._judge(PROBE, addresses, reached))
    assert [item.verdict for item in found] == verdicts
    assert [item.subject for item in found] == addresses
    assert all(bool(item.remedy) is (item.verdict != "ok") for item in found)


@pytest.mark.parametrize("address, verdict", [
    ("10.0.0.1", "error"), ("127.0.0.1", "error"), ("fd00::1", "error"), ("8.8.8.8", "ok"),
    ("2001:4860:4860::8888", "ok")])
def test_where_a_public_ca_goes(address: str, verdict: str) -> None:
    public = PROBE._replace(public=True)
    finding, = Prober(CONFIG, [public])._judge(public, [address], [None])
    assert finding.verdict == verdict
    finding, = Prober(CONFIG, [PROBE])._judge(PROBE, [address], [None])
    assert finding.verdict == "ok"


# --- the clock -----------------------------------------------------------------------------------

@pytest.mark.parametrize("theirs, began, ended, verdict, words", [
    (1000, 1000, 1000, "ok", ""), (1000, 1030.9, 1031, "ok", ""), (1000, 960.0, 999.0, "ok", ""),
    (1000, 1031.1, 1031.2, "warning", "30 s ahead"), (1000, 900, 960, "warning", "40 s behind"),
    (1000, 1601.5, 1602, "error", "600 s ahead"), (10000, 1, 2, "error", "9998 s behind")])
def test_the_clock(theirs: int, began: float, ended: float, verdict: str, words: str) -> None:
    """Date shows seconds, of some moment while the request lasted."""
    date = f"Thu, 01 Jan 1970 {when(theirs)[11:16]}:{theirs % 60:02d} GMT"
    finding, = prober._clock(date, began, ended)
    assert finding.verdict == verdict and words in finding.text


def test_no_clock() -> None:
    for date in (None, "", "yesterday", "Thu, 01 Jan 1970 00:00:00 CET"):
        assert list(prober._clock(date, 0, 0)) == []
