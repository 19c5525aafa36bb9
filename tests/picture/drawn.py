"""The demonstration's picture: processes, the way of the order, the certificate."""

import datetime
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .canvas import Canvas
from .lines import Event, Way
from .looks import ACCOUNT_KEY, CLIENT, MASTER, NAMES, SIGNER, WEBSERVER, Look

COLUMNS = 78
_CHILD = 25                    # columns of a child's box
_LEFT = {SIGNER: 1, CLIENT: 27, WEBSERVER: 53}
_GIVEN = {SIGNER: "policy", CLIENT: "order", WEBSERVER: "socket"}   # by the master
_TIME = 11                     # the column where seconds end
_LANES = {MASTER: 15, SIGNER: 30, CLIENT: 47, WEBSERVER: 60, "CA": 75}
_BAR = 37                      # columns of the certificate's life

Fact = tuple[str, str, str]    # name, value, style


class Certificate(NamedTuple):
    """What is in the certificate, and what was seen to be right about it."""

    names: tuple[str, ...]
    issuer: str
    serial: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    renews: datetime.datetime
    renews_why: str
    key: str                 # "ec:P-256"
    verified: tuple[str, ...]


class Facts(NamedTuple):
    """All that the picture says."""

    server: str              # "Pebble 2.4.0"
    looks: Mapping[str, Look]
    way: Way
    certificate: Certificate


def picture(facts: Facts) -> Canvas:
    """Return the picture, ``COLUMNS`` wide."""
    sheet = Canvas()
    sheet.write(1, 0, f"A certificate from {facts.server} on this machine, "
                f"in {facts.way.notified.last:.1f} s", "title")
    sheet.write(1, 2, "What /proc said of four processes during the first validation:", "dim")
    row = _processes(sheet, 3, facts.looks)
    sheet.write(1, row + 1, f"The order's way, in seconds; {facts.way.requests} requests, "
                f"{facts.way.signatures} signatures:", "dim")
    row = _way(sheet, row + 2, facts)
    _certificate(sheet, row + 1, facts.certificate)
    return sheet


# --- processes -------------------------------------------------------------------------------

def _processes(sheet: Canvas, top: int, looks: Mapping[str, Look]) -> int:
    """Draw them, with what was seen of them; return the next free row."""
    sheet.box(1, top, COLUMNS - 1, 4, NAMES[MASTER])
    sheet.write(3, top + 1, looks[MASTER].user, "bold")
    for place, fact in zip(((29, 1), (55, 1), (3, 2), (29, 2), (55, 2)), _of_master(looks[MASTER])):
        _fact(sheet, place[0], top + place[1], fact)
    top += 3
    rows = 0
    for program, x in _LEFT.items():
        facts = list(_of_child(looks[program]))
        rows = len(facts) + 3
        sheet.box(x, top + 2, _CHILD, rows, NAMES[program])
        sheet.down(x + 12, top, top + 1)
        sheet.write(x + 14, top + 1, _GIVEN[program], "dim")
        sheet.write(x + 2, top + 3, looks[program].user, "bold")
        for number, fact in enumerate(facts, top + 4):
            _fact(sheet, x + 2, number, fact)
    return top + 2 + rows


def _fact(sheet: Canvas, x: int, y: int, fact: Fact) -> None:
    name, value, style = fact
    sheet.write(x, y, name, "dim")
    sheet.write(x + _CHILD - 4 - len(value), y, value, style)


def _is(name: str, good: bool, yes: str, no: str) -> Fact:
    return name, yes if good else no, "good" if good else "bad"


def _keys(look: Look) -> Fact:
    if look.holds is None:
        return "keys held", "not seen", ""
    held = [name for name, holds in look.holds.items() if holds]
    return "keys held", ", ".join(held) or "none", "key" if held else "good"


def _of_master(look: Look) -> Iterator[Fact]:
    sockets = [*look.listens, *look.connected]
    yield "capabilities", "all" if look.capabilities else "none", ""
    yield _keys(look)
    yield "checks what comes in", "", ""
    yield _is("TCP sockets", not sockets, "none", ", ".join(map(str, sockets)))
    if look.holds is None:
        yield ACCOUNT_KEY, "not seen", ""
    else:
        yield _is(ACCOUNT_KEY, not look.holds[ACCOUNT_KEY], "not held", "held")


def _of_child(look: Look) -> Iterator[Fact]:
    yield _keys(look)
    yield _is("capabilities", not look.capabilities, "none", f"{look.capabilities:x}")
    yield _is("new privileges", look.no_new_privs, "none", "possible")
    yield _is("other groups", not look.groups, "none", ", ".join(look.groups))
    yield _is("system calls", look.filtered, "filtered", "any")
    if look.listens:
        yield "network", f"port {', '.join(map(str, look.listens))}", ""
    elif look.connected:
        yield "network", "the CA", ""
    else:
        yield _is("network", look.own_network, "none", "the host's")


# --- the way of the order --------------------------------------------------------------------

def _way(sheet: Canvas, top: int, facts: Facts) -> int:
    """Draw who told whom what, and when; return the next free row."""
    way, names = facts.way, len(facts.certificate.names)
    heads = {**NAMES, WEBSERVER: "web server", "CA": "CA"}
    for lane, x in _LANES.items():
        sheet.write(x - (len(heads[lane]) - 1) // 2, top, heads[lane], "bold")
    steps: list[tuple[Event, list[tuple[str, str, str]]]] = [
        (way.key, [(MASTER, CLIENT, f"order: {names} names, CSR")]),
        (way.asked, [(CLIENT, SIGNER, "sign"), (CLIENT, "CA", "newOrder")]),
        (way.ordered, [("CA", CLIENT, f"{names} authorizations")]),
        (way.challenges, [(CLIENT, SIGNER, "sign"), (CLIENT, "CA", "challenges are ready")]),
        (way.validations, [("CA", WEBSERVER, f"GET ×{way.validations.number}")]),
        (way.ready, [("CA", CLIENT, "order is ready")]),
        (way.finalized, [(CLIENT, SIGNER, "sign"), (CLIENT, "CA", "finalize: CSR")]),
        (way.downloaded, [(CLIENT, SIGNER, "sign"), ("CA", CLIENT, "certificate")]),
        (way.downloaded, [(CLIENT, MASTER, "certificate, chain")]),
    ]
    bottom = top + len(steps) + 1
    for x in _LANES.values():
        sheet.down(x, top + 1, bottom)
    for number, (event, arrows) in enumerate(steps, top + 1):
        sheet.write(1, number, str(event).rjust(_TIME - 1), "dim")
        for start, end, label in arrows:
            sheet.arrow(_LANES[start], _LANES[end], number, label)
    sheet.write(1, bottom, str(way.installed).rjust(_TIME - 1), "dim")
    sheet.write(_LANES[MASTER], bottom, "✔", "good")
    sheet.write(_LANES[MASTER] + 2, bottom, "verified, installed, “notify” run")
    return bottom + 1


# --- the certificate -------------------------------------------------------------------------

def _certificate(sheet: Canvas, top: int, found: Certificate) -> None:
    bar = round(_BAR * ((found.renews - found.not_before) / (found.not_after - found.not_before)))
    rows = [("names", ", ".join(found.names), "bold"),
            ("issuer", found.issuer, ""),
            ("serial", found.serial, ""),
            ("key", found.key.replace("ec:", "EC ").replace("rsa:", "RSA "), ""),
            ("valid", f"{found.not_before:%Y-%m-%d} {'━' * _BAR} {found.not_after:%Y-%m-%d}",
             "dim"),
            ("renewal", f"● {found.renews:%Y-%m-%d}: {found.renews_why}", ""),
            *(("verified" if number == 0 else "", f"✔ {text}", "good")
              for number, text in enumerate(found.verified))]
    sheet.box(1, top, COLUMNS - 1, len(rows) + 2, "certificate")
    for number, (name, value, style) in enumerate(rows, top + 1):
        sheet.write(3, number, name, "dim")
        sheet.write(13, number, value, style)
        if name == "valid":
            sheet.write(13, number, value[:11 + bar], "good")
            sheet.write(13 + 11 + bar, number, "●", "key")
        elif name == "renewal":
            sheet.write(13, number, "●", "key")
