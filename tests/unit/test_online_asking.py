"""DNS by TCP, and what the system's files say: whatever comes back, an answer or an error."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rrset
import pytest

from harness.webserver import read_all
from letsencrypt_tiny.client.online import asking, authority, surroundings
from letsencrypt_tiny.client.online.asking import Resolver, Unanswered, ask
from letsencrypt_tiny.client.online.caa import Property

Say = Callable[[socket.socket, bytes], object]


class Server:
    """A name server that says what the test has it say."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.where: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                try:
                    length, = struct.unpack("!H", peer.recv(2, socket.MSG_WAITALL))
                    query = peer.recv(length, socket.MSG_WAITALL)
                    peer.settimeout(4)    # who waits for it for ever hears that it has ended
                    self._say(peer, query)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def serving() -> Iterator[Callable[[Say], Server]]:
    made: list[Server] = []

    def serve(say: Say) -> Server:
        made.append(Server(say))
        return made[-1]
    yield serve
    for server in made:
        server.close()


def reply(query: bytes, *records: str, rcode: int = 0, aa: bool = False) -> bytes:
    """A good answer; ``records`` are “NAME TYPE DATA”."""
    answer = dns.message.make_response(dns.message.from_wire(query))
    answer.set_rcode(rcode)
    answer.flags |= dns.flags.AA if aa else 0
    for record in records:
        name, kind, data = record.split(" ", 2)
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, data))
    return answer.to_wire()


def saying(*records: str, **how: int) -> Say:
    def say(peer: socket.socket, query: bytes) -> None:
        text = reply(query, *records, **how)  # type: ignore[arg-type]
        peer.sendall(struct.pack("!H", len(text)) + text)
    return say


# --- good answers --------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, records, expected", [
    ("A", ["x.test. A 192.0.2.1"], ("192.0.2.1",)),
    ("AAAA", ["x.test. AAAA 2001:DB8:0::1"], ("2001:db8::1",)),
    ("CAA", ['X.test. CAA 128 Issue "Ca; a=1"'], (Property(128, "issue", "Ca; a=1"),)),
    ("TXT", ['x.test. TXT "a\\200" "b"'], ("a\\xc8b",)),
    ("NS", ["x.test. NS NS1.Example."], ("ns1.example",)),
    ("SOA", ["x.test. SOA a. b. 7 1 1 1 1"], (7,)),
    ("A", ["y.test. A 192.0.2.1", "x.test. AAAA ::1"], ()),     # not what was asked for
    ("A", ["x.test. CNAME y.test.", "y.test. CNAME z.", "z. A 192.0.2.2", "x.test. A 192.0.2.3"],
     ("192.0.2.2",)),
    ("A", [], ())])
def test_answers(kind: str, records: list[str], expected: tuple[object, ...],
                 serving: Callable[[Say], Server]) -> None:
    found = ask(serving(saying(*records)).where, "x.test", kind)
    assert found.records == expected and found.rcode == "NOERROR" and not found.authoritative


def test_aliases(serving: Callable[[Say], Server]) -> None:
    found = ask(serving(saying("x.test. CNAME y.test.", "y.test. CNAME x.test.", aa=1)).where,
                "x.test", "TXT")
    assert found.authoritative and len(found.aliases) == asking.MAX_ALIASES
    assert found.aliases[:2] == ("y.test", "x.test")


def test_many_records(serving: Callable[[Say], Server]) -> None:
    records = [f"x.test. A 10.0.{i}.{j}" for i in range(4) for j in range(200)]
    assert len(ask(serving(saying(*records)).where, "x.test", "A").records) == asking.MAX_RECORDS


# --- what is none --------------------------------------------------------------------------------

def drip(peer: socket.socket, _query: bytes) -> None:
    """A byte now and then."""
    for _ in range(80):
        peer.sendall(b"\1")
        time.sleep(0.05)


@pytest.mark.parametrize("say, why", [
    (lambda peer, query: None, "the connection ended"),
    (lambda peer, query: peer.sendall(b"\xff\xff" + query), "the connection ended"),
    (lambda peer, query: peer.sendall(b"\0\0"), "answers something else"),
    (lambda peer, query: peer.sendall(b"\0\2" + query[:2]), "can't be read"),
    (lambda peer, query: peer.sendall(b"\0\x40" + query[:2] + b"\xff" * 62), "can't be read"),
    (lambda peer, query: peer.sendall(b"\0\x0e" + query[:2] + b"\x80\0\0\1\0\1\0\0\0\0\xc0\x0c"),
     "can't be read"),
    (lambda peer, query: peer.sendall(b"\0\x0c" + bytes([query[0] ^ 1]) + query[1:12]),
     "answers something else"),
    (lambda peer, _: read_all(peer), "no answer in time"), (drip, "no answer in time")])
def test_junk(say: Say, why: str, serving: Callable[[Say], Server],
              monkeypatch: pytest.MonkeyPatch) -> None:
    if "in time" in why:
        monkeypatch.setattr(asking, "PATIENCE", 0.6)
    began = time.monotonic()
    with pytest.raises(Unanswered, match=why) as caught:
        ask(serving(say).where, "x.test", "A")
    assert time.monotonic() - began < 2.5 and str(caught.value).isprintable()


def test_names_that_are_none() -> None:
    for name in ("a" * 64, "a..b", ".".join(["a" * 60] * 5)):
        with pytest.raises(Unanswered):
            ask(("127.0.0.1", 1), name, "A")


def test_the_next_resolver(serving: Callable[[Say], Server]) -> None:
    """One that is dead, or refuses, is not the last; what was said once is not asked again."""
    refuses, knows = serving(saying(rcode=5)), serving(saying("x.test. A 192.0.2.1"))
    resolver = Resolver([("127.0.0.1", 1), refuses.where, knows.where])
    assert resolver.look_up("x.test", "A").records == ("192.0.2.1",)
    knows.close = lambda: None  # type: ignore[method-assign]
    Server.close(knows)
    assert resolver.look_up("x.test", "A").records == ("192.0.2.1",)
    with pytest.raises(Unanswered, match=r"y.test A: 127.0.0.1 port \d+ answers REFUSED"):
        Resolver([refuses.where]).look_up("y.test", "A")
    with pytest.raises(Unanswered, match="no resolver"):
        Resolver([]).look_up("y.test", "A")


def test_a_dead_resolver_is_asked_but_once(serving: Callable[[Say], Server],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """It may cost all of PATIENCE each time."""
    knows, asked = serving(saying()).where, []
    real = ask

    def listed(server: tuple[str, int], name: str, kind: str) -> asking.Reply:
        asked.append(server)
        return real(server, name, kind)
    monkeypatch.setattr(asking, "ask", listed)
    resolver = Resolver([("127.0.0.1", 1), knows])
    for name in ("x.test", "y.test", "z.test"):
        resolver.look_up(name, "A")
    assert asked == [("127.0.0.1", 1), knows, knows, knows]


def test_one_kind_of_address_is_enough(serving: Callable[[Say], Server]) -> None:
    """CAs have it so."""
    def say(peer: socket.socket, query: bytes) -> None:
        text = reply(query, "x.test. A 192.0.2.1") if b"\0\1\0\1" in query[-5:] else \
            reply(query, rcode=2)
        peer.sendall(struct.pack("!H", len(text)) + text)
    assert Resolver([serving(say).where]).addresses("x.test") == ["192.0.2.1"]
    with pytest.raises(Unanswered, match="x.test AAAA: .* SERVFAIL"):
        Resolver([serving(saying(rcode=2)).where]).addresses("x.test")


@pytest.mark.parametrize("other, verdicts", [
    ([], [("warning", "try it from elsewhere"), ("ok", "")]), (["ns1. A 127.0.0.1"], [("ok", "")])])
def test_a_name_server_that_is_in_no_network_of_ours(
        other: list[str], verdicts: list[tuple[str, str]], serving: Callable[[Say], Server],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses of a server one is enough."""
    server = serving(saying("test. NS ns1.", "test. NS ns2.", "ns1. AAAA 2001:db8::1",
                            "ns2. A 127.0.0.1", "test. SOA a. b. 7 1 1 1 1", *other, aa=1))
    monkeypatch.setattr(authority, "PORT", server.where[1])
    remarks = list(authority.examine(Resolver([server.where]), "test", []))
    assert [(remark.verdict, remark.remedy) for remark in remarks] == verdicts


def test_nxdomain_is_an_answer(serving: Callable[[Say], Server]) -> None:
    assert Resolver([serving(saying(rcode=3)).where]).look_up("x.test", "A").records == ()


def test_an_alias_without_end(serving: Callable[[Say], Server]) -> None:
    server = serving(saying("_acme-challenge.x.test. CNAME _acme-challenge.x.test."))
    remark, = authority.examine(Resolver([server.where]), "x.test", [])
    assert (remark.topic, remark.verdict) == ("alias", "error")


# --- this machine --------------------------------------------------------------------------------

def test_resolvers() -> None:
    text = ("# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n"
            "nameserver  2001:DB8::1 x\nnameserver\nnameserver x\nsearch a\n"
            "nameserver 192.0.2.2\nnameserver 192.0.2.3\n")
    assert surroundings.resolvers(text) == [("192.0.2.1", 53), ("2001:db8::1", 53),
                                            ("192.0.2.2", 53)]
    assert surroundings.resolvers("") == [("127.0.0.1", 53)]


def test_addresses() -> None:
    """As proc(5) has them: those of this machine, not the networks' and broadcasts'."""
    fib_trie = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 192.0.2.0/24 2 0 1
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
    if_inet6 = ("20010db8000000000000000000000001 02 40 00 80     eth0\n"
                "junk\n\n00000000000000000000000000000001 01 80 10 80       lo\n")
    found = surroundings.addresses(fib_trie, if_inet6)
    assert found == {"192.0.2.7", "2001:db8::1", "::1"}
    assert surroundings.is_ours("127.3.2.1", found) and not surroundings.is_ours("192.0.2.0", found)
    here = surroundings.addresses(surroundings.read(surroundings.FIB_TRIE),
                                  surroundings.read(surroundings.IF_INET6))
    assert "127.0.0.1" in here and surroundings.read("/nonexistent") == ""


@pytest.mark.parametrize("text, expected", [
    ("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)),
    ("2001:DB8::1", ("2001:db8::1", 53)), ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ("[2001:db8::1]", ("2001:db8::1", 53))])
def test_server(text: str, expected: tuple[str, int]) -> None:
    assert surroundings.server(text) == expected
