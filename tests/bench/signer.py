"""Signatures per second, beside openssl's and lacme-accountd's; what confinement costs."""

import contextlib
import json
import multiprocessing
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.run import ENVIRONMENT, SIGNER_USER, Prefix, Site, as_user
from harness.sid import say

from letsencrypt_tiny.common.wire import jose

from . import measure

ONE_CORE = ["/usr/bin/taskset", "--cpu-list", "0"]
KINDS = {"rsa:2048": "RSA-2048", "rsa:4096": "RSA-4096", "ec:P-256": "P-256"}
_ROUNDS = 10_000_000
_SPEED = {"rsa:2048": ("rsa2048", "F2"), "rsa:4096": ("rsa4096", "F2"),
          "ec:P-256": ("ecdsap256", "F4")}


class Rate(NamedTuple):
    """One line of the results."""

    program: str
    key: str
    connections: int   # 0: no connection at all
    rate: float        # signatures per second
    one_core: bool = False   # it had one processor only


def throughput(prefix: Prefix, seconds: float) -> list[dict[str, Any]]:
    """Let each sign for about ``seconds``."""
    rates: list[Rate] = []
    for kind, name in KINDS.items():
        rates.append(Rate("openssl speed", name, 0, _openssl(kind, seconds)))
        site = Site(prefix)
        try:
            site.genkey(kind)
            place = socket_directory(site)
            argv = site.signer(f"--socket={place}/S", "--quiet")
            rates += _serve("letsencrypt-tiny-accountd", argv, place / "S", name, seconds)
            argv = [*ONE_CORE, *site.signer(f"--socket={place}/O", "--quiet")]
            rates += _serve("letsencrypt-tiny-accountd", argv, place / "O", name, seconds, True)
            if kind.startswith("rsa") and Path("/usr/bin/lacme-accountd").exists():
                argv = as_user(SIGNER_USER, ["/usr/bin/lacme-accountd", "--quiet",
                                             f"--privkey=file:{site.account_key}",
                                             f"--socket={place}/L"])
                rates += _serve("lacme-accountd", argv, place / "L", name, seconds)
        finally:
            site.remove()
    for line in rates:
        say(f"{line.program}: {line.key}, {line.connections} connections"
            f"{', one processor' * line.one_core}: {line.rate:.0f} signatures/s")
    return [line._asdict() for line in rates]


def socket_directory(site: Site) -> Path:
    """Make a directory in which the signer's user can make a socket."""
    place = site.path / "signer"
    place.mkdir()
    shutil.chown(place, SIGNER_USER)
    return place


def _openssl(kind: str, seconds: float) -> float:
    algorithm, label = _SPEED[kind]
    done = subprocess.run(["openssl", "speed", "-mr", "-seconds", str(max(1, round(seconds))),
                           algorithm], capture_output=True, text=True, check=True)
    match = re.search(rf"^\+{label}:\d+:\d+:([0-9.]+):", done.stdout, re.M)
    if match is None:
        raise RuntimeError(f"openssl speed said something new: {done.stdout}")
    return float(match.group(1))


def yardstick() -> str:
    """Return what tells one machine's seconds from another's, whoever is measured there."""
    rate = _openssl("rsa:2048", 1.0)
    begin = time.process_time()
    for _ in range(_ROUNDS):
        pass
    return (f"{rate:.0f} RSA-2048 signatures a second by openssl on one processor, "
            f"{1e9 * (time.process_time() - begin) / _ROUNDS:.0f} ns for a round of Python's empty "
            "loop")


@contextlib.contextmanager
def serving(argv: list[str], path: Path) -> Iterator[int]:
    """A signer that listens at ``path``; gives its process id.

    Raises RuntimeError with its messages if it doesn't.
    """
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 10
        while not _answers(path):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{argv} does not serve: {process.communicate()[1]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.communicate()


def amount(path: Path, seconds: float) -> int:
    """Return how many signatures take the signer at ``path`` about so long."""
    start, tried = time.monotonic(), 20
    _sign(path, tried)
    return max(tried, int(seconds * tried / (time.monotonic() - start)))


def _serve(program: str, argv: list[str], path: Path, key: str, seconds: float,
           one_core: bool = False) -> list[Rate]:
    """Measure over one and four connections, in turn; the best of three each."""
    with serving(argv, path):
        total = amount(path, seconds)
        found: dict[int, list[float]] = {}
        for connections in (1, 4) * 3:
            found.setdefault(connections, []).append(
                rate(path, connections, total // connections))
        return [Rate(program, key, connections, max(rates), one_core)
                for connections, rates in found.items()]


def growth(prefix: Prefix, signatures: int) -> list[dict[str, Any]]:
    """Return the bytes that the signer grows by with each of so many signatures."""
    rows: list[dict[str, Any]] = []
    for kind, name in KINDS.items():
        if kind == "rsa:4096":   # as rsa:2048
            continue
        site = Site(prefix)
        try:
            site.genkey(kind)
            path = socket_directory(site) / "S"
            with serving(site.signer(f"--socket={path}", "--quiet"), path) as pid:
                _sign(path, signatures // 10)   # what is taken once
                before = measure.memory(pid)
                _sign(path, signatures)
                rows.append({"key": name, "signatures": signatures,
                             "bytes": (measure.memory(pid) - before) / signatures})
        finally:
            site.remove()
        say(f"{name}: {rows[-1]['bytes']:.0f} bytes with each of {signatures} signatures")
    return rows


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def rate(path: Path, connections: int, amount: int) -> float:
    """Signatures per second of ``amount`` on each connection, all at once, a process each.

    A server of one connection at a time makes the others wait: it has the same total to sign.
    """
    fork = multiprocessing.get_context("fork")
    clients = [fork.Process(target=_sign, args=(path, amount)) for _ in range(connections)]
    start = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    elapsed = time.monotonic() - start
    if any(client.exitcode != 0 for client in clients):
        raise RuntimeError("the signer refused")
    return connections * amount / elapsed


def _sign(path: Path, amount: int) -> None:
    """Ask for ``amount`` signatures of a request as in the middle of an order."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        with sock.makefile("rb") as answers:
            greeting = json.loads(answers.readline().split(b" ", 2)[2])
            answers.readline()
            header = {"alg": greeting["alg"], "kid": "https://ca.example/acct/1",
                      "nonce": "A" * 32, "url": "https://ca.example/order/1"}
            line = jose.encode(json.dumps(header).encode()) + b".\r\n"
            for _ in range(amount):
                sock.sendall(line)
                if len(answers.readline()) < 80:
                    raise SystemExit("not a signature")


_CONFINE = """
import ctypes, os, sys, time
from importlib import import_module
package, process, mode, uid = sys.argv[1:]
sys.path[:0] = [package]
sys.path.append("/usr/lib/python3/dist-packages")
main = import_module(f"letsencrypt_tiny.{process}.main")
from letsencrypt_tiny.common.sandbox import confine
libc = ctypes.CDLL(None)
start, cpu = time.perf_counter(), time.process_time()
if mode != "no" and process != "client":
    libc.unshare(0x40000000)   # what the master does for it
os.setgroups([])
os.setresuid(int(uid), int(uid), int(uid))
confine.warm_up()
more = {"client": ([443], 10), "webserver": (100,), "signer": ()}[process]
done = confine.enter(main.confinement(mode, *more))
print(time.perf_counter() - start, time.process_time() - cpu, ", ".join(done), sep=";")
"""


def confinement(prefix: Prefix, repeat: int) -> list[dict[str, Any]]:
    """What the drop of privileges and confinement take in each process, with all that they load."""
    rows: list[dict[str, Any]] = []
    for process in "client", "webserver", "signer":
        for mode in "no", "required":
            lines = []
            for _ in range(repeat):
                done = subprocess.run(
                    ["/usr/bin/python3", "-IS", "-c", _CONFINE, str(prefix.package.parent),
                     process, mode, "64077"],
                    capture_output=True, text=True, env=ENVIRONMENT, check=True)
                lines.append(done.stdout.strip().split(";"))
            rows.append({"process": process, "mode": mode, "enforced": lines[0][2],
                         "wall": statistics.median(float(line[0]) for line in lines),
                         "cpu": statistics.median(float(line[1]) for line in lines)})
            say(f"{process}, confine = {mode}: {1000 * rows[-1]['wall']:.1f} ms "
                f"({lines[0][2]})")
    return rows
