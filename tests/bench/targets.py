"""What is to be reached, by the results of one run.

A ratio within the run means the same on any machine; seconds are a machine's.  Where those were set
lacme took LACME seconds to find that nothing is due in 1,000 sections.  On a machine on which it
takes twice as long, what is done within twice the time is “reached here”, and not “reached”.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

OURS = "letsencrypt-tiny"
# Starts once for the whole list, as no other peer in Python or Perl: it has lines of its own
BESIDE = "certbot renew"
LACME = 0.23    # seconds of CPU time
Row = dict[str, Any]
Results = dict[str, Any]


class Target(NamedTuple):
    """Something to reach: ``value`` at most ``bound``, or at ``least``; without bound it is there
    for comparison only.  ``slow`` is how much slower the machine is, where that is ``timed``."""

    text: str
    value: float
    bound: float | None
    shown: str
    least: bool = False
    timed: bool = False
    slow: float = 1.0

    @property
    def wanted(self) -> float:
        """The bound on this machine."""
        assert self.bound is not None
        return self.bound / self.slow if self.least else self.bound * self.slow

    @property
    def verdict(self) -> str:
        """Whether it is reached, here or nowhere."""
        if self.bound is None:
            return "for comparison"
        return ("reached" if self._within(self.bound) else
                "reached here" if self._within(self.wanted) else "**not reached**")

    def _within(self, bound: float) -> bool:
        return self.value >= bound if self.least else self.value <= bound

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        if self.bound is None:
            return [self.text, self.shown, "", self.verdict]
        here = f" (here {_short(self.wanted)})" if self.slow != 1 else ""
        return [self.text, self.shown,
                f"{'≥' if self.least else '≤'} {_short(self.bound)}{here}", self.verdict]


def targets(results: Results) -> list[Target]:
    """Return all that the results say something of."""
    found: list[Target] = []
    for part in (_one, _many, _by_account_key, _names, _far, _scan, _memory, _signer, _growth,
                 _fleet, _web, _startup, _confine):
        found += part(results)
    slow = _slow(results)
    return [target._replace(slow=slow) if target.timed else target for target in found]


def _slow(results: Results) -> float:
    lacme = _find(results.get("scan", []), program="lacme", sections=1000)
    return max(1.0, lacme["cpu"] / LACME) if lacme else 1.0


def source(row: Row) -> str:
    """Return whose a row is, and from how many certificates."""
    extrapolated = row["measured"] < row["certificates"]
    return f"{row['program']}, extrapolated from {row['measured']}" if extrapolated \
        else str(row["program"])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _ratio(text: str, value: float, peer: float, bound: float | None, least: bool = False
           ) -> Target:
    ratio = value / peer
    return Target(text, ratio, bound, f"{ratio:.3f}", least)


def _find(rows: list[Row], **members: object) -> Row | None:
    return next((row for row in rows
                 if all(row[name] == value for name, value in members.items())), None)


# --- certificates ---

def _one(results: Results) -> Iterator[Target]:
    rows = results.get("issuance", [])
    ours = _find(rows, program=OURS, certificates=1, names=1)
    lacme = _find(rows, program="lacme", certificates=1, names=1)
    if ours and lacme:
        yield _ratio("one certificate: wall, of lacme's", ours["wall"], lacme["wall"], 0.65)
        yield _ratio("one certificate: CPU, of lacme's", ours["cpu"], lacme["cpu"], 0.50)


def _many(results: Results) -> Iterator[Target]:
    rows = [row for row in results.get("issuance", []) if row["names"] == 1]
    facts = {fact["program"]: fact for fact in results.get("programs", [])}
    peers = [row for row in rows if row["program"] not in (OURS, BESIDE)]
    # The peers' greatest number, where there are any
    counts = ({row["certificates"] for row in rows if row["program"] == OURS}
              & {row["certificates"] for row in peers or rows}) - {1}
    if not counts:
        return
    most = max(counts)
    ours = _find(rows, program=OURS, certificates=most) or {}

    def least(what: str, keep: Callable[[str], bool]) -> Row | None:
        found = [row for row in peers if row["certificates"] == most and keep(row["program"])]
        return min(found, key=itemgetter(what)) if found else None

    for what, unit, factor, name, keep in (
            ("wall", "wall", 1 / 10, "the fastest peer's", lambda name: True),
            ("cpu", "CPU", 1 / 6, "the least scripted peer's",
             lambda name: bool(facts[name]["scripted"]))):
        best = least(what, keep)
        if best:
            yield _ratio(f"{most} certificates: {unit}, of {name} ({source(best)})",
                         ours[what], best[what], factor)
    beside = _find(rows, program=BESIDE, certificates=most)
    if beside:
        yield _ratio(f"{most} certificates: CPU, of {source(beside)}'s, which starts once",
                     ours["cpu"], beside["cpu"], None)
    value = ours["requests"] / most
    yield Target(f"{most} certificates: ACME requests per certificate", value, 7.5,
                 f"{value:.2f}")
    if ours["acme"] is not None:
        yield Target(f"{most} certificates: TLS connections (the CA is near)", ours["acme"], 4,
                     f"{ours['acme']}")


def _by_account_key(results: Results) -> Iterator[Target]:
    for row in results.get("account keys", []):
        count = row["certificates"]
        for what, words in ("first", "certificates"), ("renewals", "renewals by the same keys"):
            value = 1000 * row[what] / count
            yield Target(f"{count} {words}, account key {row['key']}: CPU for each, ms", value,
                         16 if count == 200 else None, f"{value:.1f}", timed=True)


def _names(results: Results) -> Iterator[Target]:
    ours = [row for row in results.get("issuance", []) if row["program"] == OURS]
    one = _find(ours, certificates=1, names=1)
    for many in ours:
        if many["names"] > 1 and one is not None:
            bound = 2 * one["wall"] + results["retry after"]
            yield Target(f"one certificate of {many['names']} names: wall, seconds "
                         "(2 × one name + Retry-After)", many["wall"], bound,
                         f"{many['wall']:.2f}")


def _far(results: Results) -> Iterator[Target]:
    rows = results.get("far", [])
    many = max((row for row in rows if row["program"] == OURS), key=itemgetter("certificates"),
               default=None)
    if many and many["certificates"] > 1:
        yield Target(f"far, {many['certificates']} certificates: wall, seconds", many["wall"], 6,
                     f"{many['wall']:.2f}")
    for slow, words in (False, "validated at once"), (True, "validated slowly"):
        ours = _find(rows, program=OURS, certificates=1, slow=slow)
        for peer in rows if ours else ():
            if peer["slow"] == slow and peer["certificates"] == 1 and peer["program"] != OURS:
                # lego looks at once: with nothing to wait for it is there before our first look
                yield _ratio(f"far, one certificate, {words}: wall, of {peer['program']}'s",
                             ours["wall"] if ours else 0, peer["wall"],
                             1.0 if slow or peer["program"] != "lego" else None)


def _memory(results: Results) -> Iterator[Target]:
    peaks = {int(count): peak for count, peak in results.get("memory", {}).items()}
    if peaks:
        most = max(peaks)
        value = peaks[most] / 2**20
        yield Target(f"{most} orders: peak memory of the tree, MiB", value, 100, f"{value:.1f}")


# --- nothing due ---

def _scan(results: Results) -> Iterator[Target]:
    rows = results.get("scan", [])
    ours = sorted((row for row in rows if row["program"] == OURS), key=itemgetter("sections"))
    if not ours:
        return
    small, large = ours[0], ours[-1]
    lacme = _find(rows, program="lacme", sections=small["sections"])
    if lacme:
        yield _ratio(f"nothing due in {small['sections']} sections: wall, of lacme's",
                     small["wall"], lacme["wall"], 1.0)
    if small["sections"] == 1000:
        yield Target("nothing due in 1000 sections: CPU, seconds", small["cpu"], 0.09,
                     f"{small['cpu']:.3f}", timed=True)
    for row in ours[1:2]:
        factor = row["sections"] / small["sections"]
        value = row["wall"] / small["wall"]
        yield Target(f"nothing due in {row['sections']} sections: wall, of that of "
                     f"{small['sections']} (linear)", value, 1.1 * factor, f"{value:.2f}")
    if large["sections"] == 100000:
        yield Target("nothing due in 100000 sections: wall, seconds", large["wall"], 10,
                     f"{large['wall']:.2f}", timed=True)
        yield Target("nothing due in 100000 sections: peak memory, MiB", large["peak"] / 2**20,
                     150, f"{large['peak'] / 2**20:.1f}")
    for what, words in ("executed", "programs executed"), ("internet", "Internet sockets made"):
        most = max(row[what] for row in ours)
        yield Target(f"nothing due: {words}", most, 0, str(most))


# --- signer ---

def _signer(results: Results) -> Iterator[Target]:
    rows = results.get("signer", [])
    ours = [row for row in rows if row["program"] == "letsencrypt-tiny-accountd"]
    for key in dict.fromkeys(row["key"] for row in ours):
        one, four = (_find(ours, key=key, one_core=False, connections=number)
                     for number in (1, 4))
        if one and four:
            yield _ratio(f"signatures by {key}: over 4 connections, of those over one",
                         four["rate"], one["rate"], 1.0, least=True)

    def best(key: str, one_core: bool) -> float:
        return max((row["rate"] for row in ours
                    if (row["key"], row["one_core"]) == (key, one_core)), default=0.0)

    for key, one_core, words, bound in (
            ("RSA-2048", True, "one processor", 900), ("RSA-2048", False, "all processors", 1500),
            ("P-256", False, "all processors", 2000)):
        rate = best(key, one_core)
        if rate:
            yield Target(f"signatures a second by {key}, {words}", rate, bound, f"{rate:.0f}",
                         least=True, timed=True)
    theirs = max((row["rate"] for row in rows if row["program"] == "lacme-accountd"
                  and row["key"] == "RSA-2048"), default=0.0)
    if theirs and best("P-256", False):
        yield _ratio("signatures by P-256, of lacme-accountd's by RSA-2048", best("P-256", False),
                     theirs, 1.0, least=True)


def _growth(results: Results) -> Iterator[Target]:
    for row in results.get("growth", []):
        yield Target(f"signer: bytes that it grows by with each of {row['signatures']} signatures "
                     f"({row['key']})", row["bytes"], 16, f"{row['bytes']:.1f}")


def _fleet(results: Results) -> Iterator[Target]:
    for row in results.get("fleet", []):
        for column, words, bound in (
                ("refused", "refused", 0), ("p99, s", "99 of 100 signatures within, s", 1),
                ("PSS, MiB", "memory of the signer, MiB", 64),
                ("idle connection, bytes", "bytes of an idle connection", 8192)):
            yield Target(f"{row['hosts']} hosts at once, {row['key']}: {words}", row[column], bound,
                         f"{row[column]}")


# --- web server, programs ---

def _web(results: Results) -> Iterator[Target]:
    rows = results.get("web", [])
    for ours in rows:
        if ours["program"] != OURS:
            continue
        words = (f"web server, {ours['idle']} idle connections, the others "
                 + ("kept where the server likes" if ours["keep"] else "closed"))
        nginx = _find(rows, program="nginx", keep=ours["keep"], idle=ours["idle"])
        if nginx:
            # Ours closes each: to keep them is no validator's wish
            yield _ratio(f"{words}: requests a second, of nginx's", ours["rate"], nginx["rate"],
                         None if ours["keep"] else 0.7, least=True)
        if ours["idle"] and not ours["keep"]:
            yield Target("web server: idle connections that are kept meanwhile", ours["kept"],
                         ours["idle"], str(ours["kept"]), least=True)


def _startup(results: Results) -> Iterator[Target]:
    row = _find(results.get("startup", []), program="web server")
    if row:
        yield Target("web server: imports, ms", 1000 * row["median"], 12,
                     f"{1000 * row['median']:.1f}", timed=True)


def _confine(results: Results) -> Iterator[Target]:
    rows = [row for row in results.get("confine", []) if row["mode"] == "required"]
    if rows:
        most = max(rows, key=itemgetter("wall"))
        yield Target(f"confinement of a process: ms ({most['process']}, the longest)",
                     1000 * most["wall"], 5, f"{1000 * most['wall']:.1f}")
