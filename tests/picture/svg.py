"""A sheet as SVG: lines are drawn, text is text, nothing comes from elsewhere.

Light or dark is what the reader has (prefers-color-scheme).
"""

import re
import xml.etree.ElementTree as etree
from collections.abc import Iterator
from xml.sax.saxutils import escape

from .canvas import DOWN, LEFT, MASKS, RIGHT, UP, Canvas

WIDTH, HEIGHT = 8.4, 18     # of a cell
MARGIN = 22
FONT = '14px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,"Liberation Mono",monospace'

# Names of styles, as in canvas.COLOURS -> light, dark
FILLS = {"": ("#24292f", "#d7dce2"), "dim": ("#6a737d", "#8b949e"), "good": ("#1a7f37", "#57c76c"),
         "bad": ("#b00020", "#ff7b72"),
         "key": ("#9a6700", "#e3b341"), "way": ("#0b6e8f", "#56c2e0"),
         "trust": ("#0550ae", "#79b8ff")}
BOLD = ("bold", "title", "trust")
STROKES = {"line": ("#a7afb8", "#565e68"), "trust": ("#0550ae", "#79b8ff"),
           "way": ("#0b6e8f", "#56c2e0"), "key": ("#9a6700", "#e3b341")}
PAPER, EDGE = ("#fbfbf9", "#16191e"), ("#d5dae0", "#30363d")

_HEADS = {"◀": (-1, 0), "▶": (1, 0), "▲": (0, -1), "▼": (0, 1)}


def svg(sheet: Canvas, title: str) -> str:
    """Return the picture of a sheet; ``title`` is what who can't see it is told."""
    columns, rows = sheet.size
    width, height = round(columns * WIDTH + 2 * MARGIN), rows * HEIGHT + 2 * MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">', f"<title>{escape(title)}</title>",
        "<style>", *_style(0), "@media (prefers-color-scheme: dark) {", *_style(1), "}", "</style>",
        f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>',
        f'<g transform="translate({MARGIN} {MARGIN})">', *_paths(sheet), *_heads(sheet),
        *_texts(sheet), "</g>", "</svg>"]) + "\n"


def words(picture: str) -> list[str]:
    """Return the texts of a picture without its numbers, which differ from run to run."""
    texts = (text.text or "" for text in etree.fromstring(picture).iter() if "text" in text.tag)
    return [re.sub(r"[0-9][0-9.–-]*", "0", re.sub(r"\b[0-9a-f]{6,}\b", "0", text))
            for text in texts]


def _style(scheme: int) -> Iterator[str]:
    if scheme == 0:
        yield f"text {{ font: {FONT}; white-space: pre }}"
        yield "path { fill: none; stroke-width: 1.4; stroke-linecap: round }"
        yield f"{', '.join('.' + name for name in BOLD)} {{ font-weight: bold }}"
    yield f".paper {{ fill: {PAPER[scheme]}; stroke: {EDGE[scheme]} }}"
    for name, colours in FILLS.items():
        yield f"{'text' if not name else 'text.' + name} {{ fill: {colours[scheme]} }}"
    for name, colours in STROKES.items():
        yield f"path.{name} {{ stroke: {colours[scheme]} }}"
        yield f"path.head.{name} {{ fill: {colours[scheme]} }}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _paths(sheet: Canvas) -> Iterator[str]:
    """The lines: those of a style are one path, of as few pieces as there are."""
    columns, rows = sheet.size
    masks = {(x, y): (MASKS[sign], style) for y in range(rows) for x in range(columns)
             for sign, style in [sheet.cell(x, y)] if sign in MASKS}
    pieces: dict[str, list[str]] = {}
    for y in range(rows):
        _along([(x, y) for x in range(columns)], masks, (LEFT, RIGHT), pieces)
    for x in range(columns):
        _along([(x, y) for y in range(rows)], masks, (UP, DOWN), pieces)
    for (x, y), (mask, style) in masks.items():
        if mask in (DOWN | RIGHT, DOWN | LEFT, UP | RIGHT, UP | LEFT):
            pieces.setdefault(style, []).append(_corner(x, y, mask))
    for style, those in pieces.items():
        yield f'<path class="{style}" d="{"".join(those)}"/>'


def _along(places: list[tuple[int, int]], masks: dict[tuple[int, int], tuple[int, str]],
           ends: tuple[int, int], pieces: dict[str, list[str]]) -> None:
    """Add the straight pieces of a row or column."""
    both = ends[0] | ends[1]
    start, style = -1.0, ""

    def close(end: float) -> None:
        nonlocal start
        if 0 <= start < end:
            x, y = places[0]
            pieces.setdefault(style, []).append(
                f"M{_number((start + 0.5) * WIDTH)} {_number((y + 0.5) * HEIGHT)}"
                f"H{_number((end + 0.5) * WIDTH)}" if ends[0] == LEFT else
                f"M{_number((x + 0.5) * WIDTH)} {_number((start + 0.5) * HEIGHT)}"
                f"V{_number((end + 0.5) * HEIGHT)}")
        start = -1.0

    for number, place in enumerate(places):
        mask, now = masks.get(place, (0, ""))
        curved = mask in (DOWN | RIGHT, DOWN | LEFT, UP | RIGHT, UP | LEFT)
        if start >= 0 and (now != style or not mask & both):
            close(number - 0.5)
        if not mask & both:
            continue
        if mask & ends[0] and start < 0:
            start, style = number - 0.5, now
        if not mask & ends[1]:
            close(number - (0.5 if curved else 0))
        elif not mask & ends[0]:
            start, style = number + (0.5 if curved else 0), now
    close(len(places) - 0.5)


def _corner(x: int, y: int, mask: int) -> str:
    """A quarter of a circle, as far as a cell is one."""
    middle = (x + 0.5) * WIDTH, (y + 0.5) * HEIGHT
    side = middle[0] + (WIDTH / 2 if mask & RIGHT else -WIDTH / 2)
    edge = middle[1] + (HEIGHT / 2 if mask & DOWN else -HEIGHT / 2)
    return (f"M{_number(middle[0])} {_number(edge)}"
            f"Q{_number(middle[0])} {_number(middle[1])} {_number(side)} {_number(middle[1])}")


def _heads(sheet: Canvas) -> Iterator[str]:
    for x, y, sign, style in _signs(sheet):
        if sign in _HEADS:
            yield f'<path class="head {style or "line"}" d="{_head(x, y, *_HEADS[sign])}"/>'


def _head(x: int, y: int, across: int, down: int) -> str:
    """The head of an arrow, and of one that points up or down its line, too."""
    cx, cy = (x + 0.5) * WIDTH, (y + 0.5) * HEIGHT
    points = [(cx + across * 6.5, cy), (cx - across * 3.5, cy - 4.2), (cx - across * 3.5, cy + 4.2)]
    stem = ""
    if down:
        points = [(cx, cy + down * 8), (cx - 4.2, cy - down * 2), (cx + 4.2, cy - down * 2)]
        stem = f"M{_number(cx)} {_number(cy - down * 9)}V{_number(cy)}"
    return stem + "M" + "L".join(f"{_number(a)} {_number(b)}" for a, b in points) + "z"


def _signs(sheet: Canvas) -> Iterator[tuple[int, int, str, str]]:
    columns, rows = sheet.size
    for y in range(rows):
        for x in range(columns):
            yield x, y, *sheet.cell(x, y)


def _texts(sheet: Canvas) -> Iterator[str]:
    drawn = {*MASKS, *_HEADS}
    for run in sheet.runs():
        start = 0
        for place in range(len(run.text) + 1):
            if place < len(run.text) and run.text[place] not in drawn:
                continue
            words = run.text[start:place]
            x, words = run.x + start + len(words) - len(words.lstrip()), words.strip()
            start = place + 1
            if words:
                style = f' class="{run.style}"' if run.style else ""
                yield (f'<text{style} x="{_number(x * WIDTH)}" '
                       f'y="{_number((run.y + 0.5) * HEIGHT + 5)}" '
                       f'textLength="{_number(len(words) * WIDTH)}">{escape(words)}</text>')
