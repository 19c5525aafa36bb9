"""The stand-ins: each does what it was told, and tells what it was told."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, daemon, words
from harness.machine import SERVER, Machine
from harness.net import free_port
from harness.standins import Client, Signer, WebServer
from letsencrypt_tiny.common.wire import order, policy, signer as wire
from letsencrypt_tiny.common.wire.order import Failed, Issued, Log, Order, Progress
from letsencrypt_tiny.master.pki import verification


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Signer]:
    """A signer, which listens to nobody yet."""
    made = Signer(tmp_path)
    yield made
    made.end()


def heard(sock: socket.socket) -> bytes:
    """Return all that comes until the other end is closed."""
    data = b""
    while piece := sock.recv(4096):
        data += piece
    return data


# --- signer ---

def test_a_signer_in_a_thread(signer: Signer) -> None:
    signer.plays(words.greet(), words.sign(2), words.refuse("enough"))
    with signer.connected() as ours:
        ours.sendall(b"a.b\r\nc.d\r\ne.f\r\ng.h\r\n")
        greeting, key, *answers, end = heard(ours).split(b"\r\n")
    assert wire.parse_greeting(greeting, key) == words.GREETING and end == b""
    assert [len(wire.parse_signature(line)) for line in answers[:2]] == [64, 64]
    assert answers[2] == b"NOSIGN enough" and signer.told("request") == ["a.b", "c.d", "e.f"]


def test_a_signer_is_silent_or_closes(signer: Signer) -> None:
    signer.plays()
    with signer.connected() as ours:
        assert heard(ours) == b""
    signer.plays(words.hear())
    with signer.connected() as ours:
        ours.settimeout(0.1)
        ours.sendall(b"x\r\n")
        with pytest.raises(TimeoutError):
            ours.recv(1)
    assert signer.wait_for("request") == "x"


def test_a_signer_at_a_socket(signer: Signer, tmp_path: Path) -> None:
    signer.listens(tmp_path / "S")
    peers = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for peer in peers:
        peer.connect(f"{tmp_path}/S")
    for peer in reversed(peers):   # each has one of its own
        with peer, peer.makefile("rb") as lines:
            peer.sendall(b"a.b\r\n")
            assert [len(lines.readline()) > 2 for _ in range(3)] == [True] * 3
    assert signer.told("connected") == [0, 1]
    signer.stops_listening()
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(f"{tmp_path}/S")


def test_a_signer_as_a_process(signer: Signer) -> None:
    signer.plays(words.greet(words.KEYLESS), words.sign())
    done = subprocess.run([signer.command, "--stdio"], input=b"a.b\r\n", stdout=subprocess.PIPE,
                          check=True)
    assert done.stdout.startswith(wire.format_greeting(words.KEYLESS))
    assert signer.told("request") == ["a.b"] and signer.told("started")[0]["argv"] == ["--stdio"]


# --- client ---

ORDER = Order("a \"quoted\"", (("dns", "a.example"),), b"csr")


def client_says(client: Client, *requests: Order) -> list[order.Answer]:
    """Run a client as the master does, a signer at hand; return what it answers."""
    signer = Signer(client.command.parent)
    config = os.memfd_create("config")
    os.write(config, order.format_config(order.ClientConfig(order.Access(SERVER))))
    os.lseek(config, 0, os.SEEK_SET)
    with signer.connected() as sock:
        done = subprocess.run(
            [client.command, str(config), str(sock.fileno())], stdout=subprocess.PIPE,
            input=b"".join(map(order.format_request, requests)), check=False, timeout=20,
            pass_fds=(config, sock.fileno()))
    os.close(config)
    signer.end()
    return [order.parse_answer(line) for line in done.stdout.splitlines()]


def test_a_client_answers_what_it_was_told(tmp_path: Path) -> None:
    client = Client(tmp_path)
    failed = Failed("", "later", "busy", retry_after=60)
    client.plays(words.receive(), Progress("x", "new", wait=3), words.times(2, Log("info", "hi")),
                 words.request("a.b"), words.each(failed))
    assert client_says(client, ORDER, ORDER._replace(section="b")) == [
        Progress("x", "new", wait=3), Log("info", "hi"), Log("info", "hi"),
        failed._replace(section=ORDER.section), failed._replace(section="b")]
    assert [request["section"] for request in client.told("requests")[0]] == [ORDER.section, "b"]
    assert client.told("config")[0]["access"]["server"] == SERVER
    greeting, key = (line.encode().rstrip() for line in client.told("greeting")[0])
    assert wire.parse_greeting(greeting, key) == words.GREETING
    assert len(wire.parse_signature(client.told("answer")[0].encode().rstrip())) == 64


def test_a_client_for_each_ca(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.plays(words.receive(), words.choose({SERVER: [Log("info", "this")],
                                                "https://other.example/": [Log("info", "that")]}))
    assert client_says(client) == [Log("info", "this")]


def test_a_client_issues(tmp_path: Path) -> None:
    client, authority = Client(tmp_path), ca.CA(tmp_path)
    csr = ca.openssl("req", "-outform", "DER", stdin=ca.request(["a.example"],
                                                                ca.genkey()).encode())
    client.plays(words.receive(), words.issue(tmp_path))
    answer, = client_says(client, ORDER._replace(csr=csr))
    assert isinstance(answer, Issued)
    from letsencrypt_tiny.common.x509.csr import parse_csr
    found = parse_csr(csr)
    chain, = verification.verify("/usr/bin/openssl", [verification.Arrived(
        answer.chain, found.spki, ORDER.identifiers, str(authority.root))])
    assert not isinstance(chain, Exception)


ENDS = {"fails": 3, "is killed": -9, "dumps core": -11, "junk": 0, "ends in the middle": 0}


@pytest.mark.parametrize("how", ENDS)
def test_how_a_client_ends(how: str, tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.misbehaves(how, words.message("about to"))
    done = subprocess.run([client.command, "3", "4"], stdin=subprocess.DEVNULL,
                          capture_output=True, check=False)
    assert done.returncode == ENDS[how] and done.stderr == b"about to"


def test_every_misbehaviour_can_be_played(tmp_path: Path) -> None:
    """It does something, and none ends by a mistake of the stand-in's."""
    client = Client(tmp_path)
    running = []
    for how in words.MISBEHAVIOUR:
        client.misbehaves(how)
        running.append((how, subprocess.Popen([client.command, "3", "4"], stdout=subprocess.PIPE,
                                              stderr=subprocess.PIPE)))
        client.wait_for("started", len(running))
    for how, process in running:
        with process:
            if how in ENDS:
                process.wait(20)
            process.kill()
            _, text = process.communicate()
            assert b"Traceback" not in text, how


# --- web server ---

def test_a_web_server(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token.key")
    port = free_port()
    with WebServer.at(tmp_path, port) as asked:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x/token") as response:
            assert response.read() == b"token.key"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/x/other")
    assert asked == ["/x/token", "/x/other"]


# --- machine ---

def test_a_certificate_on_a_machine(machine: Machine) -> None:
    authority = ca.CA(machine.path)
    signer = machine.spawns_signer("letsencrypt-tiny-accountd")
    for section in "a", "b":
        machine.section(section, CAfile=str(authority.root))
    machine.client.plays(words.receive(), words.each(Progress("", "pending")),
                         words.issue(machine.path))
    done = machine.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert machine.file("a").read_text().count("BEGIN") == 2 and machine.file("b").exists()
    given = signer.told("started")[0]
    assert sorted(given["policy"]["identifiers"]) == ["a.example", "b.example"]
    assert set(given["policy"]) == set(policy.Policy._fields)
    assert given["descriptors"] == [0, 1, 2, 3]
    assert machine.webserver.told("started")[0]["argv"][-1] == "3"
    machine.clean()


def test_signals_on_a_machine(machine: Machine) -> None:
    machine.section("a")
    machine.client.plays(words.on(signal.SIGINT, Progress("a", "valid"), words.leave(0)),
                         words.receive(), words.silence())
    with machine.popen("newOrder") as process:
        machine.client.wait_for("config")
        assert machine.challenges() and (machine.path / "www").exists()
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=20)
    assert process.returncode == 1 and "interrupted: finishing" in text
    assert machine.client.told("signal") == [signal.SIGINT]
    machine.clean()
    assert daemon.strays() == []


@pytest.mark.root
def test_a_machine_is_not_clean_by_itself() -> None:
    machine = Machine()
    try:
        (machine.rundir / "challenges-0").mkdir(parents=True)
        with pytest.raises(AssertionError):
            machine.clean()
    finally:
        machine.remove()
