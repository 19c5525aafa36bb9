"""What a program imports after it was confined: nothing, for it could not.

``watch`` has the programs of a tree tell of it on standard error, from a copy of confine.py that
looks after each import that the real one leaves alone; ``found`` reads what they told.
"""

import re
from pathlib import Path

MARK = "late import: "

# Appended to the copy.  A module that is loaded already never gets this far.
_WATCH = f"""

import sys as _sys
_enter = enter


class _Late:
    @staticmethod
    def find_spec(name, path=None, target=None):
        frame = _sys._getframe(1)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        where = frame and f"{{frame.f_code.co_filename}}:{{frame.f_lineno}}"
        os.write(2, f"\\n{MARK}{{name}} at {{where}}\\n".encode())


def enter(plan):
    try:
        return _enter(plan)
    finally:
        _sys.meta_path.insert(0, _Late)
"""


def watch(package: Path) -> None:
    """Have what runs from a copy of letsencrypt_tiny tell of late imports."""
    append(package / "common/sandbox/confine.py", _WATCH)


def append(module: Path, text: str) -> None:
    """Change a module of a copy; what was compiled of it is left to the interpreter's judgement."""
    module.write_text(module.read_text() + text)


def found(said: str) -> list[str]:
    """Return what was told: each module, and where it was imported."""
    return sorted(set(re.findall(f"{MARK}(.*)", said)))
