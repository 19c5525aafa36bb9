"""What status shows on a terminal: each certificate's life, and what there is to know of it.

    ● www.example.org                                letsencrypt · classic · ec:P-256
      ─────────────●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┃━━━━━━━━━━━━━━━━  61 of 90 days
      until 2027-01-27 08:00 UTC · renewal 2026-12-28 08:00 UTC, a third left
      www.example.org example.org

In a wide terminal the first lines are one.
"""

from collections.abc import Iterator

from ...common.clock import DAY, when
from ...common.log import printable
from ...common.names import shown
from ...common.x509.distinguished import text
from .listing import left_over, remarks
from .standing import CRITICAL, OK, WARNING, Limits, Overview, Standing, judge, span
from .terminal import Terminal, cut, pad, width, wrap

WIDE = 140        # columns from which on a section's first lines are one
_BAR, _LEFT = 30, 13    # columns of the bar there, and of what is left
_NAME, _FACTS = 32, 40  # columns of the section's name, and of what is beside it, at most

_COLOURS = {OK: "green", WARNING: "yellow", CRITICAL: "red"}
_SIGNS = {OK: ("●", "*"), WARNING: ("▲", "!"), CRITICAL: ("✗", "X")}


class Picture:
    """The lines of it; ``detailed`` for a few sections that were named."""

    def __init__(self, overview: Overview, terminal: Terminal, limits: Limits = Limits(),
                 detailed: bool = False) -> None:
        self._overview = overview
        self._now = overview.now
        self._terminal = terminal
        self._limits = limits
        self._detailed = detailed
        self._columns = (
            min(_NAME, max(width(printable(standing.name)) for standing in overview.standings)),
            min(_FACTS, max(width(self._facts(standing)) for standing in overview.standings))
        ) if terminal.columns >= WIDE else (0, 0)

    def lines(self) -> Iterator[str]:
        """Yield all lines."""
        is_wide = self._terminal.columns >= WIDE
        levels = {OK: 0, WARNING: 0, CRITICAL: 0}
        for number, standing in enumerate(self._overview.standings):
            level, _ = judge(standing, self._now, self._limits)
            levels[level] += 1
            if number and not is_wide:
                yield ""
            yield from (self._row if is_wide else self._block)(standing, level)
        yield from self._end(levels)

    # --- a section ---------------------------------------------------------------------------

    def _block(self, standing: Standing, level: int) -> Iterator[str]:
        term = self._terminal
        facts = self._facts(standing)
        name = cut(printable(standing.name), max(12, term.columns - 5 - width(facts)))
        gap = term.columns - 2 - width(name) - width(facts)
        head = f"{self._sign(level)} {term.style('bold', name)}"
        if gap >= 2:
            yield head + " " * gap + term.style("dim", facts)
        else:
            yield head
            yield from self._indented(facts, "dim")
        left = self._left(standing)
        if standing.certificate is not None:
            yield f"  {self._bar(standing, term.columns - 4 - width(left), level)}  {left}"
        yield from self._indented(self._when(standing))
        names = self._names(standing)
        if names:
            yield from self._indented(names, "dim")
        yield from self._more(standing, level)

    def _row(self, standing: Standing, level: int) -> Iterator[str]:
        term, (name, facts) = self._terminal, self._columns
        head = (f"{self._sign(level)} {term.style('bold', pad(printable(standing.name), name))}"
                f"  {self._bar(standing, _BAR, level)}  {pad(self._left(standing), _LEFT)}"
                f"  {term.style('dim', pad(self._facts(standing), facts))}  ")
        used = 2 + name + 2 + _BAR + 2 + _LEFT + 2 + facts + 2
        room, names = term.columns - used, self._names(standing)
        lines = list(wrap(self._when(standing), room)) or [""]
        beside = len(lines) == 1 and width(lines[0]) + 2 + width(names) <= room
        yield head + lines[0] + (f"  {term.style('dim', names)}" if names and beside else "")
        for line in lines[1:]:
            yield " " * used + line
        for line in wrap(names, room) if not beside else ():
            yield " " * used + term.style("dim", line)
        yield from self._more(standing, level)

    def _more(self, standing: Standing, level: int) -> Iterator[str]:
        """What there is beyond what each section has."""
        if standing.fault:
            yield from self._indented(printable(standing.fault), _COLOURS[level])
        for line in remarks(standing):
            yield from self._indented(line, "" if line.startswith("next key") else
                                      _COLOURS[max(level, WARNING)])
        if self._detailed:
            yield from self._details(standing)

    def _details(self, standing: Standing) -> Iterator[str]:
        section, known = standing.section, standing.certificate
        if known is not None:
            yield from self._labelled("issuer", text(known.issuer))
            yield from self._labelled("serial", known.serial.hex())
        for link in standing.chain:
            yield from self._labelled(
                "chain", f"{text(link.subject)}, until {when(link.not_after)}")
        if section is not None:
            for label, path in (("key", section.key), ("certificate", section.certificate),
                                ("", section.chain), ("", section.fullchain),
                                ("configured", section.source), ("notify", section.notify)):
                if path:
                    yield from self._labelled(label, path)

    def _labelled(self, label: str, value: str) -> Iterator[str]:
        for number, line in enumerate(wrap(printable(value), self._terminal.columns - 15)):
            yield self._terminal.style("dim", f"  {'' if number else label:<11}  ") + line

    # --- parts of it -------------------------------------------------------------------------

    def _sign(self, level: int) -> str:
        return self._terminal.style(_COLOURS[level], self._terminal.sign(*_SIGNS[level]))

    def _facts(self, standing: Standing) -> str:
        """Who issued it, under which profile, and for what kind of key."""
        return f" {self._terminal.sign('·', '-')} ".join(
            printable(fact, 60) for fact in (standing.ca, standing.profile, standing.key_type)
            if fact)

    def _names(self, standing: Standing) -> str:
        """The names, unless the section's own says it all."""
        return "" if standing.names == [standing.name] else \
            " ".join(map(printable, map(shown, standing.names)))

    def _left(self, standing: Standing) -> str:
        left, lifetime = standing.left(self._now), standing.lifetime
        if left is None:
            return ""
        if left <= 0:
            return f"{span(-left)} ago"
        if lifetime >= 10 * DAY and left >= DAY:
            return f"{int(left // DAY)} of {round(lifetime / DAY)} days"
        if left >= 3600:
            return f"{int(left // 3600)} of {round(lifetime / 3600)} h"
        return f"{span(left)} left"

    def _when(self, standing: Standing) -> str:
        """When it expires, and when it is renewed, and why then."""
        known, moment = standing.certificate, standing.moment
        if standing.fault:
            return ""
        if standing.due:
            verb = "order" if known is None else "renew"
            begin = "due" if standing.waiting is not None else f"to be {verb}ed by the next run"
            return f"{begin}: {printable(standing.reason)}"
        end = "" if known is None else f"until {when(known.not_after)}"
        return end if moment is None else \
            f"{end} {self._terminal.sign('·', '-')} renewal {when(moment.at)}, {moment.brief}"

    def _bar(self, standing: Standing, columns: int, level: int) -> str:
        """Return the life of a certificate: what is past, now, until its renewal, and behind."""
        term, known, left = self._terminal, standing.certificate, standing.left(self._now)
        columns = max(columns, 4)
        if known is None or left is None:
            return term.style("dim", term.sign("·", ".") * columns)
        past, rest = term.sign("─", "-"), term.sign("━", "=")
        lifetime = max(standing.lifetime, 1)
        now = min(max(int(columns * (1 - left / lifetime)), 0), columns - 1)
        cells = [("dim", past)] * now + [("cyan", term.sign("●", "o"))] \
            + [(_COLOURS[level], rest)] * (columns - now - 1)
        if left <= 0:
            cells[-1] = "red", term.sign("✗", "X")
        if standing.moment is not None:
            mark = int(columns * (standing.moment.at - known.not_before) / lifetime)
            if 0 <= mark < columns and left > 0 and mark != now:
                cells[mark] = "bold", term.sign("┃", "|")
                cells[mark + 1:] = [("dim" if number <= now else "yellow" if level == OK else style,
                                     sign) if sign == rest else (style, sign)
                                    for number, (style, sign) in enumerate(cells[mark + 1:],
                                                                           mark + 1)]
        return "".join(term.style(style, sign) for style, sign in _runs(cells))

    def _indented(self, line: str, style: str = "") -> Iterator[str]:
        for part in wrap(line, self._terminal.columns - 2):
            yield f"  {self._terminal.style(style, part)}"

    # --- all of them -------------------------------------------------------------------------

    def _end(self, levels: dict[int, int]) -> Iterator[str]:
        """What is left of others, and how many there are."""
        term = self._terminal
        if self._overview.leftovers:
            yield ""
            yield term.style("bold", "Left of sections that are no more")
            for leftover in self._overview.leftovers:
                yield from self._indented(left_over(leftover, self._now))
        if len(self._overview.standings) > 1:
            counts = [(_COLOURS[level], f"{levels[level]} {word}") for level, word in (
                (OK, "well"), (WARNING, "to be looked at"), (CRITICAL, "critical"))
                if levels[level]]
            due = sum(standing.due for standing in self._overview.standings)
            counts += [("", f"{due} due")] if due else []
            yield ""
            if width(", ".join(word for _, word in counts)) <= term.columns:
                yield ", ".join(term.style(style, word) for style, word in counts)
            else:
                yield from (term.style(style, word) for style, word in counts)


def _runs(cells: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join neighbours of one style."""
    style, signs = "", ""
    for own, sign in cells:
        if own != style and signs:
            yield style, signs
            signs = ""
        style, signs = own, signs + sign
    yield style, signs
