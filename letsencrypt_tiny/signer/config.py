"""accountd.conf and the command line -> values.

Every setting of lacme-accountd.conf is known by the same name, with the same meaning.  They
stand before the first section; there are no sections.
"""

import os
from typing import List, NamedTuple, Optional

from ..common import inifile, paths, specifiers
from ..common.errors import ConfigError
from ..common.inifile import Section
from .request import is_https_url

SETTINGS = ("privkey", "gpg", "socket", "logfile", "keyid", "quiet", "confine")
CONFINE = ("auto", "required", "no")


class Options(NamedTuple):
    """The command line, where it says the same as a setting; None where it says nothing."""

    config: Optional[str] = None
    privkey: Optional[str] = None
    socket: Optional[str] = None
    quiet: bool = False
    confine: Optional[str] = None


class KeySource(NamedTuple):
    """Where the account key is: ``file``, ``gpg`` (and a path) or ``fd`` (and a number)."""

    method: str
    where: str

    def __str__(self) -> str:
        return f"{self.method}:{self.where}"


class Config(NamedTuple):
    """What the signer goes by; every %-specifier is expanded."""

    file: Optional[str]   # the configuration file, None if there is none
    privkey: KeySource
    gpg: List[str]        # the words of the command that decrypts
    socket: str           # before %-expansion: %t may have no value where it isn't needed
    logfile: str          # "" for none
    keyid: Optional[str]  # the account URL, if the client is not to learn the public key
    quiet: bool
    confine: str          # auto | required | no


def read(options: Options) -> Config:
    """Read the configuration; what ``options`` say comes first.  Raises ConfigError."""
    file = _find(options.config)
    sections = inifile.read(file) if file else {}
    for name in sections:
        if name:
            raise ConfigError(f"{file}: unknown section [{name}] (there are none)")
    settings = sections.get("", Section(file or "", "", {}))
    settings.allow_only(SETTINGS)

    confine = settings.choice("confine", CONFINE, "auto")
    if options.confine is not None:
        if options.confine not in CONFINE:
            raise ConfigError(f"--confine={options.confine}: not one of {', '.join(CONFINE)}")
        confine = options.confine
    logfile = settings.text("logfile")
    keyid = settings.text("keyid") or None
    if keyid is not None and not is_https_url(keyid):
        raise settings.bad("keyid", "not an https URL")
    quiet = settings.boolean("quiet", False) or options.quiet
    return Config(
        file=file,
        privkey=_key_source(options.privkey, settings),
        gpg=settings.words("gpg") or ["gpg", "--quiet"],
        socket=options.socket or settings.text("socket") or paths.SIGNER_SOCKET,
        logfile=expand(f"{settings.where}: logfile", logfile),
        keyid=keyid,
        quiet=quiet,
        confine=confine)


def expand(where: str, value: str) -> str:
    """Return ``value`` with its specifiers replaced; the ConfigError says ``where`` it stands."""
    try:
        return specifiers.expand(value)
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def _find(option: Optional[str]) -> Optional[str]:
    """The file to read: the one asked for must exist, the others needn't."""
    if option is not None:
        return expand("--config", option)
    system = f"{paths.CONFIG_DIR}/{paths.ACCOUNTD_CONFIG}"
    try:
        own = specifiers.expand(f"%E/{paths.PROGRAM}/{paths.ACCOUNTD_CONFIG}")
    except ConfigError:
        own = system  # a user without a home
    return next((path for path in (own, system) if os.path.exists(path)), None)


def _key_source(option: Optional[str], settings: Section) -> KeySource:
    if option is not None:
        where, value = "--privkey", option
    else:
        where, value = f"{settings.where}: privkey", settings.text("privkey")
    if not value:
        raise ConfigError("which account key? Neither --privkey nor the setting “privkey” of "
                          f"{settings.where or 'a configuration file'} says (file:PATH or "
                          "gpg:PATH)")
    method, _, argument = value.partition(":")
    if method in ("file", "gpg") and argument and argument.isprintable():
        return KeySource(method, expand(where, argument))
    if method == "fd" and argument.isascii() and argument.isdigit() and len(argument) < 6:
        return KeySource(method, argument)
    raise ConfigError(f"{where} = {value}: neither file:PATH nor gpg:PATH")
