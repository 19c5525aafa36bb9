"""What must hold after any run, however bad its input was."""

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Any

from .run import Result, Site

Tree = dict[str, tuple[Any, ...]]

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def snapshot(*paths: Path) -> Tree:
    """Return all that is at and below ``paths``: names, modes, owners, contents.

    Two snapshots are equal if nothing was changed, created, removed or replaced meanwhile.
    """
    tree: Tree = {}
    todo = [str(path) for path in paths]
    while todo:
        path = todo.pop()
        info = os.lstat(path)
        content: Any = None
        if stat.S_ISDIR(info.st_mode):
            todo += [f"{path}/{name}" for name in os.listdir(path)]
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = (info.st_ino, Path(path).read_bytes())
        tree[path] = (info.st_mode, info.st_uid, info.st_gid, content)
    return tree


def as_read(tree: Tree) -> Tree:
    """Return a snapshot as whoever reads sees it: where a link leads to a version of a directory is
    that directory, and versions alone are left out."""
    links = {f"{os.path.dirname(path)}/{entry[-1]}": path for path, entry in tree.items()
             if stat.S_ISLNK(entry[0])}
    found: Tree = {}
    for path, entry in tree.items():
        parent, name = os.path.split(path)
        if path in links:
            found[links[path]] = entry
        elif parent in links:
            found[f"{links[parent]}/{name}"] = entry
        elif not re.search(r"/certs/\.", path) and path not in links.values():
            found[path] = entry
    return found


def errors(done: "Result[str]") -> list[str]:
    """Return the ``error:`` lines of a run, after checking that all it wrote is fit to be read.

    That is: printable, one thought a line, no traceback.
    """
    for line in done.stdout.splitlines() + done.stderr.split("\n"):
        bad = [char for char in line if unicodedata.category(char) in _UNPRINTABLE]
        assert not bad, (bad, line)
    assert "Traceback" not in done.stderr and 'File "' not in done.stderr, done.stderr
    assert "unexpected" not in done.stderr, done.stderr  # what our own mistakes are called
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(set(lines)), done.stderr
    for line in lines:
        assert 20 < len(line) < 5000, line
    return lines


def only_error(done: "Result[str]", status: int = 1) -> str:
    """Return the one ``error:`` line of a run that ended with this status."""
    assert done.returncode == status, done
    lines = errors(done)
    assert len(lines) == 1, done.stderr
    return lines[0]


def tidy(site: Site) -> None:
    """Check that a run left neither a challenge directory nor a socket, and no temporary file."""
    assert set(os.listdir(site.rundir)) <= {"lock"}
    assert not temporary(site)


def temporary(site: Site) -> list[str]:
    """Return what is called as temporary files are, versions of directories left out."""
    def is_shelf(path: str) -> bool:
        above, name = os.path.split(path)
        return os.path.islink(f"{above}/{name[1:]}")
    return [path for path in snapshot(site.lib) if path.endswith((".new", ".try"))
            or os.path.basename(path).startswith(".") and not is_shelf(path)]


def refused(site: Site, status: int, *args: str, env: dict[str, str] | None = None,
            expected: str = "", command: tuple[str, ...] = ("newOrder", "--force")) -> str:
    """Run a command that must fail and change no file; return its error."""
    site.configure()
    before = snapshot(site.lib, site.etc)
    done = site.run(*(args or command), timeout=45, env=env)
    told = only_error(done, status)
    after = snapshot(site.lib, site.etc)
    state = str(site.lib / "state")
    assert {path for path in set(before) | set(after) if before.get(path) != after.get(path)
            and not path.startswith(state)} == set()
    tidy(site)
    assert re.search(expected, told), told
    return told
