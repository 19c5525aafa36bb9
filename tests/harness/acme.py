"""An ACME client that sends what it likes, for itself or behind our signer."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harness import accountd, ca
from harness.accountd import b64_text as b64
from harness.pebble import Pebble
from letsencrypt_tiny.signer import account_key

CONTACT = ["mailto:good@example.org"]


class Refused(Exception):
    """The signer gave no signature."""


class Response(NamedTuple):
    """What Pebble answered."""

    status: int
    location: str
    body: bytes

    @property
    def object(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Socket:
    """The signer on a socket; each request is a conversation of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, data: bytes) -> bytes:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self._path))
        with accountd.Client(sock, hello=True) as client:
            answer = client.ask(data)
        if answer.startswith(b"NOSIGN"):
            raise Refused(answer.decode())
        return accountd.unb64(answer)


class Client:
    """An ACME client that sends what it likes."""

    def __init__(self, pebble: Pebble, key: account_key.AccountKey,
                 sign: Callable[[bytes], bytes] | None = None) -> None:
        parts = urlsplit(pebble.directory)
        self._connection = http.client.HTTPSConnection(
            parts.netloc, timeout=30,
            context=ssl.create_default_context(cafile=str(pebble.ca_file)))
        self._connection.request("GET", parts.path)
        self.directory = json.loads(self._connection.getresponse().read())
        self.key = key
        self.sign = sign or key.sign
        self._nonce = ""
        self.kid = ""

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def header(self, url: str, with_jwk: bool = False) -> dict[str, Any]:
        """A protected header, with a fresh nonce."""
        if not self._nonce:
            self._connection.request("HEAD", urlsplit(self.directory["newNonce"]).path)
            response = self._connection.getresponse()
            response.read()
            self._nonce = response.headers["Replay-Nonce"]
        nonce, self._nonce = self._nonce, ""
        identity = {"jwk": self.key.jwk} if with_jwk else {"kid": self.kid}
        return {"alg": self.key.alg, "nonce": nonce, "url": url, **identity}

    def post(self, url: str, payload: Any, with_jwk: bool = False) -> Response:
        """Sign and send; bytes are taken as they are, None is empty.  Raises Refused."""
        if payload is None:
            payload = b""
        elif not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        protected = b64(json.dumps(self.header(url, with_jwk)).encode())
        signature = self.sign(f"{protected}.{b64(payload)}".encode())
        self._connection.request("POST", urlsplit(url).path, json.dumps(
            {"protected": protected, "payload": b64(payload), "signature": b64(signature)}),
            {"Content-Type": "application/jose+json"})
        response = self._connection.getresponse()
        self._nonce = response.headers["Replay-Nonce"] or ""
        return Response(response.status, response.headers["Location"] or "", response.read())

    def register(self) -> "Client":
        """Make the account."""
        response = self.post(self.directory["newAccount"],
                             {"termsOfServiceAgreed": True, "contact": CONTACT}, True)
        assert response.status in (200, 201), response
        self.kid = response.location
        return self

    def account(self) -> tuple[int, str, Any]:
        """HTTP status, status and contacts of the account, as Pebble has it."""
        response = self.post(self.kid, None)
        return response.status, response.object.get("status", ""), response.object.get("contact")

    def order(self, *names: str) -> tuple[str, dict[str, Any]]:
        """An order that is ready, and its URL."""
        response = self.post(self.directory["newOrder"], order(*names))
        assert response.status == 201, response
        for url in response.object["authorizations"]:
            found = self.post(url, None).object
            if found["status"] == "pending":
                challenge = next(item for item in found["challenges"]
                                 if item["type"] == "http-01")
                assert self.post(challenge["url"], {}).status == 200
        return response.location, self.wait(response.location, "ready")

    def wait(self, url: str, status: str) -> dict[str, Any]:
        """Poll an object until it has this status."""
        deadline = time.monotonic() + 15
        while (found := self.post(url, None).object)["status"] != status:
            assert time.monotonic() < deadline and found["status"] != "invalid", found
            time.sleep(0.05)
        return found

    def issue(self, *names: str) -> bytes:
        """A certificate, DER."""
        url, found = self.order(*names)
        assert self.post(found["finalize"], {"csr": b64(request(*names))}).status == 200
        pem = self.post(self.wait(url, "valid")["certificate"], None).body
        return ca.openssl("x509", "-outform", "DER", stdin=pem)


def order(*names: str) -> dict[str, Any]:
    """The payload of newOrder."""
    return {"identifiers": [{"type": "dns", "value": name} for name in names]}


SERVER_KEY = ca.genkey()


def request(*names: str, key: str = "") -> bytes:
    """A CSR, DER."""
    return ca.openssl("req", "-outform", "DER",
                      stdin=ca.request(names, key or SERVER_KEY).encode())


def load(pem: str) -> account_key.AccountKey:
    """A private key, with which a signer without policy signs."""
    return account_key.load(pem.encode(), "", lambda _: b"")
