"""A section's life from due to notified, as a table; every write of the journal is one of its rows.

A process killed at any instant leaves what the last row wrote, and ``resume`` says where the next
run takes up the work.  Pure: whoever calls writes what comes out (RFC 8555 §7.1.6 has the states of
the order itself, which are the client's business).
"""

from collections.abc import Callable
from typing import NamedTuple

from ..store.journal import SectionState

# Phases of a section in a run
DUE = "due"                  # wants a certificate, or had its chance in this run
ORDERING = "ordering"        # its order is the client's
ISSUED = "issued"            # a chain is here, written down, and not verified yet
INSTALLING = "installing"    # its files are being replaced
INSTALLED = "installed"      # they are in place, and whoever uses them does not know it yet
DONE = "done"                # nothing is left to do

# Events.  Those of a failed order are its outcomes (common/wire/order.py).
ORDERED, PROGRESS, CHAIN = "ordered", "progress", "chain"
REFUSED, BUSY, UNFINISHED, LOST = "refused", "busy", "unfinished", "lost"
TAKEN_UP, REJECTED, KEPT, VERIFIED = "taken up", "rejected", "kept", "verified"
NOT_WRITTEN, WRITTEN = "not written", "written"
NOTIFIED, NOT_NOTIFIED = "notified", "not notified"
SETTLED, TOLD, HOOKED = "settled", "told", "hooked"


MANY = 1000                  # failures; more are not counted


class Facts(NamedTuple):
    """What an event brings along, as far as the journal wants it."""

    directory: str = ""          # of the issuer
    account: str = ""            # thumbprint of the account's key
    order: str | None = None     # URL
    order_key: str = ""          # what the order is for: SHA-256 of the SubjectPublicKeyInfo
    not_before: int = 0          # when to ask again, Unix time
    notify: bool = False         # there is a notification to deliver
    finalize: str | None = None  # where the order is finalized
    issued: int = 0              # when the chain came that was written down; 0 if it couldn't be
    told: int = 0                # see SectionState
    installed: int = 0
    # The wishes that what is installed was made by
    key_type: str = ""
    ca_file: str = ""            # see SectionState
    access: str = ""
    profile: str = ""            # of a chain that came
    profile_wish: str = ""       # as the wishes above
    preferred_chain: str = ""
    key: str = ""
    failed: int = 0              # when an order failed, for a reason of the section's own
    why: str = ""
    wish: str = ""
    heard: bool = False          # the client knows of no other order than those it told of
    hooks: bool = False          # there are hooks of the whole run to run


Edit = Callable[[SectionState, Facts], SectionState]


def _keep(state: SectionState, _: Facts) -> SectionState:
    return state


def _ask(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(asked=facts.directory or None)


def _note_order(state: SectionState, facts: Facts) -> SectionState:
    if not facts.order:
        return state
    # whoever orders anew doesn't want what was kept of the last order; one that is taken up may
    # yet be of no use, and another be asked for
    return state._replace(directory=facts.directory, account=facts.account, order=facts.order,
                          order_key=facts.order_key, finalize=facts.finalize,
                          kept=state.kept if facts.order == state.order else 0,
                          asked=state.asked if facts.order == state.order else None)


def _note_chain(state: SectionState, facts: Facts) -> SectionState:
    # the order is remembered, too: the CA has the chain should ours be lost
    same = (state.directory, state.order_key) == (facts.directory, facts.order_key)
    return state._replace(directory=facts.directory, account=facts.account,
                          order=state.order if same else None, order_key=facts.order_key,
                          finalize=state.finalize if same else None,
                          order_profile=facts.profile or None, kept=facts.issued, not_before=0,
                          asked=None)


def _drop_order(state: SectionState, facts: Facts) -> SectionState:
    return _count(_heard(state, facts)._replace(order=None, order_key=None, finalize=None,
                                                not_before=0, kept=0), facts)


def _wait(state: SectionState, facts: Facts) -> SectionState:
    return _count(_heard(state, facts)._replace(not_before=facts.not_before), facts)


def _heard(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(asked=None) if facts.heard else state


def _count(state: SectionState, facts: Facts) -> SectionState:
    if not facts.failed:
        return state
    before = state.failures if state.wish == facts.wish else 0
    return state._replace(failures=min(before + 1, MANY), failed=facts.failed,
                          why=facts.why or None, wish=facts.wish or None)


def _begin_installing(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(installing=True, notify=facts.notify, hooks=state.hooks or facts.hooks)


def _end_installing(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(installing=False, asked=None, order=None, order_key=None, finalize=None,
                          not_before=0, kept=0, told=0, failures=0, failed=0, why=None,
                          wish=None, issuer=facts.directory,
                          key_type=facts.key_type, ca_file=facts.ca_file,
                          access=facts.access, installed=facts.installed,
                          issuer_account=state.account, profile=state.order_profile,
                          order_profile=None, profile_wish=facts.profile_wish or None,
                          preferred_chain=facts.preferred_chain or None, key=facts.key or None)


def _settle(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(ca_file=facts.ca_file or state.ca_file,
                          access=facts.access or state.access,
                          preferred_chain=facts.preferred_chain or state.preferred_chain)


def _told(state: SectionState, facts: Facts) -> SectionState:
    return state._replace(told=facts.told)


def _delivered(state: SectionState, _: Facts) -> SectionState:
    return state._replace(notify=False)


def _hooked(state: SectionState, _: Facts) -> SectionState:
    return state._replace(hooks=False)


class Row(NamedTuple):
    """Where an event leads from a phase, and what it writes into the journal."""

    phase: str
    event: str
    next: str
    edit: Edit = _keep


ROWS = (
    # Killed before the CA's answer is written down, the next run looks whether there is one
    Row(DUE, ORDERED, ORDERING, _ask),
    Row(ORDERING, PROGRESS, ORDERING, _note_order),
    # From here on it is not asked for again, unless it turns out to be of no use
    Row(ORDERING, CHAIN, ISSUED, _note_chain),
    # The order is dead, or there never was one: the next run makes another
    Row(ORDERING, REFUSED, DUE, _drop_order),
    # It lives; the CA may have said when to come back
    Row(ORDERING, BUSY, DUE, _wait),
    Row(ORDERING, UNFINISHED, DUE, _wait),
    # Nobody knows: what was remembered still holds
    Row(ORDERING, LOST, DUE, _heard),
    # What an earlier run could not install
    Row(DUE, TAKEN_UP, ISSUED),
    # Wrong for good: another key or name, not a certificate at all
    Row(ISSUED, REJECTED, DUE, _drop_order),
    # For a reason on our side, such as a clock or CAfile: the next run tries it again
    Row(ISSUED, KEPT, DUE),
    # Killed from here on, the next run finds that there is work left
    Row(ISSUED, VERIFIED, INSTALLING, _begin_installing),
    Row(INSTALLING, NOT_WRITTEN, DUE),
    Row(INSTALLING, WRITTEN, INSTALLED, _end_installing),
    Row(INSTALLED, NOTIFIED, DONE, _delivered),
    Row(INSTALLED, NOT_NOTIFIED, INSTALLED),
    # The hooks of a run don't wait for a notification that fails, nor it for them
    Row(DONE, HOOKED, DONE, _hooked),
    Row(INSTALLED, HOOKED, INSTALLED, _hooked),
    Row(DUE, HOOKED, DUE, _hooked),
    # Wishes that changed and needed no order
    Row(DUE, SETTLED, DUE, _settle),
    Row(INSTALLED, SETTLED, INSTALLED, _settle),
    # It waits, as the CA asked, and there is no valid certificate
    Row(DUE, TOLD, DUE, _told),
)
_TABLE = {(row.phase, row.event): row for row in ROWS}


def resume(state: SectionState) -> str:
    """Return the phase in which a section begins a run, by what the journal says of it alone.

    That a certificate is installed and valid makes DONE of DUE, which is not the journal's to say.
    """
    if state.installing:
        return DUE
    return INSTALLED if state.notify else DUE


def step(phase: str, event: str, state: SectionState, facts: Facts = Facts()
         ) -> tuple[str, SectionState]:
    """Return the phase that follows, and the state to be written if it is another.

    Raises KeyError if ``event`` can't happen in ``phase``: a mistake of ours.
    """
    row = _TABLE[phase, event]
    return row.next, row.edit(state, facts)
