"""accountd.conf and the command line -> values.

Every setting of lacme-accountd.conf is known by the same name, with the same meaning.  They
stand before the first section; the sections are policies.
"""

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from ..common import inifile, paths, pkcs11, specifiers, urls
from ..common.errors import ConfigError, ProtocolError
from ..common.inifile import Settings
from ..common.wire.inner import MAX_BINDINGS
from ..common.wire.policy import (MAX_PER_HOUR, MAX_POLICY, OPERATIONS, ORDERING, URLS, Policy,
                                  origin_of, parse_policy)
from .request import is_https_url

if TYPE_CHECKING:
    import io
    from .eab import Binding

SETTINGS = ("privkey", "gpg", "socket", "logfile", "keyid", "quiet", "confine")
POLICY_SETTINGS = ("origins", "identifiers", "profiles", "operations", "requests-per-hour",
                   "urls")
REQUESTS_PER_HOUR = 1000
CONFINE = ("auto", "required", "no")

_POLICY = re.compile(r"policy[ \t]+([A-Za-z0-9][A-Za-z0-9._-]{0,62})\Z")


class Options(NamedTuple):
    """The command line, where it says the same as a setting; None where it says nothing."""

    config: str | None = None
    privkey: str | None = None
    socket: str | None = None
    quiet: bool = False
    confine: str | None = None
    policies: tuple[str, ...] = ()   # names, or fd:N for one on an inherited descriptor


class KeySource(NamedTuple):
    """Where the account key is: ``file``, ``gpg`` (and a path), ``fd`` (and a number) or ``pkcs11``
    (and the rest of its URI)."""

    method: str
    where: str

    def __str__(self) -> str:
        return f"{self.method}:{self.where}"


class Config(NamedTuple):
    """What the signer goes by; every %-specifier is expanded."""

    file: str | None      # the configuration file, None if there is none
    privkey: KeySource
    gpg: list[str]        # the words of the command that decrypts
    socket: str           # before %-expansion: %t may have no value where it isn't needed
    logfile: str          # "" for none
    keyid: str | None     # the account URL, if the client is not to learn the public key
    quiet: bool
    confine: str          # auto | required | no
    policies: tuple[Policy, ...] = ()   # each must allow what is signed; none: no policy
    bindings: "tuple[Binding, ...]" = ()    # external accounts
    known: tuple[Policy, ...] = ()          # all that the file has


def read(options: Options) -> Config:
    """Read the configuration; what ``options`` say comes first.  Raises ConfigError."""
    file = _find(options.config)
    sections = inifile.read(file) if file else {}
    others = [section for name, section in sections.items() if name]
    bindings = _bindings([section for section in others if section.name.startswith("eab ")])
    known = {policy.name: policy for policy in
             (_policy(section) for section in others if not section.name.startswith("eab "))}
    settings = sections.get("", Settings(file or "", "", {}))
    settings.allow_only(SETTINGS)

    return Config(
        file=file,
        gpg=settings.words("gpg") or ["gpg", "--quiet"],
        socket=options.socket or settings.text("socket") or paths.SIGNER_SOCKET,
        logfile=expand(f"{settings.where}: logfile", settings.text("logfile")),
        keyid=_keyid(settings),
        quiet=settings.boolean("quiet", False) or options.quiet,
        confine=_confine(options.confine, settings),
        privkey=_key_source(options.privkey, settings),   # what is wrong elsewhere is told first
        policies=tuple(_chosen(name, known, file) for name in options.policies),
        bindings=bindings, known=tuple(known.values()))


def _bindings(sections: list[Settings]) -> "tuple[Binding, ...]":
    """The [eab KID] sections; most have none, and load nothing for them."""
    if not sections:
        return ()
    from . import eab
    if len(sections) > MAX_BINDINGS:
        raise ConfigError(f"{sections[0].file}: more than {MAX_BINDINGS} sections [eab KID]")
    return tuple(map(eab.read, sections))


def _confine(option: str | None, settings: Settings) -> str:
    confine = settings.choice("confine", CONFINE, "auto")
    if option not in (None, *CONFINE):
        raise ConfigError(f"--confine={option}: not one of {', '.join(CONFINE)}")
    return option or confine


def _keyid(settings: Settings) -> str | None:
    keyid = settings.text("keyid") or None
    if keyid is not None and not is_https_url(keyid):
        raise settings.bad("keyid", "not an https URL")
    return keyid


def _policy(section: Settings) -> Policy:
    """A [policy NAME] section; its mistakes matter even if it is not the one asked for."""
    match = _POLICY.match(section.name)
    if match is None:
        raise ConfigError(f"{section.file}: unknown section [{section.name}] "
                          "(valid: [policy NAME], of letters, digits and . _ -, and [eab KID])")
    section.allow_only(POLICY_SETTINGS)
    operations = frozenset(section.words("operations", " ".join(ORDERING), ","))
    for word in sorted(operations):
        if word not in OPERATIONS:
            raise section.bad("operations",
                              f"“{word}” is not one of {', '.join(OPERATIONS)}")
    identifiers = section.parsed("identifiers", _identifiers)
    if "new-order" in operations and not identifiers:
        raise ConfigError(f"{section.where}: identifiers is missing: NAME, .NAME (all names "
                          "below it), *.NAME, addresses, or * for any")
    per_hour = section.integer("requests-per-hour", 0, MAX_PER_HOUR)
    return Policy(match.group(1), section.parsed("origins", _origins,
                                                 origin_of(paths.DIRECTORY_URL)),
                  operations, identifiers, frozenset(section.words("profiles", "", ",")),
                  REQUESTS_PER_HOUR if per_hour is None else per_hour,
                  urls=section.choice("urls", URLS, URLS[0]))


def _origins(text: str) -> frozenset[str]:
    return frozenset(urls.parse_origins(text))


def _identifiers(text: str) -> frozenset[str]:
    from .policy import pattern
    return frozenset(map(pattern, text.replace(",", " ").split()))


def _chosen(name: str, known: dict[str, Policy], file: str | None) -> Policy:
    """The policy that --policy=NAME asks for."""
    if name.startswith("fd:") and name[3:].isascii() and name[3:].isdigit() and len(name) < 9:
        try:
            with open(int(name[3:]), "rb", buffering=0) as source:
                return parse_policy(_read_all(source))
        except (OSError, ProtocolError) as exc:
            raise ConfigError(f"--policy={name}: {exc}") from exc
    if name not in known:
        raise ConfigError(f"--policy={name}: there is no such section in "
                          f"{file or 'a configuration file'} (there "
                          f"{'are ' + ', '.join(known) if known else 'is none'})")
    return known[name]


def _read_all(source: "io.RawIOBase") -> bytes:
    """Up to a byte more than a policy may have, in pieces: memory may be short."""
    data = bytearray()
    while len(data) <= MAX_POLICY and (piece := source.read(65536)):
        data += piece
    return bytes(data)


def expand(where: str, value: str) -> str:
    """Return ``value`` with its specifiers replaced; the ConfigError says ``where`` it stands."""
    try:
        return specifiers.expand(value)
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def _find(option: str | None) -> str | None:
    """The file to read: the one asked for must exist, the others needn't."""
    if option is not None:
        return expand("--config", option)
    system = f"{paths.CONFIG_DIR}/{paths.ACCOUNTD_CONFIG}"
    try:
        own = specifiers.expand(f"%E/{paths.PROGRAM}/{paths.ACCOUNTD_CONFIG}")
    except ConfigError:
        own = system  # a user without a home
    return next((path for path in (own, system) if os.path.exists(path)), None)


def _key_source(option: str | None, settings: Settings) -> KeySource:
    if option is not None:
        where, value = "--privkey", option
    else:
        where, value = f"{settings.where}: privkey", settings.text("privkey")
    if not value:
        raise ConfigError("which account key? Neither --privkey nor the setting “privkey” of "
                          f"{settings.where or 'a configuration file'} says (file:PATH, "
                          "gpg:PATH or pkcs11:URI)")
    if pkcs11.is_uri(value):   # its %XX are no specifiers
        try:
            pkcs11.parse(value)
        except ValueError as exc:
            raise ConfigError(f"{where} = {inifile.without_pin(value)}: {exc}") from exc
        return KeySource(*value.split(":", 1))
    method, _, argument = value.partition(":")
    if method in ("file", "gpg") and argument and argument.isprintable():
        return KeySource(method, expand(where, argument))
    if method == "fd" and argument.isascii() and argument.isdigit() and len(argument) < 6:
        return KeySource(method, argument)
    raise ConfigError(f"{where} = {value}: neither file:PATH nor gpg:PATH nor pkcs11:URI")
