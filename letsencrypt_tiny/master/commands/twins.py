"""Two certificates of one section, for an EC and an RSA key: both current, or both as they were.

They are ordered in the same run, and their files replaced in one step.
"""

from collections.abc import Collection, Sequence

from ...common import log
from ..plan import lifecycle
from ..report.run import Report
from .chain import Chain, Good
from .life import Life


def couple(lives: Sequence[Life], wanting: Sequence[Life]) -> list[Life]:
    """Return those of a run's ``lives`` that are to be ordered, given those that want to be.

    Whoever has a twin is ordered together with that, or not at all.
    """
    by_name = {life.name: life for life in lives if life.section.twin}
    chosen = {life.name: life for life in wanting}
    for life in wanting:
        twin = by_name.get(life.section.twin)
        if twin is None or twin.name in chosen:
            life.twin = twin
        elif _is_only_to_finish(life, twin):
            pass
        elif twin.due is False:
            log.info(f"{twin.name}: together with {life.name}")
            twin.renew(life.forced)
            twin.new_key, twin.full, twin.twin, life.twin = life.new_key, life.full, life, twin
            chosen[twin.name] = twin
        else:   # it waits, or can't be read
            log.info(f"{life.name}: not without {twin.name}")
            del chosen[life.name]
    return [life for life in lives if life.name in chosen]


def _is_only_to_finish(life: Life, twin: Life) -> bool:
    """True where a run installed both, and was killed before it had written so of the second."""
    return twin.due is False and life.state.installing and \
        0 < life.state.kept <= twin.state.installed


def without(failed: Collection[str], lives: Sequence[Life], report: Report) -> set[str]:
    """Return the names of those that can't be ordered, as their twins have ``failed``; tell it."""
    found = {life.name for life in lives
             if life.twin is not None and life.twin.name in failed and life.name not in failed}
    for name in found:
        report.failed(name, "nothing is ordered, as its other certificate can't be")
    return found


def ready(arrived: Sequence[Chain], left: Collection[str]
          ) -> tuple[list[Chain], list[Chain]]:
    """Return the chains that can be installed now, and those that wait for a twin that is
    ``left`` to be ordered."""
    held = [one for one in arrived if one.life.twin is not None and one.life.twin.name in left]
    return [one for one in arrived if one not in held], held


def groups(good: Sequence[Good]) -> list[list[Good]]:
    """Return what takes its place together."""
    found: dict[frozenset[str], list[Good]] = {}
    for item in good:
        life = item[0].life
        names = {life.name} if life.twin is None else {life.name, life.twin.name}
        found.setdefault(frozenset(names), []).append(item)
    return list(found.values())


def widowed(chains: Sequence[Chain], report: Report) -> None:
    """Certificates are good, but their twins have not come: they are kept."""
    for one in chains:
        twin = one.life.twin
        report.failed(one.life.name, "its certificate is not installed without that of "
                      f"{'its twin' if twin is None else twin.name}; it is kept, and tried again "
                      "by the next run")
        one.life.happens(lifecycle.KEPT)
