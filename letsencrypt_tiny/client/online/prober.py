"""All the probes of a conversation: nothing is ordered, signed or asked of the account.

Of the CA only the directory is fetched (RFC 8555 §7.1.1), with its Date.
"""

import ipaddress
import time
from collections.abc import Iterable, Iterator, Sequence

from ...common import clock, paths
from ...common.errors import Error
from ...common.log import printable
from ...common.wire.order import ClientConfig, Log
from ...common.wire.probe import MAX_SUBJECT, MAX_TEXT, Finding, Probe, Probed
from .. import directory, outcome
from ..challenges.table import Solvers
from ..replies import Replies
from ..scheduler import Steps, Task
from ..session import Session
from . import asking, authority, caa, reach, surroundings

NOTICED, SERIOUS = 30, 600    # seconds by which the clocks differ
MAX_ADDRESSES = 20            # of a name that are asked
_BY_NAME = ("dns-01", "dns-persist-01")    # challenges that the name's addresses don't matter for


class Prober:
    """Opens what is needed before the process confines itself; then ``run``."""

    def __init__(self, config: ClientConfig, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self._account = config.account_url
        self._identities = config.issuers
        self._ours = surroundings.addresses(surroundings.read(surroundings.FIB_TRIE),
                                            surroundings.read(surroundings.IF_INET6))
        self._resolver: asking.Resolver | None = None
        try:
            asking.load()
            self._resolver = asking.Resolver(
                surroundings.resolvers(surroundings.read(surroundings.RESOLV_CONF)))
        except ImportError:
            pass
        self._tls, self._acme_tls = reach.context(), reach.acme_tls_context()

    @property
    def ports(self) -> set[int]:
        """The TCP ports that are connected to, besides the CA's."""
        return {asking.PORT, reach.HTTP, reach.HTTPS, *(
            surroundings.server(text)[1] for probe in self._probes for text in probe.nameservers)}

    def run(self, session: Session, replies: Replies, solvers: Solvers) -> Steps[None]:
        """Do all probes; what one of them meets is no other's business."""
        for probe in self._probes:
            if probe.identifier is None:
                self._tell(replies, probe, self._ca(session))
                replies.final(probe, Probed(probe.section))
        tasks: list[Task] = [self._probe(probe, replies, solvers) for probe in self._probes
                             if probe.identifier is not None]
        for ended in (yield tasks):
            if ended.error is not None:
                raise ended.error

    def _probe(self, probe: Probe, replies: Replies, solvers: Solvers) -> Steps[None]:
        try:
            if not probe.address:
                self._tell(replies, probe, self._authorization(probe))
            if probe.type in _BY_NAME:
                self._tell(replies, probe, self._records(probe))
            else:
                yield from self._addresses(probe, replies, solvers)
            replies.final(probe, Probed(probe.section))
        except Exception as exc:    # even our own mistake must not cost others their answers
            replies.failed(probe, exc, outcome.REQUEST)

    @staticmethod
    def _tell(replies: Replies, probe: Probe, findings: Iterable[Finding]) -> None:
        for found in findings:
            replies(found._replace(
                section=probe.section, text=printable(found.text, MAX_TEXT - 1),
                remedy=printable(found.remedy, MAX_TEXT - 1),
                subject=printable(found.subject, MAX_SUBJECT - 1)))

    # --- the CA -----------------------------------------------------------------------------

    def _ca(self, session: Session) -> Iterator[Finding]:
        what = f"the directory {session.directory_url}"
        began = time.time()
        try:
            response = session.get(session.directory_url, what)
            found = directory.parse(session.json(response, what), session.url, what)
        except Error as exc:
            yield Finding("", "ca", "error", str(exc), "see the settings of [client]")
        else:
            self._identities = found.issuers or self._identities
            yield Finding("", "ca", "ok", f"{what} is there" + (
                f", and CAA records call the CA {', '.join(self._identities)}"
                if self._identities else ""))
            yield from _clock(response.get("date"), began, time.time())
        if self._resolver is None:
            yield Finding("", "resolver", "error", "python3-dnspython is not installed: names are "
                          "not looked up", "apt install python3-dnspython")

    # --- DNS --------------------------------------------------------------------------------

    def _authorization(self, probe: Probe) -> Iterator[Finding]:
        """CAA; of addresses no record speaks."""
        resolver = self._resolver
        if resolver is None or probe.identifier is None or probe.identifier[0] != "dns":
            return
        name = probe.identifier[1]
        look_up = resolver.look_up
        try:
            owner, records = caa.climb(name, lambda here: look_up(here, "CAA").records)
        except asking.Unanswered as exc:
            yield Finding("", "caa", "error", f"its CAA records can't be looked up: {exc}",
                          "mend the name servers or DNSSEC: without an answer a CA must not issue "
                          "(RFC 8659 §3)")
            return
        said = caa.judge(self._wanted(probe, name), owner, records)
        yield Finding("", "caa", said.verdict, said.text, said.remedy, owner)

    def _wanted(self, probe: Probe, name: str) -> caa.Wanted:
        return caa.Wanted(self._identities, name.startswith("*."),
                          "http-01" if probe.type == "stateless" else probe.type, self._account)

    def _records(self, probe: Probe) -> Iterator[Finding]:
        """Where the TXT record is, or will be."""
        if self._resolver is None or probe.identifier is None:
            return
        name = probe.identifier[1]
        bare = name.removeprefix("*.")
        try:
            if probe.type == "dns-persist-01":
                said = caa.persists(self._wanted(probe, name), f"_validation-persist.{bare}",
                                    self._resolver.look_up(f"_validation-persist.{bare}",
                                                           "TXT").records, int(time.time()))
                yield Finding("", "persist", said.verdict, said.text, said.remedy)
                return
            servers = [surroundings.server(text) for text in probe.nameservers]
            for remark in authority.examine(self._resolver, bare, servers):
                yield Finding("", *remark)
        except asking.Unanswered as exc:
            yield Finding("", "servers", "error", f"the records of {bare} can't be looked up: "
                          f"{exc}", "mend the name servers, or DNSSEC")

    # --- addresses --------------------------------------------------------------------------

    def _addresses(self, probe: Probe, replies: Replies, solvers: Solvers) -> Steps[None]:
        """Look up the addresses, present the token, ask each of them for it."""
        if probe.identifier is None:
            return
        kind, name = probe.identifier
        addresses = [probe.address or name]
        if kind == "dns" and not probe.address:
            if self._resolver is None:
                return
            try:
                addresses = self._resolver.addresses(name)
            except asking.Unanswered as exc:
                self._tell(replies, probe, [Finding(
                    "", "address", "error", f"it can't be looked up: {exc}",
                    "mend the name servers, or DNSSEC")])
                return
            if not addresses:
                self._tell(replies, probe, [Finding(
                    "", "address", "error", "it has no address",
                    "add an A or AAAA record, or prove it by dns-01 (“challenge”)")])
                return
        solver = solvers.get(probe.type) if probe.thumbprint else None
        if solver is not None:
            yield from solver.present(probe.identifier, probe.token, probe.thumbprint)
        try:
            asked = reach.Asked(probe.identifier, probe.token, probe.thumbprints)
            reached: list[Error | None] = []
            for address in addresses[:MAX_ADDRESSES]:
                reached.append(self._reached(probe.type, asked, address))
                replies(Log("debug", f"{name}: {address} was asked"))    # a sign of life
            self._tell(replies, probe, self._judge(probe, addresses, reached))
        finally:
            if solver is not None:
                yield from solver.clean(probe.identifier, probe.token)

    def _reached(self, kind: str, asked: reach.Asked, address: str) -> Error | None:
        """Return why our responder isn't reached at an address; None if it is."""
        def look_up(host: str) -> Sequence[str]:
            try:
                return [str(ipaddress.ip_address(host))]
            except ValueError:
                return self._resolver.addresses(host) if self._resolver is not None else ()
        try:
            if kind == "tls-alpn-01":
                reach.tls_alpn01(asked, address, self._acme_tls)
            else:
                reach.http01(asked, address, self._tls, look_up)
        except Error as exc:
            return exc
        return None

    def _judge(self, probe: Probe, addresses: Sequence[str], reached: Sequence[Error | None]
               ) -> Iterator[Finding]:
        ipv4_works = any(error is None for address, error in zip(addresses, reached)
                         if ":" not in address)
        port = reach.HTTPS if probe.type == "tls-alpn-01" else reach.HTTP
        for address, error in zip(addresses, reached):
            ours = surroundings.is_ours(address, self._ours)
            where = f"{address} ({'' if ours else 'not '}of this machine)"
            private = probe.public and not ipaddress.ip_address(address).is_global
            if private:
                yield Finding("", "address", "error", f"{where} is no address of the Internet: the "
                              "CA does not go there", "let the name have the public address",
                              address)
            elif error is None:
                yield Finding("", "address", "ok", f"{where}: port {port} reaches us",
                              subject=address)
            elif isinstance(error, reach.Unreached) and error.no_route:
                yield Finding("", "address", "warning", f"{where}: {error}: it can't be tried from "
                              "here", "try it from elsewhere", address)
            else:
                silent = isinstance(error, reach.Unreached)
                spared = silent and ":" in address and ipv4_works    # CAs then try IPv4
                remedy = _REMEDIES[silent, ours].format(port=port,
                                                        record="AAAA" if ":" in address else "A")
                yield Finding("", "address", "warning" if spared else "error",
                              f"{where}: {error}", remedy, address)


# nobody answers there, it is ours -> what to do
_REMEDIES = {
    (True, True): "let port {port} through the firewall, and whoever listens there answer",
    (True, False): "point the {record} record here, or let port {port} of that address lead here; "
                   "a router may not lead its own network back: then try it from elsewhere",
    (False, True): "let the web server there pass challenges on: see the snippets in "
                   f"{paths.CONFIG_DIR}",
    (False, False): "point the {record} record here, or let the server there pass challenges on"}


def _clock(date: str | None, began: float, ended: float) -> Iterator[Finding]:
    """Hold our clock against the CA's, which shows seconds (RFC 9110 §6.6.1)."""
    theirs = clock.parse_http_date(date or "")
    if theirs is None:
        return
    ahead = began - theirs - 1 if began > theirs + 1 else min(0.0, ended - theirs)
    if abs(ahead) < NOTICED:
        yield Finding("", "clock", "ok", "the clock is right, as the CA has it")
        return
    yield Finding("", "clock", "error" if abs(ahead) >= SERIOUS else "warning",
                  f"the clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that "
                  "of the CA", "set it, and keep it right (timedatectl set-ntp true)")
