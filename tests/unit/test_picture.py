"""Pictures of characters: what a terminal shows, SVG, the committed ones; and what is under way."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as etree
from pathlib import Path

import pytest

from harness import proc
from harness.run import ROOT
from harness.terminal import shown
from letsencrypt_tiny import __version__ as VERSION
from picture import lines, overview
from picture.canvas import Canvas, is_utf8
from picture.svg import HEIGHT, WIDTH, svg

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = ("DEMO.svg", "PROCESSES.svg")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "xterm",
               "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1"}


def sheet() -> Canvas:
    """A box with a line out of it, and an arrow."""
    found = Canvas()
    found.box(0, 0, 11, 3, "A")
    found.write(2, 1, "yes  no", "good")
    found.fall(4, 3, 4)
    found.arrow(10, 16, 1, "x")
    return found


def test_lines_join() -> None:
    assert sheet().text().splitlines() == [
        "╭─ A ─────╮", "│ yes  no │─ x ▶", "╰───┬─────╯", "    │", "    ▼"]
    crossing = Canvas()
    crossing.across(0, 2, 1)
    crossing.down(1, 0, 2)
    assert crossing.text() == " │\n─┼─\n │"


def test_without_utf8_and_colour() -> None:
    plain = sheet().text(utf8=False)
    assert plain.isascii() and plain.splitlines()[0] == "+- A -----+"
    assert [len(line) for line in plain.splitlines()] == [
        len(line) for line in sheet().text().splitlines()]
    coloured = sheet().text(colour=True)
    assert "\033[32myes" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == sheet().text()


@pytest.mark.parametrize("environment, utf8", [
    ({"LANG": "de_DE.UTF-8"}, True), ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False), ({}, False),
    ({"LANG": "C", "LC_CTYPE": "en_GB.utf8"}, True), ({"LANG": "de_DE@euro"}, False)])
def test_the_locale(environment: dict[str, str], utf8: bool) -> None:
    assert is_utf8(environment) is utf8


def test_svg_is_what_a_terminal_shows() -> None:
    """Each word is where it is there, and the box is closed: four lines, four corners."""
    tree = etree.fromstring(svg(sheet(), "A & B"))
    assert tree.findtext(SVG + "title") == "A & B"
    texts = {text.text: text for text in tree.iter(SVG + "text")}
    assert set(texts) == {"A", "yes", "no", "x"}
    assert texts["no"].get("x") == f"{7 * WIDTH:.1f}"
    assert texts["no"].get("y") == f"{1.5 * HEIGHT + 5:.0f}" and texts["no"].get("class") == "good"
    path = next(path.get("d") or "" for path in tree.iter(SVG + "path")
                if path.get("class") == "line")
    assert path.count("Q") == 4
    # from one corner's cell to the other's, with the title in between
    assert f"V{2 * HEIGHT}" in path and f"M{WIDTH * 5:.0f} {HEIGHT / 2:.0f}H" in path


# --- what is committed ---

@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_stands_alone(name: str) -> None:
    """Nothing from elsewhere, nothing of the machine that it was made on; light, dark, small."""
    text = (ROOT / name).read_text()
    assert len(text) < 40000
    tree = etree.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} == {
        "svg", "title", "style", "rect", "g", "path", "text"}
    for element in tree.iter():
        assert not [name for name in element.attrib if "href" in name or name.startswith("on")]
    assert not re.search(r"url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"/(srv|tmp|root|home)\b|127\.0\.0\.1", text)
    host = os.uname().nodename
    assert len(host) < 4 or host not in text


def test_the_picture_of_processes() -> None:
    """What README shows is what is drawn, and so is what the man page shows."""
    assert (ROOT / "PROCESSES.svg").read_text() == svg(overview.overview(), overview.TITLE)
    page = (ROOT / "man/letsencrypt-tiny.8").read_text()
    assert f".Bd -literal\n{overview.roff()}.Ed\n" in page
    done = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=80",
                           str(ROOT / "man/letsencrypt-tiny.8")],
                          capture_output=True, text=True, check=True)
    for line in overview.overview().text(utf8=False).splitlines():
        assert f"\n{' ' * 5}{line}".rstrip() + "\n" in done.stdout and len(line) + 5 <= 78


# --- the way of an order ---

SAID = """\
demo: generating the private key /x (ec:P-256)
accountd: [stdio] AUDIT policy=auto verdict=allowed operation=new-order origin=https://ca
accountd: [stdio] SIGNED header={}
client: POST https://ca/order-plz: 201
accountd: [stdio] AUDIT policy=auto verdict=allowed operation=respond origin=https://ca
webserver: 127.0.0.1 port 1 "GET /.well-known/acme-challenge/a HTTP/1.1" 200
webserver: 127.0.0.1 port 2 "GET /.well-known/acme-challenge/b HTTP/1.1" 200
demo: order ready
accountd: [stdio] AUDIT policy=auto verdict=allowed operation=finalize origin=https://ca
client: POST https://ca/finalize: 200
demo: order valid
client: POST https://ca/certificate: 200
client: 17 requests, 2 connections
demo: certificate installed, valid until 2027-02-25 12:24 UTC
running “true” for demo
""".splitlines()


def test_the_way_of_an_order() -> None:
    way = lines.way(list(enumerate(SAID)), "demo")
    assert (way.validations.first, way.validations.last, way.validations.number) == (5, 6, 2)
    assert str(way.validations) == "5.00–6.00" and str(way.ready) == "7.00"
    assert way.downloaded == (11, 11, 1)
    assert (way.signatures, way.requests) == (1, 17)


@pytest.mark.parametrize("line", [line for line in SAID if "SIGNED" not in line
                                  and "/finalize:" not in line and "/b" not in line
                                  and "/a " not in line and "order valid" not in line
                                  and "certificate: 200" not in line])
def test_what_was_not_seen_is_not_drawn(line: str) -> None:
    with pytest.raises(lines.Missing):
        lines.way([(time, text) for time, text in enumerate(SAID) if text != line], "demo")


# --- what is under way ---

STEP = ("import time; from picture.progress import *\n"
        "with Step(Terminal(), 'an “order”') as step:\n    step.note = 'pending'; time.sleep(0.3)")


def step(terminal: bool, **environment: str) -> str:
    """Return what a step of 0.3 s shows."""
    argv = [sys.executable, "-B", "-c", STEP]
    env = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "tests"), **environment}
    if terminal:
        return shown(argv, env)[1]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout


def test_a_line_that_lives() -> None:
    text = step(True)
    assert text.count("\r\033[K") > 2 and "pending" in text
    last = text.rpartition("\r\033[K")[2]
    assert "\033[32m✔\033[0m an “order”" in last and re.search(r"0\.[3-9] s", last)


def test_no_colour_no_utf8_no_terminal() -> None:
    assert "\033[3" not in step(True, NO_COLOR="1") and "\r\033[K" in step(True, NO_COLOR="1")
    assert step(True, LANG="C").isascii()
    assert step(False).count("\n") == 1 and "\033" not in step(False)
    assert "\033" not in step(True, TERM="dumb")


def test_a_demonstration_that_fails(tmp_path: Path) -> None:
    """One line for the reason, the end of the log before it, and where the rest is."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    with open(tree / "debian/control", "a", encoding="utf-8") as file:
        file.write("\nnonsense\n")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    others = set(proc.descendants(os.getpid()))    # servers of other tests
    status, text = shown([str(tree / "tests/demo.sh"), VERSION, ""],
                         {**ENVIRONMENT, "TMPDIR": str(temporary)})
    assert status == 1, text
    log, = temporary.iterdir()
    *before, why, where = text.replace("\r\n", "\n").splitlines()
    assert why == f"demo: building letsencrypt-tiny {VERSION} failed with status 2"
    assert where == f"demo: what was said is in {log}"
    assert before[-1] in log.read_text() and "control" in log.read_text()
    assert set(proc.descendants(os.getpid())) <= others
