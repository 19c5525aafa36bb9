"""Listening sockets: opened where they were asked for, and gone afterwards."""

import errno
import os
import signal
import socket
import stat
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness.responder import NOBODY, Host
from letsencrypt_tiny.master.responders import listening, neighbours
from letsencrypt_tiny.master.responders.listening import InUseError
from letsencrypt_tiny.master.settings import main as config

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without configuration."""
    with Host() as made:
        yield made


def test_unix_socket(host: Host) -> None:
    saved = os.umask(0o077)
    try:
        responder = host.serving(f"listen = {host.path}/www")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(saved)
    assert stat.S_IMODE((host.path / "www").stat().st_mode) == 0o666
    # what isn't ours any more stays
    (host.path / "www").unlink()
    (host.path / "www").write_text("somebody else's")
    responder.close()
    assert (host.path / "www").read_text() == "somebody else's"


def test_path_of_a_unix_socket_is_taken(host: Host) -> None:
    path = host.path / "www"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    host.fails(f"listen = {path}", "another process listens on it", InUseError)
    dead.close()
    host.serving(f"listen = {path}").close()   # nobody listens: replaced
    assert not path.exists()
    for make in (Path.touch, Path.mkdir, lambda p: p.symlink_to("/etc/passwd"),
                 lambda p: p.symlink_to("nothing")):
        make(path)
        host.fails(f"listen = {path}", "exists and is no socket")
        path.rmdir() if path.is_dir() else path.unlink()


def test_unix_socket_in_a_directory_of_others(host: Host) -> None:
    (host.path / "d").mkdir()
    for mode, uid in ((0o777, 0), (0o1777, 0), (0o755, NOBODY.pw_uid)):
        (host.path / "d").chmod(mode)
        os.chown(host.path / "d", uid, 0)
        host.fails(f"listen = {host.path}/d/www", f"{host.path}/d: ")
        assert os.listdir(host.path / "d") == []


def test_port_in_use(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 8002))
        other.listen()
        host.fails("listen = 127.0.0.1:8003 127.0.0.1:8002", r"\[webserver\]: cannot listen on "
                   r"127.0.0.1:8002: Address already in use \(set listen or challenge-dir")
        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(("127.0.0.1", 8003))
    host.fails("listen = 192.0.2.77", "cannot listen on 192.0.2.77:80: Cannot assign")


def test_auto(host: Host) -> None:
    responder = host.serving("listen = auto")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.connect((address, 80))
    responder.close()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"),
                            (socket.AF_INET, "0.0.0.0")):
        with socket.socket(family) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((address, 80))
            other.listen()
            responder = host.serving("")
            assert stat.S_ISSOCK(os.stat(host.run / "www.socket").st_mode)
            with socket.socket(socket.AF_INET6) as sock:   # what was free is given back
                if family == socket.AF_INET:
                    pytest.raises(ConnectionRefusedError, sock.connect, ("::1", 80))
            responder.close()
            assert os.listdir(host.run) == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_no_socket_just_now(number: int, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no lack of IPv6: an address that could be listened on isn't left out."""
    really = socket.socket

    def fails(family: int = -1, *args: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return really(family, *args)
    monkeypatch.setattr(listening.socket, "socket", fails)
    for listen in "listen = 127.0.0.1:8006 [::1]:8006", "listen = auto":
        host.fails(listen, os.strerror(number))


def test_both_wildcards(host: Host) -> None:
    for settings in ("0.0.0.0:8004 [::]:8004", "[::]:8004, 0.0.0.0:8004"):
        host.serving(f"listen = {settings}").close()
    responder = host.serving("listen = [::]:8004")
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", 8004))   # as in lacme: [::] alone serves IPv4 too
    responder.close()


def test_messages_of_addresses() -> None:
    openings = listening.openings
    address = config.Address
    assert openings(address(socket.AF_UNIX, "/x")) == []
    assert openings(address(socket.AF_INET, "127.0.0.5", 80)) == []
    assert openings(address(socket.AF_INET6, "::1", 80)) == []
    assert openings(address(socket.AF_INET, "192.0.2.1", 81)) == \
        [(socket.AF_INET, "192.0.2.1", 81)]
    assert {item[0] for item in openings(address(socket.AF_INET6, "::", 80))} == \
        {socket.AF_INET, socket.AF_INET6}


def test_faults(host: Host) -> None:
    """Each is told, those behind the first too; what is in order is none."""
    (host.path / "d").mkdir()
    (host.path / "d").chmod(0o777)
    where = f"{host.path}/main.conf, [webserver]: cannot listen on"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 8002))
        other.listen()
        responder = host.responder(
            f"listen = 127.0.0.1:8002 127.0.0.1:8003 192.0.2.77 {host.path}/d/www {host.path}/www "
            f"{host.path}/no/www [::1]:8003")
        found = [str(fault) for fault in responder.faults()]
    assert found[:2] == [f"{where} 127.0.0.1:8002: Address already in use "
                         "(set listen or challenge-directory)",
                         f"{where} 192.0.2.77:80: Cannot assign requested address"]
    assert found[2].startswith(f"{host.path}/d: writable by everybody")
    assert found[3:] == [f"{where} {host.path}/no/www: No such file or directory"]
    assert list(host.responder("listen = auto").faults()) == []
    both = host.responder("listen = 0.0.0.0:8004 [::]:8004")
    assert list(both.faults()) == []
    with socket.socket() as other:
        other.bind(("0.0.0.0", 8004))
        other.listen()
        fault, = both.faults()   # that of IPv6 would not mind
        assert "cannot listen on 0.0.0.0:8004: " in str(fault)


def test_faults_leave_nothing(host: Host) -> None:
    """Not even a socket of nobody's is removed, and somebody else's is not spoken to."""
    path = host.path / "www"
    for listens in (False, True):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            if listens:
                other.listen()
                other.setblocking(False)
            inode = path.stat().st_ino
            responder = host.responder(f"listen = 127.0.0.1:8005 [::1]:8005 {path}")
            assert list(responder.faults()) == [] and path.stat().st_ino == inode
            if listens:
                with pytest.raises(BlockingIOError):
                    other.accept()
        assert path.exists() and host.left() == []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as sock, pytest.raises(ConnectionRefusedError):
                sock.connect((address, 8005))
        path.unlink()


def test_who_listens() -> None:
    """The process that the others were started by, whatever their numbers; or nobody."""
    assert neighbours.holder(8006) == ("", 0)
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((address, 8006), family=family):
            children = []
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                    os._exit(0)
                children.append(pid)
            try:
                name, pid = neighbours.holder(8006)
            finally:
                for child in children:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
        assert pid == os.getpid() and name
    assert neighbours.holder(8006) == ("", 0)
    told = neighbours.advice(8006, "/run/x")
    assert told.startswith("another program listens on port 8006: ") and "haproxy.cfg" in told


@pytest.mark.parametrize("name, expected", [
    ("nginx", "on the connections that ask for “acme-tls/1”, as they are (include "
              "/etc/letsencrypt-tiny/nginx-stream.conf)"),
    ("haproxy", "(include /etc/letsencrypt-tiny/haproxy-tls.cfg)"),
    ("apache2", "(if it can't, let nginx or haproxy have the port: "
                "/etc/letsencrypt-tiny/nginx-stream.conf, haproxy-tls.cfg)"),
    ("", "(include /etc/letsencrypt-tiny/nginx-stream.conf, haproxy-tls.cfg)")])
def test_what_is_to_be_told_to_who_has_the_port_of_https(
        name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "holder", lambda port: (name, 17 if name else 0))
    told = neighbours.advice(443, "/run/letsencrypt-tiny/tls.socket")
    assert told.endswith(expected) and " on /run/letsencrypt-tiny/tls.socket, " in told
    assert told.startswith(f"{name} (process 17) listens" if name else "another program listens")
