"""What is remembered between runs: junk is as good as nothing, and nothing is half written."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire.order import Account
from letsencrypt_tiny.master.store.journal import Journal, SectionState

pytestmark = pytest.mark.root

FULL = SectionState("https://ca.example/dir", "t" * 43, "https://ca.example/o/1", "ab" * 32,
                    True, True, 7, "https://ca.example/f/1")
URL, KEY, OTHER = "https://ca.example/a/1", "t" * 43, "o" * 43


def test_sections(top: Path) -> None:
    known = Journal(f"{top}/state")
    assert known.section("a") == SectionState() and known.known() == set()
    assert not (top / "state").exists(), "looking makes nothing"
    known.remember("a", FULL)
    known.remember("b", SectionState())
    assert Journal(f"{top}/state").section("a") == FULL
    assert known.section("b") == SectionState()
    assert known.known() == {"cert-a.json", "cert-b.json"}
    assert list(known.sections("acb")) == [known.section("a"), SectionState(), known.section("b")]
    known.remember("a", SectionState())
    assert known.section("a") == SectionState()


def test_modes(top: Path) -> None:
    saved = os.umask(0)
    try:
        Journal(f"{top}/state").remember("a", FULL)
        Journal(f"{top}/state").remember_account("d", KEY, URL)
    finally:
        os.umask(saved)
    assert stat.S_IMODE((top / "state").stat().st_mode) == 0o700
    for path in (top / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        json.loads(path.read_text())
    assert len(os.listdir(top / "state")) == 2


def test_replaced_atomically(top: Path) -> None:
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    with open(top / "state/cert-a.json", "rb") as old:
        known.remember("a", FULL._replace(not_before=9))
        assert json.loads(old.read())["not_before"] == 7
    assert known.section("a").not_before == 9


@pytest.mark.parametrize("junk", [
    b"", b"\0" * 100, b"{", b"[]", b"null", b"\xff", b'{"installing": "yes"}', b'{"notify": 1}',
    b'{"not_before": -1}', b'{"not_before": 1e9}', b'{"not_before": 9999999999999}',
    b'{"not_before": true}', b'{"order": 1}', b'{"order": ["x"]}', b'{"order_key": {}}',
    b'{"directory": "%s"}' % (b"x" * 5000), b'{"order": "a", "order": "b"}',
    b'{"x": ' + b"[" * 10000, b"{}" + b" " * (256 << 10), b'{"a": 1} {"b": 2}'])
def test_junk_in_a_section(top: Path, junk: bytes) -> None:
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    (top / "state/cert-a.json").write_bytes(junk)
    assert known.section("a") == SectionState()
    known.remember("a", FULL)
    assert known.section("a") == FULL


def test_what_a_later_version_remembers_is_ignored(top: Path) -> None:
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    path = top / "state/cert-a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ari": {"end": 5}}))
    assert known.section("a") == FULL


@pytest.mark.parametrize("junk", [
    b"", b"[]", b"{", b'{"d": "u"}', b'{"d": []}', b'{"d": {"url": 1, "key": 2}}', b'{"d": {}}',
    b'{"d": null}', b'{"d": {"url": null}}', b'{"d": {"url": 1, "key": "%s"}}' % KEY.encode(),
    b'{"d": {"%s": 1}}' % KEY.encode(), b'{"d": {"%s": null}}' % KEY.encode()])
def test_junk_in_accounts(top: Path, junk: bytes) -> None:
    known = Journal(f"{top}/state")
    known.remember_account("d", KEY, URL)
    (top / "state/accounts.json").write_bytes(junk)
    assert known.account("d", KEY) == ""
    known.remember_account("d", KEY, URL)
    assert known.account("d", KEY) == URL


def test_accounts(top: Path) -> None:
    known = Journal(f"{top}/state")
    assert known.account("d", KEY) == ""
    known.remember_account("d", KEY, "")
    assert not (top / "state").exists(), "nothing to forget, nothing to write"
    known.remember_account("d", KEY, URL)
    known.remember_account("e", KEY, URL + "2")
    assert (known.account("d", KEY), known.account("e", KEY)) == (URL, URL + "2")
    inode = (top / "state/accounts.json").stat().st_ino
    known.remember_account("d", KEY, URL)
    assert (top / "state/accounts.json").stat().st_ino == inode, "what is known is not written"
    known.remember_account("d", KEY, "")
    assert (known.account("d", KEY), known.account("e", KEY)) == ("", URL + "2")


def test_two_keys_at_one_directory(top: Path) -> None:
    """Each has an account of its own; to forget one is not to forget the other."""
    known = Journal(f"{top}/state")
    known.remember_account("d", KEY, URL)
    known.remember_account("d", OTHER, URL + "2")
    assert (known.account("d", KEY), known.account("d", OTHER)) == (URL, URL + "2")
    known.remember_account("d", KEY, URL + "3")
    assert (known.account("d", KEY), known.account("d", OTHER)) == (URL + "3", URL + "2")
    known.remember_account("d", KEY, "")
    assert (known.account("d", KEY), known.account("d", OTHER)) == ("", URL + "2")
    assert known.account("e", OTHER) == known.account("d", "url") == ""


def test_whose_account_it_is_by_now(top: Path) -> None:
    """That of the key that took it over last; of any other account that of its own key."""
    journal = Journal(str(top / "state"))
    for key, url in (("old", "U"), ("other", "V"), ("new", "U"), ("newest", "U")):
        journal.remember_account("D", key, url)
    assert [journal.heir("D", key) for key in ("old", "new", "newest", "other", "strange")] == [
        "newest", "newest", "newest", "other", "strange"]
    assert journal.heir("E", "old") == "old"


def test_the_accounts_of_1_0_are_read_and_rewritten(top: Path) -> None:
    """It knew one key at each directory: {"url": ..., "key": ...}."""
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    path = top / "state/accounts.json"
    path.write_text(json.dumps({name: {"url": URL + name, "key": KEY} for name in "de"}))
    assert (known.account("d", KEY), known.account("d", OTHER)) == (URL + "d", "")
    known.remember_account("d", KEY, URL + "d")
    assert json.loads(path.read_text())["d"]["key"] == KEY, "what is known is not written"
    known.remember_account("d", OTHER, URL)
    assert json.loads(path.read_text()) == {"d": {KEY: URL + "d", OTHER: URL},
                                            "e": {"url": URL + "e", "key": KEY}}
    assert (known.account("d", KEY), known.account("e", KEY)) == (URL + "d", URL + "e")
    known.remember_account("e", KEY, "")
    assert known.account("e", KEY) == ""


def test_what_a_client_tells_of_an_account(top: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only of the key that signs for it: it could make the next run use another's."""
    known = Journal(f"{top}/state")
    known.learn_account("d", KEY, Account(URL, OTHER))
    known.learn_account("d", KEY, Account(URL, ""))
    assert not (top / "state").exists()
    known.learn_account("d", KEY, Account(URL, KEY))
    known.learn_account("d", KEY, Account(URL + "2", OTHER))
    assert (known.account("d", KEY), known.account("d", OTHER)) == (URL, "")
    known.learn_account("d", KEY, Account("", KEY))
    assert known.account("d", KEY) == "", "it has none any more"
    assert capfd.readouterr().err == ""
    shutil.rmtree(top / "state")
    (top / "state").touch()
    known.learn_account("d", KEY, Account(URL, KEY))
    assert capfd.readouterr().err.startswith("warning: "), "it costs the next run a request"


NAMES = ["a", "A", "a.b", "a-b", "a_b", "a b", "a%20b", "a%b", "../a", "..", ".", "/",
         "/etc/passwd", "a/b", "a\\b", "ä", "accounts", "ß", "\u0131", "a*", "x" * 200, "x" * 201,
         "x" * 255,
         "ä" * 255, "ä" * 254 + "ö", "\U0001f600" * 255, "a:b", "a'b", "٣", "ª"]


def test_names_are_quoted(top: Path) -> None:
    known = Journal(f"{top}/state")
    for number, name in enumerate(NAMES):
        known.remember(name, SectionState(not_before=number + 1))
    for number, name in enumerate(NAMES):
        assert known.section(name).not_before == number + 1, "each name has a file of its own"
        assert list(known.sections([name])) == [known.section(name)] != [SectionState()]
    assert os.listdir(top) == ["state"] and len(known.known()) == len(NAMES)
    for entry in os.scandir(top / "state"):
        assert entry.is_file() and entry.name.isascii() and entry.name.startswith("cert-")


def test_unreadable_things(top: Path) -> None:
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    (top / "state/cert-b.json").mkdir()
    assert known.section("b") == SectionState()
    with pytest.raises(Error, match="cert-b.json: "):
        known.remember("b", FULL)
    (top / "f").touch()
    strange: Any = Journal(f"{top}/f")
    assert strange.section("a") == SectionState() and strange.known() == set()
    with pytest.raises(Error, match=f"{top}/f: .*Not a directory"):
        strange.remember("a", FULL)
    with pytest.raises(Error, match=f"^{top}/no: no such directory; create it .* library-dir"):
        Journal(f"{top}/no/state").remember("a", FULL)


def test_state_of_others(top: Path) -> None:
    """Neither believed nor written to."""
    known = Journal(f"{top}/state")
    known.remember("a", FULL)
    assert known.section("a") == FULL
    os.chown(top / "state", 65533, 0)
    for act in (lambda: known.section("a"), lambda: list(known.sections(["a"])),
                lambda: known.remember("a", FULL)):
        with pytest.raises(Error, match="belongs to uid"):
            act()
