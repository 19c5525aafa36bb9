"""What is to be ordered, of whom: keys and CSRs, and what an earlier run could not install.

From here on a section's failure is its own.
"""

from collections.abc import Sequence

from ...common import log
from ...common.clock import when
from ...common.errors import Error
from ..pki import csr
from ..plan import challenges, lifecycle, orders, renewal
from ..report.run import Report
from ..settings.main import Config
from ..store import installed
from ..store.journal import Journal, SectionState
from . import twins
from .answering import Plans
from .chain import Chain
from .elsewhere import Elsewhere
from .install import install_arrived
from .life import Life


def prepare(config: Config, journal: Journal, lives: Sequence[Life], report: Report,
            others: Elsewhere) -> Plans:
    """Make keys and CSRs; what is to be ordered, by section."""
    plans: Plans = {}
    wants = [_want(life) for life in lives]
    failed: set[str] = set()
    for life, made in zip(lives, csr.make_all(config, wants, journal.revoked().keys)):
        if isinstance(made, Error):
            report.failed(life.name, str(made))
            failed.add(life.name)
        else:
            issuer = others.first(life.section, life.state, life.full)
            types = challenges.types(life.section, config)
            plans[life.name] = orders.plan(
                life.section, issuer, made.csr, _with_heirs(journal, life.state), types,
                made.new_key, made.seen, life.certificate), life
    for name in twins.without(failed, lives, report):
        del plans[name]
    return plans


def _want(life: Life) -> csr.Want:
    """Return which key an order is for, as far as what is installed and remembered says."""
    section, state = life.section, life.state
    kept = state.order_key or "" if state.kept else ""
    try:
        certificate = installed.read(section).certificate
    except installed.Busy:   # there is one
        return csr.Want(section, True, False, kept)
    if certificate is None:
        return csr.Want(section, False, life.new_key, kept)
    return csr.Want(section, True, life.new_key or renewal.other_key_type(
        section, certificate, state), kept, b"" if section.reuse_key else certificate.spki)


def _with_heirs(journal: Journal, state: SectionState) -> SectionState:
    """Its accounts are called after the keys that they have by now."""
    return state._replace(
        account=state.account and journal.heir(state.directory or "", state.account),
        issuer_account=state.issuer_account and journal.heir(state.issuer or "",
                                                             state.issuer_account))


def install_kept(config: Config, plans: Plans, report: Report) -> tuple[Plans, list[Chain]]:
    """Try again what was issued and could not be installed; return what is left to order, and
    what waits for that."""
    tried = [Chain(plan, life, pem, kept=True) for plan, life in plans.values()
             if plan.kept and (pem := life.kept())]
    for one in tried:
        log.info(f"{one.life.name}: what was issued {when(one.life.state.kept)} is tried again")
        one.life.happens(lifecycle.TAKEN_UP)
    waiting = install_arrived(config, tried, report)
    left = dict(plans)
    for one in tried:
        if one.life.phase == lifecycle.DUE and not one.life.state.kept:
            left[one.life.name] = one.plan.anew(), one.life
        else:
            del left[one.life.name]
    alone, held = twins.ready(waiting, left)
    twins.widowed(alone, report)
    return left, held
