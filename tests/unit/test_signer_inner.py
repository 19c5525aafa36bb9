"""The JWS within a request (RFC 8555 §7.3.4, §7.3.5): which the signer makes, and signs."""

import hashlib
import hmac
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.accountd import (Running, b64, conf, run, signing_input, talk, unb64, verified,
                              write_key)
from harness.policies import (ALL, EAB, KID, ORIGIN, URL, binding, greeting, inner, judge,
                              key_change)
from letsencrypt_tiny.common.wire import inner as wire
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.wire.policy import OPERATIONS
from letsencrypt_tiny.signer import policy

KEY = b"k" * 40 + bytes(range(8))
TEXT = b64(KEY).decode()
HELLO = b"NOSIGN\r\n"


# --- what is made --------------------------------------------------------------------------------

def verdict(header: dict[str, Any], payload: Any, policies: Any = (ALL,), by_next: bool = False
            ) -> policy.Verdict:
    """The verdict on a signing input without nonce."""
    own = greeting()
    found = own.as_next() if by_next else own
    assert found is not None
    return policy.judge(signing_input(header, payload), found, policies)


BOUND = {"alg": "HS256", "kid": EAB, "url": URL}


def test_a_mac_for_the_own_key() -> None:
    """Under a policy only if that allows it; and for an origin of its."""
    jwk = greeting().jwk
    for policies in ((), (ALL,), (ALL._replace(
            operations=frozenset(["external-account-binding"])),)):
        found = verdict(BOUND, jwk, policies)
        assert (found.why, found.operation) == ("", "external-account-binding")
    without = ALL._replace(operations=frozenset(OPERATIONS) - {"external-account-binding"})
    assert verdict(BOUND, jwk, [without]).why == (
        "policy “all”: external-account-binding is not allowed (setting “operations” of [policy "
        "all])")
    assert "another origin" in verdict({**BOUND, "url": "https://evil.example/x"}, jwk).why


@pytest.mark.parametrize("changes, payload", [
    ({"alg": "HS384"}, None), ({"kid": "kid-2"}, None), ({"kid": None}, None),
    ({"url": "http://ca.example/x"}, None), ({"url": None}, None), ({"nonce": "abcd"}, None),
    ({"crit": ["b64"]}, None), ({"jwk": {}}, None), ({"alg": "none"}, None), ({}, {}),
    ({}, {"kty": "EC"}), ({}, b""), ({}, b"null"), ({}, "next"), ({}, "twice")])
def test_no_other_mac(changes: dict[str, Any], payload: Any) -> None:
    """Whatever else is asked for, with a policy and without one."""
    own = greeting()
    assert own.next is not None
    body = {"next": own.next.jwk, "twice": (json.dumps(own.jwk)[:-1] + ', "x": "A"}').encode()
            }.get(payload, payload) if isinstance(payload, str) else payload
    header = {name: value for name, value in {**BOUND, **changes}.items() if value is not None}
    for policies in ((), (ALL,)):
        assert verdict(header, own.jwk if body is None else body, policies).why
        assert verdict(BOUND, own.jwk, policies, by_next=True).why, "another's account"


def test_no_mac_where_a_keyid_is_configured() -> None:
    own = greeting()._replace(kid=KID)
    assert "keyid" in policy.judge(signing_input(BOUND, own.jwk), own, ()).why


CHANGE = {"alg": "ES256", "jwk": "next", "url": URL}
SAID = {"account": KID, "oldKey": "own"}


def change(header: dict[str, Any], said: dict[str, Any], policies: Any = (ALL,),
           by_next: bool = True) -> policy.Verdict:
    """The verdict on the inner JWS of a key change; "own" and "next" stand for the keys."""
    own = greeting()
    assert own.next is not None
    keys = {"own": own.jwk, "next": own.next.jwk}
    parts = [{name: keys.get(value, value) if isinstance(value, str) else value
              for name, value in part.items()} for part in (header, said)]
    return verdict(parts[0], parts[1], policies, by_next)


def test_the_next_key_takes_over_from_the_own_one() -> None:
    """Under a policy only if that allows it."""
    for policies in ((), (ALL,), (ALL._replace(operations=frozenset(["key-change"])),)):
        found = change(CHANGE, SAID, policies)
        assert (found.why, found.operation) == ("", "key-change")
    without = ALL._replace(operations=frozenset(OPERATIONS) - {"key-change"})
    assert "key-change is not allowed" in change(CHANGE, SAID, [without]).why
    assert change(CHANGE, SAID, by_next=False).why, "nor by the account key, for another's account"


@pytest.mark.parametrize("header, said", [
    ({"alg": "RS256"}, {}), ({"jwk": "own"}, {}), ({"jwk": {}}, {}), ({"kid": KID}, {}),
    ({"url": "http://ca.example/x"}, {}), ({"url": "https://evil.example/x"}, {}),
    ({}, {"oldKey": "next"}), ({}, {"oldKey": {}}), ({}, {"account": "x"}), ({}, {"x": ""}),
    ({}, {"account": "https://evil.example/1"})])
def test_no_other_key_change(header: dict[str, Any], said: dict[str, Any]) -> None:
    assert change({**CHANGE, **header}, {**SAID, **said}).why


# --- what is signed with one in it ---------------------------------------------------------------

@pytest.mark.parametrize("jws", [
    binding(alg="ES256"), binding(alg="none"), binding(url=f"{ORIGIN}/other"), binding(payload={}),
    binding(payload={**greeting().jwk, "x": "A"}), binding(nonce="abcd"), inner({}, {}),
    binding(payload=greeting("rsa:2048").jwk)])
def test_a_binding_of_something_else(jws: dict[str, str]) -> None:
    """A policy lets pass what is for the request at hand and the signer's own key."""
    assert judge({"externalAccountBinding": jws}, ALL, "jwk").why
    assert not judge({"externalAccountBinding": binding()}, ALL, "jwk").why


@pytest.mark.parametrize("jws", [
    key_change(jwk=greeting().jwk), key_change(jwk=greeting("rsa:2048").jwk),
    key_change(url=f"{ORIGIN}/other"), key_change(said={"account": f"{KID}0"}),
    key_change(said={"oldKey": greeting("rsa:2048").jwk}), key_change(alg="RS256"),
    key_change(said={"x": 1}), key_change(nonce="abcd"), inner({}, {})])
def test_a_key_change_to_a_strangers_key(jws: dict[str, str]) -> None:
    """A client that has gone over to somebody else gets the account to no key of his."""
    assert judge(jws).why
    assert not judge(key_change()).why
    derived = ALL._replace(only=frozenset(), urls="any")
    assert judge(jws, derived).why and not judge(key_change(), derived).why


def test_no_key_change_without_a_next_key() -> None:
    own = greeting()._replace(next=None)
    line = signing_input({"alg": own.alg, "nonce": "abcd", "url": URL, "kid": KID}, key_change())
    assert "no next key" in policy.judge(line, own, [ALL]).why
    assert signer_policy.ORDERING == OPERATIONS[:5] and "key-change" not in OPERATIONS[:5]


# --- the program ---------------------------------------------------------------------------------

@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "EC:P-256")


def jwk_of(key: Path, which: int = 1) -> Any:
    """What the program tells of its key."""
    done = run(f"--privkey=file:{key}", "--stdio")
    lines = done.stdout.split(b"\r\n")
    return json.loads(lines[1] if which == 1 else lines[0][5:])


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("padding", ["", "=="])
def test_mac(algorithm: str, padding: str, key: Path) -> None:
    """As RFC 7518 §3.2 has it; and the greeting says that there is one."""
    key_text = b64(KEY[:40]).decode() + padding
    file = conf(key, f"[eab {EAB}]", f"key = {key_text}", f"algorithm = {algorithm}")
    file.chmod(0o600)
    line = signing_input({**BOUND, "alg": algorithm}, jwk_of(key))
    answers, log, status = talk(key, line + b"\r\n", f"--config={file}")
    expected = hmac.new(KEY[:40], line, getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    assert [unb64(answer) for answer in answers] == [expected] and status == 0
    done = run(f"--privkey=file:{key}", "--stdio", f"--config={file}")
    assert json.loads(done.stdout.split(b"\r\n")[0][5:])["eab"] == {EAB: algorithm}
    assert key_text.rstrip("=") not in log and answers[0].decode() not in log
    assert b"eab" not in run(f"--privkey=file:{key}", "--stdio").stdout


def test_old_peers(key: Path) -> None:
    """One that knows nothing of it is greeted as before, but for a member of the first line."""
    file = conf(key, f"[eab {EAB}]", f"key = {TEXT}")
    file.chmod(0o600)
    found = [run(f"--privkey=file:{key}", "--stdio", *options).stdout.split(b"\r\n")
             for options in ((), (f"--config={file}",))]
    assert found[0][1:] == found[1][1:]
    first = [json.loads(lines[0].removeprefix(b"1 OK ")) for lines in found]
    assert first[1] == {**first[0], "eab": {EAB: "HS256"}}


def test_next_key(key: Path, tmp_path: Path) -> None:
    """It signs what is said to be for it, to those who know of it."""
    assert run("--genkey=ec:P-384", "--next", f"--privkey=file:{key}").returncode == 0
    following = jwk_of(key, 0)["next"]
    own = jwk_of(key)
    assert following["alg"] == "ES384" and following["jwk"]["crv"] == "P-384"
    by_own = signing_input({"alg": "ES256", "nonce": "abcd", "url": URL, "jwk": own},
                           {"onlyReturnExisting": True})
    by_next = signing_input({"alg": "ES384", "nonce": "abcd", "url": URL,
                             "jwk": following["jwk"]}, {"onlyReturnExisting": True})
    change = signing_input({"alg": "ES384", "jwk": following["jwk"], "url": URL},
                           {"account": KID, "oldKey": own})
    lines = [by_own, b"NEXT " + by_next, b"NEXT " + change, b"NEXT " + by_own, by_next, change]
    answers, _, _ = talk(key, HELLO + b"".join(line + b"\r\n" for line in lines))
    assert verified("EC:P-256", by_own, answers[0], tmp_path)
    assert [len(unb64(answer)) for answer in answers[1:3]] == [96, 96]
    assert all(answer.startswith(b"NOSIGN ") for answer in answers[3:]) and len(answers) == 6
    # who doesn't say that it knows better asks for nothing sensible, and hears no more
    answers, _, status = talk(key, b"NEXT " + by_next + b"\r\n" + by_own + b"\r\n")
    assert (answers, status) == ([], 1)


def test_no_next_key(key: Path) -> None:
    line = signing_input({"alg": "ES256", "nonce": "abcd", "url": URL, "jwk": jwk_of(key)}, {})
    answers, _, _ = talk(key, HELLO + b"NEXT " + line + b"\r\n")
    assert answers == [b"NOSIGN there is no next key"]


def test_making_and_adopting(key: Path) -> None:
    """Never over what is there; the first has to be there."""
    path = f"--privkey=file:{key}"
    assert b"exists already" not in run("--genkey=ec:P-256", "--next", path).stderr
    made = Path(f"{key}.next")
    text, mode = made.read_bytes(), made.stat().st_mode & 0o777
    assert mode == 0o600 and b"PRIVATE KEY" in text
    done = run("--genkey=ec:P-256", "--next", path)
    assert done.returncode == 1 and b"exists already" in done.stderr and made.read_bytes() == text
    old = key.read_bytes()
    assert run("--adopt-next", path).returncode == 0
    assert key.read_bytes() == text and Path(f"{key}.old").read_bytes() == old
    done = run("--adopt-next", path)
    assert done.returncode == 1 and b"there is no such key" in done.stderr
    assert key.read_bytes() == text and not made.exists()
    for words in (["--next"], ["--adopt-next", "--stdio"], ["--adopt-next", "--genkey=ec:P-256"]):
        assert run(*words, path).returncode == 2
    none = key.with_name("none")
    done = run("--genkey=ec:P-256", "--next", f"--privkey=file:{none}")
    assert done.returncode == 1 and b"no account key to take the place of" in done.stderr
    none.symlink_to(key)
    Path(f"{none}.next").write_bytes(text)
    done = run("--adopt-next", f"--privkey=file:{none}")
    assert done.returncode == 1 and b"by hand" in done.stderr and none.is_symlink()


def test_no_key_in_the_process(key: Path, tmp_path: Path) -> None:
    """Neither in its arguments nor in its environment, nor is its file open while it serves."""
    secret = key.with_name("mac")
    secret.write_text(TEXT)
    secret.chmod(0o600)
    file = conf(key, f"[eab {EAB}]", f"key-file = {secret}")
    with Running(tmp_path, key, f"--config={file}") as running:
        with running.connect():
            place = Path(f"/proc/{running.process.pid}")
            shown = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
            links = {os.readlink(link) for link in (place / "fd").iterdir()}
    assert TEXT.encode() not in shown and not {str(secret), str(file)} & links
    assert TEXT not in (tmp_path / "stderr").read_text()


def test_names_of_external_accounts() -> None:
    for good in ("abc", "A-b_c.1~", "x" * 200, "urn:x/y+z=@"):
        assert wire.is_kid(good)
    for bad in ("", "a b", "x" * 201, "a]", "a\n", "ä", '"a"'):
        assert not wire.is_kid(bad)


def test_more_than_the_greeting_holds(key: Path) -> None:
    file = conf(key, *(f"[eab kid-{number}]\nkey = {TEXT}" for number in range(21)))
    file.chmod(0o600)
    done = run(f"--privkey=file:{key}", "--stdio", f"--config={file}")
    assert done.returncode == 2 and b"more than 20 sections [eab KID]" in done.stderr
    assert not re.search(TEXT.encode(), done.stderr)
