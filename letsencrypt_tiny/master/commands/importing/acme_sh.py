"""acme.sh: ~/.acme.sh, with a directory for each certificate, NAME or (EC keys) NAME_ecc.

    NAME/NAME.conf, NAME.key, fullchain.cer      what it knows of the certificate: shell
    ca/HOST/PATH/{account.key,ca.conf}           an account; ca/HOST/ in older versions
    account.conf                                 settings of all, and secrets of DNS hosters
"""

import base64
import binascii
import os
from collections.abc import Mapping

from ....common.errors import Error
from . import reading
from .assignments import Shell
from .model import Account, Estate, Found, Hook

PLACES = ("/root/.acme.sh", "/etc/acme.sh")
_START, _END = "__ACME_BASE64__START_", "__ACME_BASE64__END_"
_HOOKS = {"Le_PreHook": "before a renewal", "Le_PostHook": "after a renewal, be it or not",
          "Le_RenewHook": "after a renewal", "Le_ReloadCmd": "after a renewal"}
_COPIES = ("Le_RealCertPath", "Le_RealCACertPath", "Le_RealKeyPath", "Le_RealFullChainPath")
_CURVES = {"ec-256": "ec:P-256", "ec-384": "ec:P-384"}
_DEFAULT = "https://acme-v02.api.letsencrypt.org/directory"


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what acme.sh has in ``directory``.  Raises Error if there is nothing to read."""
    found = Estate()
    common = _shell(found, f"{directory}/account.conf")
    home = common.get("CERT_HOME", directory)
    urls: dict[str, None] = {}
    for name in reading.listing(home):
        path = f"{home}/{name}/{name.removesuffix('_ecc')}.conf"
        if not os.path.lexists(path):
            continue
        try:
            values = _shell(found, path)
            if values.get("Le_Domain"):
                plain = name.removesuffix("_ecc")   # unless there is one of each kind
                made = _certificate(path, name if os.path.lexists(
                    f"{home}/{plain}/{plain}.conf") else plain, values)
                urls[made.server] = None
                found.certificates.append(made)
        except Error as exc:
            found.left.append(str(exc))
    if not found.certificates and not os.path.lexists(f"{directory}/account.conf"):
        raise Error(f"{directory}: not a directory of acme.sh's: it has neither account.conf nor "
                    "certificates")
    for server in dict.fromkeys([*urls, common.get("DEFAULT_ACME_SERVER", _DEFAULT)]):
        _account(found, directory, server)
    secrets = [name for name in common.values if name.startswith("SAVED_")]
    if secrets:
        found.left.append(f"{directory}/account.conf: {', '.join(secrets)}: secrets of a DNS "
                          "hoster: [dns] of letsencrypt-tiny.conf says how records are published")
    return found


def _shell(found: Estate, path: str) -> Shell:
    shell = Shell({})
    shell.read(reading.optional(path), path)
    found.left += shell.left
    return shell


def _certificate(path: str, name: str, values: Shell) -> Found:
    place = os.path.dirname(path)
    domain = values.get("Le_Domain")
    others = [word for word in values.get("Le_Alt").split(",") if word not in ("", "no")]
    challenge, left = _challenge(values.get("Le_Webroot"))
    copies = [values.get(setting) for setting in _COPIES if values.get(setting)]
    if copies:
        left.append(f"acme.sh copies key and certificate to {', '.join(copies)}: let the "
                    "server read them where they are now, or set certificate-key and "
                    "certificate-chain")
    left += [f"{setting}: no such setting here" for setting in ("Le_ChallengeAlias",)
             if values.get(setting)]
    settings = {"key-type": _key_type(values.get("Le_Keylength")),
                "reuse-key": "" if values.get("Le_ForceNewDomainKey") == "1" else "yes",
                "preferred-chain": _decoded(values.get("Le_Preferred_Chain")),
                "preferred-profile": _decoded(values.get("Le_CertificateProfile")),
                "tlsfeature": "status_request" if values.get("Le_OCSP_Staple") == "1" else ""}
    return Found(
        name, path, (domain, *others), values.get("Le_API", _DEFAULT),
        f"{place}/{os.path.basename(path).removesuffix('.conf')}.key", f"{place}/fullchain.cer",
        settings, challenge, tuple(
            Hook(when, _decoded(values.get(setting)), f"{path} ({setting})")
            for setting, when in _HOOKS.items() if values.get(setting)), tuple(left))


def _challenge(webroot: str) -> tuple[str, list[str]]:
    """Return the type of challenge that Le_Webroot means, and what can't be taken over of it."""
    kinds = {word.partition(":")[0] for word in webroot.split(",") if word}
    if dns := sorted(kind for kind in kinds if kind.startswith("dns")):
        return "dns-01", [f"{', '.join(dns)}: [dns] of letsencrypt-tiny.conf says how "
                          "records are published (lexicon knows many hosters)"]
    if kinds & {"alpn", "tls"}:
        return "tls-alpn-01", []
    if kinds <= {"no"}:
        return "", []
    return "", [f"webroot {webroot}: challenges are answered on port 80, or behind the web "
                "server that has it (“letsencrypt-tiny check” says how)"]


def _key_type(length: str) -> str:
    return _CURVES.get(length) or (f"rsa:{length}" if length.isdigit() else length)


def _decoded(value: str) -> str:
    """Return what a value means that may be in base64."""
    if not (value.startswith(_START) and value.endswith(_END)):
        return value
    try:
        return base64.b64decode(value[len(_START):-len(_END)], validate=True).decode(
            "utf-8", "replace").strip()
    except (binascii.Error, ValueError):
        return "?"


def _account(found: Estate, directory: str, server: str) -> None:
    """Find the account at a CA, where acme.sh puts it: by host and path of its URL."""
    host, _, path = server.partition("://")[2].partition("/")
    host = host.partition(":")[0]
    for place in (f"{directory}/ca/{host}/{path.strip('/')}", f"{directory}/ca/{host}"):
        if ".." not in place.split("/") and os.path.lexists(f"{place}/account.key"):
            try:
                url = _shell(found, f"{place}/ca.conf").get("ACCOUNT_URL")
            except Error as exc:
                url = ""
                found.left.append(str(exc))
            found.accounts.append(Account(server, f"{place}/account.key", url))
            return
