"""The ACME client: the network, and no private key.

Usage: client [--debug] CONFIG_FD [SIGNER_FD]

Descriptors:
  0          the master's requests, JSON lines, until end of file
  1          answers to the master, JSON lines; one final answer for each request
  2          a pipe to the master, for the unexpected
  CONFIG_FD  the configuration, one JSON object in a line; it comes once the signer has greeted,
             and before it nothing is read of SIGNER_FD.  Then lines that say which orders are
             written down (``common/wire/written.py``): no other one is finalized, unless the
             descriptor is at its end
  SIGNER_FD  a UNIX stream socket connected to the signer; without it nothing can be signed

The messages are those of ``common/wire/order.py`` and ``common/wire/signer.py``.

Working directory: the challenge directory, where it makes and removes files named like tokens
(http-01; what other challenge types need is said in ``challenges/``), or / where it makes none.
Intended user: _letsencrypt-client, which owns nothing else.

Exit status: 0 if every request has been dealt with, be it that it failed; 1 if nothing
could be done at all.
"""

import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..common import log
from ..common.errors import Error, ProtocolError, UsageError
from ..common.sandbox import confine
from ..common.wire import order as order_protocol
from ..common.wire.account import AccountUpdate
from ..common.wire.order import ClientConfig, Log, Order, Request
from ..common.wire.probe import Probe
from . import distance, outcome, transport
from .challenges import table
from .replies import Replies
from .requests import whole_run
from .scheduler import Scheduler
from .session import Session
from .signer import Signer
from .written import Written

if TYPE_CHECKING:
    from .online.prober import Prober

MAX_REQUESTS = 20000
MAX_INPUT = 256 << 20    # bytes of all requests
MAX_FILE = 4096          # bytes of a challenge file; it may lie in memory (/run)
MEMORY = 1 << 30         # bytes; some 30 kB for each order
STACK = 16 << 20         # bytes for each thread
MAX_PROCESSES = 256      # and threads, of this user's: there may be others if he isn't ours alone

# What encodes or decodes text is imported on first use: too late once confined.
CODECS = ("ascii", "latin-1", "utf-8", "idna")


class Arguments(NamedTuple):
    """The command line."""

    debug: bool
    config_fd: int
    signer_fd: int | None


def main() -> int:
    """The program; returns its exit status."""
    os.umask(0o022)
    replies = Replies(1)
    try:
        confine.die_with_parent(os.getppid())
        arguments = parse_arguments(sys.argv[1:])
        log.level = log.DEBUG if arguments.debug else log.NORMAL
        config, written = read_config(arguments.config_fd)
        requests = read_requests(0)
    except Error as exc:
        log.error(exc)
        return exc.exit_status
    try:
        # Open what is needed: the signer, the trusted CAs, the server's addresses …
        signer = (None if arguments.signer_fd is None
                  else Signer(socket.socket(fileno=arguments.signer_fd)))
        if signer is not None and config.by_next:
            signer.follow(True)
        prober = open_prober(config, requests)
        session = open_session(config, signer, prober is not None)
        # … lose everything else …
        # … what can't be imported any more later …
        if config.doors:
            __import__("letsencrypt_tiny.client.challenges.responders")
            __import__("ipaddress")   # for what a responder's answer says it is about
        if any(isinstance(request, AccountUpdate) for request in requests):
            __import__("letsencrypt_tiny.client.update")
        warm_up()
        ports = {*session.connections.ports, *(prober.ports if prober is not None else ())}
        plan = confinement(config.confine, tuple(ports), config.access.jobs or distance.MANY,
                           len(session.connections), len(config.doors))
        log.debug("confined: " + ", ".join(confine.enter(plan)))
        # … and only now listen to what the server says.
        run(config, session, requests, replies, prober, written)
    except Exception as exc:    # the master must hear of it, even of a mistake of ours
        for request in requests:
            replies.failed(request, exc, outcome.RUN)
        return 1
    return 0


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line; raises UsageError."""
    debug = "--debug" in argv[:1]
    numbers = argv[1:] if debug else argv
    if len(numbers) not in (1, 2) or not all(
            word.isascii() and word.isdigit() and len(word) < 10 for word in numbers):
        raise UsageError("usage: client [--debug] CONFIG_FD [SIGNER_FD]")
    return Arguments(debug, int(numbers[0]), int(numbers[1]) if numbers[1:] else None)


def read_all(fd: int, limit: int) -> bytes:
    """Read a descriptor to its end and close it; raises ProtocolError beyond ``limit`` bytes."""
    data = bytearray()
    try:
        with open(fd, "rb", buffering=0) as stream:
            while len(data) <= limit:
                part = stream.read(65536)
                if not part:
                    return bytes(data)
                data += part
    except OSError as exc:
        raise ProtocolError(f"descriptor {fd}: {exc.strerror}") from exc
    raise ProtocolError(f"more than {limit} bytes from descriptor {fd}")


def read_config(fd: int) -> tuple[ClientConfig, Written]:
    """Read the configuration, and no further than that; raises ProtocolError.

    What comes after it is what is written down.
    """
    text = b""
    try:
        while b"\n" not in text and (part := os.read(fd, 65536)):
            text += part
            if len(text) > order_protocol.MAX_REQUEST:
                raise ProtocolError(f"more than {order_protocol.MAX_REQUEST} bytes from "
                                    f"descriptor {fd}")
        os.set_blocking(fd, False)
    except OSError as exc:
        raise ProtocolError(f"descriptor {fd}: {exc.strerror}") from exc
    line, _, begun = text.partition(b"\n")
    return order_protocol.parse_config(line), Written(fd, begun)


def read_requests(fd: int) -> list[Request]:
    """Read the master's requests; raises ProtocolError."""
    lines = read_all(fd, MAX_INPUT).splitlines()
    if len(lines) > MAX_REQUESTS:
        raise ProtocolError(f"more than {MAX_REQUESTS} requests")
    return [order_protocol.parse_request(line) for line in lines]


def open_prober(config: ClientConfig, requests: Sequence[Request]) -> "Prober | None":
    """Prepare to look at names, if that is what is asked: no other run loads it."""
    probes = [request for request in requests if isinstance(request, Probe)]
    if not probes:
        return None
    from .online.prober import Prober
    return Prober(config, probes)


def open_session(config: ClientConfig, signer: Signer | None, probes: bool = False) -> Session:
    """Prepare all that a connection to the server needs, without making one; raises Error.

    For ``probes`` a server that has no address is one thing more to be told of.
    """
    server = config.access.server
    url = transport.parse_url(server, "the setting “server”")
    proxy = transport.find_proxy(config.access.proxy, url, os.environ)
    return Session(server, _other_route(config, server, "server") if probes
                   else transport.find_route(url, proxy),
                   transport.tls_context(config.access), signer, time.time,
                   config.access.answer_timeout,
                   [_other_route(config, origin) for origin in config.access.origins])


def _other_route(config: ClientConfig, origin: str, setting: str = "origins") -> transport.Route:
    """How to reach one of the setting “origins”; that it has no address matters once it is used.
    """
    url = transport.parse_url(origin, f"the setting “{setting}”")
    proxy = transport.find_proxy(config.access.proxy, url, os.environ)
    try:
        return transport.find_route(url, proxy)
    except transport.TransportError as exc:
        log.warning(f"{exc} (setting “{setting}”)")
        return transport.Route(url, proxy, ())


def confinement(mode: str, ports: Sequence[int], jobs: int, origins: int = 1,
                doors: int = 0) -> confine.Plan:
    """What is left to the client: its challenge files, and connections to a port or a few.

    Where no challenge is a file its directory is /, in which it is to make none.
    """
    return confine.Plan(name="client", mode=mode, connect=tuple(ports),
                        create=() if os.getcwd() == "/" else (".",),
                        files=64 + jobs * origins + doors, file_size=MAX_FILE,
                        processes=MAX_PROCESSES + jobs, memory=MEMORY + jobs * STACK)


def warm_up() -> None:
    """Load what would otherwise be loaded later, when no file can be read any more."""
    hashlib.sha256()
    for codec in CODECS:
        "a".encode(codec)
    log.prepare_trace()
    confine.warm_up()


def run(config: ClientConfig, session: Session, requests: Sequence[Request],
        replies: Replies, prober: "Prober | None" = None, written: Written = Written()) -> None:
    """Do what is asked for, with as many connections as the configuration allows, or are worth it.

    Raises Error if the server can't be worked with at all.
    """
    if not config.access.verify:
        replies(Log("warning", f"the certificate of {config.access.server} is not verified"))
    tasks = sum(len(request.identifiers) if isinstance(request, Order) else 1
                for request in requests)
    scheduler = Scheduler(distance.by_distance(config.access.jobs, session.connections.distance,
                                               tasks))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: scheduler.cancel())
    # A master that went away is noticed by die_with_parent, not by SIGPIPE.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    solvers = table.solvers(config)
    try:
        scheduler.run(whole_run(config, session, requests, replies, solvers, written)
                      if prober is None else prober.run(session, replies, solvers))
    finally:
        for solver in solvers.values():
            solver.close()
        session.close()
        log.debug(f"{session.requests} requests, {scheduler.workers} connections")
