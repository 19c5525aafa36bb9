"""CAA records: whose are the relevant ones, what they say, and whom they let in."""

import re
from collections.abc import Sequence

import pytest

from letsencrypt_tiny.client.online import caa
from letsencrypt_tiny.client.online.caa import Judgement, Permission, Property, Wanted

ACCOUNT = "https://ca.example/acct/1"


def wanted(*identities: str, wildcard: bool = False, method: str = "http-01",
           account: str = ACCOUNT) -> Wanted:
    return Wanted(identities or ("ca.example",), wildcard, method, account)


def issue(*values: str, tag: str = "issue", flags: int = 0) -> list[Property]:
    return [Property(flags, tag, value) for value in values]


def judged(records: Sequence[Property], **how: bool | str) -> Judgement:
    return caa.judge(wanted(**how), "x.test", records)  # type: ignore[arg-type]


# --- RFC 8659 §3 ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name, having, owner, asked", [
    ("a.b.c", "a.b.c", "a.b.c", ["a.b.c"]),
    ("a.b.c", "b.c", "b.c", ["a.b.c", "b.c"]),
    ("a.b.c", "c", "c", ["a.b.c", "b.c", "c"]),
    ("a.b.c", "x.a.b.c", "", ["a.b.c", "b.c", "c"]),
    ("*.a.b.c", "a.b.c", "a.b.c", ["a.b.c"]),
    ("c", "", "", ["c"])])
def test_up_the_tree(name: str, having: str, owner: str, asked: list[str]) -> None:
    """The first name that has any; never the root."""
    seen: list[str] = []
    records = issue("x")

    def ask(here: str) -> Sequence[Property]:
        seen.append(here)
        return records if here == having else ()
    assert caa.climb(name, ask) == (owner, records if owner else ())
    assert seen == asked


# --- §4.2 ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, expected", [
    ("ca.example", Permission("ca.example")), ("", Permission("")), (";", Permission("")),
    (" \t ;  ", Permission("")), ("CA.Example", Permission("ca.example")),
    ("ca.example;", Permission("ca.example")), ("ca", Permission("ca")),
    ("ca.example; a=1", Permission("ca.example", (("a", "1"),))),
    (" ca.example ; a = 1 ; b=", Permission("ca.example", (("a", "1"), ("b", "")))),
    ("ca.example; a=1 ;", Permission("ca.example", (("a", "1"),))),
    (f"ca.example;accounturi={ACCOUNT}", Permission("ca.example", (("accounturi", ACCOUNT),))),
    ("; a=1", Permission("", (("a", "1"),))),
    ("ca example", None), ("ca_x.example", None), ("-ca.example", None), ("ca..example", None),
    ("ca.example; a", None), ("ca.example; a=b c", None), ("ca.example;; a=1", None),
    ("ca.example; -a=1", None), ("ca.example\n", None), ("ca.example; a=\x07", None),
    ("ca.example.", None), ("\ufffdca.example", None)])
def test_parse(value: str, expected: Permission | None) -> None:
    assert caa.parse(value) == expected


def test_parse_takes_no_time() -> None:
    """Of what the record's owner likes to write."""
    for value in ("a-" * 30000, "a." * 30000, "x" + ";a=" * 20000, "a; " + "b-" * 30000):
        assert caa.parse(value) is None or value.startswith("x")


# --- who may -------------------------------------------------------------------------------------

@pytest.mark.parametrize("records, how, verdict, words", [
    ([], {}, "ok", "no CAA record"),
    (issue("mailto:x@y", tag="iodef"), {}, "ok", "restrict nobody"),
    (issue("ca.example"), {}, "ok", "lets in ca.example"),
    (issue("other.example", "ca.example"), {}, "ok", "lets in ca.example"),
    (issue("other.example", ";"), {}, "error", "let in other.example, not this CA"),
    (issue(";"), {}, "error", "let in nobody, not this CA"),
    (issue("ca.example; x"), {}, "error", r"let in nobody \(malformed\), not this CA"),
    (issue("other.example", tag="issuewild"), {}, "ok", "restrict nobody"),
    # issuewild is for wildcards alone, and then instead of issue (§4.3)
    (issue(";", tag="issuewild") + issue("ca.example"), {"wildcard": True}, "error", "nobody"),
    (issue("ca.example", tag="issuewild") + issue(";"), {"wildcard": True}, "ok", "ca.example"),
    (issue("ca.example", tag="issuewild") + issue(";"), {}, "error", "nobody"),
    (issue("ca.example"), {"wildcard": True}, "ok", "ca.example"),
    # §4.1
    (issue("x", tag="new", flags=128) + issue("ca.example"), {}, "error", "“new” of .* critical"),
    (issue("x", tag="new", flags=127) + issue("ca.example"), {}, "ok", "ca.example"),
    (issue("ca.example", flags=128), {}, "ok", "ca.example"),
    # RFC 8657
    (issue(f"ca.example; accounturi={ACCOUNT}"), {}, "ok", "this account"),
    (issue(f"ca.example; accounturi={ACCOUNT}0"), {}, "error", "another account of ca.example"),
    (issue(f"ca.example; accounturi={ACCOUNT}"), {"account": ""}, "warning", "not known here"),
    (issue(f"ca.example; accounturi={ACCOUNT}", "ca.example"), {"account": ""}, "ok", "ca.exam"),
    (issue(f"ca.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}"), {}, "error", "twice"),
    (issue("ca.example; validationmethods=dns-01,http-01"), {}, "ok", "http-01"),
    (issue("ca.example; validationmethods=dns-01"), {}, "error", "by dns-01, not by http-01"),
    (issue("ca.example; validationmethods=dns-01"), {"method": "dns-01"}, "ok", "dns-01"),
    (issue("ca.example; validationmethods=xhttp-01"), {}, "error", "not by http-01"),
    (issue("ca.example; validationmethods="), {}, "error", "not by http-01"),
    (issue("ca.example; unknown=1"), {}, "ok", "ca.example")])
def test_judge(records: list[Property], how: dict[str, bool | str], verdict: str,
               words: str) -> None:
    found = judged(records, **how)
    assert found.verdict == verdict and re.search(words, found.text), found
    assert bool(found.remedy) is (verdict == "error") or verdict == "warning"


def test_a_ca_of_several_names() -> None:
    either = wanted("one.example", "two.example")
    assert caa.judge(either, "x.test", issue("two.example")).verdict == "ok"
    assert caa.judge(either, "x.test", issue("ca.example")).remedy == \
        'add x.test. CAA 0 issue "one.example"'


def test_a_ca_that_tells_no_name() -> None:
    nobody = Wanted((), False, "http-01", "")
    assert caa.judge(nobody, "x.test", issue("two.example")).verdict == "warning"
    assert caa.judge(nobody, "x.test", []).verdict == "ok"


def test_what_is_shown_is_printable() -> None:
    for value in ("\x1b[2J", "ca.example; accounturi=\x1b", "x" * 5000):
        for found in (judged(issue(value)), judged(issue("x", tag="\x1b[2J", flags=128))):
            assert found.text.isprintable() and len(found.text) < 400


# --- dns-persist-01 ------------------------------------------------------------------------------

@pytest.mark.parametrize("text, how, verdict", [
    (f"ca.example; accounturi={ACCOUNT}", {}, "ok"),
    (f"ca.example; accounturi={ACCOUNT}", {"wildcard": True}, "error"),
    (f"ca.example; accounturi={ACCOUNT}; policy=wildcard", {"wildcard": True}, "ok"),
    (f"ca.example; accounturi={ACCOUNT}; persistUntil=1001", {}, "ok"),
    (f"ca.example; accounturi={ACCOUNT}; persistUntil=1000", {}, "error"),
    (f"ca.example; accounturi={ACCOUNT}; persistUntil=never", {}, "error"),
    (f"other.example; accounturi={ACCOUNT}", {}, "error"),
    ("ca.example; accounturi=https://ca.example/2", {}, "error"), ("ca.example", {}, "error"),
    ("junk of any kind", {}, "error"),
    ("ca.example; accounturi=https://ca.example/2", {"account": ""}, "warning")])
def test_persists(text: str, how: dict[str, bool | str], verdict: str) -> None:
    found = caa.persists(wanted(**how), "_v.x.test", ["junk", text], 1000)  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert verdict != "error" or found.remedy.startswith(
        f'add _v.x.test. TXT "ca.example; accounturi={ACCOUNT}')
