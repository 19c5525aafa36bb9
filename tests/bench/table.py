"""The results as text: Markdown that is legible as it is, and whether the targets are reached."""

from collections.abc import Callable, Sequence

from .targets import OURS, Results, targets


def tables(results: Results) -> str:
    """Return everything: what it was measured on, the targets, the tables."""
    made = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    parts = [f"{results['date']}; {made}; Retry-After {results['retry after']} s"
             + ("; **quick run, not to be quoted**" if results["quick"] else "")]
    reached = [target.cells for target in targets(results)]
    if reached:
        parts += ["## To reach", table(["", "measured", "wanted", ""], reached, "lrrl")]
    for title, make in _TABLES.items():
        text = make(results)
        if text:
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


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


def _far(results: Results) -> str:
    rows = []
    for row in results.get("far", []):
        mark = "~" if row["measured"] < row["certificates"] else ""
        rows.append([str(row["certificates"]), "slowly" if row["slow"] else "at once",
                     row["program"], f"{mark}{row['wall']:.2f}", f"{mark}{row['cpu']:.2f}",
                     "–" if row["acme"] is None else f"{mark}{row['acme']}",
                     f"{mark}{row['requests']}"])
    return table(["certificates", "validated", "program", "wall s", "CPU s", "to the CA",
                  "requests"], rows, "rllrrrr") if rows else ""


def _web(results: Results) -> str:
    rows = [[row["program"], str(row["idle"]), "asked for" if row["keep"] else "no",
             f"{row['rate']:.0f}", f"{1e6 * row['cpu']:.0f}", str(row["kept"])]
            for row in results.get("web", [])]
    return table(["program", "idle connections", "keep-alive", "requests/s", "CPU µs", "idle left"],
                 rows, "lrlrrr") if rows else ""


def _startup(results: Results) -> str:
    rows = [[row["program"], f"{1000 * row['median']:.1f}", f"{1000 * row['least']:.1f}"]
            for row in results.get("startup", [])]
    return table(["program", "imports ms", "least"], rows, "lrr") if rows else ""


def _memory(results: Results) -> str:
    rows = [[fact["program"], "1", f"{fact['peak'] / 2**20:.1f}"]
            for fact in results.get("programs", []) if fact["peak"]]
    rows += [[OURS, str(count), f"{peak / 2**20:.1f}"]
             for count, peak in results.get("memory", {}).items()]
    return table(["program", "certificates", "peak MiB (sum of PSS)"], rows, "lrr") \
        if rows else ""


def _scan(results: Results) -> str:
    rows = [[row["program"], str(row["sections"]), f"{row['wall']:.3f}", f"{row['cpu']:.3f}",
             f"{row['first']:.3f}", str(row["executed"]), str(row["internet"]),
             f"{row['peak'] / 2**20:.1f}"]
            for row in results.get("scan", [])]
    return table(["program", "sections", "wall s", "CPU s", "first run's", "programs executed",
                  "Internet sockets", "peak MiB"], rows, "lrrrrrrr") if rows else ""


def _signer(results: Results) -> str:
    rows = [[row["program"], row["key"], str(row["connections"] or "–"),
             "one" if row["one_core"] else "all", f"{row['rate']:.0f}"]
            for row in results.get("signer", [])]
    return table(["program", "key", "connections", "processors", "signatures/s"], rows,
                 "llrlr") if rows else ""


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
    "A CA that is far": _far,
    "Memory": _memory,
    "Nothing due": _scan,
    "Signatures": _signer,
    "A fleet": _fleet,
    "Web server": _web,
    "Imports": _startup,
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
