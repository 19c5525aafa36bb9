"""letsencrypt-tiny-troubleshooting(7): what it quotes is what is said, each time it goes wrong."""

import re

import pytest

from harness.hostile import Hostile
from harness.run import ROOT, Site
from harness.symptoms import PRODUCERS

PAGE = ROOT / "man/letsencrypt-tiny-troubleshooting.7"
_QUOTED = re.compile(r"^\.Ss (.*)\n\.Bd .*\n((?:[^.].*\n)+)\.Ed$", re.M)


def quoted() -> dict[str, str]:
    """Return what the page quotes under each heading."""
    return {heading: " ".join(lines.split()) for heading, lines
            in _QUOTED.findall(PAGE.read_text(encoding="utf-8"))}


def pattern(quotation: str) -> str:
    """Return what matches it: words in capitals stand for the host's own."""
    own = r"\b(?:ADDRESS|COMMAND|DATE|FILE|HOST|LIST|NAME|N|PROGRAM|SECTION|URL|WHY)\b"
    return ".+".join(map(re.escape, re.split(own, quotation)))


def test_each_is_brought_about() -> None:
    assert len(quoted()) > 20 and set(quoted()) == set(PRODUCERS)
    assert len(re.findall(r"^\.Ss ", PAGE.read_text(encoding="utf-8"), re.M)) == len(PRODUCERS)


@pytest.mark.parametrize("heading", PRODUCERS)
def test_is_said(heading: str, good: Site, server: Hostile) -> None:
    told = PRODUCERS[heading](good, server)
    assert re.search(pattern(quoted()[heading]), told), told
