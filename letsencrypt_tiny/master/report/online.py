"""What was found of names: a line each, or one JSON document."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from ...common.log import printable
from ...common.names import shown_in


class Said(NamedTuple):
    """One thing that is to be told."""

    name: str          # whom it is about
    topic: str
    verdict: str       # ok, warning, error
    text: str
    remedy: str = ""
    subject: str = ""


def line(said: Said) -> str:
    """Return ``NAME: VERDICT: TEXT; REMEDY``, printable whatever it holds."""
    return printable(shown_in(f"{said.name}: {said.verdict}: {said.text}"
                              + (f"; {said.remedy}" if said.remedy else "")))


def document(all_said: Iterable[Said]) -> str:
    """Return a JSON array of objects; ASCII."""
    return json.dumps([said._asdict() for said in all_said], indent=4)
