"""What is left of sections that are no more: certificates that nobody renews, and what was
remembered of them.

Found by names alone: what a section that is there has, or would have, is called after it.
"""

import os
import re
from collections.abc import Iterable, Iterator

from ...common import log, trusted
from ...common.errors import Error
from ..report.standing import Leftover
from ..settings import keys
from ..settings.certificates import Certificates
from ..settings.main import Config
from ..store.installed import read_certificate
from ..store.journal import Journal, filename_of

# prefix and suffix of the files that are called after sections (store/journal.py)
_STATE = (("cert-", ".json"), ("issued-", ".pem"), ("requests/csr-", ".json"))
_KEY = "key-", ".pem"    # and of those that are called after the path of a key
MOST = 1000     # leftovers that are shown


def leftovers(config: Config, found: Certificates) -> list[Leftover]:
    """Return what there is of sections that are not ``found``, in order of their names."""
    parts: dict[str, list[str]] = {}
    for name, path in (*_certificates(config, found), *_remembered(config, found)):
        parts.setdefault(name, []).append(path)
    return [Leftover(name, tuple(sorted(paths)), _expires(f"{config.certs_directory}/{name}"))
            for name, paths in sorted(parts.items())[:MOST]]


def _certificates(config: Config, found: Certificates) -> Iterator[tuple[str, str]]:
    """Yield names and paths of directories of certificates."""
    directory = config.certs_directory
    used = set(found.faults)   # what it is that is wrong with them, nobody knows
    for section in found.sections.values():
        used.add(section.name)
        used.update(_inside(directory, path) for path in (section.key, *section.outputs))
    for entry in _listed(directory):
        # the versions of NAME are in .NAME
        name = entry[1:] if entry.startswith(".") else entry
        if name and name not in used and _is_ours(f"{directory}/{entry}"):
            yield _text(name), _text(f"{directory}/{entry}")


def _inside(directory: str, path: str) -> str:
    """Return the name of the directory below ``directory`` that a path leads through."""
    return path[len(directory) + 1:].partition("/")[0] if path.startswith(f"{directory}/") else ""


def _text(path: str) -> str:
    """Return a path of whatever bytes as text that others can read, too."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_ours(path: str) -> bool:
    return os.path.isdir(path) or os.path.islink(path)


def _remembered(config: Config, found: Certificates) -> Iterator[tuple[str, str]]:
    """Yield names, as far as those of the files tell, and paths of what is remembered."""
    directory = config.state_directory
    try:
        known = Journal(directory).known()
    except Error:   # whoever asks is told by all else
        return
    if "requests" in known:
        known.update(f"requests/{file}" for file in _listed(f"{directory}/requests"))
    for prefix, suffix in _STATE:
        for file in _strangers(known, prefix, suffix, (
                *found.sections, *found.faults, *map(keys.second, found.faults))):
            yield _name(file[len(prefix):-len(suffix)]), f"{directory}/{file}"
    for file in _strangers(known, *_KEY, {
            section.key for section in found.sections.values()}):
        path = _name(file[len(_KEY[0]):-len(_KEY[1])])
        name = _inside(config.certs_directory, path) or path
        if name not in found.faults and not (found.faults and name == path):
            yield name, f"{directory}/{file}"


def _strangers(known: set[str], prefix: str, suffix: str, names: Iterable[str]) -> set[str]:
    """Return the files of that kind that are called after none of the ``names``."""
    files = {file for file in known if file.startswith(prefix) and file.endswith(suffix)}
    if files:   # else nothing is to be computed, for many
        files.difference_update(filename_of(name, prefix, suffix) for name in names)
    return files


def _name(encoded: str) -> str:
    """Return the section's name that a file is called after; as it is, if it was too long."""
    parts = re.split("%([0-9A-F]{2})", encoded)
    return b"".join(bytes.fromhex(part) if number % 2 else part.encode("utf-8", "replace")
                    for number, part in enumerate(parts)).decode("utf-8", "replace")


def _expires(directory: str) -> int | None:
    """Return when the certificate in a directory ends; None if nobody knows."""
    try:
        return read_certificate(f"{directory}/cert.pem").not_after
    except (OSError, Error) as exc:
        log.debug(exc)
        return None


def _listed(path: str) -> list[str]:
    """Return what is in a directory; nothing if it can't be listed."""
    try:
        directory = trusted.open_directory(path)
    except (OSError, Error) as exc:
        log.debug(exc)
        return []
    try:
        return os.listdir(directory)
    except OSError:
        return []
    finally:
        os.close(directory)
