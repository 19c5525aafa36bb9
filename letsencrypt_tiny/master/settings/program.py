"""What the settings say of a child of the master, whichever it is."""

from typing import NamedTuple

from . import values
from .rows import Setting

CONFINE = ("auto", "required", "no")


class Program(NamedTuple):
    """A child of the master: what to run, as whom, and where that is configured."""

    where: str                     # FILE, [SECTION]: for messages
    user: str                      # "" keeps the master's
    group: str
    command: tuple[str, ...]
    confine: str                   # auto | required | no


def program_rows(user: str, command: str) -> tuple[Setting, ...]:
    """Return the settings that every child has."""
    return (
        Setting("user", "user", str, user, "whom to run it as", empty=True),
        Setting("group", "group", str, user, "in which group", empty=True),
        Setting("command", "command", values.command, command, "program and first arguments",
                empty=True),
        Setting("confine", "confine", values.choice(*CONFINE), "auto",
                "confinement by the kernel"))
