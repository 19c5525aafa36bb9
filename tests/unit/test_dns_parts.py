"""The updater of DNS records: what is read, decided and remembered, without a network."""

import base64
import errno
import hashlib
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from harness.run import ROOT
from letsencrypt_tiny.common.errors import ConfigError, Error, ProtocolError, UsageError
from letsencrypt_tiny.common.wire import dns as wire
from letsencrypt_tiny.common.wire.responder import Challenge, Duty
from letsencrypt_tiny.dns import asking, journal, main, propagation, records, resolving
from letsencrypt_tiny.dns.asking import Server, Unreachable
from letsencrypt_tiny.dns.updates import command, lexicon, table, tsig

VALUE = "A" * 43
KEY = 'key "updates" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0IHNlY3JldCE=";\n};\n'


# --- what is published ---------------------------------------------------------------------------

def test_a_digest() -> None:
    """RFC 8555 §8.4: base64url of SHA-256 of the key authorization."""
    about = Challenge("dns-01", ("dns", "example.org"), "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ",
                      "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI")
    text = f"{about.token}.{about.thumbprint}".encode()
    assert records.value(about) == base64.urlsafe_b64encode(
        hashlib.sha256(text).digest()).decode().rstrip("=")
    assert len(records.value(about)) == 43


@pytest.mark.parametrize("name, value", [
    ("a.example", "A" * 42), ("a.example", "A" * 44), ("a.example", 'A" "' + "A" * 39),
    ("a.example", "A" * 42 + "="), ("a.example", "A" * 42 + "\n"), ("*.example", VALUE),
    ("", VALUE), ("a.example.", VALUE), ("A.example", VALUE), ("a b.example", VALUE),
    ("a.example\n", VALUE), ("-a.example", VALUE), ("x" * 64 + ".example", VALUE)])
def test_what_is_no_record(name: str, value: str) -> None:
    with pytest.raises(ProtocolError):
        records.checked(name, value)


def test_a_record() -> None:
    assert records.checked("_acme-challenge.a.example", VALUE) == (
        "_acme-challenge.a.example", VALUE)


# --- what is read --------------------------------------------------------------------------------

def test_a_task() -> None:
    task = wire.Task("a.example", ("command", "/x", "y"), "[::1]:53", ("192.0.2.1",), 1, 2, 3,
                     Duty(frozenset({("dns", "a.example")}), frozenset({VALUE})))
    assert wire.parse_task(wire.format_task(task)) == task


@pytest.mark.parametrize("text, expected", [
    (KEY, ("updates", "hmac-sha256", b"secret secret!")),
    ("# one\n" + KEY + "// two /* \n", ("updates", "hmac-sha256", b"secret secret!")),
    ('key Up.Date { secret "AAAA//AAAAAA"; algorithm HMAC-SHA512; };',
     ("up.date", "hmac-sha512", b"\0\0\x00\xff\xf0\0\0\0\0")),
    (KEY.replace("\n", "\r\n"), ("updates", "hmac-sha256", b"secret secret!"))])
def test_a_key(text: str, expected: tuple[str, str, bytes]) -> None:
    assert tsig.parse(text) == expected


@pytest.mark.parametrize("text, expected", [
    ("", "not one key"), (KEY + KEY, "not one key"), ("key {};", "not one key"),
    (KEY.replace("hmac-sha256", "hmac-md5.sig-alg.reg.int"), "hmac-md5"),
    (KEY.replace("sha256", "sha1"), "hmac-sha1, not one of"),
    (KEY.replace("c2Vj", "!!!!"), "no base64"),
    (KEY.replace("c2VjcmV0IHNlY3JldCE=", "AAAA"), "too short"),
    (KEY.replace("algorithm hmac-sha256;", ""), "needs an algorithm and a secret"),
    (KEY.replace("};", "server x; };"), "and nothing else")])
def test_what_is_no_key(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        tsig.parse(text)
    assert "\n" not in str(caught.value) and "c2Vj" not in str(caught.value)


def test_options_of_a_provider() -> None:
    assert lexicon.parse("# c\n\nauth_token = a = b\n--pdns-server=http://x:8081/\n"
                         "quoted = ' a '\n; c\n") == {
        "auth_token": "a = b", "pdns_server": "http://x:8081/", "quoted": " a "}


@pytest.mark.parametrize("text", ["x", "= y", "A B = c", "[section]", "1x = y"])
def test_what_is_no_option(text: str) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        lexicon.parse(f"a = b\n{text}\n")


@pytest.mark.parametrize("value, expected", [
    ("token", (443,)), ("http://pdns:8081", (443, 8081)), ("http://pdns/api", (80, 443)),
    ("https://[::1]:8443/x", (443, 8443)), ("https://x", (443,)), ("http://x:1@y", (443,))])
def test_ports_of_a_provider(value: str, expected: tuple[int, ...]) -> None:
    assert lexicon.ports({"option": value}) == expected


def test_without_lexicon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Debian 13: the package is named, and what else there is."""
    for name in filter(re.compile(r"lexicon(\.|\Z)").match, list(sys.modules)):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    update = lexicon.Lexicon.__new__(lexicon.Lexicon)
    update._name = "powerdns"
    with pytest.raises(ConfigError, match=r"needs the package python3-lexicon .*update = command"):
        update._load()


@pytest.mark.parametrize("said", ["bad s3/cret+", "/x?token=s3/cret%2B&y", "s3%2Fcret%2B",
                                  "x" * 484 + " s3/cret+"])
def test_credentials_are_not_told(said: str) -> None:
    """Not as they are, nor as in a URL, nor a part of them."""
    update = lexicon.Lexicon.__new__(lexicon.Lexicon)
    update._options = {"token": "s3/cret+", "server": "https://x/", "mode": "a"}
    told = update._told(ValueError(said + " https://x/ a"))
    assert "s3" not in told and "cret" not in told and told.startswith("ValueError: ")
    assert len(said) > 400 or "<token>" in told and told.endswith("https://x/ a")


def test_a_resolv_conf() -> None:
    assert resolving.resolvers("# nameserver 192.0.2.9\nsearch example.org\n"
                               "nameserver 192.0.2.1\nnameserver  2001:db8::1 \nnameserver x\n"
                               "nameserver fe80::1%eth0\noptions edns0\n") == [
        Server("192.0.2.1"), Server("2001:db8::1")]
    assert resolving.resolvers("") == [Server("127.0.0.1")]
    assert len(resolving.resolvers("nameserver 192.0.2.1\n" * 9)) == 3


def test_a_hosts_file() -> None:
    assert resolving.hosts("127.0.0.1 localhost # x\n::1 localhost Two\n\njunk\nx y\n") == {
        "localhost": ["127.0.0.1", "::1"], "two": ["::1"]}


def test_addresses_that_need_nobody() -> None:
    resolver = resolving.Resolver([], {"known": ["192.0.2.1"]})
    assert resolver.addresses("Known.") == ["192.0.2.1"]
    assert resolver.addresses("2001:db8::1") == ["2001:db8::1"]
    assert resolver.servers("known", 5353) == [Server("192.0.2.1", 5353, "known")]
    with pytest.raises(Error, match="unknown can't be looked up: nobody answers"):
        resolver.addresses("unknown")


@pytest.mark.parametrize("text, expected", [
    ("ns.example", ("ns.example", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)),
    ("[2001:db8::1]:54", ("2001:db8::1", 54)), ("[2001:db8::1]", ("2001:db8::1", 53)),
    ("2001:db8::1", ("2001:db8::1", 53))])
def test_a_server(text: str, expected: tuple[str, int]) -> None:
    assert asking.host_port(text) == expected


@pytest.mark.parametrize("text", ["", ":53", "a:0", "a:65536", "a:b", "[a]:53", "a:5:3"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ConfigError):
        asking.host_port(text)


@pytest.mark.parametrize("argv", [
    [], ["--task=3"], ["--task=3", "--journal=4", "x"], ["--task=3", "--journal=4", "--task=3"],
    ["--task=3", "--journal=4", "--secret=5", "--secret=6"], ["--task=x", "--journal=4"],
    ["--task=3", "--journal=4", "--confine=maybe"], ["--task=-3", "--journal=4"],
    ["--task=3", "--journal=4", "--door=٣"]])
def test_arguments_that_make_no_sense(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        main.parse(argv)


def test_arguments() -> None:
    assert main.parse(["--confine=required", "--task=3", "--journal=4"]) == (
        False, "required", 3, 4, -1, ())
    assert main.parse(["--task=3", "--journal=4", "--secret=5", "--door=6", "--door=7",
                       "--debug"]) == (True, "auto", 3, 4, 5, (6, 7))


def test_without_dnspython() -> None:
    source = (ROOT / "programs/dns").read_text().replace(
        '"/usr/share/letsencrypt-tiny"', repr(str(ROOT))).replace(
        "/usr/lib/python3/dist-packages", "/nonexistent")
    done = subprocess.run(["/usr/bin/python3", "-IS", "-B", "-c", source], capture_output=True,
                          text=True, env={}, cwd="/", check=False)
    assert (done.returncode, done.stderr) == (
        1, "error: the package python3-dnspython is not installed\n")


def test_an_unknown_way() -> None:
    task = wire.Task("", ("pigeon",), "", (), 0, 1, 0, Duty(frozenset(), frozenset()))
    with pytest.raises(ConfigError, match="not one of rfc2136, lexicon, command"):
        table.make(task, b"", resolving.Resolver([], {}))


def test_an_answer_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """… is none to what is asked next: who was too late once is asked nothing any more."""
    monkeypatch.setattr(command, "MARGIN", -0.9)
    update = command.Command.__new__(command.Command)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    update.how, update._timeout, update._lock, update._socket = "c", 1, threading.Lock(), ours
    record = records.checked("a.example", VALUE)
    with pytest.raises(Error, match="c: who executes it is gone"):
        update.add(record, "")
    try:
        theirs.send(b'{"status":0,"why":""}')
    except BrokenPipeError:
        pass
    with pytest.raises(Error, match="c: who executes it is gone"):
        update.remove(record, "")
    theirs.close()


# --- answers -------------------------------------------------------------------------------------

SERVER = Server("192.0.2.1", 53, "ns.example")


@pytest.mark.parametrize("answer", [b"", b"\0" * 5, b"\xff" * 600, os.urandom(200)])
def test_nonsense(answer: bytes) -> None:
    found = asking.parse(asking.question("a.example", "TXT"), answer, SERVER)
    assert isinstance(found, Unreachable) and str(found).startswith("ns.example (192.0.2.1)")


def test_an_answer_to_something_else() -> None:
    query, other = asking.question("a.example", "TXT"), asking.question("b.example", "TXT")
    reply = dns.message.make_response(other)
    reply.id = query.id
    assert isinstance(asking.parse(query, reply.to_wire(), SERVER), Unreachable)
    good = dns.message.make_response(query)
    assert not isinstance(asking.parse(query, good.to_wire(), SERVER), Unreachable)
    good.id ^= 1
    assert isinstance(asking.parse(query, good.to_wire(), SERVER), Unreachable)


def test_an_unsigned_answer() -> None:
    """… to a signed question is as good as none."""
    query = asking.question("a.example", "SOA")
    query.use_tsig(tsig.parse(KEY).ring())
    query.to_wire()
    reply = dns.message.make_response(asking.question("a.example", "SOA"))
    reply.id = query.id
    found = asking.parse(query, reply.to_wire(), SERVER)
    assert isinstance(found, Unreachable) and "did not sign" in str(found)


@pytest.mark.parametrize("values, flags, expected", [
    ([VALUE], dns.flags.AA, True), (["other", VALUE], dns.flags.AA, True),
    (["other"], dns.flags.AA, False), ([], dns.flags.AA, False), ([VALUE.lower()], dns.flags.AA,
                                                                  False)])
def test_whether_it_is_there(values: list[str], flags: int, expected: bool) -> None:
    query = asking.question("a.example", "TXT")
    reply = dns.message.make_response(query)
    reply.flags |= flags
    if values:
        reply.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "TXT", *values))
    assert propagation.has(SERVER, reply, VALUE) is expected


def unreachable(code: int = errno.ECONNREFUSED) -> Unreachable:
    return asking._unreachable(SERVER, OSError(code, os.strerror(code)))


@pytest.mark.parametrize("states, elapsed, expected", [
    ([True, True], 0, True), ([True, False], 100, False), ([False], 0, False),
    ([True, unreachable()], 5, False), ([True, unreachable()], 12, True),
    ([True, unreachable(errno.ENETUNREACH)], 0, True),
    ([True, False, unreachable()], 100, False), ([unreachable()], 100, False),
    ([unreachable(errno.ENETUNREACH)], 100, False)])
def test_whether_the_ca_may_look(states: list[propagation.State], elapsed: float, expected: bool
                                 ) -> None:
    found = {Server(str(number)): state for number, state in enumerate(states)}
    assert propagation.may_look(found, elapsed, 60) is expected


# --- the journal ---------------------------------------------------------------------------------

@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "journal")


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)


def test_what_is_remembered(path: Path) -> None:
    one, two = records.checked("a.example", VALUE), records.checked("a.example", "B" * 43)
    file = opened(path)
    book = journal.Journal(file, 0)
    assert book.left == {}
    book.publishing(one, "example", "how")
    book.publishing(two, "", "how")
    book.removed(one)
    os.close(file)
    again = opened(path)
    assert journal.Journal(again, 0).left == {two: ""}
    os.close(again)
    with open(path, "ab") as torn:   # a line that was cut off was of nothing published
        torn.write(b'{"is":"published","name":"x.example","value":"' + b"C" * 43)
    last = opened(path)
    book = journal.Journal(last, 0)
    assert book.left == {two: ""}
    book.removed(two)
    os.close(last)
    assert path.stat().st_size == 0


def test_what_follows_a_line_that_was_cut_off(path: Path) -> None:
    """… is a line of its own: it is remembered."""
    record = records.checked("a.example", VALUE)
    path.write_bytes(b'{"is":"published","name":"x.exa')
    for _ in range(2):
        file = opened(path)
        book = journal.Journal(file, 0)
        book.publishing(record, "example", "how")
        os.close(file)
        assert path.read_bytes().count(b"x.exa") == 0
    last = opened(path)
    assert journal.Journal(last, 0).left == {record: "example"}
    os.close(last)


def test_what_follows_a_line_that_found_no_room(path: Path) -> None:
    one, two = records.checked("a.example", VALUE), records.checked("b.example", VALUE)
    file = opened(path)
    book = journal.Journal(file, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(Error, match="cannot remember which records are published"):
            book.publishing(one, "example", "how")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    book.publishing(two, "example", "how")
    os.close(file)
    again = opened(path)
    assert journal.Journal(again, 0).left == {two: "example"}
    os.close(again)


def test_one_at_a_time(path: Path) -> None:
    first, second = opened(path), opened(path)
    journal.Journal(first, 0)
    with pytest.raises(Error, match="still takes back"):
        journal.Journal(second, 0.2)
    os.close(first)
    journal.Journal(second, 0)
    os.close(second)


def test_what_is_no_line_is_passed_over(path: Path) -> None:
    path.write_bytes(b'junk\n{"is":"published","name":"*.example","value":"x"}\n\xff\n'
                     b'{"is":"published","name":"a.example","value":"' + b"A" * 43
                     + b'","zone":"../x","how":""}\n')
    file = opened(path)
    assert journal.Journal(file, 0).left == {}
    os.close(file)


def test_a_full_disk(path: Path) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    book = journal.Journal(full, 0)
    with pytest.raises(Error, match="cannot remember"):
        book.publishing(records.checked("a.example", VALUE), "", "")
    os.close(full)
