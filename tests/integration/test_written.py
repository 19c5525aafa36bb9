"""No order is finalized that is not written down: the CA issues nothing that nobody knows of.

The master here is patched where it is installed: it takes its time to write, or can't.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.hostile import Default, Hostile, Request, Response
from harness.mortal import Mortal, mortal as made_mortal
from harness.run import Site, Users

WRITE = "            self._journal.remember(self.name, state)\n"
NAMES = ["a", "b", "c"]


def _edit(package: Path, where: Path) -> None:
    path = package / "master/commands/life.py"
    source = path.read_text()
    assert source.count(WRITE) == 1
    before = f"            _before({str(where)!r}, self.name)\n"
    path.write_text(source.replace(WRITE, before + WRITE) + """

def _before(where, section):
    import time
    what, _, whose = open(where).read().partition(" ")
    if what == "slow":
        time.sleep(0.3)
    if what == "full" and whose == section:
        raise Error("No space left on device")
""")


@pytest.fixture(scope="module", name="mortal")
def _mortal(users: Users) -> Iterator[Mortal]:
    with made_mortal(_edit) as made:
        yield made


@pytest.fixture(name="site")
def _site(mortal: Mortal, hostile: Hostile) -> Iterator[Site]:
    site = Site(mortal.prefix)
    site.open_account(hostile)
    for name in NAMES:
        site.certificate(name, [f"{name}.example"])
    yield site
    mortal.where.write_text("")
    site.remove()


def known(site: Site, name: str) -> str | None:
    """Return the order that the journal has of a section."""
    path = site.lib / f"state/cert-{name}.json"
    return json.loads(path.read_text()).get("order") if path.exists() else None


def test_finalized_once_it_is_written_down(mortal: Mortal, site: Site, hostile: Hostile) -> None:
    mortal.where.write_text("slow")
    unknown: list[str] = []

    def finalize(request: Request, default: Default) -> Response:
        orders = [known(site, name) or "" for name in NAMES]
        if not any(order.endswith(f"/{request.id}") for order in orders):
            unknown.append(request.id)
        return default()
    hostile.on["finalize"] = finalize
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert unknown == []
    assert len([one for one in hostile.requests if one.resource == "finalize"]) == len(NAMES)


def test_what_can_not_be_written_down(mortal: Mortal, site: Site, hostile: Hostile) -> None:
    """… is not finalized; the others are, and the next run has it."""
    mortal.where.write_text("full b")
    done = site.run("newOrder")
    assert done.returncode == 1
    assert [name for name in NAMES if site.file(name).exists()] == ["a", "c"]
    assert len([one for one in hostile.requests if one.resource == "finalize"]) == 2
    assert [line for line in done.stderr.splitlines() if "error:" in line] == [
        "error: b: No space left on device"], done.stderr
    mortal.where.write_text("")
    done = site.run("newOrder")
    assert done.returncode == 0 and site.file("b").exists(), done.stderr
