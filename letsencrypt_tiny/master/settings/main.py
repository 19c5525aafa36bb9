"""letsencrypt-tiny.conf -> values: the master's own settings and its children's.

Certificates have a room of their own (``certs.py``).  Whatever is wrong is a ConfigError
that names file, section and setting, before anything is touched.
"""

import os
import re
import socket
from typing import NamedTuple

from ...common import inifile, paths, specifiers
from ...common.errors import ConfigError
from ...common.inifile import Settings
from ...common.wire.access import Access

CONFINE = ("auto", "required", "no")
TLS_VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")
HTTP_PORT = 80

_DEFAULTS = ("config-certs", "library-directory", "run-directory", "openssl")
_CLIENT = ("socket", "user", "group", "command", "server", "timeout", "SSL_verify", "SSL_version",
           "SSL_cipher_list", "ca-file", "proxy", "jobs", "confine")
_WEBSERVER = ("listen", "challenge-directory", "user", "group", "command", "iptables", "confine")
_ACCOUNTD = ("user", "group", "command", "config", "privkey", "quiet", "policy", "confine")

_IPV4 = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::([0-9]{1,5}))?\Z")
# No user, no fragment, nothing that would have to be normalized (RFC 3986 §3)
_HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
_SERVER = re.compile(rf"https://{_HOST}(?:/[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?\Z")
_PROXY = re.compile(rf"http://(?:[!-.0-?A-~]*@)?{_HOST}/?\Z")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?\Z")


class Program(NamedTuple):
    """A child of the master: what to run, as whom, and where that is configured."""

    where: str                     # FILE, [SECTION]: for messages
    user: str                      # "" keeps the master's
    group: str
    command: tuple[str, ...]
    confine: str                   # auto | required | no


class Client(NamedTuple):
    """[client]"""

    program: Program
    socket: str                    # the signer's, before %-expansion
    access: Access


class Address(NamedTuple):
    """An address to listen on."""

    family: int
    host: str                      # the path of a UNIX socket
    port: int = 0

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return self.host
        host = f"[{self.host}]" if self.family == socket.AF_INET6 else self.host
        return f"{host}:{self.port}"


class Webserver(NamedTuple):
    """[webserver]"""

    program: Program
    listen: tuple[Address, ...] | None      # None: auto
    challenge_directory: str       # "" for one of our own
    firewall: bool


class Accountd(NamedTuple):
    """[accountd]: the signer that the master spawns"""

    program: Program
    config: str
    privkey: str
    quiet: bool
    policy: str                    # auto | required | no


class Config(NamedTuple):
    """letsencrypt-tiny.conf"""

    file: str
    config_certs: tuple[str, ...] | None      # None: the default files, which may be missing
    library_directory: str
    run_directory: str
    openssl: str
    client: Client
    webserver: Webserver
    accountd: Accountd | None                 # None: an existing signer on client.socket

    @property
    def programs(self) -> list[Program]:
        """The programs of the children."""
        found = [self.client.program, self.webserver.program]
        return found if self.accountd is None else [*found, self.accountd.program]

    @property
    def certs_directory(self) -> str:
        """Where keys and certificates of the short form live."""
        return f"{self.library_directory}/certs"

    @property
    def state_directory(self) -> str:
        """What must be remembered between runs (§6 of the design)."""
        return f"{self.library_directory}/state"


def load(filename: str | None = None, signer: str | None = None) -> Config:
    """Read the main configuration; ``signer`` is the --socket option, which beats [accountd].

    Raises ConfigError.
    """
    if filename is None:
        filename = f"%E/{paths.PROGRAM}/{paths.MASTER_CONFIG}"
    path = specifiers.expand(filename)
    sections = inifile.read(path)
    _check_sections(path, sections)
    main = sections[""]
    _expanded(main, "config-certs")   # only to see that it can be
    accountd = None
    if signer is None and "accountd" in sections:
        accountd = _accountd(sections["accountd"])
    client = _client(sections.get("client") or Settings(path, "client", {}))
    if signer is not None:
        client = client._replace(socket=signer)
    return Config(
        file=path, config_certs=tuple(main.words("config-certs")) or None,
        library_directory=_directory(main, "library-directory", paths.STATE_DIR),
        run_directory=_directory(main, "run-directory", paths.RUN_DIR),
        openssl=_absolute(main, "openssl", paths.OPENSSL),
        client=client,
        webserver=_webserver(sections.get("webserver") or Settings(path, "webserver", {})),
        accountd=accountd)


def _check_sections(path: str, sections: dict[str, Settings]) -> None:
    valid = {"": _DEFAULTS, "client": _CLIENT, "webserver": _WEBSERVER, "accountd": _ACCOUNTD}
    for name, section in sections.items():
        if name not in valid:
            raise ConfigError(f"{path}: unknown section [{name}] "
                              "(valid: [client], [webserver], [accountd])")
        section.allow_only(valid[name])


def _program(section: Settings, user: str, command: str) -> Program:
    words = section.words("command", command)
    if not words or "/" in words[0] and words[0][0] not in "/%":
        raise section.bad("command", "neither an absolute path nor the name of a program")
    return Program(section.where, section.text("user", user), section.text("group", user),
                   tuple(words), section.choice("confine", CONFINE, "auto"))


def _client(section: Settings) -> Client:
    minimum, maximum = section.parsed("SSL_version", parse_tls_versions)
    server = section.text("server") or paths.DIRECTORY_URL
    if not _matches(_SERVER, server):
        raise section.bad("server", "not an https URL")
    proxy = section.text("proxy")
    if proxy and not _matches(_PROXY, proxy):
        if "@" in proxy:   # show no password
            section = Settings(section.file, section.name, {"proxy": "…@…"})
        raise section.bad("proxy", "not http://[USER:PASSWORD@]HOST:PORT")
    timeout = section.integer("timeout", 0, 86400)
    jobs = section.integer("jobs", 1, 64)
    return Client(
        program=_program(section, paths.CLIENT_USER, paths.CLIENT),
        socket=section.text("socket") or paths.SIGNER_SOCKET,
        access=Access(
            server=server, timeout=90 if timeout is None else timeout,
            verify=section.boolean("SSL_verify", True), tls_minimum=minimum,
            tls_maximum=maximum, ciphers=section.parsed("SSL_cipher_list", parse_ciphers),
            ca_file=_absolute(section, "ca-file", ""), proxy=proxy,
            jobs=4 if jobs is None else jobs))


def _webserver(section: Settings) -> Webserver:
    listen = section.parsed("listen", parse_listen, "auto")
    directory = _expanded(section, "challenge-directory")
    if directory and not directory.startswith("/"):
        raise section.bad("challenge-directory", "not an absolute path")
    if listen == () and not directory:
        raise section.bad("listen", "no address, so challenge-directory must be set")
    return Webserver(
        program=_program(section, paths.WEBSERVER_USER, paths.WEBSERVER), listen=listen,
        challenge_directory=directory, firewall=section.boolean("iptables", True))


def _accountd(section: Settings) -> Accountd:
    return Accountd(
        program=_program(section, paths.ACCOUNTD_USER, paths.ACCOUNTD),
        config=section.text("config"), privkey=section.text("privkey"),
        quiet=section.boolean("quiet", True), policy=section.choice("policy", CONFINE, "auto"))


def _absolute(section: Settings, key: str, default: str) -> str:
    value = section.text(key) or default
    if value and not value.startswith("/"):
        raise section.bad(key, "not an absolute path")
    return value


def _expanded(section: Settings, key: str) -> str:
    try:
        return specifiers.expand(section.text(key))
    except ConfigError as exc:
        raise section.bad(key, str(exc)) from exc


def _matches(url: "re.Pattern[str]", text: str) -> bool:
    match = url.match(text)
    return match is not None and 0 < int(match.group(1) or HTTP_PORT) < 65536


def _directory(section: Settings, key: str, default: str) -> str:
    value = os.path.normpath("/" + _absolute(section, key, default).lstrip("/"))
    if value == "/" or ".." in section.text(key).split("/"):
        raise section.bad(key, "not the absolute path of a directory of its own")
    return value


def parse_listen(text: str) -> tuple[Address, ...] | None:
    """Parse ``auto`` (None), or IPV4[:PORT], [IPV6][:PORT] and /PATH separated by commas or spaces.

    Raises ValueError.
    """
    if text == "auto":
        return None
    return tuple(map(_parse_address, text.replace(",", " ").split()))


def _parse_address(word: str) -> Address:
    if word.startswith("/"):
        if len(os.fsencode(word)) > 107:   # sockaddr_un
            raise ValueError(f"“{word}” is too long for a UNIX socket (107 bytes)")
        return Address(socket.AF_UNIX, word)
    for family, pattern in ((socket.AF_INET, _IPV4), (socket.AF_INET6, _IPV6)):
        match = pattern.match(word)
        if match is not None:
            port = int(match.group(2) or HTTP_PORT)
            try:
                socket.inet_pton(family, match.group(1))
            except OSError:
                break
            if 0 < port < 65536:
                return Address(family, match.group(1), port)
    raise ValueError(f"“{word}” is not IPV4[:PORT], [IPV6][:PORT] or /PATH")


def parse_ciphers(text: str) -> str:
    """Return ``text`` if openssl knows a cipher by it (ciphers(1ssl)); raises ValueError."""
    if text:
        import ssl
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
        except ssl.SSLError:
            raise ValueError("openssl knows no cipher by that name") from None
    return text


def parse_tls_versions(text: str) -> tuple[str, str]:
    """Return the least and greatest TLS version that ``text`` allows.

    The syntax is lacme's, IO::Socket::SSL's: one version such as ``TLSv1_2``, or ``SSLv23``
    (any) followed by ``:!VERSION`` for those to leave out, in any case.  Raises ValueError.
    """
    known = {version.lower(): version for version in (*TLS_VERSIONS, "SSLv2", "SSLv3", "SSLv23")}
    known.update({"tlsv11": "TLSv1_1", "tlsv12": "TLSv1_2", "tlsv13": "TLSv1_3",
                  "sslv2/3": "SSLv23"})
    if not text:
        return "", ""
    allowed: list[str] = []
    for word in text.replace(",", ":").split(":"):
        name = known.get(word.removeprefix("!").lower(), "")
        if name == "SSLv23" and not word.startswith("!"):
            allowed = list(TLS_VERSIONS)
        elif name in ("SSLv2", "SSLv3") and word.startswith("!"):
            pass  # no library of today speaks them
        elif name not in TLS_VERSIONS:
            raise ValueError(f"“{word}” is not SSLv23 or one of {', '.join(TLS_VERSIONS)}, "
                             "with “!” to leave it out")
        elif word.startswith("!"):
            allowed = [version for version in allowed if version != name]
        elif name not in allowed:
            allowed.append(name)
    indices = sorted(TLS_VERSIONS.index(version) for version in allowed)
    if not indices:
        raise ValueError("allows no version of TLS")
    if indices != list(range(indices[0], indices[-1] + 1)):
        raise ValueError("leaves a gap between the versions it allows")
    least, greatest = (TLS_VERSIONS[indices[i]].replace("_", ".") for i in (0, -1))
    return least, greatest
