"""Whom newOrder --dry-run asks: the twin of the CA that a section is of."""

import pytest

from harness import words
from harness.machine import Machine
from letsencrypt_tiny.common.wire.order import Failed
from letsencrypt_tiny.master.settings.presets import PRESETS

STAGING = PRESETS["letsencrypt-staging"].directory


def tried(machine: Machine, *options: str) -> list[tuple[str, bool]]:
    """Try "a"; return the directory that each client was to ask, and whether it was to register.
    """
    machine.client.plays(words.receive(), Failed("", "not today", "refused"))
    done = machine.run("newOrder", "--dry-run", *options, "a")
    assert done.returncode == 1, done
    return [(config["access"]["server"], requests[0].get("register", False)) for config, requests
            in zip(machine.client.told("config"), machine.client.told("requests"))]


@pytest.mark.parametrize("server", ["letsencrypt", "letsencrypt-staging",
                                    PRESETS["letsencrypt"].directory])
def test_the_twin(machine: Machine, server: str) -> None:
    """An account is asked for there first; without one nothing is ordered."""
    machine.main["client"]["server"] = server
    machine.section("a")
    assert tried(machine) == [(STAGING, True)]


def test_one_that_is_configured(machine: Machine) -> None:
    """As it is configured: with its proxy, its CA certificates, its signer."""
    machine.main["client"]["server"] = "letsencrypt"
    machine.main["ca mine"] = {"server": "letsencrypt-staging", "timeout": "17"}
    machine.section("a")
    assert tried(machine) == [(STAGING, True)]
    assert machine.client.told("config")[0]["access"]["timeout"] == 17


def test_by_name(machine: Machine) -> None:
    """A CA in earnest gets no account on the fly."""
    machine.section("a")
    assert tried(machine, "--ca=default", "--tos-agreed")[-1] == ("https://ca.example/dir", True)
    machine.client.plays(words.receive(), Failed("a", "not today", "refused"))
    done = machine.run("newOrder", "--dry-run", "--ca=default", "a")
    assert done.returncode == 1 and "error: a: not today" in done.stderr
    assert machine.client.told("requests")[-1][0]["request"] == "Order"


def test_without_a_twin(machine: Machine) -> None:
    machine.section("a")
    done = machine.run("newOrder", "--dry-run", "a")
    assert done.returncode == 1 and done.stderr == (
        "error: a: no twin of ca.example for trials is known: name the CA to try it with "
        "(--ca=NAME)\n")
