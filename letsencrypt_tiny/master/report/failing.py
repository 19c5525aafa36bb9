"""What fails, as a person is told of it, who reads it in the mail: pure."""

from collections.abc import Iterator, Mapping

from ...common.clock import DAY, when
from ...common.log import printable
from ..store.told import RUN, Failure
from .run import listed

WIDTH = 78   # characters of a line; nothing is broken that has no blank


def lines(failures: Mapping[str, Failure], now: float) -> Iterator[str]:
    """Yield a paragraph for each cause, what expires first before the others, then what to do."""
    alike: dict[tuple[str, bool], dict[str, Failure]] = {}
    for name, failure in failures.items():
        alike.setdefault((failure.why, name == RUN), {})[name] = failure
    for (why, whole), those in sorted(alike.items(), key=lambda item: _urgency(item[1])):
        who = "" if whole else f"{listed(sorted(those))}: "
        yield from _wrapped(f"{who}{why}", "", "    ")
        for line in _details(list(those.values()), whole, now):
            yield from _wrapped(line, "  ", "    ")
        yield ""
    yield "“letsencrypt-tiny status” shows all; “letsencrypt-tiny newOrder SECTION” tries"
    yield "at once.  This is told once a day as long as it lasts."


def subject(failures: Mapping[str, Failure], host: str) -> str:
    """Return what the mail is about."""
    sections = [name for name in failures if name != RUN]
    what = "nothing is renewed" if RUN in failures else \
        f"{sections[0]} fails" if len(sections) == 1 else f"{len(sections)} sections fail"
    return printable(f"letsencrypt-tiny on {host}: {what}", 200)


def _urgency(those: Mapping[str, Failure]) -> tuple[bool, int]:
    return RUN not in those, min(failure.expires for failure in those.values())


def _details(those: list[Failure], whole: bool, now: float) -> Iterator[str]:
    yield f"since {when(min(failure.since for failure in those))}"
    known = [failure.expires for failure in those if failure.known]
    if known:
        yield _expiry(min(known), len(those) > 1, now)
    again = min(failure.again for failure in those)
    yield ("tried again by the next run" if again <= now or whole else
           f"tried again by the first run after {when(again)}")


def _expiry(moment: int, several: bool, now: float) -> str:
    who = "the first certificate of them" if several else "the certificate"
    if not moment:
        return "one has no valid certificate" if several else "there is no valid certificate"
    if moment <= now:
        return f"{who} has expired: {when(moment)}"
    days = int(moment - now) // DAY
    left = f"{days} days" if days > 1 else f"{int(moment - now) // 3600} hours"
    return f"{who} expires {when(moment)}, in {left}"


def _wrapped(text: str, first: str, others: str) -> list[str]:
    from textwrap import wrap   # only where something fails
    return wrap(printable(text, 8000), WIDTH, initial_indent=first, subsequent_indent=others,
                break_long_words=False, break_on_hyphens=False)
