"""What status prints where no terminal is: a table of a line each, for people and for grep(1)."""

from collections.abc import Iterator, Sequence

from ...common.clock import DAY, when
from ...common.log import printable
from ...common.names import shown
from ..store.troubles import Trouble
from .standing import Leftover, Overview, Standing
from .table import status_table


def listing(overview: Overview) -> Iterator[str]:
    """Yield the table, and lines on what there is more to know of."""
    yield _table(overview.standings)
    for standing in overview.standings:
        name = printable(standing.name)
        for line in remarks(standing):
            yield f"{name}: {line}"
    for leftover in overview.leftovers:
        yield left_over(leftover, overview.now)


def _table(standings: Sequence[Standing]) -> str:
    """The CA is shown where there are several, a profile where there is one."""
    several = len({standing.ca for standing in standings if standing.ca}) > 1
    return status_table(
        ("SECTION", "EXPIRES", "LIFETIME", "ca", "profile", "STATE", "NAMES"),
        [(printable(standing.name),
          when(standing.certificate.not_after) if standing.certificate is not None else "",
          _lifetime(standing), printable(standing.ca) if several else "",
          printable(standing.profile), _state(standing),
          printable(standing.fault or " ".join(map(shown, standing.names))))
         for standing in standings])


def _lifetime(standing: Standing) -> str:
    """Say how long a certificate is valid, as CAs do: in hours below ten days."""
    seconds = standing.lifetime
    if not seconds:
        return ""
    return f"{seconds / DAY:.0f} d" if seconds >= 10 * DAY else f"{seconds / 3600:.0f} h"


def _state(standing: Standing) -> str:
    """What the table says in a word or two."""
    if standing.fault:
        return "fault"
    if not standing.due:
        return "valid" if standing.renewal is None else \
            f"valid, to be renewed {when(standing.renewal.moment)}"
    waits = standing.waiting
    return f"due: {standing.reason}" + (f", waits until {when(waits.until)}" if waits else "") + (
        f", {standing.failures} failed" if standing.failures else "")


def remarks(standing: Standing) -> Iterator[str]:
    """Yield what waits, has failed or is to come, each in a line (printable)."""
    trouble, waits = standing.trouble, standing.waiting
    if trouble is not None:
        yield printable(f"{failing(trouble)}: {trouble.why}")
    if waits is not None:
        known = trouble is not None and (standing.failures or trouble.why in waits.why
                                         or waits.why in trouble.why)
        yield printable(f"waits until {when(waits.until)}" + ("" if known else f": {waits.why}"))
    if standing.pending and (trouble is None or standing.due):
        yield f"{told(standing)}"
    if standing.next_key:
        yield f"next key: TLSA 3 1 1 {standing.next_key}"


def failing(trouble: Trouble) -> str:
    """Say how often, and since when, a section fails."""
    return f"failed {when(trouble.last)}" if trouble.runs == 1 else \
        f"fails since {when(trouble.since)}, {trouble.runs} runs, last {when(trouble.last)}"


def told(standing: Standing) -> str:
    """Say that a notification is not delivered, which it is not."""
    command = f" “{printable(standing.section.notify, 200)}”" if standing.section is not None \
        and standing.section.notify else ""
    return f"the notification{command} of {when(standing.installed)} is not delivered yet"


def left_over(leftover: Leftover, now: float) -> str:
    """Say what there is of a section that is no more."""
    ends = "" if leftover.expires is None else \
        f", its certificate {'expires' if leftover.expires >= now else 'expired'} " \
        f"{when(leftover.expires)}"
    return printable(f"{leftover.name}: no such section{ends}: {' '.join(leftover.paths)}")
