"""What is under way: a line that lives on a terminal, plain lines elsewhere.

tests/demo.sh does the same in the shell, before there is Python.
"""

import os
import sys
import threading
import time
from types import TracebackType

from .canvas import ascii_only, is_utf8

COLUMNS = 78
_TURNS = {True: "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", False: "-\\|/"}
_NAMES = 40   # columns of what is done, before the seconds


class Terminal:
    """Standard output: is it one, has it UTF-8, are colours wanted (NO_COLOR)?"""

    def __init__(self) -> None:
        self.utf8 = is_utf8()
        self.alive = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colour = self.alive and not os.environ.get("NO_COLOR")

    def shown(self, text: str) -> str:
        """Return the text as it can be shown."""
        return text if self.utf8 else ascii_only(text)

    def styled(self, code: str, text: str) -> str:
        """Return the text as it is shown, in a colour."""
        return f"\033[{code}m{self.shown(text)}\033[0m" if self.colour else self.shown(text)


class Step:
    """One thing that takes a while; ``note`` is what is going on in it just now.

    >>> with Step(terminal, "ordering a certificate") as step:
    ...     step.note = "pending"
    """

    def __init__(self, terminal: Terminal, name: str) -> None:
        self.note = ""
        self._terminal = terminal
        self._name = name
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)

    def __enter__(self) -> "Step":
        if self._terminal.alive:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _exc: BaseException | None,
                 _trace: TracebackType | None) -> None:
        term, seconds = self._terminal, time.monotonic() - self._began
        if term.alive:
            self._over.set()
            self._thread.join()
        sign = term.styled("31", "✗") if kind else term.styled("32", "✔")
        print(f"{self._back()}  {sign} {term.shown(self._name):<{_NAMES}}"
              f"{term.styled('2', f'{seconds:6.1f} s')}", flush=True)

    def _back(self) -> str:
        return "\r\033[K" if self._terminal.alive else ""

    def _turn(self) -> None:
        term, number = self._terminal, 0
        signs = _TURNS[term.utf8]
        while not self._over.wait(0.1):
            number += 1
            seconds = time.monotonic() - self._began
            head = f"  {signs[number % len(signs)]} {term.shown(self._name):<{_NAMES}}" \
                f"{seconds:6.1f} s"
            note = term.shown(self.note)[:COLUMNS - len(head) - 2]
            sys.stdout.write(self._back() + head + ("  " + term.styled("2", note) if note else ""))
            sys.stdout.flush()
