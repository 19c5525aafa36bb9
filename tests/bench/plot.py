"""The wall clock over the number of certificates, as SVG: who waits for whom.

Both axes are logarithmic, and say so: at each grid line its number is written, fine ones are whole
multiples in between.  What came before the server's Retry-After was over is coloured.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

OURS = "letsencrypt-tiny"
MOST = 200           # certificates, where the axis ends

WIDTH, HEIGHT = 880, 568
LEFT, RIGHT, TOP, BOTTOM = 104, 690, 84, 486
GAP = "\u2003\u2003"
LABEL_GAP = 19       # between two names at the right

# Okabe and Ito: told apart also by those who see few colours
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a", "#8c6d31")
OURS_COLOUR = "#d55e00"

STYLE = """
  text { font: 13px "DejaVu Sans", Verdana, sans-serif; fill: #333 }
  .title { font-size: 18px; font-weight: bold; fill: #111 }
  .note { font-size: 12px; fill: #666 }
  .ours { font-weight: bold }
  .grid { stroke: #d8d8d8; stroke-width: 1 }
  .fine { stroke: #f0f0f0; stroke-width: 1 }
  .limit { stroke: #b00020; stroke-width: 1.5; stroke-dasharray: 7 4 }
  .ahead { fill: #b00020; fill-opacity: 0.06 }
  .limit-note { font-size: 12px; fill: #b00020; stroke: #fff; stroke-width: 3; paint-order: stroke }
  .axis { stroke: #888; stroke-width: 1 }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
  .line.ours { stroke-width: 3.5 }
  .beyond { fill: none; stroke-width: 1.5; stroke-dasharray: 2 6; stroke-linecap: round }
  .leader { fill: none; stroke-width: 1.5; stroke-linejoin: round }
"""

Point = tuple[float, float]


class Curve(NamedTuple):
    """One program: seconds over certificates, measured, and where it would go on."""

    name: str
    colour: str
    measured: list[Point]
    beyond: list[Point]


def svg(results: dict[str, Any]) -> str:
    """Return the plot of ``results``."""
    curves = _curves(results["issuance"])
    seconds = [y for curve in curves for _, y in curve.measured + curve.beyond]
    retry, pebble = results["retry after"], results["machine"]["pebble"]
    scale = _Scale(min(*seconds, 0.8 * retry), max(seconds))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<title>Wall clock over the number of certificates in a run</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        '<text class="title" x="24" y="34">Many certificates at once</text>',
        '<text class="note" x="24" y="56">Wall clock of one run against the same Pebble '
        f"{escape(pebble)}, which asks for {retry} s between two polls; lower is better</text>",
        *_axes(scale), *_limit(scale, retry)]
    for curve in curves:
        lines += _draw(curve, scale)
    lines += _labels(curves, scale)
    notes = []
    if any(curve.beyond for curve in curves):
        notes.append("● measured")
        notes.append("· · · not measured: the last measured certificate, as many times")
    hasty = [fact["program"] for fact in results["programs"] if not fact["honours_retry_after"]]
    if hasty:
        notes.append(f"ahead of Retry-After: {', '.join(hasty)}")
    lines.append(f'<text class="note" x="{LEFT}" y="{HEIGHT - 14}">'
                 f"{escape(GAP.join(notes))}</text>")
    return "\n".join([*lines, "</svg>"]) + "\n"


def _curves(rows: Sequence[dict[str, Any]]) -> list[Curve]:
    names = list(dict.fromkeys(row["program"] for row in rows))
    names.sort(key=OURS.__eq__)  # ours last, above the others
    curves = []
    for number, name in enumerate(names):
        measured = sorted((float(row["certificates"]), float(row["wall"])) for row in rows
                          if row["program"] == name and row["names"] == 1
                          and row["measured"] == row["certificates"])
        if not measured:
            continue
        count, wall = measured[-1]
        beyond = [(count, wall), (float(MOST), wall * MOST / count)] \
            if name != OURS and count < MOST else []
        curves.append(Curve(name, OURS_COLOUR if name == OURS else COLOURS[number % len(COLOURS)],
                            measured, beyond))
    return curves


class _Scale:
    """Certificates and seconds -> where on the page."""

    def __init__(self, least: float, most: float) -> None:
        self.low = next((low for low in (5, 2, 1, 0.5, 0.2, 0.1, 0.05) if low < least), 0.01)
        self.high = most * 1.15

    def x(self, count: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(count) / math.log(MOST)

    def y(self, seconds: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log(seconds / self.low)
                                          / math.log(self.high / self.low))

    def ticks(self) -> Iterator[tuple[float, str]]:
        for seconds, text in ((0.1, "0.1 s"), (0.2, "0.2 s"), (0.5, "0.5 s"), (1, "1 s"),
                              (2, "2 s"), (5, "5 s"), (10, "10 s"), (20, "20 s"), (60, "1 min"),
                              (120, "2 min"), (300, "5 min"), (600, "10 min"), (1200, "20 min"),
                              (3600, "1 h")):
            if self.low <= seconds <= self.high:
                yield seconds, text


def _limit(scale: _Scale, retry: float) -> Iterator[str]:
    """What comes to those alone that look ahead of Retry-After: each certificate has one poll that
    is asked to wait so long."""
    y = scale.y(retry)
    yield (f'<rect class="ahead" x="{LEFT}" y="{y:.1f}" width="{RIGHT - LEFT}" '
           f'height="{BOTTOM - y:.1f}"/>')
    yield f'<line class="limit" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
    yield (f'<text class="limit-note" x="{RIGHT - 8}" y="{y + 15:.1f}" text-anchor="end">'
           f"limit: Retry-After {retry:g} s, unless a program looks ahead of it</text>")


def _fine(scale: _Scale) -> Iterator[str]:
    """The multiples between the numbers, which show that the axes are logarithmic."""
    for power in range(-2, 5):
        for factor in range(1, 10):
            value = factor * 10.0 ** power
            if scale.low <= value <= scale.high:
                y = scale.y(value)
                yield f'<line class="fine" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
            if 1 <= value <= MOST:
                x = scale.x(value)
                yield f'<line class="fine" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}"/>'


def _axes(scale: _Scale) -> Iterator[str]:
    yield from _fine(scale)
    for seconds, text in scale.ticks():
        y = scale.y(seconds)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 10}" y="{y + 4.5:.1f}" text-anchor="end">{text}</text>'
    for count in (1, 2, 5, 10, 20, 50, 100, 200):
        x = scale.x(count)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}"/>'
        yield f'<text x="{x:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{count}</text>'
    yield f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    yield (f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">'
           "certificates in one run, of one name each (logarithmic)</text>")
    middle = (TOP + BOTTOM) / 2
    yield (f'<text transform="translate(24 {middle}) rotate(-90)" text-anchor="middle">'
           "wall-clock time of the whole run (logarithmic)</text>")


def _path(points: Sequence[Point], scale: _Scale) -> str:
    return "M" + "L".join(f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in points)


def _draw(curve: Curve, scale: _Scale) -> Iterator[str]:
    ours = " ours" if curve.name == OURS else ""
    if curve.beyond:
        yield f'<path class="beyond" stroke="{curve.colour}" d="{_path(curve.beyond, scale)}"/>'
    yield f'<path class="line{ours}" stroke="{curve.colour}" d="{_path(curve.measured, scale)}"/>'
    for x, y in curve.measured:
        yield (f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="{5 if ours else 3.8}" '
               f'fill="{curve.colour}" stroke="#fff" stroke-width="1.2"/>')


def _labels(curves: Sequence[Curve], scale: _Scale) -> Iterator[str]:
    """The names at the right end of the curves, moved apart where they would overlap."""
    last = [(curve.beyond or curve.measured)[-1] for curve in curves]
    ends = sorted((scale.y(y), scale.x(x), curve) for (x, y), curve in zip(last, curves))
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + LABEL_GAP) if places else y)
    overflow = max(0.0, places[-1] - BOTTOM) if places else 0.0
    for number in range(len(places) - 1, -1, -1):
        limit = places[number + 1] - LABEL_GAP if number + 1 < len(places) else BOTTOM
        if overflow:
            places[number] = min(places[number], limit)
    for place, (y, x, curve) in zip(places, ends):
        ours = ' class="ours"' if curve.name == OURS else ""
        yield (f'<path class="leader" stroke="{curve.colour}" '
               f'd="M{x + 8:.1f} {y:.1f}L{RIGHT + 8} {y:.1f}L{RIGHT + 22} {place:.1f}h6"/>')
        yield (f'<text{ours} x="{RIGHT + 34}" y="{place + 4.5:.1f}">{escape(curve.name)}</text>')
