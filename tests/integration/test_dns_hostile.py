"""The program dns among name servers that are hostile, odd or broken; BIND takes its updates."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from harness import run
from harness.bind import PRIMARY, Bind
from harness.nameserver import Nameserver, Odd
from harness.updater import Updater
from letsencrypt_tiny.common.wire.responder import Failed, Ready
from letsencrypt_tiny.dns import places

pytestmark = pytest.mark.root
ODD, EVIL = "127.0.0.8", "127.0.0.7"
CHALLENGE = "_acme-challenge.b.example"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), {"a.example": "", "b.example": ""}) as running:
            yield running


class Scene:
    """An updater whose resolver, and ``nameservers`` if it likes, is an odd one."""

    def __init__(self, stack: ExitStack, bind: Bind, path: Path) -> None:
        self._stack, self._bind, self._path = stack, bind, path

    def start(self, answers: dict[tuple[str, str], Odd], *names: str, **more: Any) -> None:
        """Let it begin, for these names."""
        self.server = self.server_at(ODD, answers)
        conf = self._path / "resolv.conf"
        conf.write_text(f"nameserver {ODD}\n")
        settings = {"server": PRIMARY, "secret": self._bind.key_file.read_text(), "propagation": 3,
                    "resolv_conf": conf, **more}
        self.updater = self._stack.enter_context(Updater(
            self._path, identifiers=names or ("b.example",), **settings))
        self.door = self.updater.door()
        self.updater.start()

    def server_at(self, address: str, answers: dict[tuple[str, str], Odd]) -> Nameserver:
        """Return one more name server."""
        return self._stack.enter_context(Nameserver(address, answers))

    def present(self, name: str = "b.example") -> Any:
        """Return what comes of a challenge."""
        self.door.present(name)
        return self.door.hear()


@pytest.fixture
def scene(bind: Bind, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, bind, tmp_path)
    assert bind.published() == []


def with_record(section: str, name: str, kind: str, *values: str) -> Odd:
    """Let a reply have some more records in a section."""
    def odd(_query: dns.message.Message, reply: dns.message.Message) -> dns.message.Message:
        getattr(reply, section).append(dns.rrset.from_text(name + ".", 60, "IN", kind, *values))
        return reply
    return odd


def with_code(code: dns.rcode.Rcode) -> Odd:
    """Answer nothing but that."""
    def odd(query: dns.message.Message, _reply: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(code)
        return reply
    return odd


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("kind, value", [
    ("HINFO", "a b"), ("CAA", '0 issue "x"'), ("LOC", "1 N 1 E 1m"), ("TYPE65280", r"\# 1 00")])
def test_records_of_other_types(kind: str, value: str, guarded: bool, scene: Scene) -> None:
    """… are read without a module that a confined process could not load; without seccomp it
    would find one, and fail."""
    scene.start({("b.example", "*"): with_record("additional", "x.example", kind, value)},
                nameservers=[ODD], confine="required" if guarded else "auto", seccomp=guarded)
    assert isinstance(scene.present(), Ready)
    scene.door.close()
    assert scene.updater.end() == 0
    assert ("no seccomp" in scene.updater.said) != guarded


def test_who_speaks_for_another_zone(scene: Scene) -> None:
    """The servers of one zone change nothing of where records of another are put."""
    def known(query: dns.message.Message, reply: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        with_record("answer", "evil.example", "SOA", "ns.evil.example. r. 1 1 1 1 1")(query, reply)
        with_record("answer", "evil.example", "NS", "ns.evil.example.")(query, reply)
        return with_record("answer", "ns.evil.example", "A", EVIL)(query, reply)

    def lie(query: dns.message.Message, reply: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if "NS" in str(query.question[0]):
            with_record("answer", "b.example", "NS", "ns.evil.example.")(query, reply)
        else:
            with_record("authority", "b.example", "SOA", "x. r. 1 1 1 1 1")(query, reply)
        return with_record("additional", "ns.evil.example", "A", EVIL)(query, reply)
    evil = scene.server_at(EVIL, {("example", "*"): lie})
    scene.start({("evil.example", "*"): known}, "x.evil.example", "b.example")
    assert isinstance(scene.present("x.evil.example"), Failed)
    assert ("_acme-challenge.x.evil.example", "CNAME") in evil.asked
    assert isinstance(scene.present(), Ready)
    assert not [name for name, _ in evil.asked if not name.endswith("evil.example")]


def test_a_thousand_name_servers(scene: Scene) -> None:
    """Nobody is looked up for hours."""
    names = [f"n{number}.a.example." for number in range(1000)]
    scene.start({("b.example", "NS"): with_record("answer", "b.example", "NS", *names)})
    assert isinstance(scene.present(), Ready | Failed)
    hosts = {name for name, kind in scene.server.asked if kind in ("A", "AAAA")}
    assert 1 < len(hosts) <= places.MAX_SERVERS


def test_a_resolver_that_knows_nothing_of_ipv6(scene: Scene) -> None:
    """What it says of IPv4 is enough."""
    scene.start({("b.example", "AAAA"): with_code(dns.rcode.SERVFAIL)}, server="ns1.b.example")
    assert isinstance(scene.present(), Ready)


@pytest.mark.parametrize("target, expected", [
    ("*.b.example", "is an alias of “*.b.example”, which is no name"),
    (r"a\032b.example", r"is an alias of “a\032b.example”, which is no name"),
    ("_acme-challenge.b.example", "a circle of CNAMEs")])
def test_an_alias_of_what_is_no_name(target: str, expected: str, scene: Scene) -> None:
    scene.start({("_acme-challenge.b.example", "CNAME"): with_record(
        "answer", "_acme-challenge.b.example", "CNAME", target + ".")}, nameservers=[ODD],
        server=ODD)
    said = scene.present()
    assert isinstance(said, Failed) and expected in said.why


def test_aliases_without_end(scene: Scene) -> None:
    count = iter(range(1000))

    def on_and_on(query: dns.message.Message, reply: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text().rstrip(".")
        return with_record("answer", name, "CNAME", f"n{next(count)}.b.example.")(
            query, dns.message.make_response(query, recursion_available=True))  # type: ignore
    scene.start({("b.example", "CNAME"): on_and_on}, nameservers=[ODD])
    said = scene.present()
    assert isinstance(said, Failed) and f"more than {places.MAX_ALIASES} CNAMEs" in said.why


def test_a_name_that_leaves_no_room(scene: Scene) -> None:
    name = ".".join(["x" * 60] * 4)
    scene.start({}, name)
    said = scene.present(name)
    assert isinstance(said, Failed) and "is too long for a name" in said.why


JUNK: dict[str, Callable[[dns.message.Message, dns.message.Message], Any]] = {
    "nothing": lambda query, reply: b"",
    "noise": lambda query, reply: b"\xff" * 500,
    "half": lambda query, reply: reply.to_wire()[:20],
    "circle": lambda query, reply: query.to_wire()[:12] + b"\xc0\x0c" * 200,
    "another": lambda query, reply: dns.message.make_response(
        dns.message.make_query("x.example", "TXT")),
    "refused": with_code(dns.rcode.REFUSED), "broken": with_code(dns.rcode.SERVFAIL)}


@pytest.mark.parametrize("junk", JUNK)
def test_a_name_server_that_answers_nonsense(junk: str, scene: Scene) -> None:
    """It is as good as none: when the other has the record, the CA may look."""
    scene.start({("b.example", "TXT"): JUNK[junk]}, nameservers=[PRIMARY, ODD], confine="required")
    assert isinstance(scene.present(), Ready)
    assert (CHALLENGE, "TXT") in scene.server.asked
    scene.door.close()
    assert scene.updater.end() == 0
    assert f"{CHALLENGE}: all others have it, but {ODD}" in scene.updater.said
    assert "Traceback" not in scene.updater.said
