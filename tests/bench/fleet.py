"""A standing signer for a fleet: so many hosts at once, each with several signatures, one after the
other; and what a connection costs that says nothing.

    cd tests && python3 -B -m bench.fleet [KIND …]      as root; KIND: rsa:2048, ec:P-256 …
"""

import heapq
import json
import multiprocessing
import os
import resource
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from harness.run import Prefix, Site, Users
from harness.sid import say

from letsencrypt_tiny.common.wire import jose

from .signer import serving, socket_directory

HOSTS, SIGNATURES, GAP = 1000, 8, 0.6   # seconds from an answer to the next request
KINDS = ("rsa:2048", "ec:P-256")
IDLE = 1000


class _Host:
    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.heard = b""
        self.asked = 0.0
        self.left = SIGNATURES


def measure(prefix: Prefix, hosts: int = HOSTS, kinds: tuple[str, ...] = KINDS
            ) -> list[dict[str, Any]]:
    """Let ``hosts`` come at once, for each kind of key; a row for each."""
    _raise_limit()
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        site = Site(prefix)
        try:
            site.genkey(kind)
            place = socket_directory(site)
            with serving(site.signer(f"--socket={place}/S", "--quiet"), place / "S") as pid:
                row = {"key": kind, "hosts": hosts, **_idle(pid, place / "S"),
                       **_fleet(pid, place / "S", hosts)}
        finally:
            site.remove()
        say(", ".join(f"{name} {value}" for name, value in row.items()))
        rows.append(row)
    return rows


def _idle(pid: int, path: Path) -> dict[str, Any]:
    time.sleep(0.5)
    before = memory(pid)[0]
    held = [_Host(str(path)) for _ in range(IDLE)]
    for host in held:
        host.sock.recv(4096)
    after = memory(pid)[0]
    for host in held:
        host.sock.close()
    time.sleep(0.5)
    return {"idle connection, bytes": round((after - before) / IDLE)}


def _fleet(pid: int, path: Path, hosts: int) -> dict[str, Any]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: theirs.send(_hosts(str(path), hosts)))
    start = time.monotonic()
    process.start()
    peak = [0, 0]
    while not ours.poll(0.3):
        if not process.is_alive() and not ours.poll(0):
            raise RuntimeError("the hosts have failed")
        peak = [max(pair) for pair in zip(peak, memory(pid))]
    times, refused = ours.recv()
    process.join()
    times.sort()
    return {"refused": refused, "signatures": len(times),
            "median, s": round(times[len(times) // 2], 3),
            "p99, s": round(times[len(times) * 99 // 100], 3), "longest, s": round(times[-1], 3),
            "PSS, MiB": round(peak[0] / (1 << 20), 1), "RSS, MiB": round(peak[1] / (1 << 20), 1),
            "all, s": round(time.monotonic() - start, 1)}


def _hosts(path: str, count: int) -> tuple[list[float], int]:
    """All hosts; how long each signature took them, and how many hosts did not get all."""
    epoll = select.epoll()
    hosts: dict[int, _Host] = {}
    line = b""
    for _ in range(count):
        host = _Host(path)
        hosts[host.sock.fileno()] = host
        epoll.register(host.sock, select.EPOLLIN)
    times: list[float] = []
    waiting: list[tuple[float, int]] = []
    refused = 0
    while hosts:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            host = hosts[heapq.heappop(waiting)[1]]
            host.asked = time.monotonic()
            host.sock.sendall(line)
        patience = max(0.0, waiting[0][0] - now) if waiting else 30
        for number, _ in epoll.poll(patience):
            host = hosts[number]
            data = host.sock.recv(8192)
            host.heard += data
            if not data or host.heard.startswith(b"NOSIGN"):
                refused += 1
                _end(epoll, hosts, number)
            elif not host.asked and host.heard.count(b"\r\n") == 2:
                line = line or _request(host.heard)
                host.heard, host.asked = b"", time.monotonic()
                host.sock.sendall(line)
            elif host.asked and host.heard.endswith(b"\r\n"):
                now = time.monotonic()
                times.append(now - host.asked)
                host.heard = b""
                host.left -= 1
                if host.left:
                    heapq.heappush(waiting, (now + GAP, number))
                else:
                    _end(epoll, hosts, number)
    return times, refused


def _end(epoll: select.epoll, hosts: dict[int, _Host], number: int) -> None:
    epoll.unregister(number)
    hosts.pop(number).sock.close()


def _request(greeting: bytes) -> bytes:
    """A request as in the middle of an order."""
    alg = json.loads(greeting.split(b"\r\n")[0].split(b" ", 2)[2])["alg"]
    header = {"alg": alg, "kid": "https://ca.example/acct/1", "nonce": "A" * 32,
              "url": "https://ca.example/order/1"}
    return jose.encode(json.dumps(header).encode()) + b".\r\n"


def memory(pid: int) -> tuple[int, int]:
    """Return the bytes of a process and its children: shared pages once; and each with all."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    totals = [0, 0]
    for process in (str(pid), *children):
        for row in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, rest = row.partition(":")
            if name in ("Pss", "Rss"):
                totals[name == "Rss"] += int(rest.split()[0]) << 10
    return totals[0], totals[1]


def _raise_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    os.umask(0o022)
    with Users():
        _prefix = Prefix()
        try:
            for _row in measure(_prefix, kinds=tuple(sys.argv[1:]) or KINDS):
                print(json.dumps(_row))
        finally:
            _prefix.remove()
