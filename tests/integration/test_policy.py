"""A compromised client behind a signer with a policy, against Pebble: what passes, what changes.

Each attack is first shown to work with a signer that has none, on an account of its own.
"""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import ca
from harness.accountd import b64_text as b64
from harness.acme import CONTACT, SERVER_KEY, Client, Refused, Socket, load, order, request
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Prefix, Site
from letsencrypt_tiny.signer import account_key

OWN, FOREIGN = "www.good.example", "www.evil.example"
LIMIT = 300


class Ground(NamedTuple):
    """Pebble, the policy's signer, and the client behind it."""

    pebble: Pebble
    victim: Client
    free: Client        # the same account and key without policy: to look, and to show
    socket: Path
    log: Path

    def stranger(self) -> Client:
        """An account of its own, whose signer has no policy."""
        return Client(self.pebble, load(ca.genkey())).register()

    def refused(self, url: str, payload: Any, with_jwk: bool = False) -> str:
        """Fail unless the policy refuses; the reason."""
        with pytest.raises(Refused) as caught:
            self.victim.post(url, payload, with_jwk)
        self.unharmed()
        return str(caught.value)

    def unharmed(self) -> None:
        """Fail unless the account is as it was."""
        assert self.free.account() == (200, "valid", CONTACT)


@pytest.fixture(scope="module")
def ground(prefix: Prefix) -> Iterator[Ground]:
    """A Pebble to which every challenge is right, and a signer with the default operations."""
    site = Site(prefix)
    with Pebble(nosleep=True, noncereject=0, always_valid=True) as pebble:
        site.genkey()
        key = load(site.account_key.read_text())
        origin = pebble.directory.rpartition("/")[0]
        log, path = site.lib / "accountd/log", site.lib / "accountd/S"
        site.accountd[""]["logfile"] = str(log)
        site.accountd["policy good"] = {"origins": origin, "identifiers": ".good.example",
                                        "requests-per-hour": "100000"}
        site.accountd["policy limited"] = {**site.accountd["policy good"],
                                           "requests-per-hour": str(LIMIT)}
        with listening(site, "good", path):
            clients = Client(pebble, key, Socket(path)), Client(pebble, key).register()
            clients[0].kid = clients[1].kid
            yield Ground(pebble, *clients, path, log)
            for client in clients:
                client.close()
    site.remove()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


class listening:
    """The real program on a socket, for the time of a with statement."""

    def __init__(self, site: Site, policy: str, path: Path) -> None:
        self._process = subprocess.Popen(
            site.signer("--quiet", f"--policy={policy}", f"--socket={path}"), env=ENVIRONMENT,
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not _answers(path):    # there is a moment between bind and listen
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(10) == 0


# The module's fixture keeps a process of its own running.
@pytest.fixture(autouse=True)
def _ground_first(ground: Ground, no_process_left: None) -> None:
    pass


# --- what passes ---------------------------------------------------------------------------------

def test_a_good_order(ground: Ground) -> None:
    """From the look-up to the certificate."""
    response = ground.victim.post(ground.victim.directory["newAccount"],
                                  {"onlyReturnExisting": True}, True)
    assert (response.status, response.location) == (200, ground.free.kid)
    der = ground.victim.issue(OWN, "a.good.example")
    shown = ca.openssl("x509", "-inform", "DER", "-noout", "-ext", "subjectAltName", stdin=der)
    assert set(re.findall(r"DNS:([^,\s]+)", shown.decode())) == {OWN, "a.good.example"}
    ground.unharmed()


def test_what_passes_harms_nowhere(ground: Ground) -> None:
    """Every payload that the policy lets pass, at every URL: account and certificate stay."""
    victim = ground.victim
    der = ground.free.issue("stays.good.example")
    serial = ca.openssl("x509", "-inform", "DER", "-noout", "-serial", stdin=der).decode()
    url, found = victim.order("other.good.example")
    authorization = found["authorizations"][0]
    challenge = victim.post(authorization, None).object["challenges"][0]["url"]
    urls = [victim.directory[name] for name in ("newAccount", "newOrder", "revokeCert",
                                                "keyChange")]
    urls += [victim.kid, url, authorization, challenge, found["finalize"]]
    csr = {"csr": b64(request("other.good.example"))}
    before = ground.pebble.log.count("Issued certificate serial")
    for target in urls:
        for payload in (None, {}, order(OWN), csr):
            response = victim.post(target, payload)
            expected = {victim.directory["newOrder"]: order(OWN), found["finalize"]: csr}
            if payload not in (None, {}) and expected.get(target) != payload:
                assert response.status != 201, (target, payload)
        response = victim.post(target, {"onlyReturnExisting": True}, True)
        assert response.status == 200 or target != victim.directory["newAccount"]
        ground.unharmed()
        assert victim.post(authorization, None).object["status"] == "valid"
    # the one order that was finalized
    victim.wait(url, "valid")
    assert ground.pebble.log.count("Issued certificate serial") - before == 1
    known = ground.pebble.certificate_status(serial.strip().partition("=")[2])
    assert known is not None and known["Status"] == "Valid"


# --- the account ---------------------------------------------------------------------------------

DEACTIVATION = '{"status":"deactivated"}'
DEACTIVATIONS = [
    DEACTIVATION, '{"Status":"deactivated"}', '{"STATUS":"deactivated"}',
    '{"ſtatus":"deactivated"}', '{"\\u017ftatuſ":"deactivated"}',
    '{"\\u0073tatus":"deactivated"}', '{"status":"valid","status":"deactivated"}',
    '{"status":"valid","Status":"deactivated"}', '{"Status":"deactivated","x":1.5}',
    '{"status":null,"STATUS":"deactivated"}', '{"contact":null,"status":"deactivated"}',
    '{"status":"deactivated","status":null}', '{"csr":"","Status":"deactivated"}',
    '{"identifiers":[{"type":"dns","value":"www.good.example"}],"status":"deactivated"}',
    '{"identifiers":[{"type":"dns","value":"www.good.example"}],"Status":"deactivated"}',
    '{"onlyReturnExisting":true,"status":"deactivated"}', ' {"status" : "deactivated" } ',
    '{"x":[[[[{}]]]],"status":"deactivated"}', '{"status":"\\u0064eactivated"}']


@pytest.mark.parametrize("text", DEACTIVATIONS)
def test_deactivation_by_every_spelling(text: str, ground: Ground) -> None:
    """Go's reader takes each of them for the same; none gets a signature."""
    stranger = ground.stranger()
    stranger.post(stranger.kid, text.encode())
    assert stranger.account()[0] == 403, "Pebble takes this for a deactivation"
    stranger.close()
    ground.refused(ground.victim.kid, text.encode())
    ground.refused(ground.victim.directory["newAccount"], text.encode(), True)


def test_deactivation_of_an_authorization(ground: Ground) -> None:
    """It looks the same."""
    _, found = ground.victim.order("authz.good.example")
    url = found["authorizations"][0]
    for text in DEACTIVATIONS:
        ground.refused(url, text.encode())
    assert ground.free.post(url, None).object["status"] == "valid"
    ground.free.post(url, DEACTIVATION.encode())
    assert ground.free.post(url, None).object["status"] == "deactivated"


@pytest.mark.parametrize("text", [
    '{"contact":["mailto:evil@example.org"]}', '{"Contact":["mailto:evil@example.org"]}',
    '{"contact":[],"contact":["mailto:evil@example.org"]}',
    '{"csr":"AAAA","CONTACT":["mailto:evil@example.org"]}',
    '{"identifiers":[],"contact":["mailto:evil@example.org"]}',
    '{"termsOfServiceAgreed":true,"contact":["mailto:evil@example.org"]}'])
def test_contacts(text: str, ground: Ground) -> None:
    stranger = ground.stranger()
    stranger.post(stranger.kid, text.encode())
    assert stranger.account()[2] == ["mailto:evil@example.org"]
    stranger.close()
    ground.refused(ground.victim.kid, text.encode())


@pytest.mark.parametrize("text", ['{"contact":[],"status":"valid"}', '{"contact":[]}',
                                  '{"termsOfServiceAgreed":true}', '{"contact":null}'])
def test_other_updates(text: str, ground: Ground) -> None:
    ground.refused(ground.victim.kid, text.encode())


def test_registration(ground: Ground) -> None:
    """A key without account gets none: not even with a look-up that Go could read otherwise."""
    for text in ('{"termsOfServiceAgreed":true}',
                 '{"onlyReturnExisting":true,"OnlyReturnExisting":false,'
                 '"termsOfServiceAgreed":true}',
                 '{"onlyReturnExisting":true,"onlyReturnExisting":false,'
                 '"termsOfServiceAgreed":true}',
                 '{"onlyReturnExisting":true,"termsOfServiceAgreed":true,'
                 '"onlyReturnExi\\u017fting":false}'):
        stranger = Client(ground.pebble, load(ca.genkey()))
        response = stranger.post(stranger.directory["newAccount"], text.encode(), True)
        assert response.status == 201, "Pebble takes this for a registration"
        stranger.close()
        ground.refused(ground.victim.directory["newAccount"], text.encode(), True)


def inner_jws(client: Client, new: account_key.AccountKey, url: str) -> dict[str, str]:
    """RFC 8555 §7.3.5: the new key says that it takes the place of the old one."""
    protected = b64(json.dumps({"alg": new.alg, "jwk": new.jwk, "url": url}).encode())
    payload = b64(json.dumps({"account": client.kid, "oldKey": client.key.jwk}).encode())
    return {"protected": protected, "payload": payload,
            "signature": b64(new.sign(f"{protected}.{payload}".encode()))}


def test_key_change_in_every_disguise(ground: Ground) -> None:
    new = load(ca.genkey())
    victim = ground.victim
    url = victim.directory["keyChange"]
    inner = inner_jws(victim, new, url)
    upper = {name.title(): value for name, value in inner.items()}
    signatures = {"protected": inner["protected"], "signature": inner["signature"]}
    for payload in (inner, upper, {**inner, "header": {}}, {**inner, "csr": "AAAA"},
                    {**order(OWN), **inner}, {**inner, "status": "valid"}, {**upper, **inner},
                    {"payload": inner["payload"], "signatures": [signatures]}):
        for target in (url, victim.kid, victim.directory["newOrder"]):
            ground.refused(target, payload)
        ground.refused(url, payload, True)
    # nor does it help a stranger to bring the key to an account of his own
    stranger = ground.stranger()
    header = {"alg": victim.key.alg, "jwk": victim.key.jwk, "url": url}
    body = json.dumps({"account": stranger.kid, "oldKey": stranger.key.jwk}).encode()
    for changed in (header, {**header, "nonce": "abcd"}):
        with pytest.raises(Refused):
            victim.sign(f"{b64(json.dumps(changed).encode())}.{b64(body)}".encode())
    # which works for who may
    assert stranger.post(url, inner_jws(stranger, new, url)).status == 200
    stranger.key, stranger.sign = new, new.sign
    assert stranger.account()[:2] == (200, "valid")
    stranger.close()
    ground.unharmed()


# --- orders --------------------------------------------------------------------------------------

ITEM, EVIL = ('{"type":"dns","value":"%s"}' % name for name in (OWN, FOREIGN))


@pytest.mark.parametrize("text", [
    f'{{"identifiers":[{EVIL}]}}', f'{{"identifiers":[{ITEM},{EVIL}]}}',
    f'{{"identifiers":[{ITEM}],"identifiers":[{EVIL}]}}',
    f'{{"identifiers":[{ITEM}],"Identifiers":[{EVIL}]}}',
    f'{{"identifiers":[{ITEM}],"identifier\\u017f":[{EVIL}]}}',
    f'{{"Identifiers":[{EVIL}]}}', f'{{"identifierſ":[{EVIL}]}}',
    f'{{"csr":"AAAA","IDENTIFIERS":[{EVIL}]}}',
    f'{{"identifiers":[{{"type":"dns","value":"{OWN}","Value":"{FOREIGN}"}}]}}',
    f'{{"identifiers":[{{"type":"dns","value":"{OWN}","value":"{FOREIGN}"}}]}}',
    f'{{"identifiers":[{{"type":"dns","value":"{FOREIGN}","x":[]}}]}}'])
def test_orders_for_foreign_names(text: str, ground: Ground) -> None:
    """Pebble makes an order for the foreign name of each."""
    url = ground.victim.directory["newOrder"]
    response = ground.free.post(url, text.encode())
    assert response.status == 201
    assert FOREIGN in [item["value"] for item in response.object["identifiers"]]
    ground.refused(url, text.encode())


@pytest.mark.parametrize("name", ["good.example", "*.good.example", "*.a.good.example",
                                  "WWW.good.example", "www.good.example.", "xgood.example",
                                  "www.good.example\\u0000.evil.example", "127.0.0.1"])
def test_orders_for_names_beyond_the_policy(name: str, ground: Ground) -> None:
    ground.refused(ground.victim.directory["newOrder"],
                   f'{{"identifiers":[{{"type":"dns","value":"{name}"}}]}}'.encode())


def test_requests_with_more_names_than_the_order(ground: Ground) -> None:
    """Beyond the policy: no signature.  Within it: Pebble's refusal.  Nothing is issued."""
    before = ground.pebble.log.count("Issued certificate serial")
    url, found = ground.victim.order(OWN)
    target = found["finalize"]

    def openssl(san: str, subject: str = "/", *more: str) -> bytes:
        return ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-subj",
                          subject, "-outform", "DER", "-addext", f"subjectAltName={san}", *more,
                          stdin=SERVER_KEY.encode())

    for der in (request(OWN, FOREIGN), request(FOREIGN), openssl(f"DNS:{OWN}", f"/CN={FOREIGN}"),
                openssl(f"DNS:{OWN},IP:127.0.0.1"), openssl(f"DNS:{OWN},email:a@b.example"),
                openssl(f"DNS:{OWN}", "/", "-addext", "1.2.3=DER:0500"),
                request(OWN)[:-1], b"", b"\0" * 100):
        ground.refused(target, {"csr": b64(der)})
    for text in (f'{{"csr":"{b64(request(OWN))}","csr":"{b64(request(FOREIGN))}"}}',
                 f'{{"csr":"{b64(request(OWN))}","CSR":"{b64(request(FOREIGN))}"}}',
                 f'{{"Csr":"{b64(request(OWN))}"}}', f'{{"csr":"{b64(request(OWN))}="}}'):
        ground.refused(target, text.encode())
    assert ground.victim.post(target, {"csr": b64(request(OWN, "more.good.example"))}
                              ).status == 403
    assert ground.victim.post(target, {"csr": b64(request("more.good.example"))}).status == 403
    assert ground.free.post(url, None).object["status"] == "ready"
    assert ground.pebble.log.count("Issued certificate serial") == before
    assert ground.victim.post(target, {"csr": b64(request(OWN))}).status == 200
    ground.victim.wait(url, "valid")
    assert ground.pebble.log.count("Issued certificate serial") == before + 1


def test_revocation(ground: Ground) -> None:
    """By the account, and as the certificate's own key, by each spelling that works."""
    victim = ground.victim
    url = victim.directory["revokeCert"]
    spellings = ['{"certificate":"%s"}', '{"Certificate":"%s"}', '{"certificate":"%s","reason":1}',
                 '{"csr":"AAAA","CERTIFICATE":"%s"}', '{"certificate":"AAAA","certificate":"%s"}',
                 '{"x":null,"certificate":"%s"}']
    for number, text in enumerate(spellings):
        der = victim.issue(f"r{number}.good.example")
        shown = ca.openssl("x509", "-inform", "DER", "-noout", "-serial", stdin=der).decode()
        payload = (text % b64(der)).encode()
        for with_jwk in (False, True):
            ground.refused(url, payload, with_jwk)
        known = [ground.pebble.certificate_status(shown.strip().partition("=")[2])]
        assert ground.free.post(url, payload).status == 200
        known.append(ground.pebble.certificate_status(shown.strip().partition("=")[2]))
        assert [found and found["Status"] for found in known] == ["Valid", "Revoked"]


def test_each_decision_is_in_the_log(ground: Ground) -> None:
    """What was tried above, and with what verdict."""
    audit = [line.partition(" AUDIT ")[2] for line in ground.log.read_text().splitlines()
             if " AUDIT " in line]
    assert len(audit) > 30
    for entry in audit:
        assert re.fullmatch(r"policy=good verdict=(allowed|refused) operation=\S+ origin=\S+ "
                            r'(why="[^"]+" )?identifiers=\S+', entry), entry
        assert ("verdict=refused" in entry) is ("why=" in entry)


def test_ten_thousand_requests(ground: Ground, prefix: Prefix) -> None:
    """Rate-limited and logged; the other signer is served meanwhile."""
    site = Site(prefix)
    site.account_key.write_text(ca.genkey())
    site.account_key.chmod(0o644)
    log = site.path / "log"
    log.touch()
    log.chmod(0o666)
    site.accountd[""].update({"logfile": str(log), "privkey": f"file:{site.account_key}"})
    site.accountd["policy limited"] = {"identifiers": "*", "requests-per-hour": str(LIMIT),
                                       "origins": ground.pebble.directory.rpartition("/")[0]}
    key, path = load(site.account_key.read_text()), site.lib / "accountd/S"
    header = {"alg": key.alg, "nonce": "abcd", "url": ground.victim.kid, "kid": ground.victim.kid}
    line = f"{b64(json.dumps(header).encode())}.".encode()
    signed = 0
    with listening(site, "limited", path):
        for _ in range(200):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                try:
                    sock.sendall((line + b"\r\n") * 50)
                except OSError:
                    pass   # it has hung up
                data = bytearray()
                try:
                    while data.count(b"\n") < 52 and (chunk := sock.recv(65536)):
                        data += chunk
                except ConnectionResetError:
                    pass   # it has hung up without a word
                assert b"NOSIGN" not in data
                signed += data.count(b"\n") - 2
                # and whose own rate is not used up, is served
                assert ground.victim.post(ground.victim.kid, None).status == 200
        ground.unharmed()
    text = log.read_text()
    assert signed == LIMIT == text.count("verdict=allowed") == text.count(" SIGNED ")
    assert text.count("verdict=refused operation=read") == 194
    assert text.count(f"NOSIGN policy “limited”: more than {LIMIT} requests within an hour") == 194
    site.remove()
