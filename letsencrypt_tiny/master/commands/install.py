"""What has arrived -> verified -> installed; then whoever uses the files is told.

A new key is installed with its certificate: by one switch in the short form; else both are written
beside their places, then renamed, the key first (``store/placing.py``).
"""

import time
from collections.abc import Callable, Sequence

from ...common import log
from ...common.errors import Error, reason
from ...common.x509.certificate import Certificate
from ...common.x509.der import encode_pem
from ..peers.shell import run_shell
from ..pki import chains, csr, verification
from ..pki.keys import OtherKey, check_unchanged
from ..pki.verification import NotNow
from ..plan import lifecycle, renewal
from ..plan.lifecycle import Facts
from ..report.run import Report
from ..settings.keys import written
from ..settings.main import Config
from ..store import files, keys
from ..store.journal import Journal
from ..store.placing import Target
from . import twins, wishes
from .chain import Chain, Good
from .life import Life

NOTIFY_SECONDS = 300
MAX_NAMES = 100 << 10   # bytes


# What becomes of chains
Install = Callable[[Config, Sequence[Chain], Report], list[Chain]]


def install_arrived(config: Config, arrived: Sequence[Chain], report: Report) -> list[Chain]:
    """Verify chains, together, and install those that are good.

    One that isn't is dropped if it is wrong for good; else the next run tries it again.  Returns
    those that are good but have no twin to be installed with.
    """
    if not arrived:
        return []
    verified = verification.verify(config.openssl, [one.arrived() for one in arrived])
    good: list[Good] = []
    for one, chain in zip(arrived, verified):
        if not isinstance(chain, Error):
            good.append((one, chain))
        elif isinstance(chain, NotNow) and _is_kept(one, chain.leaf, time.time()):
            report.failed(one.life.name, f"the new certificate is not installed: {chain}; it "
                          "is kept, and tried again by the next run")
            one.life.happens(lifecycle.KEPT)
        elif one.kept:
            log.info(f"{one.life.name}: what was issued is of no use: {chain}")
            one.life.happens(lifecycle.REJECTED)
        else:
            report.failed(one.life.name, f"the new certificate is not installed: {chain}")
            one.life.fails(lifecycle.REJECTED, str(chain))
    alone: list[Chain] = []
    for group in twins.groups(good):
        try:
            alone += _install(config, group, report)
        except OSError as exc:   # no descriptor, no memory: nobody else's failure
            _not_installed(group, exc, report)
    return alone


def _not_installed(group: Sequence[Good], exc: OSError, report: Report) -> None:
    for one, _ in group:
        if one.life.phase == lifecycle.INSTALLED:
            log.debug(f"{one.life.name}: {reason(exc)}")
            continue
        report.failed(one.life.name, f"the new certificate is not installed: {reason(exc)}; "
                      "it is kept, and tried again by the next run")
        if one.life.phase == lifecycle.ISSUED:
            one.life.happens(lifecycle.KEPT)
        else:
            one.life.happens(lifecycle.NOT_WRITTEN)


def _is_kept(one: Chain, leaf: Certificate, now: float) -> bool:
    """Say whether what can't be installed in this run is tried again by the next."""
    if one.kept:
        return not one.life.forced and renewal.worth_keeping(leaf, one.life.state.kept, now)
    # What was ordered just now has not expired: our clock is ahead.  What an earlier run had
    # ordered may be as old as it looks.
    return one.plan.resume is None or leaf.not_after > now


def _install(config: Config, group: Sequence[Good], report: Report) -> list[Chain]:
    """Install what takes its place together, and return it unless that is done or has failed."""
    waiting = [one for one, _ in group if _has_its_key(config, one, report)]
    if len(waiting) < len(group) or len(group) < 2 and waiting[0].life.twin is not None:
        return waiting
    for one, chain in group:
        _tell_of_another(one, chain)
        one.life.happens(lifecycle.VERIFIED, Facts(notify=bool(one.life.section.notify),
                                                   hooks=bool(config.run_hooks)))
    try:
        contents = [file for one, chain in group for file in _files(one, chain)]
        section = group[0][0].life.section
        Target(config.state_directory, config.certs_directory).install(
            written(section), contents, section.trusted, section.keep_versions)
    except Error as exc:
        for one in waiting:
            report.failed(one.life.name, str(exc))
            one.life.happens(lifecycle.NOT_WRITTEN)
        return []
    for one, chain in group:
        section = one.life.section
        one.life.happens(lifecycle.WRITTEN, wishes.facts(section)._replace(
            directory=one.plan.issuer.directory, installed=int(time.time())))
        csr.keep(config, section, csr.Made(one.plan.csr, one.plan.new_key, one.plan.seen))
        if one.plan.new_key is not None:
            files.remove(Journal(config.state_directory).pending_key(section.key))
        report.installed(one.life.name, chain[0])
    return []


def _has_its_key(config: Config, one: Chain, report: Report) -> bool:
    """Say whether a certificate finds its key, or brings it along; what it does not is told."""
    life = one.life
    try:
        if one.plan.new_key is None:   # else they come together
            check_unchanged(config.openssl, life.section, one.plan.seen, one.plan.csr.spki)
        return True
    except OtherKey as exc:
        report.failed(life.name, f"the new certificate is not installed: {exc}; the next run "
                      "orders for the key that is there then")
        life.happens(lifecycle.REJECTED)
    except Error as exc:
        report.failed(life.name, f"the new certificate is not installed: {exc}; it is kept, "
                      "and tried again by the next run")
        life.happens(lifecycle.KEPT)
    return False


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


def _files(one: Chain, chain: Sequence[Certificate]) -> list[files.File]:
    """Return what is to be in place, the key first."""
    section, new_key = one.life.section, one.plan.new_key
    pem = [encode_pem(item.der) for item in chain]
    contents = ((section.fullchain, b"".join(pem)), (section.certificate, pem[0]),
                (section.chain, b"".join(pem[1:])))
    found = [] if new_key is None else keys.replacement(section.key, new_key, section.trusted)
    return found + [files.File(path, data, section.owner, section.mode)
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
            why = ""
            try:
                status = run_shell(command, environment(members), NOTIFY_SECONDS)
            except Error as exc:   # no process, say: nobody else's failure
                status, why = 1, str(exc)
            if status != 0:
                report.notify_failed(command, why or f"ended with status {status}", names)
        for life in members:
            life.happens(lifecycle.NOTIFIED if status == 0 else lifecycle.NOT_NOTIFIED)


def environment(lives: Sequence[Life]) -> dict[str, str]:
    """Return the variables that say which sections have new files; none where there are more than
    a program can be told of (MAX_ARG_STRLEN of execve(2))."""
    names = " ".join(dict.fromkeys(written(life.section) for life in lives))
    return {"LETSENCRYPT_TINY_SECTIONS": names} if len(names.encode()) < MAX_NAMES else {}
