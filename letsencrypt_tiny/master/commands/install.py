"""What has arrived -> verified -> installed; then whoever uses the files is told.

A new key is installed with its certificate: both are written beside their places, then renamed,
the key first, by a process that does nothing else and that a kill of this one does not end.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...common import log
from ...common.errors import Error
from ...common.x509.certificate import Certificate
from ...common.x509.der import encode_pem
from ..peers.shell import run_shell
from ..pki import chains, verification
from ..pki.keys import OtherKey, check_unchanged
from ..pki.verification import Arrived, NotNow
from ..plan import lifecycle, renewal
from ..plan.lifecycle import Facts
from ..plan.orders import OrderPlan
from ..report.run import Report
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import files, keys
from ..store.journal import Journal
from . import wishes
from .life import Life

NOTIFY_SECONDS = 300


class Chain(NamedTuple):
    """A chain (PEM) that is here for a plan, with its alternates (as ``chains.pack``);
    ``kept``: an earlier run could not install it."""

    plan: OrderPlan
    life: Life
    pem: str
    kept: bool = False

    def arrived(self) -> Arrived:
        """What is to be verified."""
        section = self.plan.section
        default, alternates = chains.unpack(self.pem)
        return Arrived(default, self.plan.csr.spki, section.identifiers, section.ca_file,
                       alternates, section.preferred_chain)


# What becomes of chains
Install = Callable[[Config, Sequence[Chain], Report], None]


def install_arrived(config: Config, arrived: Sequence[Chain], report: Report) -> None:
    """Verify chains, together, and install those that are good.

    One that isn't is dropped if it is wrong for good; else the next run tries it again.
    """
    if not arrived:
        return
    verified = verification.verify(config.openssl, [one.arrived() for one in arrived])
    for one, chain in zip(arrived, verified):
        if not isinstance(chain, Error):
            _install(config, one, chain, report)
        elif isinstance(chain, NotNow) and _is_kept(one, chain.leaf, time.time()):
            report.failed(one.life.name, f"the server's certificate is not installed: {chain}; it "
                          "is kept, and tried again by the next run")
            one.life.happens(lifecycle.KEPT)
        elif one.kept:
            log.info(f"{one.life.name}: what was issued is of no use: {chain}")
            one.life.happens(lifecycle.REJECTED)
        else:
            report.failed(one.life.name, f"the server's certificate is not installed: {chain}")
            one.life.happens(lifecycle.REJECTED)


def _is_kept(one: Chain, leaf: Certificate, now: float) -> bool:
    """Say whether what can't be installed in this run is tried again by the next."""
    if one.kept:
        return not one.life.forced and renewal.worth_keeping(leaf, one.life.state.kept, now)
    # What was ordered just now has not expired: our clock is ahead.  What an earlier run had
    # ordered may be as old as it looks.
    return one.plan.resume is None or leaf.not_after > now


def _install(config: Config, one: Chain, chain: Sequence[Certificate], report: Report) -> None:
    life, new_key = one.life, one.plan.new_key
    try:
        if new_key is None:   # else they come together
            check_unchanged(config.openssl, life.section, one.plan.seen, one.plan.csr.spki)
    except OtherKey as exc:
        report.failed(life.name, f"the server's certificate is not installed: {exc}; the next run "
                      "orders for the key that is there then")
        life.happens(lifecycle.REJECTED)
        return
    except Error as exc:
        report.failed(life.name, f"the server's certificate is not installed: {exc}; it is kept, "
                      "and tried again by the next run")
        life.happens(lifecycle.KEPT)
        return
    _tell_of_another(one, chain)
    life.happens(lifecycle.VERIFIED, Facts(notify=bool(life.section.notify)))
    try:
        contents = _files(life.section, chain)
        if new_key is not None:
            contents.insert(0, keys.replacement(life.section.key, new_key, life.section.trusted))
        files.install(contents, together=new_key is not None, owner=life.section.trusted)
    except Error as exc:
        report.failed(life.name, str(exc))
        life.happens(lifecycle.NOT_WRITTEN)
        return
    life.happens(lifecycle.WRITTEN, wishes.facts(life.section)._replace(
        directory=one.plan.issuer.directory, installed=int(time.time())))
    if new_key is not None:
        files.remove(Journal(config.state_directory).pending_key(life.section.key))
    report.installed(life.name, chain[0])


def _tell_of_another(one: Chain, chain: Sequence[Certificate]) -> None:
    """Say so if a chain is not the one that is preferred, and which could be had."""
    wanted = one.plan.section.preferred_chain
    if not wanted or chains.names(chain, wanted):
        return
    arrived = one.arrived()
    found = verification.offered(arrived)
    log.warning(f"{one.life.name}: preferred-chain = {wanted}: " + (
        f"that chain does not end at a CA of CAfile = {arrived.ca_file}; another one is installed"
        if any(chains.names(other, wanted) for other in found) else
        f"the CA has no such chain, but those with {chains.offered(found)}; the default one is "
        "installed"))


def _files(section: Section, chain: Sequence[Certificate]) -> list[files.File]:
    pem = [encode_pem(item.der) for item in chain]
    contents = ((section.fullchain, b"".join(pem)), (section.certificate, pem[0]),
                (section.chain, b"".join(pem[1:])))
    return [files.File(path, data, section.owner, section.mode)
            for path, data in contents if path]


def notify(lives: Sequence[Life], report: Report) -> None:
    """Run each command once for all the sections that have it and are in the phase INSTALLED."""
    waiting: dict[str, list[Life]] = {}
    for life in lives:
        if life.phase == lifecycle.INSTALLED:
            waiting.setdefault(life.section.notify, []).append(life)
    for command, members in waiting.items():
        names = [life.name for life in members]
        status = 0
        if command:
            log.info(f"running “{command}” for {', '.join(names)}")
            status = run_shell(command, {"LETSENCRYPT_TINY_SECTIONS": " ".join(names)},
                               NOTIFY_SECONDS)
            if status != 0:
                report.notify_failed(command, status, names)
        for life in members:
            life.happens(lifecycle.NOTIFIED if status == 0 else lifecycle.NOT_NOTIFIED)
