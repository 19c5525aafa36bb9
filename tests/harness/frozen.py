"""A client that stops itself, behind a firewall: the master has had enough after a while."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator

from . import ca, infiltrate, words
from .infiltrate import Field, play
from .run import Prefix
from .verdict import only_error, tidy


@contextlib.contextmanager
def field(prefix: Prefix, authority: ca.CA) -> Iterator[Field]:
    """Where the red team plays, behind a firewall that drops what comes in."""
    with infiltrate.field(prefix, authority) as made:
        made.site.main["webserver"]["listen"] = f"0.0.0.0:{made.server.http_port}"
        made.site.main["client"].update({"timeout": "1", "answer-timeout": "1"})
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


def freeze(ground: Field, grace: int) -> None:
    """The error says so, the client is gone, and so is the rule that opened the port."""
    before = saved()
    rule = f"dport {ground.server.http_port}"
    seen: list[bool] = []

    def look() -> None:
        while not seen and time.monotonic() - began < grace + 20:
            if rule in saved():
                seen.append(True)
            time.sleep(0.1)
    began = time.monotonic()
    thread = threading.Thread(target=look)
    thread.start()
    done, _ = play(ground, "client", timeout=grace + 40, only=["list the directory"],
                   siblings=False, words=words.MISBEHAVIOUR["frozen"])
    assert grace < time.monotonic() - began < grace + 20
    thread.join()
    assert f"the ACME client has been silent for {grace + 1 + 2} seconds" in only_error(done)
    assert seen and rule not in before and saved() == before
    tidy(ground.site)
