"""lacme: /etc/lacme, whose settings have the same names and meanings here.

    lacme.conf, lacme-certs.conf, lacme-certs.conf.d/*.conf, lacme-accountd.conf
"""

import os
from collections.abc import Iterator, Mapping

from ....common import inifile, specifiers
from ....common.errors import ConfigError, Error
from ....common.inifile import Settings
from ...settings.certificates import SECTION
from . import reading
from .model import Account, Estate, Found

PLACES = ("/etc/lacme",)
_DEFAULT = "https://acme-v02.api.letsencrypt.org/directory"
_CERTS = "lacme-certs.conf lacme-certs.conf.d/"
_NEVER = ("/usr/share/lacme/ca-certificates.crt",)   # which goes with lacme


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what lacme has, whose lacme.conf is in ``directory``.  Raises Error, ConfigError if
    there is nothing to read."""
    found, path = Estate(), f"{directory}/lacme.conf"
    if not os.path.lexists(path):
        raise Error(f"{directory}: not a directory of lacme's: it has no lacme.conf")
    main = _parsed(path)
    client = main.get("client") or Settings(path, "client", {})
    server = client.text("server") or _DEFAULT
    defaults: dict[str, str] = {}
    for file in _files(directory, main[""].text("config-certs") or _CERTS):
        try:
            sections = _parsed(file)
        except Error as exc:
            found.left.append(str(exc))
            continue
        defaults = {**defaults, **dict(sections.pop("").items())}
        for section in sections.values():
            found.certificates.append(_certificate(section, defaults, server))
    _account(found, directory, main, server)
    for name in ("client", "webserver"):
        others = [key for key in dict(main[name].items()) if key != "server"] \
            if name in main else []
        if others:
            found.left.append(f"{path}, [{name}]: {', '.join(others)}: see the settings of that "
                              f"name in [{name}] of letsencrypt-tiny.conf")
    return found


def _parsed(path: str) -> dict[str, Settings]:
    return inifile.parse(reading.text(path), path, lacme=True)


def _files(directory: str, words: str) -> Iterator[str]:
    """Yield the files of config-certs."""
    for word in words.split():
        path = os.path.join(directory, word)
        if path.endswith("/") or os.path.isdir(path):
            yield from (f"{path.rstrip('/')}/{name}" for name in reading.listing(path)
                        if name.endswith(".conf"))
        elif os.path.lexists(path) or words != _CERTS:
            yield path


def _certificate(section: Settings, defaults: Mapping[str, str], server: str) -> Found:
    given = {**defaults, **dict(section.items())}
    known: dict[str, str] = {}
    for row in SECTION.rows:
        known[row.name] = next((given[name] for name in (row.name, *row.old) if given.get(name)),
                               "")
    if known["CAfile"] in _NEVER:
        known["CAfile"] = ""
    names = {name for row in SECTION.rows for name in (row.name, *row.old)}
    return Found(section.name, section.file, (), server, settings=known, left=tuple(
        f"{section.where}: {name}: no such setting here" for name in given if name not in names))


def _account(found: Estate, directory: str, main: Mapping[str, Settings], server: str) -> None:
    """Find the account key, if lacme starts lacme-accountd(1) itself, on this host."""
    path = f"{directory}/lacme.conf"
    if "accountd" not in main:
        found.left.append(f"{path}: has no [accountd]: the account key stays with the account key "
                          "manager that runs already: see socket in letsencrypt-tiny.conf(5)")
        return
    command = main["accountd"].text("command").split() or ["lacme-accountd"]
    if os.path.basename(command[0]) != "lacme-accountd":
        found.left.append(f"{path}, [accountd]: command = {' '.join(command)}: the account key is "
                          "elsewhere, and stays there: that command works here, too")
        return
    try:
        own = specifiers.expand(main["accountd"].text("config") or f"{directory}/"
                                "lacme-accountd.conf")
        settings = _parsed(os.path.join(directory, own))[""]
        method, _, key = specifiers.expand(
            main["accountd"].text("privkey") or settings.text("privkey")).partition(":")
    except (ConfigError, Error) as exc:
        found.left.append(str(exc))
        return
    if method != "file":
        found.left.append(f"{own}: privkey = {method}:{key}: set the same in accountd.conf")
        return
    found.accounts.append(Account(server, key, settings.text("keyid")))
