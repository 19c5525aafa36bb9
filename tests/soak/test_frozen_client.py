"""A client that stops itself (THREATS, B 33): the master waits a minute, then ends the run.

Too slow for the suite: run it with tests/check.sh soak.
"""

import signal
import subprocess
import threading
import time
from typing import Iterator, List

import pytest

from harness import ca, infiltrate
from harness.infiltrate import Field, play
from harness.run import Prefix
from harness.verdict import only_error, tidy

GRACE = 60   # master/conversation.py


@pytest.fixture
def field(prefix: Prefix, hostile_ca: ca.CA) -> Iterator[Field]:
    """Where the red team plays, behind a firewall that drops what comes in."""
    with infiltrate.field(prefix, hostile_ca) as made:
        made.site.main["webserver"]["listen"] = f"0.0.0.0:{made.server.http_port}"
        made.site.main["client"]["timeout"] = "1"
        rules = ("-A INPUT -i lo -j ACCEPT", "-P INPUT DROP")
        for rule in rules:
            subprocess.run(["/usr/sbin/iptables", "-w", *rule.split()], check=True)
        yield made
        for rule in ("-P INPUT ACCEPT", "-D INPUT -i lo -j ACCEPT"):
            subprocess.run(["/usr/sbin/iptables", "-w", *rule.split()], check=True)


def saved() -> str:
    """Return the rules of the firewall, nftables' included."""
    tools = ["/usr/sbin/iptables", "-w", "-S"], ["/usr/sbin/nft", "list", "ruleset"]
    return "".join(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout
                   for argv in tools)


def test_frozen_client(field: Field) -> None:
    """The error says so, the client is gone, and so is the rule that opened the port."""
    before = saved()
    during: List[str] = []

    def look() -> None:
        time.sleep(10)
        during.append(saved())
    thread = threading.Thread(target=look)
    thread.start()
    began = time.monotonic()
    done, _ = play(field, "client", timeout=GRACE + 40, only=["list the directory"],
                   siblings=False, words=[["raise", int(signal.SIGSTOP)]])
    thread.join()
    assert GRACE < time.monotonic() - began < GRACE + 20
    assert f"the client has been silent for {GRACE + 1} seconds" in only_error(done)
    assert during[0] != before and f"dport {field.server.http_port}" in during[0]
    assert saved() == before
    tidy(field.site)
