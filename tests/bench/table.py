"""The results as text: Markdown that is legible as it is, and whether the targets are reached."""

from operator import itemgetter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

OURS = "letsencrypt-tiny"
# Starts once for the whole list, as no other peer in Python or Perl: it has lines of its own
BESIDE = "certbot renew"
Row = dict[str, Any]
Results = dict[str, Any]


class Target(NamedTuple):
    """Something to reach: ``value`` at most ``bound``; for comparison only if that is None."""

    text: str
    value: float
    bound: float | None
    shown: str

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        if self.bound is None:
            return [self.text, self.shown, "", "for comparison"]
        verdict = "reached" if self.value <= self.bound else "**not reached**"
        return [self.text, self.shown, f"{self.bound:.4g}", verdict]


def tables(results: Results) -> str:
    """Return everything: what it was measured on, the targets, the tables."""
    made = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    parts = [f"{results['date']}; {made}; Retry-After {results['retry after']} s"
             + ("; **quick run, not to be quoted**" if results["quick"] else "")]
    reached = [target.cells for target in targets(results)]
    if reached:
        parts += ["## To reach", table(["", "measured", "at most", ""], reached, "lrrl")]
    for title, make in _TABLES.items():
        text = make(results)
        if text:
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


# --- the targets ---

def targets(results: Results) -> list[Target]:
    """Return what is to be reached, by the results of the same run."""
    found: list[Target] = []
    for part in (_issuance_targets, _names_targets, _scan_targets, _memory_targets,
                 _fleet_targets, _confine_targets):
        found += part(results)
    return found


def _issuance_targets(results: Results) -> Iterator[Target]:
    rows = [row for row in results.get("issuance", []) if row["names"] == 1]
    facts = {fact["program"]: fact for fact in results.get("programs", [])}
    peers = [row for row in rows if row["program"] not in (OURS, BESIDE)]

    def ours(count: int) -> Row:
        return next(row for row in rows
                    if row["program"] == OURS and row["certificates"] == count)

    def least(what: str, count: int, keep: Callable[[str], bool]) -> Row | None:
        rows = [row for row in peers if row["certificates"] == count and keep(row["program"])]
        return sorted(rows, key=itemgetter(what))[0] if rows else None

    # The peers' greatest number, where there are any
    counts = sorted({row["certificates"] for row in rows if row["program"] == OURS}
                    & {row["certificates"] for row in peers or rows})
    if not counts:
        return
    if counts[0] == 1:
        for what, unit, factor, name, keep in (
                ("cpu", "CPU", 0.6, "the least of lacme, acme-tiny, certbot",
                 lambda name: name in ("lacme", "acme-tiny", "certbot")),
                ("wall", "wall", 1.0, "the fastest that honours Retry-After",
                 lambda name: bool(facts[name]["honours_retry_after"]))):
            best = least(what, 1, keep)
            if best:
                yield _ratio(f"one certificate: {unit}, of {name} ({best['program']})",
                             ours(1)[what], best[what], factor)
    most = counts[-1]
    for what, unit, factor, name, keep in (
            ("wall", "wall", 1 / 10, "the fastest peer's", lambda name: True),
            ("cpu", "CPU", 1 / 6, "the least scripted peer's",
             lambda name: bool(facts[name]["scripted"]))):
        best = least(what, most, keep)
        if best:
            yield _ratio(f"{most} certificates: {unit}, of {name} ({_source(best)})",
                         ours(most)[what], best[what], factor)
    for row in rows:
        if row["program"] == BESIDE and row["certificates"] == most:
            yield _ratio(f"{most} certificates: CPU, of {_source(row)}'s, which starts once",
                         ours(most)["cpu"], row["cpu"], None)
    row = ours(most)
    value = row["requests"] / most
    yield Target(f"{most} certificates: ACME requests per certificate", value, 7.5,
                 f"{value:.2f}")
    if row["acme"] is not None:
        yield Target(f"{most} certificates: TLS connections (jobs = 4)", row["acme"], 4,
                     f"{row['acme']}")


def _names_targets(results: Results) -> Iterator[Target]:
    ours = [row for row in results.get("issuance", []) if row["program"] == OURS]
    one = next((row for row in ours if row["certificates"] == row["names"] == 1), None)
    for many in ours:
        if many["names"] > 1 and one is not None:
            bound = 2 * one["wall"] + results["retry after"]
            yield Target(f"one certificate of {many['names']} names: wall, seconds "
                         "(2 × one name + Retry-After)", many["wall"], bound,
                         f"{many['wall']:.2f}")


def _scan_targets(results: Results) -> Iterator[Target]:
    scans = results.get("scan", [])
    ours = [row for row in scans if row["program"] == OURS]
    if not ours:
        return
    small, large = ours[0], ours[-1]
    for row in scans:
        if row["program"] == "lacme":
            yield _ratio(f"nothing due in {row['sections']} sections: wall, of lacme's",
                         small["wall"], row["wall"], 1.0)
    factor = large["sections"] / small["sections"]
    value = large["wall"] / small["wall"]
    yield Target(f"nothing due in {large['sections']} sections: wall, of that of "
                 f"{small['sections']} (linear)", value, 1.1 * factor, f"{value:.2f}")
    yield Target("nothing due: programs executed", max(row["executed"] for row in ours), 0,
                 str(max(row["executed"] for row in ours)))
    yield Target("nothing due: Internet sockets made", max(row["internet"] for row in ours), 0,
                 str(max(row["internet"] for row in ours)))


def _fleet_targets(results: Results) -> Iterator[Target]:
    for row in results.get("fleet", []):
        for name, bound in (("refused", 0), ("p99, s", 1), ("PSS, MiB", 64),
                            ("idle connection, bytes", 8192)):
            yield Target(f"{row['hosts']} hosts, {row['key']}: {name}", row[name], bound,
                         f"{row[name]}")


def _confine_targets(results: Results) -> Iterator[Target]:
    rows = [row for row in results.get("confine", []) if row["mode"] == "required"]
    if rows:
        most = max(rows, key=itemgetter("wall"))
        yield Target(f"confinement of a process: ms ({most['process']}, the longest)",
                     1000 * most["wall"], 5, f"{1000 * most['wall']:.1f}")


def _memory_targets(results: Results) -> Iterator[Target]:
    peaks = {int(count): peak for count, peak in results.get("memory", {}).items()}
    if peaks:
        most = max(peaks)
        value = peaks[most] / 2**20
        yield Target(f"{most} orders: peak memory of the tree, MiB", value, 150, f"{value:.1f}")


def _ratio(text: str, value: float, peer: float, bound: float | None) -> Target:
    ratio = value / peer
    return Target(text, ratio, bound, f"{ratio:.3f}")


def _source(row: Row) -> str:
    extrapolated = row["measured"] < row["certificates"]
    return f"{row['program']}, extrapolated from {row['measured']}" if extrapolated \
        else str(row["program"])


# --- the tables ---

def _issuance(results: Results) -> str:
    rows = []
    facts = {fact["program"]: fact for fact in results.get("programs", [])}
    for row in sorted((row for row in results.get("issuance", []) if row["names"] == 1),
                      key=lambda row: int(row["certificates"])):
        mark = "~" if row["measured"] < row["certificates"] else ""
        count = row["certificates"]
        rows.append([
            str(count), f"{row['program']} {facts[row['program']]['version']}",
            f"{mark}{row['wall']:.2f}", f"{mark}{row['wall'] / count:.3f}",
            f"{mark}{row['cpu']:.2f}", f"{mark}{row['cpu'] / count:.3f}",
            f"{mark}{row['connections'] / count:.1f}",
            "–" if row["acme"] is None else f"{mark}{row['acme'] / count:.2f}",
            f"{mark}{row['requests'] / count:.2f}"])
    text = table(["certificates", "program", "wall s", "per cert.", "CPU s", "per cert.",
                  "connections¹", "to the CA²", "requests³"], rows, "rlrrrrrrr") if rows else ""
    problems = [f"- {fact['program']} {fact['version']}: {fact['problem']}"
                for fact in facts.values() if fact["problem"]]
    if problems:
        text += "\n\nWithout result:\n\n" + "\n".join(problems)
    if rows:
        text += ("\n\n¹ TCP connections per certificate accepted on the machine, the CA's own for "
                 "validation included. ² TLS connections per certificate to the ACME server. "
                 "³ ACME requests per certificate.\n~ extrapolated from the greatest number "
                 "that was measured. One certificate: the median of "
                 f"{max(row['runs'] for row in results['issuance'])}.")
    return text


def _names(results: Results) -> str:
    rows = [[str(row["names"]), f"{row['wall']:.2f}", f"{row['cpu']:.2f}", f"{row['requests']}"]
            for row in results.get("issuance", [])
            if row["program"] == OURS and row["certificates"] == 1]
    return table(["names", "wall s", "CPU s", "requests"], rows, "rrrr") if len(rows) > 1 else ""


def _memory(results: Results) -> str:
    rows = [[fact["program"], "1", f"{fact['peak'] / 2**20:.1f}"]
            for fact in results.get("programs", []) if fact["peak"]]
    rows += [[OURS, str(count), f"{peak / 2**20:.1f}"]
             for count, peak in results.get("memory", {}).items()]
    return table(["program", "certificates", "peak MiB (sum of PSS)"], rows, "lrr") \
        if rows else ""


def _scan(results: Results) -> str:
    rows = [[row["program"], str(row["sections"]), f"{row['wall']:.3f}", f"{row['cpu']:.3f}",
             str(row["executed"]), str(row["internet"])] for row in results.get("scan", [])]
    return table(["program", "sections", "wall s", "CPU s", "programs executed",
                  "Internet sockets"], rows, "lrrrrr") if rows else ""


def _signer(results: Results) -> str:
    rows = [[row["program"], row["key"], str(row["connections"] or "–"), f"{row['rate']:.0f}"]
            for row in results.get("signer", [])]
    return table(["program", "key", "connections", "signatures/s"], rows, "llrr") if rows else ""


def _fleet(results: Results) -> str:
    rows = results.get("fleet", [])
    return table(list(rows[0]), [list(map(str, row.values())) for row in rows],
                 "l" + "r" * (len(rows[0]) - 1)) if rows else ""


def _confine(results: Results) -> str:
    rows = [[row["process"], row["mode"], f"{1000 * row['wall']:.1f}",
             f"{1000 * row['cpu']:.1f}", row["enforced"]] for row in results.get("confine", [])]
    return table(["process", "confine =", "wall ms", "CPU ms", "enforced"], rows,
                 "llrrl") if rows else ""


_TABLES: dict[str, Callable[[Results], str]] = {
    "Certificates of one name": _issuance,
    "One certificate of many names": _names,
    "Memory": _memory,
    "Nothing due": _scan,
    "Signatures": _signer,
    "A fleet": _fleet,
    "Confinement of each process": _confine}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Return Markdown, its columns aligned ("l", "r") for those who read it as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(cells, widths, align)) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if side == "l" else ":")
                          for width, side in zip(widths, align)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])
