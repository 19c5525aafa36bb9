"""Two CAs for ``years``: a model of the client, the signer and the CA of each, and the way of real
clients to Pebble (``redated``).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from letsencrypt_tiny.common.wire import order as wire
from letsencrypt_tiny.common.wire.renewal import RenewalQuery
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.master.peers.conversation import Answered, Ended
from letsencrypt_tiny.master.store.outages import Outage

from . import ca, daemon
from .net import free_port
from .redated import Dater
from .run import ROOT

if TYPE_CHECKING:
    from .years import World


class Authority:
    """What a CA's client would say, and the CA behind it."""

    def __init__(self, world: "World", name: str, room: Path, upstream: str) -> None:
        room.mkdir()
        room.chmod(0o755)
        self.name, self.room, self._world = name, room, world
        self.ca = ca.CA(room, f"CA {name}")
        chain, key = self.ca.server()
        (room / "server.pem").write_bytes(chain.read_bytes())
        (room / "server.key").write_bytes(key.read_bytes())
        self.dater = Dater(self.ca)
        self.port = free_port()
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        self.tell("ok", 0)
        (room / "requests").touch()
        self._daemon = daemon.Daemon(
            ["/usr/bin/python3", "-B", "-m", "harness.redated", str(self.port), upstream,
             str(room)], room / f"redated-{name}.log", [self.port],
            {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"})

    def stop(self) -> None:
        self._daemon.stop()

    def tell(self, mode: str, offset: int) -> None:
        """Let real clients find the CA so."""
        (self.room / "mode").write_text(f"{mode} {offset}")

    def heard(self) -> int:
        """Return how many requests real clients have made since, but questions about renewals."""
        lines = (self.room / "requests").read_text().splitlines()
        (self.room / "requests").write_text("")
        return sum("renewal" not in line for line in lines)

    # --- in the place of a client ---

    def answers(self, requests: Sequence[Any], doubted: bool, written: "dict[str, bool]"
                ) -> Iterator[Any]:
        """What its client would say; requests are counted as the real one makes them
        (integration/test_outage.py)."""
        fault = self._world.outage(self.name)
        about = all(isinstance(request, RenewalQuery) for request in requests)
        if fault == "down":
            self._count(1 if doubted or about else 3)
            for request in requests:
                yield wire.Failed(request.section, "127.0.0.1: connection refused", "lost",
                                  elsewhere="down")
            return
        if fault and not about:
            self._count({"closed": (12, 1), "nonces": (12, 2)}[fault][doubted])
        else:
            self._count(1 if about else 2)
        yield wire.Directory((), self.name == "a")
        if about:    # one for each; they are no part of what an outage costs
            for request in requests:
                yield self._world.window(request)
            return
        if fault:
            for request in requests:
                yield wire.Failed(request.section, "127.0.0.1: closed",
                                  "busy" if fault == "closed" else "unfinished",
                                  None if fault == "closed" else "badNonce", elsewhere="down")
            return
        for request in requests:
            yield from self._order(request, written)

    def _order(self, request: wire.Order, written: "dict[str, bool]") -> Iterator[Any]:
        world, section = self._world, request.section
        url = request.url if request.url in world.orders else None
        if request.url is not None or request.asked:
            self._count(1)
        if url is None and request.asked and self.name == "a":   # the other has no list
            url = next((found for found, (names, _) in world.orders.items()
                        if names == section and found.startswith(self.directory)), None)
        if url is None:
            self._count(1)
            if world.about("limited", section):
                yield wire.Failed(section, "too many", "busy", "rateLimited",
                                  world.dice.choice((None, 60, 7200, 40000)), "limited")
                return
            url = f"{self.directory}/order/{os.urandom(8).hex()}"
            world.tell(order=url, section=section)
        yield wire.Progress(section, "pending", url, 0, f"{url}/finalize")
        if not written.get(url):
            yield wire.Failed(section, "not written down", "unfinished")
            return
        self._count(5)
        if world.about("refused", section):
            world.tell(gone=url)
            yield wire.Failed(section, "no", "refused", "unauthorized")
            return
        if world.dice.random() < 0.02:
            yield wire.Failed(section, "the order is still processing", "unfinished",
                              retry_after=world.dice.choice((None, 600, 30000)))
            return
        self._count(2)
        csr = parse_csr(request.csr)
        before = world.orders.get(url, ("", ""))[1]
        chain = before or self.dater.issue(csr.spki, [name for _, name in csr.names],
                                           world.truth())
        world.tell(issued=url, section=section, chain=chain)
        yield wire.Progress(section, "valid", url, 0, f"{url}/finalize")
        yield wire.Issued(section, chain)

    def _count(self, number: int) -> None:
        self._world.tell(requests=number, whom=self.name)


class Model:
    """In the place of ``Conversation``: the client and the signer of one CA."""

    world: ClassVar["World"]

    def __init__(self, loop: Any, _messages: Any, _config: Any, issuer: Any) -> None:
        self.issuer, self._loop = issuer, loop
        self.error = None
        self.awaited = self.runs = False
        self.heard = self.greeting = self.world.greeting
        self._requests: list[Any] = []
        self._written: dict[str, bool] = {}
        self._descriptor = -1
        self._answers: Iterator[Any] = iter(())

    def start_signer(self, *_: Any) -> None:
        """It needs none."""

    def start_client(self, requests: Sequence[Any], *_: Any) -> None:
        self._requests = [wire.parse_request(wire.format_request(request)[:-1])
                          for request in requests]

    def begin(self, _account: str, _issuers: Sequence[str] = (), find_key: bool = False,
              outage: Outage | None = None) -> None:    # as the real one's
        authority = next(one for one in self.world.authorities.values()
                         if one.directory == self.issuer.directory)
        self._answers = authority.answers(self._requests, outage is not None, self._written)
        self._descriptor, writer = os.pipe()
        os.close(writer)     # there is always something to read
        self.runs = True
        self._loop.add(self)

    def acknowledge(self, _section: str, url: str, kept: bool) -> None:
        self._written[url] = kept

    def fileno(self) -> int:
        return self._descriptor

    def deadline(self) -> float:
        return float("inf")

    def expire(self) -> "tuple[()]":
        return ()

    def receive(self) -> Iterator[object]:
        answer = next(self._answers, None)
        if answer is None:
            self.runs = False
            self._loop.remove(self)
            yield Ended(self, None)    # type: ignore[arg-type]
        else:
            yield Answered(self, wire.parse_answer(wire.format_answer(answer)[:-1])
                           )    # type: ignore[arg-type]

    def tick(self) -> None:
        """What is told arrives."""

    def interrupt(self) -> None:
        """It is at its end soon."""

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove(self)
            os.close(self._descriptor)
            self._descriptor = -1


class Nobody:
    """In the place of ``Answering``: the model asks for no answer."""

    def __init__(self, *_: Any) -> None:
        pass

    def directories(self, clients: int) -> "list[str]":
        return ["/"] * clients

    def doors(self, *_: Any) -> "tuple[()]":
        return ()

    why = doors

    def nothing(self, *_: Any) -> None:
        pass

    open = serve = check = explain = close = nothing
