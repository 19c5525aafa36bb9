"""The signer's policy against those who read what it lets pass.

    PYTHONPATH=.. python3 -m fuzz [--seconds=N] [--seed=N] [json|csr]     (in tests/)

json: whatever the policy names, a reader that behaves as Go's encoding/json sees the same
operation with the same values, and nothing of another.  csr: whatever request it lets pass,
openssl reads the same names in it, or none.  Where Go is installed (golang-go), it reads the
same: all JSON, also what is refused, as the reader that stands in for it, and the CSRs.  Each
begins with requests that are good, and changes them in many small ways.  Ends with status 1 at
the first difference, and says how to see it again.
"""

import argparse
import base64
import ipaddress
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fuzz import golang
from harness import ca
from harness.policies import binding, greeting, key_change
from letsencrypt_tiny.common.wire.policy import OPERATIONS, Policy
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.signer import policy

URL, KID = "https://ca.example/acme/new-order", "https://ca.example/acme/acct/1"
NAMES = ("example.org", ".example.net", "*.wild.example", "192.0.2.1", "2001:db8::1")
RULES = Policy("fuzz", frozenset(["https://ca.example"]), frozenset(OPERATIONS),
               frozenset(NAMES), frozenset(["short"]))
FOLDED = {"s": "ſ", "k": "\u212a", "i": "ı", "S": "ſ", "K": "\u212a"}

# What servers read a payload into, whatever the operation: all structs of Boulder and Pebble in one
IDENTIFIER: golang.Fields = {"type": str, "value": str}
JWS: golang.Fields = {"protected": str, "payload": str, "signature": str}
STRUCT: golang.Fields = {
    "identifiers": [IDENTIFIER], "notBefore": str, "notAfter": str, "replaces": str,
    "profile": str, "csr": str, "status": str, "contact": [str], "termsOfServiceAgreed": bool,
    "onlyReturnExisting": bool, "externalAccountBinding": "raw", "certificate": str,
    "reason": int, "signatures": "raw", **JWS}
HEADER: golang.Fields = {"alg": str, "nonce": str, "url": str, "kid": str, "jwk": "raw"}
STRUCTS = {"HEADER": HEADER, "STRUCT": STRUCT}

# Operation -> the fields that a server may find set then
FIELDS: dict[str, set[str]] = {
    "read": set(), "respond": set(), "new-order": {"identifiers", "replaces", "profile"},
    "finalize": {"csr"}, "deactivate": {"status"},
    "account-update": {"contact", "termsOfServiceAgreed"}, "revoke": {"certificate", "reason"},
    "key-change": set(JWS), "lookup": {"onlyReturnExisting", "contact", "termsOfServiceAgreed"},
    "register": {"contact", "termsOfServiceAgreed"},
    "external-account-binding": {"externalAccountBinding", "contact", "termsOfServiceAgreed"}}


class Difference(Exception):
    """Two readers disagree."""


class Count(NamedTuple):
    """What was tried."""

    tried: int
    allowed: int


def b64(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def own_key() -> Greeting:
    """What the signer knows of a new account key."""
    return greeting()


def openssl_csr(key: str, san: str, subject: str = "/", *extensions: str) -> bytes:
    """A certificate request, DER."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-subj",
                      subject, "-outform", "DER", "-addext", f"subjectAltName={san}", *added,
                      stdin=key.encode())


# --- JSON ----------------------------------------------------------------------------------------

def json_seeds() -> list[Any]:
    """Good payloads of each operation."""
    key = ca.genkey()
    csr = b64(openssl_csr(key, "DNS:example.org"))
    cert = b64(ca.openssl("req", "-x509", "-config", "/dev/null", "-key", "/dev/stdin", "-subj",
                          "/", "-outform", "DER", stdin=key.encode()))
    one, two = ({"type": "dns", "value": value} for value in ("example.org", "a.example.net"))
    return [None, {}, {"identifiers": [one]}, {"identifiers": [one, two], "profile": "short"},
            {"identifiers": [two, {"type": "ip", "value": "2001:db8::1"}], "replaces": "a.b"},
            {"csr": csr}, {"status": "deactivated"}, {"contact": ["mailto:a@example.org"]},
            {"contact": [], "termsOfServiceAgreed": True}, {"certificate": cert, "reason": 1},
            {"certificate": cert}, key_change(), {"onlyReturnExisting": True},
            {"onlyReturnExisting": True, "contact": []}, {"externalAccountBinding": binding()}]


class Mutator:
    """Changes JSON as objects, as tokens and as bytes."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._keys = [*STRUCT, "type", "value", "x", ""]

    def text(self, value: Any) -> bytes:
        """Return JSON for ``value``, written in one of many ways, at times broken."""
        if value is None:
            return b""
        data = self._write(value).encode("utf-8", "surrogatepass")
        while self._chance.random() < 0.15:
            data = self._bytes(data)
        return data

    def _bytes(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        junk = self._chance.choice([b",", b'"', b"{", b"}", b"[", b"]", b"\0", b"\xff", b"\\", b" ",
                                    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"1e9", b"//", b"\xc2\xa0"])
        return self._chance.choice([data[:at] + junk + data[at:], data[:at] + data[at + 1:],
                                    data[:at] + junk + data[at + 1:], data + junk, data[at:]])

    def _write(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = [(key, self._write(item)) for key, item in value.items()]
            while self._chance.random() < 0.25:
                pairs.insert(self._chance.randrange(len(pairs) + 1), self._pair(pairs))
            if self._chance.random() < 0.1:
                self._chance.shuffle(pairs)
            return "{" + self._comma(f"{self._string(self._key(key))}:{item}"
                                     for key, item in pairs) + "}"
        if isinstance(value, list):
            items = [self._write(item) for item in value]
            while self._chance.random() < 0.08:
                items.append(self._chance.choice(items or ["[]"]))
            return "[" + self._comma(items) + "]"
        if self._chance.random() < 0.04:
            return self._chance.choice(["null", "1", "1.0", "-0", "NaN", "1e400", "true", "[]",
                                        "{}", '"x"', "9" * 40, "01", "[[[[[[[]]]]]]]"])
        return self._string(value) if isinstance(value, str) else json.dumps(value)

    def _pair(self, pairs: list[tuple[str, str]]) -> tuple[str, str]:
        key = self._chance.choice([key for key, _ in pairs] + self._keys)
        value = self._chance.choice([item for _, item in pairs] + [
            "null", "1", '"deactivated"', "true", "false", "[]", "{}", '"example.com"',
            '[{"type":"dns","value":"example.com"}]', '[{"Value":"example.com"}]'])
        return key, value

    def _key(self, key: str) -> str:
        if self._chance.random() < 0.8:
            return key
        return self._chance.choice([
            key.upper(), key.title(), key.capitalize(), key.swapcase(), key + " ", key + "\0",
            "".join(FOLDED.get(char, char) for char in key), key + "\ud800"])

    def _string(self, text: str) -> str:
        written = json.dumps(text, ensure_ascii=self._chance.random() < 0.5)
        if self._chance.random() < 0.1 and len(text) > 1:
            at = self._chance.randrange(len(text))
            written = (json.dumps(text[:at])[:-1] + f"\\u{ord(text[at]):04X}"
                       + json.dumps(text[at + 1:])[1:])
        return written

    def _comma(self, items: Any) -> str:
        comma = self._chance.choice([",", ",", ",", " , ", "\n,\t"])
        return comma.join(items) + ("," if self._chance.random() < 0.02 else "")


def fuzz_json(chance: random.Random, go_on: Callable[[], bool], go: golang.Go | None) -> Count:
    """Raises Difference."""
    own, seeds, mutate = own_key(), json_seeds(), Mutator(chance)
    tried = allowed = 0
    while go_on():
        member = chance.choice(["kid", "jwk"])
        header = {"alg": own.alg, "nonce": "abcd", "url": URL,
                  member: KID if member == "kid" else own.jwk}
        # the header is worth less trouble: it is the same in all
        protected = mutate.text(header) if chance.random() < 0.1 else json.dumps(header).encode()
        payload = mutate.text(chance.choice(seeds))
        line = f"{b64(protected)}.{b64(payload)}".encode()
        verdict = policy.judge(line, own, [RULES])
        tried += 1
        if go is not None:
            for struct, data in ("HEADER", protected), ("STRUCT", payload or b"{}"):
                compare_go(go, struct, data)
        if not verdict.why:
            allowed += 1
            compare_json(verdict, protected, payload, own)
    return Count(tried, allowed)


def compare_go(go: golang.Go, struct: str, data: bytes) -> None:
    """Raise Difference unless Go reads what golang.unmarshal says that it would."""
    expected: dict[str, Any] | None = None
    try:
        expected = golang.unmarshal(data, STRUCTS[struct])
    except golang.GoError:
        pass
    found = go.read(struct, data)
    for name, kind in STRUCTS[struct].items():
        if kind == "raw":   # of these, whether there is one
            for seen in filter(None, (expected, found)):
                seen[name] = seen[name] is not None
    if found != expected:
        raise Difference(f"{data!r}: Go reads {found}, golang.unmarshal {expected}")


def compare_json(verdict: policy.Verdict, protected: bytes, payload: bytes, own: Greeting) -> None:
    """Raise Difference unless Go reads the same, or can't read it: nothing happens then."""
    try:
        header = golang.unmarshal(protected, HEADER)
        seen = golang.unmarshal(payload or b"{}", STRUCT)
    except golang.GoError:
        return
    where = f"{verdict.operation}: {protected!r} {payload!r}: Go reads {header} {seen}"
    given = {name for name, value in seen.items() if value not in (None, "", False, 0)}
    if not given <= FIELDS[verdict.operation] or (not payload) != (verdict.operation == "read"):
        raise Difference(where)
    read = json.loads(protected)    # what is allowed has one reading, so the plainest will do
    if header["alg"] != own.alg or header["url"] != read["url"] \
            or header["kid"] != read.get("kid", "") \
            or not all(policy.origin_within(RULES, url) for url in
                       (header["url"], header["kid"] or URL)):
        raise Difference(where)
    names = tuple((item["type"], item["value"]) for item in seen["identifiers"] or ())
    if verdict.operation == "new-order" and names != verdict.names:
        raise Difference(where)
    if verdict.operation == "lookup" and not seen["onlyReturnExisting"] \
            or verdict.operation == "deactivate" and seen["status"] != "deactivated" \
            or seen["profile"] not in ("", "short"):
        raise Difference(where)


# --- CSR -----------------------------------------------------------------------------------------

class Node:
    """A DER element: its tag and its content, or the elements that are its content."""

    def __init__(self, tag: int, content: bytes) -> None:
        self.tag, self.content = tag, content
        self.children: list[Node] = []
        nested = content[1:] if tag == 3 else content
        if tag & 32 or tag == 4:
            try:
                self.children = parse(nested)
            except (IndexError, ValueError):
                pass

    def encode(self) -> bytes:
        """The element, its length set right."""
        content = b"".join(child.encode() for child in self.children) or self.content
        size = len(content)
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([size] if size < 128 else [128 + len(octets), *octets])
        return bytes([self.tag]) + length + content

    def all(self) -> "list[Node]":
        """The element and all below it."""
        return [self, *(node for child in self.children for node in child.all())]


def parse(data: bytes) -> list[Node]:
    """Return the elements that make up ``data``; raises IndexError or ValueError."""
    found, at = [], 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size > 127:
            start += size - 128
            size = int.from_bytes(data[at + 2:start], "big")
        if start + size > len(data):
            raise ValueError("cut short")
        found.append(Node(data[at], data[start:start + size]))
        at = start + size
    return found


def csr_seeds() -> list[bytes]:
    """Good requests, and such for a CA's rights."""
    key = ca.genkey()
    return [openssl_csr(key, "DNS:example.org"),
            *(openssl_csr(key, "DNS:example.org", "/", extension) for extension in (
                "basicConstraints=CA:TRUE", "keyUsage=keyCertSign", "keyUsage=cRLSign",
                "extendedKeyUsage=serverAuth,OCSPSigning")),
            openssl_csr(key, "DNS:example.org,DNS:a.example.net", "/CN=example.org/O=A"),
            openssl_csr(key, "DNS:*.wild.example,IP:192.0.2.1,IP:2001:db8::1", "/",
                        "keyUsage=critical,digitalSignature", "tlsfeature=status_request",
                        "extendedKeyUsage=serverAuth", "basicConstraints=CA:FALSE")]


def mutate_csr(chance: random.Random, seeds: list[bytes]) -> bytes:
    """Return a request with a few changes, of elements or of bytes."""
    data = chance.choice(seeds)
    if chance.random() < 0.7:
        (root,) = parse(data)
        for _ in range(chance.randrange(1, 4)):
            _change(chance, root, seeds)
        data = root.encode()
    while chance.random() < 0.3:
        at = chance.randrange(len(data))
        data = chance.choice([data[:at] + bytes([chance.randrange(256)]) + data[at + 1:],
                              data[:at] + data[at + 1:], data + b"\0", data[:at]]) or b"\0"
    return data


def _change(chance: random.Random, root: Node, seeds: list[bytes]) -> None:
    nodes = root.all()
    parents = [node for node in nodes if node.children]
    parent, other = chance.choice(parents), chance.choice(parse(chance.choice(seeds))[0].all())
    at = chance.randrange(len(parent.children))
    kind = chance.randrange(7)
    if kind == 0:
        parent.children.insert(at, chance.choice(parent.children))
    elif kind == 1 and len(parent.children) > 1:
        del parent.children[at]
    elif kind == 2:
        parent.children[at] = other
    elif kind == 3:
        parent.children.insert(at, other)
    elif kind == 4:
        chance.shuffle(parent.children)
    elif kind == 5:
        chance.choice(nodes).tag ^= 1 << chance.randrange(8)
    else:
        leaf = chance.choice([node for node in nodes if not node.children])
        leaf.content = leaf.content.replace(b"example", chance.choice(
            [b"EXAMPLE", b"exam\0le", b"exampl\xff", b"a.example", b"*.example"]))


def fuzz_csr(chance: random.Random, go_on: Callable[[], bool], go: golang.Go | None) -> Count:
    """Raises Difference."""
    own, seeds = own_key(), csr_seeds()
    tried = allowed = 0
    seen: set[bytes] = set()
    header = b64(json.dumps({"alg": own.alg, "nonce": "abcd", "url": URL, "kid": KID}).encode())
    while go_on():
        der = mutate_csr(chance, seeds)
        payload = b64(json.dumps({"csr": b64(der)}).encode())
        verdict = policy.judge(f"{header}.{payload}".encode(), own, [RULES])
        tried += 1
        if not verdict.why and der not in seen:
            seen.add(der)
            allowed += 1
            compare_csr(verdict, der)
            if go is not None and (read := go.read("csr", der)) is not None:
                read_in = [(of, name.lower()) for of in ("dns", "ip") for name in read[of] or ()]
                if set(read_in) != set(verdict.names) or read["email"] or read["uri"] \
                        or read["common"].lower() not in {"", *(name for _, name in read_in)}:
                    raise Difference(f"{verdict.names}: {b64(der)}: Go reads {read}")
    return Count(tried, allowed)


def compare_csr(verdict: policy.Verdict, der: bytes) -> None:
    """Raise Difference unless openssl reads the same names and no CA's rights, or nothing."""
    text = openssl_reads(der)
    if text is None:
        return
    where = f"{verdict.names}: {b64(der)}: openssl reads {text}"
    lines = re.findall(r"X509v3 Subject Alternative Name: ?(?:critical)?\n *(.*)\n", text)
    rights = re.search("CA:TRUE|Certificate Sign|CRL Sign|OCSP Signing",
                       text.partition("Requested Extensions:")[2].partition("Signature Alg")[0])
    if len(lines) != 1 or rights:
        raise Difference(where)
    names = set()
    for item in lines[0].split(", "):
        kind, _, value = item.partition(":")
        names.add(("ip", str(ipaddress.ip_address(value))) if kind == "IP Address"
                  else (kind.lower(), value.lower()))
    if names != set(verdict.names):
        raise Difference(where)
    values = {value for _, value in names}
    subject = text.partition("Subject Public Key")[0]
    for common in re.findall(r"CN=((?:[^,+\\\n]|\\.)*)", subject):
        if common.lower() not in values:
            raise Difference(where)


def openssl_reads(der: bytes) -> str | None:
    """Return what openssl shows of a request; None if it can't be read."""
    done = subprocess.run(["/usr/bin/openssl", "req", "-inform", "DER", "-noout", "-text",
                           "-nameopt", "RFC2253"],
                          input=der, capture_output=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "OPENSSL_CONF": "/dev/null"})
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the signer's policy.")
    parser.add_argument("--seconds", type=float, default=60, help="for each (default: 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("what", nargs="*", default=["json", "csr"], metavar="json|csr")
    options = parser.parse_args()
    go = golang.Go(STRUCTS) if golang.COMPILER.exists() else None
    for what in options.what:
        deadline = time.monotonic() + options.seconds
        fuzz = {"json": fuzz_json, "csr": fuzz_csr}[what]
        print(f"{what}: seed {options.seed}, {options.seconds:.0f} seconds", flush=True)
        try:
            count = fuzz(random.Random(options.seed), lambda: time.monotonic() < deadline, go)
        except Difference as exc:
            print(f"{what}: a difference with --seed={options.seed}: {exc}")
            return 1
        print(f"{what}: {count.tried} tried, {count.allowed} allowed and compared"
              f"{', also with Go' if go else ''}")
        if not count.allowed:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
