"""The client program: accounts, revocation and proxies."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from harness import ca
from harness.client import Master
from harness.hostile import Hostile
from harness.pebble import Pebble
from harness.run import Users
from letsencrypt_tiny.common.wire.order import (Account, AccountObject, AccountUpdate, Failed,
                                                Issued, Log, Revocation, Revoked)


@pytest.fixture
def master(users: Users) -> Iterator[Master]:
    """A master, whose client runs as _letsencrypt-client."""
    with Master.made() as made:
        yield made


# --- accounts and revocation -------------------------------------------------------------------

def test_account(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    missing = master.run(AccountUpdate()).only(Failed)
    assert missing.section == "" and "account --register --tos-agreed" in missing.message
    terms = master.run(AccountUpdate(register=True)).only(Failed)
    assert "--tos-agreed" in terms.message and "data:text/plain" in terms.message
    made = master.run(AccountUpdate(register=True, terms_agreed=True, contact=())).only(
        AccountObject)
    assert made.account["status"] == "valid" and made.terms_of_service
    changed = master.run(AccountUpdate(contact=("mailto:new@example.org",))).only(AccountObject)
    assert (changed.url, changed.account["contact"]) == (made.url, ["mailto:new@example.org"])
    again = master.run(AccountUpdate(register=True, contact=("mailto:b@example.org",))).only(
        AccountObject)
    assert (again.url, again.account["contact"]) == (made.url, ["mailto:b@example.org"])
    bad = master.run(AccountUpdate(contact=("gopher:x",))).only(Failed)
    assert bad.type == "unsupportedContact"
    gone = master.run(AccountUpdate(deactivate=True))
    assert gone.only(AccountObject).account["status"] == "deactivated"
    assert gone.only(Account).url == ""
    assert master.run(master.order("late.example")).only(Failed).section == "late.example"


def test_no_account_fails_every_order(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    outcome = master.run(master.order("a.example"), master.order("b.example"))
    assert outcome.status == 1
    assert [answer.section for answer in outcome.of(Failed)] == ["a.example", "b.example"]
    assert all("account --register" in answer.message for answer in outcome.of(Failed))


@pytest.mark.alike(2)
@pytest.mark.parametrize("by", ["account", "certificate key", "certificate key unsaid"])
def test_revocation(pebble: Pebble, master: Master, by: str) -> None:
    master.use(pebble)
    master.register()
    key = ca.genkey("rsa:2048")
    chain = master.run(master.order("revoked.example", key=key)).only(Issued).chain
    certificate = ca.openssl("x509", "-outform", "DER", stdin=chain.encode())
    serial = ca.openssl("x509", "-noout", "-serial", stdin=chain.encode()).decode()
    request = Revocation("cert.pem", certificate, 4, by == "certificate key")
    signer = None if by == "account" else master.write("certificate.key", key)
    outcome = master.run(request, signer_key=signer)
    assert outcome.only(Revoked).section == "cert.pem"
    status = pebble.certificate_status(serial.strip().split("=")[1])
    assert status is not None and status["Status"] == "Revoked" and status["Reason"] == 4
    again = master.run(request, signer_key=signer)
    assert again.only(Revoked) and "revoked before" in again.only(Log).text


def test_revocation_without_a_reason(hostile: Hostile, master: Master) -> None:
    """The CA is told that it is unspecified: django-ca wants to hear one (RFC 8555 §7.6)."""
    master.use(hostile)
    master.register()
    chain = master.run(master.order("revoked.example")).only(Issued).chain
    certificate = ca.openssl("x509", "-outform", "DER", stdin=chain.encode())
    assert master.run(Revocation("cert.pem", certificate)).only(Revoked)
    assert [payload["reason"] for payload in hostile.revoked] == [0]


# --- proxies -----------------------------------------------------------------------------------

class Proxy(http.server.BaseHTTPRequestHandler):
    """A tunnel that wants a password."""

    seen: list[str] = []

    def do_CONNECT(self) -> None:
        if self.headers.get("Proxy-Authorization") != "Basic dTpwdw==":    # u:pw
            self.send_error(407)
            return
        self.seen.append(self.path)
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.pump, args=(server, self.connection))
            back.start()
            self.pump(self.connection, server)
            back.join()

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    Proxy.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_through_a_proxy(pebble: Pebble, master: Master, proxy: str) -> None:
    master.use(pebble)
    wrong = master.run(AccountUpdate(register=True, terms_agreed=True),
                       env={"https_proxy": f"http://u:secret@{proxy}"})
    assert wrong.status == 1 and "407" in wrong.only(Failed).message
    assert "secret" not in wrong.stderr + wrong.only(Failed).message
    master.run(AccountUpdate(register=True, terms_agreed=True),
               env={"https_proxy": f"http://u:pw@{proxy}"})
    assert len(Proxy.seen) == 1
    master.access["proxy"] = f"http://u:pw@{proxy}"
    assert master.run(master.order("proxied.example")).only(Issued)
    assert len(Proxy.seen) > 1
    master.access["proxy"] = ""
    count = len(Proxy.seen)
    assert master.run(AccountUpdate(), env={"https_proxy": f"http://u:pw@{proxy}",
                                            "no_proxy": "127.0.0.1"}).only(AccountObject)
    assert len(Proxy.seen) == count
