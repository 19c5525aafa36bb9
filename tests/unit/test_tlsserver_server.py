"""The TLS server for challenges: who asks it, who is served, its beginning and its end."""

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.flood import flood
from harness.tlsserver import (DUTY, NAME, OTHER, THUMBPRINT, TOKEN, Client, TlsServer, challenge,
                               check_serving, context, left_open, running, validate)
from harness.webserver import AS_ROOT, TREE, Address, connect, processor_time, read_all
from letsencrypt_tiny.common.wire import responder as wire
from letsencrypt_tiny.common.wire.responder import Clean, Failed, Present, Ready, Waits
from letsencrypt_tiny.tlsserver import doors, presented
from letsencrypt_tiny.tlsserver.server import Feed, Server
from test_tlsserver_hello import written

NO_PROTOCOL, NO_NAME = bytes([21, 3, 3, 0, 2, 2, 120]), bytes([21, 3, 3, 0, 2, 2, 112])
V6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    """One that presents the challenge of a.example."""
    with running() as made:
        assert made.clients[0].present(challenge()) == Ready(challenge())
        yield made


def exchange(address: Address, data: bytes) -> bytes:
    """Send, and return all that comes until the end."""
    with connect(address) as sock:
        sock.sendall(data)
        return read_all(sock)


def is_shown(made: TlsServer, name: str) -> bool:
    """Whether a challenge of that name is answered."""
    try:
        return validate(made.addresses[0], name).protocol == "acme-tls/1"
    except ssl.SSLError:
        return False


# --- who is answered -----------------------------------------------------------------------------

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_validation(version: ssl.TLSVersion, server: TlsServer) -> None:
    """On every socket, whatever the case of the name; and nothing follows the handshake."""
    client = context()
    client.minimum_version = client.maximum_version = version
    for address in server.addresses:
        for name in "a.example", "A.EXAMPLE":
            seen = validate(address, name, client)
            assert challenge().digest() in seen.certificate
            assert (seen.protocol, seen.rest) == ("acme-tls/1", b"")
    assert validate(server.addresses[0], "a.example", context(["h2", "acme-tls/1"])).rest == b""


@pytest.mark.parametrize("data, answer", [
    (written("a.example", ("h2",)), NO_PROTOCOL), (written("a.example", ()), NO_PROTOCOL),
    (written("a.example", ("acme-tls/2", "acme-tls")), NO_PROTOCOL),
    (written("", ()), NO_PROTOCOL),
    (written("", ("acme-tls/1",)), NO_NAME), (written("b.example"), NO_NAME),
    (written("www.a.example"), NO_NAME), (written(V6), NO_NAME),
    (b"GET / HTTP/1.0\r\n\r\n", bytes([21, 3, 3, 0, 2, 2, 10])),
    (b"\x16\3\1\0\0", bytes([21, 3, 3, 0, 2, 2, 50]))])
def test_everybody_else(data: bytes, answer: bytes, server: TlsServer) -> None:
    """A fatal alert in the clear, not a byte of TLS more, and the end."""
    for address in server.addresses:
        assert exchange(address, data) == answer


def test_addresses_and_the_end_of_it() -> None:
    """By their reverse names; and what is taken back is nobody's any more."""
    with running() as made:
        one, two = made.clients
        for identifier, name in ((("ip", "192.0.2.1"), "1.2.0.192.in-addr.arpa"),
                                 (("ip", "2001:db8::1"), V6)):
            about = challenge(identifier)
            assert one.present(about) == Ready(about)
            check_serving(made, about, name)
            assert not is_shown(made, identifier[1])
            two.say(Clean(about))                        # it is not his
            one.say(Clean(about))
            assert isinstance(one.present(challenge(OTHER)), Ready)   # by then it is done
            assert not is_shown(made, name) and is_shown(made, "b.example")
        one.sock.close()                                 # takes back all of his
        assert isinstance(two.present(challenge(("dns", "c.example"))), Failed)   # by then, too
        assert not is_shown(made, "b.example")


# --- who asks for it -----------------------------------------------------------------------------

def test_a_turn_comes_with_the_end_of_another() -> None:
    """Whether the other takes its challenge back, or just ends."""
    with running(doors=3) as made:
        first, second, third = (challenge(token=letter * 22) for letter in "abc")
        one, two, three = made.clients
        assert one.present(first) == Ready(first)
        assert isinstance(two.present(second), Waits)
        assert isinstance(three.present(third), Waits)
        check_serving(made, first, "a.example")
        one.say(Clean(first))
        assert two.hear() == Ready(second) and three.silent()
        check_serving(made, second, "a.example")
        two.sock.close()
        assert three.hear() == Ready(third)
        check_serving(made, third, "a.example")


def test_a_turn_comes_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that hold what the other waits for, as orders for the same names may, get on."""
    monkeypatch.setattr(presented, "TURN", 0.3)
    pairs = [socket.socketpair() for _ in range(2)]
    one, two = (Client(ours) for ours, _ in pairs)
    mine, theirs = [[challenge(name, letter * 22) for name in (NAME, OTHER)] for letter in "ab"]

    def begin(_challenge: object) -> Feed:
        raise NotImplementedError
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Server([listener], [end for _, end in pairs],
                      presented.Presented(DUTY, time.monotonic), begin)
        one.say(Present(mine[0]))
        two.say(Present(theirs[1]))
        made.step()
        one.say(Present(mine[1]))
        two.say(Present(theirs[0]))
        start = time.monotonic()
        heard: list[object] = []
        for client in (one, two) * 3:
            client.sock.settimeout(0.02)
        while len(heard) < 6 and time.monotonic() - start < 3:
            made.step()
            for client in one, two:
                try:
                    heard.append(client.hear())
                except socket.timeout:
                    pass
        assert {Ready(mine[1]), Ready(theirs[0])} <= set(heard), heard
        assert time.monotonic() - start > 0.25
        for ours, end in pairs:
            ours.close()
            end.close()
        made.poll.close()


def test_what_is_refused(server: TlsServer) -> None:
    """Other names, other accounts' keys, other types: and the others go on."""
    client = server.clients[1]
    for about in (challenge(("dns", "c.example")), challenge(thumbprint="x" * 43),
                  challenge(kind="dns-01")):
        assert isinstance(client.present(about), Failed)
    assert exchange(server.addresses[0], written("c.example")) == NO_NAME
    check_serving(server, challenge(), "a.example")


GOOD = json.loads(wire.format_line(Present(challenge())))


@pytest.mark.parametrize("data", [
    b"\n", b"{}\n", b"x" * 5000, b"[" * 4000 + b"\n", b"\xff\n", b"{" * 4097,
    wire.format_line(Ready(challenge())),
    *(json.dumps({**GOOD, **change}).encode() + b"\n" for change in (
        {"message": "Exit"}, {"token": ""}, {"token": "../x"}, {"token": "x" * 129}, {"token": 7},
        {"identifier": ["dns", "*.a.example"]}, {"identifier": ["dns", "A.example"]},
        {"identifier": ["dns"]}, {"identifier": "dns"}, {"identifier": ["ip", "1"]},
        {"identifier": ["dns", "a.example\x00"]}, {"thumbprint": "x"}, {"type": "http-01"}))],
    ids=range(20))
def test_who_breaks_the_protocol_is_served_no_more(data: bytes) -> None:
    """… and nothing of his stays, whatever he said before; nobody else notices."""
    with running() as made:
        one, two = made.clients
        assert isinstance(one.present(challenge(OTHER)), Ready)
        assert isinstance(two.present(challenge()), Ready)
        one.sock.sendall(data)
        with pytest.raises((EOFError, ConnectionError)):
            one.hear()
        assert not is_shown(made, "b.example")
        check_serving(made, challenge(), "a.example")
        assert "a client is not served any more" in made.log.read_text()
        assert all(line.isprintable() for line in made.log.read_text().splitlines())


def test_who_does_not_listen_is_not_listened_to() -> None:
    """He fills no memory, and keeps nobody from being served."""
    with running() as made:
        one, two = made.clients
        one.sock.settimeout(1)
        line, sent = wire.format_line(Present(challenge(("dns", "c.example")))), 0
        with pytest.raises(socket.timeout):
            while sent < 64 << 20:
                sent += one.sock.send(line * 100)
        assert sent < 4 << 20
        assert isinstance(two.present(challenge()), Ready)
        check_serving(made, challenge(), "a.example")
        begun = processor_time(made.process.pid)
        time.sleep(0.5)
        assert processor_time(made.process.pid) - begun < 10, "it spins"
        assert isinstance(one.hear(), Failed)      # what there was is still there


def test_who_listens_to_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client leaves unread of turns that come by the clock has a limit, too."""
    monkeypatch.setattr(doors, "MAX_UNSENT", 10_000)
    ours, end = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, ours, end:
        served = presented.Presented[doors.Door](DUTY, time.monotonic)
        made = Server([listener], [], served, lambda _challenge: lambda _data: (b"", True))
        door = doors.Door(end, served, made)
        assert served.add(door, challenge()) == Ready(challenge())
        for _ in range(1000):
            door.tell(Ready(challenge()))
        made.step()
        assert served.find("a.example") is None and end.fileno() < 0
        ours.settimeout(5)
        assert len(read_all(ours)) == 0
        made.poll.close()


def test_thousands_at_a_time() -> None:
    """One client may have as many presented as it can order; memory stays."""
    names = [("dns", f"n{number}.example") for number in range(3000)]
    duty = DUTY._replace(identifiers=frozenset(names))
    with running(duty=duty) as made:
        for name in names:
            assert made.clients[0].present(challenge(name)) == Ready(challenge(name))
        for name in names[::10]:
            assert challenge(name).digest() in validate(made.addresses[0], name[1]).certificate
        status = Path(f"/proc/{made.process.pid}/status").read_text()
        assert int(status.partition("VmRSS:")[2].split()[0]) < 64 << 10


# --- load ----------------------------------------------------------------------------------------

def test_slow_connections_and_one_validation(server: TlsServer) -> None:
    """500 that begin a ClientHello, or a handshake, and don't go on."""
    hello = written()
    idle = [connect(server.addresses[0]) for _ in range(500)]
    try:
        for number, sock in enumerate(idle):
            try:
                sock.sendall(hello[:number] if number % 3 else hello)
            except ConnectionError:
                pass   # had to make room already
        for address in server.addresses:
            start = time.monotonic()
            assert validate(address, "a.example").protocol == "acme-tls/1"
            assert time.monotonic() - start < 2
        if AS_ROOT:
            assert left_open(server.process.pid) < Server.MAX_CONNECTIONS + 20
    finally:
        for sock in idle:
            sock.close()


@pytest.mark.root
def test_a_flood_from_one_peer() -> None:
    """A thousand new connections a second from one address: those of another are served."""
    with running() as made:
        assert isinstance(made.clients[0].present(challenge()), Ready)
        with flood(made.addresses[0], ["127.0.0.2"]) as reached:
            found = [validate(made.addresses[0], "a.example", source="127.0.0.3").protocol
                     for _ in range(10)]
        assert reached[0] > 800, "no flood"
        assert found == ["acme-tls/1"] * 10


def test_a_client_that_sends_without_end(server: TlsServer) -> None:
    """In the middle of a handshake, or after it."""
    for data in written() + b"\x17\3\3\x40\0" + bytes(1 << 20), written() + bytes(1 << 20):
        with connect(server.addresses[0]) as sock:
            with pytest.raises(ConnectionError):
                while True:
                    sock.sendall(data)
    check_serving(server, challenge(), "a.example")


# --- beginning and end ---------------------------------------------------------------------------

@pytest.mark.parametrize("confine", ["no", "auto", "required"])
def test_confined_and_terminated(confine: str) -> None:
    """Whatever confinement there is: it serves, and leaves cleanly when told so."""
    if confine == "required":
        pytest.importorskip("seccomp")
    with running(confine) as made:
        assert isinstance(made.clients[0].present(challenge()), Ready)
        check_serving(made, challenge(), "a.example")
        process = Path(f"/proc/{made.process.pid}/status").read_text()
        assert "NoNewPrivs:\t1\n" in process
        assert confine != "required" or "Seccomp:\t2\n" in process
        made.process.send_signal(signal.SIGINT)
        check_serving(made, challenge(), "a.example")
        made.process.terminate()
        assert made.process.wait(5) == 0
        assert "Traceback" not in made.log.read_text()


def test_nothing_private_is_told(server: TlsServer) -> None:
    """Not even with --debug: neither a token nor a key."""
    check_serving(server, challenge(), "a.example")
    text = server.log.read_text()
    assert "a.example: ready" in text and "validates a.example" in text
    assert TOKEN not in text and THUMBPRINT not in text and "PRIVATE" not in text


@pytest.mark.parametrize("arguments, expected", [
    ([], "usage: "), (["--debug", "{listener}"], "usage: "), (["--duty={duty}"], "usage: "),
    (["--confine=maybe", "--duty={duty}", "{listener}"], "must be one of"),
    (["--duty=x", "{listener}"], "--duty=x"), (["--duty=99", "{listener}"], "--duty=99"),
    (["--duty={listener}", "{listener}"], "--duty="), (["--duty={duty}", "0"], "no socket"),
    (["--duty={duty}", "--door=99", "{listener}"], "no socket"),
    (["--duty={duty}", "--door={duty}", "{listener}"], "no socket"),
    (["--duty={junk}", "{listener}"], "duty"), (["--help"], "not a descriptor")])
def test_usage(arguments: "list[str]", expected: str, tmp_path: Path) -> None:
    (tmp_path / "duty").write_text(json.dumps(wire.format_duty(DUTY)))
    (tmp_path / "junk").write_text("[]")
    code = (f"import sys; sys.path[:0] = [{str(TREE)!r}]\n"
            "sys.path.append('/usr/lib/python3/dist-packages')\n"
            "from letsencrypt_tiny.tlsserver.main import main\nsys.exit(main())")
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            open(tmp_path / "duty", "rb") as duty, open(tmp_path / "junk", "rb") as junk:
        numbers = {"duty": duty.fileno(), "junk": junk.fileno(), "listener": listener.fileno()}
        done = subprocess.run(
            ["/usr/bin/python3", "-ISc", code, *(word.format(**numbers) for word in arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=10, pass_fds=numbers.values())
    assert done.returncode in (1, 2) and (done.returncode == 2) == ("junk" not in str(arguments))
    assert done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
    assert expected in done.stderr.decode()
