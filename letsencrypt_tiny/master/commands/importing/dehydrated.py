"""dehydrated: /etc/dehydrated/config, which is shell, and what it names.

    BASEDIR/domains.txt                              a certificate a line: NAME … [> ALIAS]
    BASEDIR/certs/ALIAS/{privkey,fullchain}.pem      and config, for that one alone
    BASEDIR/accounts/BASE64/{account_key.pem,account_id.json,registration_info.json}
"""

import base64
import os
import re
from collections.abc import Mapping

from ....common.errors import Error
from . import reading
from .assignments import Shell
from .model import Account, Estate, Found, Hook

PLACES = ("/etc/dehydrated", "/usr/local/etc/dehydrated", "/var/lib/dehydrated")
# what the setting CA may say instead of a URL
_CAS = {"letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
        "letsencrypt-test": "https://acme-staging-v02.api.letsencrypt.org/directory",
        "zerossl": "https://acme.zerossl.com/v2/DV90",
        "buypass": "https://api.buypass.com/acme/directory",
        "buypass-test": "https://api.test4.buypass.no/acme/directory",
        "google": "https://dv.acme-v02.api.pki.goog/directory",
        "google-test": "https://dv.acme-v02.test-api.pki.goog/directory"}
_KEY_TYPES = {"prime256v1": "ec:P-256", "secp384r1": "ec:P-384"}
# What a certificate's own file may set
_OWN = ("KEY_ALGO", "KEYSIZE", "PRIVATE_KEY_RENEW", "CHALLENGETYPE", "HOOK", "PREFERRED_CHAIN",
        "OCSP_MUST_STAPLE", "ACME_PROFILE", "RENEW_DAYS", "WELLKNOWN")
_DEFAULTS = {"CA": "letsencrypt", "CHALLENGETYPE": "http-01", "KEYSIZE": "4096",
             "KEY_ALGO": "secp384r1", "PRIVATE_KEY_RENEW": "yes", "OCSP_MUST_STAPLE": "no"}


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what dehydrated has, whose file config is in ``directory``.  Raises Error if there is
    nothing to read."""
    found, path = Estate(), f"{directory}/config"
    if not os.path.lexists(path) and not os.path.lexists(f"{directory}/domains.txt"):
        raise Error(f"{directory}: not a directory of dehydrated's: it has neither config nor "
                    "domains.txt")
    shell = Shell({**_DEFAULTS, "BASEDIR": directory})
    shell.read(reading.optional(path), path)
    if more := shell.get("CONFIG_D"):
        for name in reading.listing(more):
            if name.endswith(".sh"):
                shell.read(reading.text(f"{more}/{name}"), f"{more}/{name}")
    found.left += shell.left
    base = shell.get("BASEDIR").rstrip("/") or "/"
    server = _CAS.get(shell.get("CA"), shell.get("CA"))
    for name, names in _lines(reading.text(shell.get("DOMAINS_TXT", f"{base}/domains.txt"))):
        try:
            found.certificates.append(_certificate(found, shell, base, server, name, names))
        except Error as exc:
            found.left.append(str(exc))
    _account(found, shell.get("ACCOUNTDIR", f"{base}/accounts"), server)
    return found


def _lines(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return name and names of each certificate in domains.txt."""
    found = []
    for line in text.lower().split("\n"):
        names, _, alias = line.partition(">")
        words = names.split()
        if words and not words[0].startswith("#"):
            found.append(((alias.split() or words)[0], tuple(words)))
    return found


def _certificate(found: Estate, common: Shell, base: str, server: str, name: str,
                 names: tuple[str, ...]) -> Found:
    if not re.match(r"[a-z0-9_][a-z0-9._*@+-]*\Z", name):   # it is the name of a directory
        raise Error(f"domains.txt: {name}: not the name of a certificate")
    place = f"{common.get('CERTDIR', f'{base}/certs')}/{name}"
    path = f"{common.get('DOMAINS_D')}/{name}" if common.get("DOMAINS_D") else f"{place}/config"
    own = Shell(common.values)
    own.read(reading.optional(path), path)
    found.left += own.left
    values = Shell({**common.values, **{key: own.values[key] for key in _OWN
                                        if key in own.values}})
    hook = values.get("HOOK")
    challenge, left = values.get("CHALLENGETYPE"), []
    if challenge == "dns-01":
        left.append(f"dns-01 by {hook}: [dns] of letsencrypt-tiny.conf says how records are "
                    "published; update = command /usr/share/doc/letsencrypt-tiny/examples/"
                    f"dns-dehydrated {hook} has that script do it")
    elif challenge == "http-01":
        left.append(f"WELLKNOWN = {values.get('WELLKNOWN', '/var/www/dehydrated')}: challenges are "
                    "answered on port 80, or behind the web server that has it (“letsencrypt-tiny "
                    "check” says how)")
    if values.get("RENEW_DAYS"):
        left.append(f"RENEW_DAYS = {values.get('RENEW_DAYS')}: see min-days")
    kind = values.get("KEY_ALGO")
    settings = {
        "key-type": f"rsa:{values.get('KEYSIZE')}" if kind == "rsa" else _KEY_TYPES.get(kind, kind),
        "reuse-key": "yes" if values.get("PRIVATE_KEY_RENEW") == "no" else "",
        "preferred-chain": values.get("PREFERRED_CHAIN"),
        "preferred-profile": values.get("ACME_PROFILE"),
        "tlsfeature": "status_request" if values.get("OCSP_MUST_STAPLE") == "yes" else ""}
    hooks = (Hook("at each step (deploy_cert: after a renewal)", hook,
                  f"{path if hook != common.get('HOOK') else 'config'} (HOOK)"),) if hook else ()
    return Found(name, f"{base}/domains.txt", names, server, f"{place}/privkey.pem",
                 f"{place}/fullchain.pem", settings, challenge.replace("http-01", ""), hooks,
                 tuple(left))


def _account(found: Estate, directory: str, server: str) -> None:
    """Find the account at a CA: its directory is called by the URL and a newline, in base64url."""
    name = base64.urlsafe_b64encode(f"{server}\n".encode()).decode("ascii").rstrip("=")
    place = f"{directory}/{name}"
    if not os.path.lexists(f"{place}/account_key.pem"):
        return
    url = ""
    for file in ("account_id.json", "registration_info.json"):
        try:
            known = reading.json(f"{place}/{file}")
        except Error as exc:
            found.left.append(str(exc))
            continue
        url = url or reading.member(known, "url") or reading.member(known, "id")
    found.accounts.append(Account(server, f"{place}/account_key.pem", url))
