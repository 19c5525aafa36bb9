"""Authorizations and challenges: which one is taken, and how solvers are found and used."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.client import (CA, GREETING, Words, authorization_object, challenge_object, finish,
                            order_object)
from letsencrypt_tiny.client import authorization
from letsencrypt_tiny.client.authorization import Authorizer, Challenge
from letsencrypt_tiny.client.challenges import table
from letsencrypt_tiny.client.challenges.http01 import Http01
from letsencrypt_tiny.client.challenges.solver import Solver
from letsencrypt_tiny.client.ordering import Ordering
from letsencrypt_tiny.client.patience import Patience
from letsencrypt_tiny.common.errors import Error, ProtocolError
from letsencrypt_tiny.common.wire.order import Access, ClientConfig, Order

SESSION = Words()
KID = f"{CA}/account/1"
CONFIG = ClientConfig(Access("https://x/"))


class Noted:
    """A solver of any type, which waits, and notes what is asked of it."""

    def __init__(self, kind: str, fails: str = "", *, serves: bool = True, fault: str = "",
                 has_token: bool = True) -> None:
        self.type = kind
        self.has_token = has_token
        self.fails = fails
        self._serves = serves
        self._fault = fault
        self.asked: list[tuple[str, str]] = []
        self.accounts: set[str] = set()
        self.calls: list[tuple[str, ...]] = []

    def serves(self, identifier: tuple[str, str]) -> bool:
        self.asked.append(identifier)
        return self._serves

    def fault(self, _challenge: Any, account: str) -> str:
        self.accounts.add(account)
        return self._fault

    def present(self, identifier: tuple[str, str], token: str, thumbprint: str) -> Any:
        yield 5.0
        if self.fails:
            raise Error(self.fails)
        self.calls.append(("present", *identifier, token, thumbprint))
        return True

    def clean(self, identifier: tuple[str, str], token: str) -> Any:
        yield 7.0
        self.calls.append(("clean", *identifier, token))
        raise Error("the responder is gone")

    def close(self) -> None:
        self.calls.append(("close",))


# --- the table ---------------------------------------------------------------------------------

def test_the_table_says_what_the_solvers_say() -> None:
    made = table.solvers(CONFIG)
    assert "http-01" in made and set(made) <= set(table.SOLVERS)
    assert all(solver.type == {"stateless": "http-01"}.get(name, name)
               for name, solver in made.items())


def test_a_challenge_type_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its solver may say that there is nothing to work with."""
    made: list[ClientConfig] = []

    def make(config: ClientConfig) -> Solver:
        made.append(config)
        return Noted("dns-01")
    monkeypatch.setitem(table.SOLVERS, "dns-01", make)
    monkeypatch.setitem(table.SOLVERS, "tls-alpn-01", lambda _config: None)
    found = table.solvers(CONFIG)
    assert isinstance(found["dns-01"], Noted) and made == [CONFIG]
    assert "tls-alpn-01" not in found and "http-01" in found


def test_wanted_types_keep_their_order() -> None:
    available = {name: Noted(name) for name in ("a-01", "b-01", "c-01")}
    assert list(table.choose(available, ("c-01", "x-01", "a-01"))) == ["c-01", "a-01"]
    with pytest.raises(Error, match="type x-01 or y-01 can be done, only a-01, b-01, c-01"):
        table.choose(available, ("x-01", "y-01"))
    with pytest.raises(Error, match="can be done, only none"):
        table.choose({}, ())


# --- which challenge is taken ------------------------------------------------------------------

def test_challenges_wanted_are_kept_in_order_of_preference() -> None:
    """Others count by name only: they need nothing but a type, and not even that."""
    obj = authorization_object(
        {"type": "dns-persist-01", "url": "x"}, {}, {"type": ["x"]},
        challenge_object(token="a"), challenge_object("dns-01", token="c"),
        challenge_object(token="b"))
    parsed = authorization.parse(obj, ["http-01"])
    assert [item["token"] for item in parsed.challenges] == ["a", "b"]
    assert authorization.preferred(SESSION, parsed) == Challenge(
        "http-01", f"{CA}/challenge", "pending", "a")
    assert parsed.identifier == ("dns", "a.example") and len(parsed.offered) == 6
    for types, tokens in ((["dns-01", "http-01"], "cab"), (["http-01", "dns-01"], "abc"),
                          (["tls-alpn-01"], "")):
        parsed = authorization.parse(obj, types)
        assert [item["token"] for item in parsed.challenges] == list(tokens)
    assert authorization.preferred(SESSION, parsed) is None
    wildcard = authorization.parse(authorization_object(wildcard=True), ["http-01"])
    assert wildcard.identifier == ("dns", "*.a.example") and not wildcard.challenges


BAD_TOKENS = ["", "../x", "..", ".", "a/b", "/etc/passwd", "a\0b", "a\nb", "a\n", "a b", "é" * 30,
              "a" * 129, "a" * 10000, "a=", "%2e", None, 7, ["a"], {"a": "b"}]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_malformed_token_is_refused(token: Any) -> None:
    parsed = authorization.parse(authorization_object(challenge_object(token=token)), ["http-01"])
    with pytest.raises(ProtocolError):
        authorization.preferred(SESSION, parsed)


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_only_the_token_in_use_matters(token: Any) -> None:
    parsed = authorization.parse(authorization_object(
        challenge_object(token=token), challenge_object("dns-01")), ["dns-01", "http-01"])
    used = authorization.preferred(SESSION, parsed)
    assert used is not None and used.type == "dns-01"


@pytest.mark.parametrize("obj", [
    {}, authorization_object(identifier="x"), authorization_object(identifier={"type": "dns"}),
    authorization_object(challenges=3), authorization_object(challenges=[{}] * 51),
    authorization_object(challenges=["x"]), authorization_object(wildcard="yes"),
    authorization_object(status=None)])
def test_a_strange_authorization_is_refused(obj: Any) -> None:
    with pytest.raises(ProtocolError):
        authorization.parse(obj, ["http-01"])


@pytest.mark.parametrize("changes", [{"url": "http://ca.example/c"},
                                     {"url": "https://b.example/c"}, {"url": None},
                                     {"status": 1}])
def test_a_strange_challenge_is_refused(changes: dict[str, Any]) -> None:
    parsed = authorization.parse(authorization_object(challenge_object(**changes)), ["http-01"])
    with pytest.raises(ProtocolError):
        authorization.preferred(SESSION, parsed)


# --- how a solver is used ----------------------------------------------------------------------

def authorize(authz: dict[str, Any], *solvers: Solver, name: str = "a.example") -> Any:
    """Do one authorization; return the session, what it waited and what went wrong."""
    session = Words(authz=[authz], challenge=[challenge_object()])
    session.kid = KID
    waited: list[float] = []
    authorizer = Authorizer(session, {solver.type: solver for solver in solvers},
                            Patience("s", 10, lambda _: None), frozenset({("dns", name)}))
    error = None
    try:
        finish(authorizer.authorize(f"{CA}/authz"), waited.append)
    except Error as exc:
        error = exc
    finish(authorizer.release(), waited.append)
    return session, waited, error


@pytest.mark.parametrize("wildcard", [False, True])
def test_the_preferred_solver_presents_and_cleans(wildcard: bool) -> None:
    """Both may wait; a wildcard is presented without its “*.” (§7.1.4), and a clean-up that
    fails fails no order."""
    dns, http = Noted("dns-01"), Noted("http-01")
    session, waited, error = authorize(
        authorization_object(challenge_object(token="h"), challenge_object("dns-01", token="d"),
                             wildcard=wildcard), dns, http,
        name="*.a.example" if wildcard else "a.example")
    assert error is None and waited == [5.0, 7.0]
    assert dns.calls == [("present", "dns", "a.example", "d", GREETING.thumbprint),
                         ("clean", "dns", "a.example", "d")]
    assert not http.calls and session.asked[-1] == ("challenge", {})


def test_what_was_not_presented_is_not_cleaned_nor_responded_to() -> None:
    solver = Noted("dns-01", "no such zone")
    session, _, error = authorize(authorization_object(challenge_object("dns-01")), solver)
    assert str(error) == "no such zone" and not solver.calls
    assert [path for path, _ in session.asked] == ["authz"]


@pytest.mark.parametrize("offered, why", [
    ([challenge_object("dns-01"), {"type": "x\x1b"}],
     "the CA offers no tls-alpn-01 or http-01 challenge, but only dns-01, x\\x1b (add dns-01 to "
     "the section's “challenge”, and a section [dns] for the name)"),
    ([{"type": "dns-persist-01"}],
     "the CA offers no tls-alpn-01 or http-01 challenge, but only dns-persist-01 (add "
     "dns-persist-01 to the section's “challenge”, and publish what “letsencrypt-tiny records” "
     "prints)"),
    ([{"type": "x"}], "the CA offers no tls-alpn-01 or http-01 challenge, but only x"),
    ([], "the CA offers no tls-alpn-01 or http-01 challenge, but only none at all")])
def test_an_offer_of_nothing_that_is_wanted(offered: Any, why: str) -> None:
    """One line says what there is, and which setting would help."""
    _, _, error = authorize(authorization_object(*offered), Noted("tls-alpn-01"), Noted("http-01"))
    assert str(error) == f"a.example: {why}"


@pytest.mark.parametrize("unable", [{"serves": False}, {"fault": "of another account"}])
def test_a_type_that_cannot_be_done_is_passed_over(unable: Any) -> None:
    """It is asked for what is validated, without “*.”; the next by preference is taken."""
    dns, http = Noted("dns-01", **unable), Noted("http-01")
    _, _, error = authorize(authorization_object(challenge_object(), challenge_object("dns-01"),
                                                 wildcard=True), dns, http, name="*.a.example")
    assert error is None and http.calls and not dns.calls
    assert dns.asked == [("dns", "a.example")] and http.accounts == {KID}
    session, _, error = authorize(authorization_object(
        challenge_object("dns-01"), {"type": "http-01x"}), dns)
    assert len(session.asked) == 1 and not dns.calls
    assert str(error) == "a.example: " + unable.get(
        "fault", "the CA offers dns-01, http-01x, of which dns-01 can't be done for this name: no "
                 "section [dns] is for it")


def test_a_type_without_a_token() -> None:
    """dns-persist-01 has none; the solver gets “” for it, whatever the server sends."""
    for token in None, "t", "../x":
        solver = Noted("dns-persist-01", has_token=False)
        session, _, error = authorize(authorization_object(
            challenge_object("dns-persist-01", token=token)), solver)
        assert error is None and session.asked[-1] == ("challenge", {})
        assert solver.calls[0] == ("present", "dns", "a.example", "", GREETING.thumbprint)
    _, _, error = authorize(authorization_object(challenge_object("dns-01", token="")),
                            Noted("dns-01"))
    assert isinstance(error, ProtocolError), "a type that has one needs it"


def test_an_authorization_that_is_valid_needs_no_challenge() -> None:
    """Whatever its challenges look like by then."""
    solver = Noted("http-01")
    session, _, error = authorize(
        authorization_object(challenge_object(token=None, url=None), status="valid"), solver)
    assert error is None and not solver.calls and len(session.asked) == 1


@pytest.mark.parametrize("wanted, taken", [
    (("http-01",), "http-01"), (("dns-01", "http-01"), "dns-01"),
    (("x-01", "http-01", "dns-01"), "http-01")])
def test_the_requests_preference_is_heeded(wanted: tuple[str, ...], taken: str) -> None:
    solvers = {name: Noted(name) for name in ("dns-01", "http-01")}
    session = Words(new=[order_object()], order=[order_object(status="invalid")],
                    authz=[authorization_object(challenge_object(), challenge_object("dns-01"))],
                    challenge=[challenge_object()])
    request = Order("s", (("dns", "a.example"),), b"", challenges=wanted)
    with pytest.raises(Error):
        finish(Ordering(session, request, solvers, Patience("s", 10, lambda _: None)).run())
    assert [name for name, solver in solvers.items() if solver.calls] == [taken]


# --- http-01 -----------------------------------------------------------------------------------

@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The challenge directory."""
    monkeypatch.chdir(tmp_path)
    old_mask = os.umask(0o022)
    yield tmp_path
    os.umask(old_mask)


def test_a_shared_token_stays_until_its_last_order(directory: Path) -> None:
    solver, name = Http01(), ("dns", "a.example")
    victim = directory / "victim"
    victim.write_text("untouched")
    (directory / "link").symlink_to(victim)
    # what an earlier run left is replaced
    assert finish(solver.present(name, "link", "thumbprint")) is True
    assert victim.read_text() == "untouched" and not (directory / "link").is_symlink()
    assert finish(solver.present(name, "link", "thumbprint")) is False
    assert (directory / "link").read_bytes() == b"link.thumbprint"
    assert (directory / "link").stat().st_mode & 0o777 == 0o644
    finish(solver.clean(name, "link"))
    assert (directory / "link").exists()
    finish(solver.clean(name, "link"))
    assert not (directory / "link").exists()
    finish(solver.present(name, "other", "x"))
    solver.close()
    assert os.listdir(directory) == ["victim"]
    with pytest.raises(Error, match="challenge directory"):
        finish(solver.present(name, "absent/x", "x"))
