"""The demonstration: its picture says what is true of the processes, the order, the certificate."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from demo import NAMES, TITLE, Demonstration, Log
from harness import ca, proc
from harness.memory import forms
from harness.run import CLIENT_USER, PARENT, ROOT, SIGNER_USER, WEBSERVER_USER, Prefix, as_user
from picture.drawn import COLUMNS, Facts, picture
from picture.looks import ACCOUNT_KEY, CLIENT, MASTER, SERVER_KEY, SIGNER, WEBSERVER, Look, look
from picture.progress import Terminal
from picture.svg import svg, words

pytestmark = pytest.mark.root

# With a key in its memory, or without, and a socket that listens
HOLDER = """
import socket, sys
key, listener = sys.stdin.read(), socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.close()
listener.accept()
"""


@pytest.fixture(scope="module")
def facts(prefix: Prefix) -> Facts:
    """What is seen in a run, which leaves nothing."""
    before = set(os.listdir(prefix.path))
    found = Demonstration(prefix, Terminal(), Log(None)).run()
    assert set(os.listdir(prefix.path)) == before
    return found


def test_the_processes(facts: Facts) -> None:
    assert {program: seen.user for program, seen in facts.looks.items()} == {
        MASTER: "root", SIGNER: SIGNER_USER, CLIENT: CLIENT_USER, WEBSERVER: WEBSERVER_USER}
    for program in SIGNER, CLIENT, WEBSERVER:
        seen = facts.looks[program]
        assert (seen.groups, seen.capabilities, seen.no_new_privs, seen.filtered) == (
            (), 0, True, True)
        assert seen.holds == {ACCOUNT_KEY: program == SIGNER, SERVER_KEY: False}
    master = facts.looks[MASTER]
    assert master.holds is not None and not master.holds[ACCOUNT_KEY]
    assert (master.listens, master.connected) == ((), ())
    assert facts.looks[SIGNER].own_network and facts.looks[WEBSERVER].own_network
    assert facts.looks[WEBSERVER].listens == (80,) and not facts.looks[CLIENT].listens
    assert len(facts.looks[CLIENT].connected) == 1


def test_the_way_and_the_certificate(facts: Facts) -> None:
    way, certificate = facts.way, facts.certificate
    moments = [way.key, way.asked, way.ordered, way.challenges, way.validations, way.ready,
               way.finalized, way.downloaded, way.installed, way.notified]
    for one, other in pairwise(moments):
        assert one.first <= other.first
    assert way.validations.number >= len(NAMES) and 8 <= way.signatures <= way.requests
    assert certificate.names == NAMES and certificate.key == "ec:P-256"
    assert certificate.not_before < certificate.renews < certificate.not_after
    assert (certificate.not_after - certificate.not_before).days in (89, 90)


def test_the_picture(facts: Facts) -> None:
    """A screen or two, no keys or dumps, and the one in README is of the same run."""
    sheet = picture(facts)
    columns, rows = sheet.size
    assert columns <= COLUMNS and rows <= 50
    text = sheet.text()
    assert not re.search(r"[\w/+=-]{40}", text) and str(PARENT) not in text
    assert sheet.text(utf8=False).isascii()
    for word in facts.certificate.serial, facts.certificate.issuer, *NAMES, SIGNER_USER:
        assert word in text
    assert words(svg(sheet, TITLE)) == words((ROOT / "DEMO.svg").read_text())


def test_what_is_bad_is_drawn(facts: Facts) -> None:
    """A child that could do more than it should would be seen to."""
    assert "bad" not in {run.style for run in picture(facts).runs()}
    signer = facts.looks[SIGNER]
    for change in (signer._replace(capabilities=1), signer._replace(no_new_privs=False),
                   signer._replace(filtered=False), signer._replace(groups=("27",)),
                   signer._replace(own_network=False)):
        looks = {**facts.looks, SIGNER: change}
        assert len([run for run in picture(facts._replace(looks=looks)).runs()
                    if run.style == "bad"]) == 1, change


@pytest.fixture(params=["root", "another"])
def other(request: pytest.FixtureRequest, users: object) -> Iterator[tuple[bool, int, Look]]:
    """A process that is none of ours: is it root's, its port, and what was seen of it."""
    is_root, key = request.param == "root", ca.genkey()
    argv = [sys.executable, "-c", HOLDER]
    if not is_root:
        argv = ["/usr/bin/unshare", "--net", "/bin/sh", "-c", 'ip link set lo up; exec "$@"', "-",
                *as_user(CLIENT_USER, argv)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(key if is_root else "nothing\n")
            process.stdin.close()
            port = int(process.stdout.readline())
            yield is_root, port, look(process.pid, {"a": forms(key), "b": forms(ca.genkey())})
        finally:
            proc.kill_tree(process.pid)


def test_another_process(other: tuple[bool, int, Look]) -> None:
    """What is said of ours is not said of any."""
    is_root, port, seen = other
    assert seen.user == ("root" if is_root else CLIENT_USER)
    assert seen.holds == {"a": is_root, "b": False}
    assert bool(seen.capabilities) is is_root and seen.own_network is not is_root
    assert not seen.filtered and not seen.no_new_privs
    assert seen.listens == ((port,) if is_root else ())   # another namespace's are unknown
