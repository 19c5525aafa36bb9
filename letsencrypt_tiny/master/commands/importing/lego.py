"""lego: a directory, .lego where it was run, or that of --path.

    accounts/HOST/EMAIL/account.json, keys/EMAIL.key
    certificates/NAME.{crt,key,json}

How challenges are answered it doesn't write down, and of CAs the hosts alone.
"""

import os
from collections.abc import Mapping

from ....common import log
from ....common.errors import Error
from ...plan import issuers
from . import reading
from .model import Account, Estate, Found

PLACES = ("/var/lib/lego", "/etc/lego", "/root/.lego")


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what lego has in ``directory``; ``servers`` are directories of CAs by the host.

    Raises Error if there is nothing to read.
    """
    found, place = Estate(), f"{directory}/certificates"
    if not os.path.isdir(place):
        raise Error(f"{directory}: not a directory of lego's: it has no certificates/")
    for host in reading.listing(f"{directory}/accounts"):
        for email in reading.listing(f"{directory}/accounts/{host}"):
            _account(found, f"{directory}/accounts/{host}/{email}", host, email, servers)
    for file in reading.listing(place):
        path, name = f"{place}/{file}", file.removesuffix(".crt")
        if not file.endswith(".crt") or file.endswith(".issuer.crt"):
            continue
        try:
            url = reading.member(reading.json(f"{place}/{name}.json"), "certUrl")
            server = servers.get(issuers.host(url), "")
            if url and not server:
                found.left.append(f"{path}: is of {log.printable(issuers.host(url), 200)}, which "
                                  "is not known here: another CA is asked, unless you set ca")
            found.certificates.append(Found(
                name, path, reading.names(path), server, f"{place}/{name}.key", path, {}, "", (),
                ("challenges and hooks are options of lego's command line: see what runs it",)))
        except Error as exc:
            found.left.append(str(exc))
    return found


def _account(found: Estate, place: str, host: str, email: str, servers: Mapping[str, str]
             ) -> None:
    key = f"{place}/keys/{email}.key"
    if not os.path.lexists(key):
        return
    server = servers.get(host.replace("_", ":"), "")   # HOST_PORT
    if not server:
        found.left.append(f"{key}: an account at {host}, whose directory's URL is not known here: "
                          "set server to it, or a section [ca NAME], and import again")
        return
    try:
        url = reading.member(reading.json(f"{place}/account.json"), "registration", "uri")
    except Error as exc:
        url = ""
        found.left.append(str(exc))
    found.accounts.append(Account(server, key, url))
