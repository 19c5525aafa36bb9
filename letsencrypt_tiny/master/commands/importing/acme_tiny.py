"""acme-tiny: a directory with an account key, and for each certificate CSR, key and certificate.

It has no configuration: what it was told stands in whatever runs it.  By habit the account key is
account.key; which key and which certificate belong to a CSR, the public key in them says.
"""

import os
import re
from collections.abc import Mapping

from ....common.errors import Error
from ....common.x509.certificate import parse_certificate
from ....common.x509.csr import CSR, parse_csr
from ....common.x509.der import X509Error, pem_blocks
from ...pki import check
from . import reading
from .model import Account, Estate, Found

PLACES = ("/etc/acme-tiny", "/var/lib/acme-tiny")
_ACCOUNT = re.compile(r"(.*[._-])?(account|user)([._-].*)?\.(key|pem)\Z")
_ENDINGS = (".csr", ".key", ".pem", ".crt", ".cer")
_MOST = 1 << 18    # bytes of a key, CSR or certificate


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what acme-tiny was given in ``directory``.  Raises Error if there is no CSR."""
    found = Estate()
    requests: list[tuple[str, CSR]] = []
    keys: dict[bytes, str] = {}
    chains: dict[bytes, tuple[int, str]] = {}
    for name in reading.listing(directory):
        path = f"{directory}/{name}"
        if _ACCOUNT.match(name):   # which is read by the account key manager alone
            found.accounts.append(Account("", path))
        elif name.endswith(_ENDINGS) and os.path.isfile(path):
            try:
                _look(path, requests, keys, chains)
            except X509Error as exc:
                found.left.append(f"{path}: {exc}")
            except Error as exc:
                found.left.append(str(exc))
    if not requests:
        raise Error(f"{directory}: has no CSR (*.csr): name the directory that acme-tiny's keys "
                    "and CSRs are in")
    for path, request in requests:
        names = tuple(value for kind, value in request.names if kind in ("dns", "ip")) \
            or request.common_names
        if not names:
            found.left.append(f"{path}: has no name in it")
            continue
        found.certificates.append(Found(
            names[0], path, names, "",
            keys.get(request.spki, ""), chains.get(request.spki, (0, ""))[1],
            {"reuse-key": "yes"}, "", (),
            ("acme-dir and what is done with the certificate are said by what runs acme-tiny "
             "(cron?): see there",)))
    found.accounts = _the_one(found)
    return found


def _the_one(found: Estate) -> list[Account]:
    """Return the account that is meant, if there are several keys."""
    if len(found.accounts) < 2:
        return found.accounts
    chosen = [account for account in found.accounts if account.key.endswith("/account.key")]
    found.left += [f"{account.key}: one of several account keys: call the right one account.key"
                   for account in found.accounts if account not in chosen]
    return chosen


def _look(path: str, requests: list[tuple[str, CSR]], keys: dict[bytes, str],
          chains: dict[bytes, tuple[int, str]]) -> None:
    """Put a file where it belongs, by what is in it.  Raises Error."""
    blocks = pem_blocks(text := reading.read(path, _MOST))
    labels = [label for label, _ in blocks]
    if labels and labels[0].endswith("CERTIFICATE REQUEST"):
        requests.append((path, parse_csr(blocks[0][1])))
    elif "CERTIFICATE" in labels:
        leaf = next(der for label, der in blocks if label == "CERTIFICATE")
        spki = parse_certificate(leaf).spki
        chains[spki] = max((len(labels), path), chains.get(spki, (0, "")))
    elif spki_or_none := check.public_key(text):
        keys[spki_or_none] = path
