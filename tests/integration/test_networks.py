"""Networks: addresses that swallow packets or refuse, and what else worked (RFC 8305)."""

import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import ca
from harness.client import Master
from harness.hostile import RESOURCES, Hostile, Request, Response
from harness.run import Users
from letsencrypt_tiny.client import eyeballs, transport
from letsencrypt_tiny.client.connection import Connection
from letsencrypt_tiny.client.eyeballs import Addresses, Unreachable, interleave
from letsencrypt_tiny.client.transport import TransportError
from letsencrypt_tiny.common.wire.order import Access, Issued

SWALLOWING = ("fd00:d::1", "fd00:d::2", "fd00:d::3")


@pytest.fixture(autouse=True)
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address has its turn so late that no busy machine is mistaken for it."""
    monkeypatch.setattr(eyeballs, "NEXT_START", 1.5)


def command(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def swallowing() -> Iterator[tuple[str, ...]]:
    """Three addresses, packets to which are lost (in a network namespace of the test run)."""
    for address in SWALLOWING:
        command("ip", "-6", "address", "add", f"{address}/128", "dev", "lo", "nodad")
    command("ip6tables", "-I", "INPUT", "-d", "fd00:d::/64", "-j", "DROP")
    yield SWALLOWING
    command("ip6tables", "-D", "INPUT", "-d", "fd00:d::/64", "-j", "DROP")
    for address in SWALLOWING:
        command("ip", "-6", "address", "del", f"{address}/128", "dev", "lo")


def addresses(port: int, *hosts: str) -> tuple[Any, ...]:
    """What getaddrinfo says of a name with these addresses."""
    return tuple(found for host in hosts for found in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))


def connection(server: Hostile, known: Addresses, found: tuple[Any, ...]) -> Connection:
    url = transport.parse_url(server.directory, "x")
    return Connection(transport.Route(url, None, found), transport.tls_context(
        Access(server.directory, ca_file=str(server.ca_file))), 20, known)


def seconds(server: Hostile, known: Addresses, found: tuple[Any, ...]) -> float:
    """How long it takes to connect and be answered."""
    made = connection(server, known, found)
    start = time.monotonic()
    assert made.exchange("GET", "/directory", (("Host", "x"),), None, 10000).status == 200
    made.close()
    return time.monotonic() - start


def test_three_that_swallow_and_one_that_works(hostile: Hostile,
                                               swallowing: tuple[str, ...]) -> None:
    found = addresses(hostile.port, *swallowing, "127.0.0.1")
    known = Addresses(found)
    first = seconds(hostile, known, found)
    assert eyeballs.NEXT_START <= first < 2 * eyeballs.NEXT_START
    assert seconds(hostile, known, found) < eyeballs.NEXT_START     # what worked goes first


def test_all_that_swallow_before_one_of_the_same_family(hostile: Hostile,
                                                        swallowing: tuple[str, ...]) -> None:
    with Hostile(authority=hostile.ca) as other:
        found = (*addresses(other.port, *swallowing), *addresses(other.port, "127.0.0.1"))
        found = found[:1] + found[-1:] + found[1:-1]
        assert seconds(other, Addresses(found), found) < 2 * eyeballs.NEXT_START


def test_a_refusal_lets_the_next_begin_at_once(hostile: Hostile,
                                               swallowing: tuple[str, ...]) -> None:
    """Also while another one keeps silent."""
    found = addresses(hostile.port, swallowing[0], "127.0.0.2", "127.0.0.1")
    assert eyeballs.NEXT_START <= seconds(hostile, Addresses(found), found) \
        < 2 * eyeballs.NEXT_START


def test_one_that_refuses_and_one_that_works(hostile: Hostile,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    """No delay, and no line."""
    found = addresses(hostile.port, "::1", "127.0.0.1")
    assert seconds(hostile, Addresses(found), found) < eyeballs.NEXT_START
    assert capfd.readouterr() == ("", "")


def test_none_that_works(swallowing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named with what it answered, and the time of all together is limited."""
    monkeypatch.setattr(eyeballs, "CONNECT_TIMEOUT", 0.6)
    found = addresses(1, swallowing[0], "127.0.0.1", swallowing[1], "::1")
    start = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        Addresses(found).connect(start + 5)
    assert time.monotonic() - start < 4
    assert sorted(str(caught.value).split("; ")) == [
        "127.0.0.1: Connection refused", "::1: Connection refused",
        f"{swallowing[0]}: timed out", f"{swallowing[1]}: timed out"]
    monkeypatch.setattr(eyeballs, "CONNECT_TIMEOUT", 5)
    start = time.monotonic()
    with pytest.raises(Unreachable, match="timed out"):
        Addresses(found).connect(start + 0.3)
    assert time.monotonic() - start < 2


def test_an_address_without_a_network(hostile: Hostile) -> None:
    """ENETUNREACH comes at once."""
    found = addresses(hostile.port, "2001:db8::1", "192.0.2.1", "127.0.0.1")
    assert seconds(hostile, Addresses(found), found) < eyeballs.NEXT_START
    with pytest.raises(TransportError, match="2001:db8::1: .*unreachable|assign"):
        connection(hostile, Addresses(found[:1]), found).exchange("GET", "/", (), None, 100)


def test_within_the_sandbox(hostile: Hostile, users: Users) -> None:
    """The client, confined: localhost is ::1, which refuses, and 127.0.0.1."""
    with Master.made() as master:
        hostile.base = f"https://localhost:{hostile.port}"
        hostile.directory = f"{hostile.base}/directory"
        master.use(hostile)
        master.register()
        outcome = master.run(master.order("a.test"))
        assert outcome.only(Issued) and "seccomp" in outcome.stderr


def swallowed() -> int:
    """Return how many packets were lost so far."""
    table = subprocess.run(["ip6tables", "-L", "INPUT", "-n", "-v", "-x"], check=True,
                           capture_output=True, text=True).stdout
    return sum(int(line.split()[0]) for line in table.splitlines() if " DROP " in line)


def test_three_that_swallow_within_the_sandbox(hostile_ca: ca.CA, users: Users,
                                               swallowing: tuple[str, ...]) -> None:
    """The client, confined, connects dozens of times: one packet is lost, of the first time.

    (Another one follows it only after a second, be it that the machine is busy.)
    """
    with Hostile(["eyes.test"], hostile_ca) as server, Master.made() as master:
        server.base = f"https://eyes.test:{server.port}"
        server.directory = f"{server.base}/directory"

        def closing(_request: Request, default: Any) -> Response:
            response: Response = default()
            return response._replace(headers={**response.headers, "Connection": "close"})
        for resource in RESOURCES:
            server.on[resource] = closing
        master.hosts = "".join(f"{address} eyes.test\n" for address in (*swallowing, "127.0.0.1"))
        master.config["confine"] = "required"
        master.use(server)
        master.register()
        before = swallowed()
        outcome = master.run(*(master.order(f"{name}.test") for name in "abc"))
        assert len(outcome.of(Issued)) == 3, outcome
        assert "landlock" in outcome.stderr and "seccomp" in outcome.stderr
        assert outcome.requests > 12 and swallowed() - before in (1, 2)


def test_what_failed_goes_last(hostile: Hostile) -> None:
    """Also where it was TLS that failed."""
    with socket.create_server(("127.0.0.77", hostile.port)) as mute:
        mute.listen()
        found = addresses(hostile.port, "127.0.0.77", "127.0.0.1")
        known = Addresses(found)
        made = Connection(connection(hostile, known, found)._route, transport.tls_context(
            Access(hostile.directory, ca_file=str(hostile.ca_file))), 0.3, known)
        with pytest.raises(TransportError, match="no complete answer"):
            made.exchange("GET", "/directory", (("Host", "x"),), None, 10000)
        assert seconds(hostile, known, found) < 5    # of the 20 that it would wait for the other


def test_families_take_turns() -> None:
    six, four = ([(family, 1, 6, "", (f"{family}-{i}", 1)) for i in range(count)]
                 for family, count in ((socket.AF_INET6, 3), (socket.AF_INET, 2)))
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave([*four, *six]) == [four[0], six[0], four[1], six[1], six[2]]
    assert interleave([*six, *six]) == six and interleave([]) == []
