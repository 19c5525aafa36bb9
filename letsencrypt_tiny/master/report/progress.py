"""How far a run has come, in one line for the terminal."""

from collections.abc import Iterable

BAR = 24   # characters

# RFC 8555 §7.1.6, from the end of an order to its beginning; "new" is not asked for yet
_STATES = ("valid", "processing", "ready", "pending", "new")


def progress_line(total: int, states: Iterable[str], wait: float) -> str:
    """Return ``[####----] 12/50 done, 20 pending, 18 processing; next poll in 3 s``.

    ``states`` are those of the orders that still run; ``wait`` is in seconds.
    """
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    done = total - sum(counts.values())
    filled = BAR * done // max(1, total)
    parts = [f"{done}/{total} done"]
    parts += [f"{counts[state]} {state}" for state in _STATES if state in counts]
    line = f"[{'#' * filled}{'-' * (BAR - filled)}] {', '.join(parts)}"
    return line + (f"; next poll in {wait:.0f} s" if wait >= 0.5 else "")
