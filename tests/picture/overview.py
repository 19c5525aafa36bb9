"""The processes, and what they say to each other: README's picture, and the man page's.

Usage: python3 -m picture.overview [man], in tests/: print PROCESSES.svg, or what is in
letsencrypt-tiny.8.

What descriptors, sockets and networks they have is shown by integration/test_privileges.py,
test_tls.py and test_dns.py; SECURITY.md has it claim by claim.
"""

import sys

from .canvas import Canvas
from .svg import svg

TITLE = ("The processes of letsencrypt-tiny: the master gives policy, orders and sockets to "
         "account key manager, ACME client and responders; only the client speaks with the CA")
COLUMNS = 73
SIGNER, CLIENT, RESPONDER = 0, 23, 46   # columns where their boxes begin
BUS = 72                                # the column of what the CA asks
NETWORK = 17                            # the row where the host ends


def overview() -> Canvas:
    """Return the picture, ``COLUMNS`` wide, so that it fits a man page."""
    sheet = Canvas()
    _boxes(sheet)
    _from_the_master(sheet)
    _between_children(sheet)
    _network(sheet)
    return sheet


def _boxes(sheet: Canvas) -> None:
    sheet.box(0, 0, 70, 4)
    sheet.write(2, 1, "master", "title")
    sheet.write(64, 1, "root", "dim")
    sheet.write(2, 2, "server keys", "key")
    sheet.write(13, 2, ", certificates, configuration, state; no network")
    for x, y, width, height, name, fact, style in (
            (SIGNER, 6, 15, 6, "account key", "account key", "key"),
            (CLIENT, 6, 15, 9, "ACME client", "no key", "good"),
            (RESPONDER, 6, 24, 4, "challenge web server", "port 80, no key", ""),
            (RESPONDER, 9, 24, 4, "challenge TLS server", "port 443, own keys", ""),
            (RESPONDER, 12, 24, 4, "DNS updater", "a zone's credentials", "key")):
        sheet.box(x, y, width, height)
        sheet.write(x + 2, y + 1, name, "title")
        sheet.write(x + 2, y + (4 if x == SIGNER else 2), fact, style)
    sheet.write(2, 8, "manager", "title")
    for number, words in enumerate(("Each box is a user of", "its own, and checks",
                                    "what it is told."), 13):
        sheet.write(0, number, words, "dim")


def _from_the_master(sheet: Canvas) -> None:
    for x in 7, 26, 59:
        sheet.fall(x, 4, 5)
    sheet.fall(34, 4, 5, up=True)
    for x, y, words, style in ((9, 4, "policy", ""), (19, 4, "orders", ""), (36, 4, "chains", ""),
                               (28, 4, "JSON", "dim"), (28, 5, "pipes", "dim"),
                               (61, 4, "sockets,", ""), (61, 5, "names", "")):
        sheet.write(x, y, words, style)


def _between_children(sheet: Canvas) -> None:
    sheet.arrow(14, CLIENT, 9, both=True)
    for y, words, style in ((8, "sign", ""), (10, "UNIX", "dim"), (11, "or ssh", "dim")):
        sheet.write(16, y, words, style)
    for y in 7, 10, 13:
        sheet.arrow(37, RESPONDER, y)
    for y, words, style in ((6, "tokens", ""), (8, "files", "dim"), (11, "socket", "dim"),
                            (14, "socket", "dim")):
        sheet.write(39, y, words, style)


def _network(sheet: Canvas) -> None:
    for x in range(0, BUS - 1, 2):
        sheet.write(x, NETWORK, "-", "trust")
    sheet.write(2, NETWORK, " the network ", "trust")
    sheet.box(CLIENT, NETWORK + 2, 23, 6)
    sheet.write(CLIENT + 2, NETWORK + 3, "certification", "title")
    sheet.write(CLIENT + 2, NETWORK + 4, "authority", "title")
    sheet.write(CLIENT + 2, NETWORK + 6, "ACME (RFC 8555)", "dim")
    sheet.fall(30, 15, NETWORK + 1)
    sheet.write(32, 16, "HTTPS")
    # validations
    sheet.across(CLIENT + 23, BUS, NETWORK + 3, "way")
    sheet.write(CLIENT + 23, NETWORK + 3, "─", "way")
    sheet.down(BUS, 7, NETWORK + 3, "way")
    for y in 7, 10:
        sheet.across(BUS - 1, BUS, y, "way")
        sheet.write(BUS - 2, y, "◀", "way")
    sheet.write(61, NETWORK + 2, "validation")
    # DNS
    sheet.box(52, NETWORK + 5, 18, 3)
    sheet.write(54, NETWORK + 6, "name servers", "title")
    sheet.fall(59, 16, NETWORK + 4)
    sheet.write(61, 16, "records")
    sheet.arrow(45, 52, NETWORK + 6)


def roff() -> str:
    """Return the lines of a man page's literal display; ^ and ' alone are other signs there."""
    return overview().text(utf8=False).replace("^", r"\(ha").replace("'", r"\(aq") + "\n"


if __name__ == "__main__":
    print(roff() if "man" in sys.argv else svg(overview(), TITLE), end="")
