"""certs.conf and certs.conf.d/*.conf -> one ``Section`` a section.

The short form (``names``) and the explicit one (``certificate``, ``certificate-key``,
``subject``, ``subjectAltName`` …) meet here; what comes out is checked, so that nothing
unexpected ever reaches an openssl command line.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from ...common import inifile, log, paths, specifiers
from ...common.errors import ConfigError
from ...common.inifile import Settings
from ...common.names import Identifier
from .main import Config

SETTINGS = ("names", "certificate", "certificate-chain", "certificate-key", "min-days", "CAfile",
            "hash", "keyUsage", "subject", "subjectAltName", "tlsfeature", "owner", "chown",
            "mode", "chmod", "notify", "key-type")
ALIASES = (("owner", "chown"), ("mode", "chmod"))
HASHES = ("sha256", "sha384", "sha512", "sha224", "sha1", "md5", "rmd160")
KEY_TYPES = ("ec:P-256", "ec:P-384", "rsa:2048", "rsa:3072", "rsa:4096")
KEY_USAGES = ("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
              "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly")
TLS_FEATURES = ("status_request", "status_request_v2")
# openssl's names of attribute types; it would skip an unknown one (RFC 4514 §3, RFC 5280 §A.1)
SUBJECT_TYPES = ("CN", "C", "ST", "L", "O", "OU", "street", "postalCode", "DC", "UID",
                 "emailAddress", "serialNumber", "GN", "SN", "title", "description",
                 "businessCategory", "organizationIdentifier",
                 "jurisdictionC", "jurisdictionST", "jurisdictionL")
_LONG_TYPES = {"commonName": "CN", "countryName": "C", "stateOrProvinceName": "ST",
               "localityName": "L", "organizationName": "O", "organizationalUnitName": "OU",
               "givenName": "GN", "surname": "SN"}
MAX_NAMES = 1000     # of one certificate; a bigger order would not fit into its message

# RFC 1123 §2.1, RFC 5890: letters, digits and hyphens; a certificate needs two labels, and
# what ends in a number is an address
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}\Z")
_SUBJECT_VALUE = re.compile(r"[\w .,:@'()&*!?-]{1,64}\Z")   # no slash, backslash, equals, dollar
_DIRECTORY = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*@+ -]{0,199}\Z")
_MAX_SECTION = 255   # characters of a section's name


class Section(NamedTuple):
    """What one section asks for."""

    name: str
    where: str                               # FILE, [SECTION]: for messages
    identifiers: tuple[Identifier, ...]      # in the order given, each once
    key: str                                 # path of the private key
    certificate: str                         # path, or "" not to install it alone
    chain: str                               # of the intermediates alone, or ""
    fullchain: str                           # of the certificate and its chain, or ""
    subject: tuple[tuple[str, str], ...]     # (type, value), may be empty
    key_type: str
    min_days: int | None
    ca_file: str                             # "" skips the verification of the chain
    hash: str
    key_usage: tuple[str, ...]
    tls_feature: tuple[str, ...]
    owner: tuple[int, int] | None            # uid, gid (-1: leave)
    mode: int
    notify: str

    @property
    def outputs(self) -> list[str]:
        """The paths of the files to install, the one that tells most of the state first."""
        return [path for path in (self.fullchain, self.certificate, self.chain) if path]


def load(config: Config, filenames: Sequence[str] | None = None) -> dict[str, Section]:
    """Read the certificates' configuration: section name -> Section, in order.

    ``filenames`` are those of --config-certs.  A section of a later file replaces that of an
    earlier one; settings before the first section are defaults for all that follow.
    Raises ConfigError.
    """
    optional = filenames is None and config.config_certs is None
    names = list(filenames or config.config_certs or paths.CERTS_CONFIG)
    result: dict[str, Section] = {}
    defaults = Settings("", "", {})
    for file in _files(config, names, optional):
        log.debug(f"reading {file}")
        sections = inifile.read(file)
        own = sections.pop("")
        own.allow_only(SETTINGS)
        defaults = own.with_defaults(defaults, ALIASES)
        for name, section in sections.items():
            section.allow_only(SETTINGS)
            result[name] = _certificate(section.with_defaults(defaults, ALIASES), config)
    _check_unique(result)
    return result


def _files(config: Config, names: Sequence[str], optional: bool) -> list[str]:
    files = []
    for name in names:
        path = os.path.join(os.path.dirname(config.file), specifiers.expand(name))
        if path.endswith("/") or os.path.isdir(path):
            try:
                entries = sorted(os.listdir(path))
            except FileNotFoundError:
                if optional:
                    continue
                raise ConfigError(f"{path}: no such directory") from None
            except OSError as exc:
                raise ConfigError(f"{path}: cannot list it: {exc.strerror}") from exc
            files += [os.path.join(path, entry) for entry in entries if entry.endswith(".conf")]
        elif not optional or os.path.lexists(path):
            files.append(path)
    return files


def _check_unique(certificates: dict[str, Section]) -> None:
    """Two sections that install to one path would undo each other's work at each run.

    A key may be shared, but no certificate may take its place.
    """
    seen: dict[str, Section] = {}
    keys = {certificate.key: certificate for certificate in certificates.values()}
    for certificate in certificates.values():
        for path in certificate.outputs:
            if path in keys:
                raise ConfigError(f"{certificate.where}: {path} is the certificate-key of "
                                  f"{keys[path].where}")
            if path in seen:
                raise ConfigError(f"{certificate.where}: {path} is already the file of "
                                  f"{seen[path].where}")
            seen[path] = certificate


def _certificate(section: Settings, config: Config) -> Section:
    subject = section.parsed("subject", parse_subject)
    identifiers = _identifiers(section, subject)
    own = ""
    certificate, chain = _path(section, "certificate"), ""
    fullchain = _path(section, "certificate-chain")
    key = _path(section, "certificate-key")
    if len(section.name) > _MAX_SECTION:
        raise ConfigError(f"{section.where}: this name is longer than {_MAX_SECTION} characters")
    if not key or not (certificate or fullchain):
        if not _DIRECTORY.match(section.name):
            raise ConfigError(f"{section.where}: this name cannot name a directory below "
                              f"{config.certs_directory}; choose another, or set certificate-key "
                              "and certificate or certificate-chain")
        own = f"{config.certs_directory}/{section.name}"
    if not (certificate or fullchain):
        certificate, chain = f"{own}/cert.pem", f"{own}/chain.pem"
        fullchain = f"{own}/fullchain.pem"
    ca_file = section.text("CAfile", paths.CA_BUNDLE)
    if ca_file and not ca_file.startswith("/"):
        raise section.bad("CAfile", "not an absolute path")
    return Section(
        name=section.name, where=section.where, identifiers=identifiers,
        key=key or f"{own}/privkey.pem", certificate=certificate, chain=chain,
        fullchain=fullchain, subject=subject,
        key_type=section.choice("key-type", KEY_TYPES, KEY_TYPES[0]),
        min_days=section.integer("min-days", -100000, 100000), ca_file=ca_file,
        hash=section.choice("hash", HASHES + tuple(map(str.upper, HASHES)), "").lower(),
        key_usage=_listed(section, "keyUsage", KEY_USAGES),
        tls_feature=_listed(section, "tlsfeature", TLS_FEATURES),
        owner=section.parsed(_given(section, "owner", "chown"), parse_owner),
        mode=section.parsed(_given(section, "mode", "chmod"), parse_mode),
        notify=section.text("notify"))


def _given(section: Settings, key: str, alias: str) -> str:
    return alias if key not in section and alias in section else key


def _path(section: Settings, key: str) -> str:
    value = section.text(key)
    if value and (not value.startswith("/") or value.endswith(("/", "/."))
                  or ".." in value.split("/")):
        raise section.bad(key, "not the absolute path of a file")
    return value and os.path.normpath("/" + value.lstrip("/"))


def _listed(section: Settings, key: str, valid: Sequence[str]) -> tuple[str, ...]:
    words = section.words(key, separators=",")
    if words and words[0] == "critical":
        del words[0]
    for word in words:
        if word not in valid:
            raise section.bad(key, f"“{word}” is not one of {', '.join(valid)}")
    return tuple(words)


def _identifiers(section: Settings, subject: tuple[tuple[str, str], ...]) -> tuple[Identifier, ...]:
    found: dict[Identifier, None] = {}

    def add(key: str, value: str, kind: str = "") -> None:
        try:
            identifier = parse_identifier(value)
        except ValueError as exc:
            raise section.bad(key, str(exc)) from exc
        if kind not in ("", identifier[0]):
            raise section.bad(key, f"“{value}” is no {kind.upper()} name")
        found[identifier] = None

    for kind, value in subject:
        if kind == "CN":
            add("subject", value)
    for value in section.words("names", separators=","):
        add("names", value)
    for item in section.words("subjectAltName", separators=","):
        kind, colon, value = item.partition(":")
        if kind not in ("DNS", "IP") or not colon:
            raise section.bad("subjectAltName", f"“{item}” is not DNS:NAME or IP:ADDRESS")
        add("subjectAltName", value, kind.lower())
    if not found:
        raise ConfigError(f"{section.where}: no names: set names = NAME[, NAME …]")
    if len(found) > MAX_NAMES:
        raise ConfigError(f"{section.where}: more than {MAX_NAMES} names; use several sections")
    return tuple(found)


def parse_identifier(text: str) -> Identifier:
    """Return the ACME identifier for a host name or an IP address; raises ValueError.

    Host names in lower case, addresses as RFC 5952 writes them (RFC 8555 §7.1.4, RFC 8738 §3).
    """
    if not text.isascii():
        raise ValueError(f"“{text}”: write an internationalized name in its A-label form (xn--…)")
    name = text.lower()
    if ":" in name or re.match(r"[0-9.]+\Z", name):
        import ipaddress
        try:
            if "%" in name:   # a zone (RFC 4007 §11), of any characters
                raise ValueError
            return "ip", str(ipaddress.ip_address(name))
        except ValueError:
            raise ValueError(f"“{text}” is not an IP address") from None
    if _HOST_NAME.match(name) and len(name) <= 253:
        return "dns", name
    if name.startswith("*."):
        raise ValueError(f"“{text}”: a wildcard needs the dns-01 challenge, "
                         "which is not supported; list the names")
    if name.endswith("."):
        raise ValueError(f"“{text}”: write it without the final dot")
    if "." not in name:
        raise ValueError(f"“{text}” has one label only: no public CA signs it")
    raise ValueError(f"“{text}” is not a host name (letters, digits, hyphens and dots; RFC 1123)")


def parse_subject(text: str) -> tuple[tuple[str, str], ...]:
    """Parse ``/type0=value0/type1=value1/…``; raises ValueError."""
    if not text or text == "/":
        return ()
    if not text.startswith("/"):
        raise ValueError("does not begin with a slash")
    pairs = []
    for item in text[1:].split("/"):
        kind, _, value = item.partition("=")
        kind = _LONG_TYPES.get(kind, kind)
        if kind not in SUBJECT_TYPES:
            raise ValueError(f"“{kind}” is not one of {', '.join(SUBJECT_TYPES)}")
        if not _SUBJECT_VALUE.match(value):
            raise ValueError(f"“{item}” is not TYPE=VALUE (letters, digits, spaces and . , : @ ' "
                             "( ) & * ! ? - _ , 64 characters at most)")
        pairs.append((kind, value))
    return tuple(pairs)


def parse_mode(text: str) -> int:
    """Parse an octal mode without set-id or write bits for others; raises ValueError."""
    if not text:
        return 0o644
    if not re.match(r"[0-7]{1,5}\Z", text) or int(text, 8) & ~0o777:
        raise ValueError("not an octal mode such as 0644")
    if int(text, 8) & 0o002:
        raise ValueError("would let everybody write the certificate")
    return int(text, 8)


_owners: dict[str, tuple[int, int]] = {}


def parse_owner(text: str) -> tuple[int, int] | None:
    """Parse ``user[:group]`` to a uid and a gid (-1 where none is given); raises ValueError."""
    if not text:
        return None
    if text not in _owners:
        import grp
        import pwd
        user, colon, group = text.partition(":")
        try:
            uid = pwd.getpwnam(user).pw_uid
        except KeyError:
            raise ValueError(f"there is no user “{user}”") from None
        try:
            gid = grp.getgrnam(group).gr_gid if colon else -1
        except KeyError:
            raise ValueError(f"there is no group “{group}”") from None
        _owners[text] = uid, gid
    return _owners[text]
