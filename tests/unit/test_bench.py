"""The benchmark: what it says of two trees, what it takes for a certificate, what is to be reached.
"""

import struct
from pathlib import Path
from typing import Any

import pytest

from bench import against, plot, table, verify
from bench.against import Figure, Two
from bench.targets import LACME as SECONDS, Target, targets
from harness import ca, mirror


@pytest.mark.parametrize("now, verdict", [
    ([10, 11, 12], ""), ([9, 9, 9], ""), ([10.2, 11.2, 12.2], ""),
    ([10.5, 11.5, 12.5], "**worse**"),   # of each pair, and at best
    ([10, 13, 14], "unclear"),           # one run was as good
    ([10.5, 10, 11], "")])               # a pair was disturbed
def test_verdict(now: list[float], verdict: str) -> None:
    assert Figure("x", "ms", [10, 11, 12], now).verdict == verdict


def test_trees_take_turns() -> None:
    """Each is the first of a pair as often as the other; the first pair is not counted."""
    seen: list[str] = []

    def once(which: str, cost: float) -> against.Once:
        def measure() -> dict[str, float]:
            seen.append(which)
            return {"ms": cost + len(seen)}
        return measure
    figure, = against._alternate("x", 2, Two(once("then", 0), once("now", 100)))
    assert "".join(which[0] for which in seen) == "tnnttn"
    assert (figure.then, figure.now) == ([4, 5], [103, 106])


# --- certificates ---

def test_what_a_program_obtained_is_verified(tmp_path: Path) -> None:
    names = ["a.example", "b.example"]
    authorities = []
    for word in "ours", "other":
        (tmp_path / word).mkdir()
        authorities.append(ca.CA(tmp_path / word, word))
    authority, other = authorities
    path = tmp_path / "fullchain.pem"
    chain = authority.intermediate.read_text()
    path.write_text(authority.issue(ca.request(names, ca.genkey())) + chain)

    def fault(names: list[str] = names, roots: Path = authority.root) -> str:
        return " ".join(verify.faults([path], [names], roots))
    assert fault() == "" and fault(names[::-1]) == ""
    assert "it is of a.example, b.example" in fault(["a.example"])
    assert "unable to get" in fault(roots=other.root)
    path.write_text(path.read_text().removesuffix(chain))
    assert "unable to get" in fault()
    path.write_text("no certificate\n")
    assert "no certificate" in fault()
    path.unlink()
    assert "no certificate" in fault()
    assert "0 files for 1" in " ".join(verify.faults([], [names], authority.root))


# --- what is to be reached ---

@pytest.mark.parametrize("value, least, reached", [
    (0.9, False, True), (1.0, False, True), (1.1, False, False),
    (0.9, True, False), (1.0, True, True), (1.1, True, True)])
def test_at_most_and_at_least(value: float, least: bool, reached: bool) -> None:
    target = Target("x", value, 1.0, "", least)
    assert target.cells[2:] == ["≥ 1" if least else "≤ 1",
                                "reached" if reached else "**not reached**"]


def sample(program: str, certificates: int = 1, wall: float = 1.0, **more: Any) -> dict[str, Any]:
    """One measurement of certificates."""
    return {"program": program, "certificates": certificates, "names": 1, "wall": wall, "cpu": 1.0,
            "connections": 10, "acme": 1, "requests": 7 * certificates, "runs": 1,
            "measured": certificates, **more}


def fact(program: str) -> dict[str, Any]:
    """What is known of a program."""
    return {"program": program, "version": "1", "scripted": True, "honours_retry_after": True,
            "peak": 1, "problem": ""}


OURS, LACME = "letsencrypt-tiny", "lacme"
SIGNER = "letsencrypt-tiny-accountd"
RESULTS: dict[str, Any] = {
    "date": "2026", "quick": False, "retry after": 1, "machine": {"pebble": "2"},
    "issuance": [sample(OURS), sample(OURS, 50), sample(OURS, 200), sample(OURS, names=100),
                 sample(LACME, wall=2.0), sample(LACME, 50, measured=1)],
    "account keys": [{"key": key, "certificates": 200, "first": 3.0, "renewals": 2.0}
                     for key in ("RSA-2048", "P-256")],
    "programs": [fact(OURS), fact(LACME)], "memory": {50: 1, 3000: 1},
    "far": [{"slow": slow, **row} for slow in (False, True) for row in (
        sample(OURS), sample(OURS, 50), sample("lego"), sample("acme-tiny"))],
    "scan": [{"program": program, "sections": size, "wall": 1.0, "cpu": 1.0, "first": 1.0,
              "executed": 0, "internet": 0, "peak": 1} for program, size in (
                  (OURS, 1000), (OURS, 10000), (OURS, 100000), (LACME, 1000))],
    "signer": [{"program": program, "key": key, "connections": number, "rate": 1000.0,
                "one_core": one_core} for program in (SIGNER, "lacme-accountd")
               for key in ("RSA-2048", "P-256") for number in (1, 4)
               for one_core in (False, True)],
    "growth": [{"key": "P-256", "signatures": 20000, "bytes": 0.0}],
    "fleet": [{"hosts": 1000, "key": "P-256", "refused": 0, "signatures": 8000, "p99, s": 0.5,
               "PSS, MiB": 1, "idle connection, bytes": 1}],
    "web": [{"program": program, "keep": keep, "idle": idle, "rate": 1.0, "cpu": 1.0, "kept": idle}
            for program in (OURS, "nginx") for keep in (False, True) for idle in (0, 1000)],
    "startup": [{"program": "web server", "median": 0.01, "least": 0.01}],
    "confine": [{"process": "client", "mode": "required", "wall": 0.001, "cpu": 0.001,
                 "enforced": ""}]}


@pytest.mark.parametrize("words, bound", [
    ("one certificate: wall, of lacme's", 0.65), ("one certificate: CPU, of lacme's", 0.5),
    ("200 certificates, account key RSA-2048: CPU for each", 16),
    ("200 certificates, account key P-256: CPU for each", 16),
    ("200 renewals by the same keys, account key RSA-2048: CPU for each", 16),
    ("200 renewals by the same keys, account key P-256: CPU for each", 16),
    ("ACME requests per certificate", 7.5),
    ("3000 orders: peak memory of the tree", 100), ("far, 50 certificates", 6),
    ("validated slowly: wall, of lego's", 1), ("validated slowly: wall, of acme-tiny's", 1),
    ("1000 sections: CPU", 0.09), ("10000 sections: wall", 11), ("100000 sections: wall", 10),
    ("100000 sections: peak", 150), ("by RSA-2048: over 4 connections", 1),
    ("by P-256: over 4 connections", 1), ("RSA-2048, one processor", 900),
    ("RSA-2048, all processors", 1500), ("P-256, all processors", 2000),
    ("of lacme-accountd's by RSA-2048", 1), ("bytes that it grows by", 16),
    ("P-256: refused", 0), ("99 of 100 signatures within", 1), ("memory of the signer", 64),
    ("of an idle connection", 8192),
    ("1000 idle connections, the others closed", 0.7), ("that are kept meanwhile", 1000),
    ("web server: imports", 12), ("confinement", 5)])
def test_what_is_to_be_reached(words: str, bound: float) -> None:
    found = [target for target in targets(RESULTS) if words in target.text]
    assert [target.bound for target in found] == [bound]


def test_seconds_are_a_machines() -> None:
    """lacme tells how fast one is; ratios, memory and what is waited for are the same on any."""
    scan = [{**row, "cpu": 2 * SECONDS} if row["program"] == "lacme" else row
            for row in RESULTS["scan"]]
    found = {target.text: target for target in targets({**RESULTS, "scan": scan})}
    factors = {text: target.wanted / target.bound for text, target in found.items()
               if target.bound}
    timed = {text for text, factor in factors.items() if factor != 1}
    assert {factors[text] for text in timed} == {2, 0.5} and all(
        factors[text] == 0.5 for text in timed if "signatures a second" in text)
    assert {text for text in timed if "signatures a second" not in text} == {
        text for text in found if "CPU for each, ms" in text and text.startswith("200")
        or "1000 sections: CPU" in text or "100000 sections: wall" in text or "imports" in text}
    one = Target("", 0.1, 0.09, "0.1", timed=True, slow=2)
    assert one.cells == ["", "0.1", "≤ 0.09 (here 0.18)", "reached here"]
    assert one._replace(value=0.09).verdict == "reached"
    assert one._replace(slow=1).cells == ["", "0.1", "≤ 0.09", "**not reached**"]
    rate = Target("", 800, 1500, "800", least=True, timed=True, slow=2)
    assert rate.cells == ["", "800", "≥ 1500 (here 750)", "reached here"]
    assert rate._replace(value=700).verdict == "**not reached**"
    # one that is faster asks for no more
    assert {target.slow for target in targets({**RESULTS, "scan": [
        {**row, "cpu": SECONDS / 2} for row in RESULTS["scan"]]})} == {1}


def test_all_of_it_can_be_shown() -> None:
    text = table.tables(RESULTS)
    assert all(target.text in text for target in targets(RESULTS))
    assert "limit: Retry-After 1 s" in plot.svg(RESULTS)
    assert "ahead of Retry-After: " not in plot.svg(RESULTS)
    hasty = [{**fact, "honours_retry_after": False} for fact in RESULTS["programs"]]
    picture = plot.svg({**RESULTS, "programs": hasty})
    assert f"ahead of Retry-After: {hasty[0]['program']}" in picture
    assert table.tables({"date": "", "quick": True, "retry after": 1, "machine": {}}) \
        .startswith("; ; Retry-After 1 s; **quick run")


# --- the line to a server that is far ---

def test_a_reflected_packet_keeps_its_checksums() -> None:
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 24, 1, 0, 64, 6, 0x1234, b"\1\2\3\4",
                         b"\5\6\7\x08") + b"data"
    found = mirror.swapped(packet)
    assert (found[12:16], found[16:20]) == (packet[16:20], packet[12:16])
    assert found[:12] + found[20:] == packet[:12] + packet[20:]
    assert sum(struct.unpack("!14H", found + bytes(4))) == sum(
        struct.unpack("!14H", packet + bytes(4)))
    assert mirror.swapped(b"\x60" + bytes(39)) == b""    # IPv6
