"""letsencrypt-tiny.conf -> values: the master's own settings and its children's.

Certificates have a room of their own (``certs.py``).  Whatever is wrong is a ConfigError
that names file, section and setting, before anything is touched.
"""

import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..common import inifile, paths, specifiers
from ..common.errors import ConfigError
from ..common.inifile import Section

CONFINE = ("auto", "required", "no")
TLS_VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")

_DEFAULTS = ("config-certs", "library-directory", "run-directory", "openssl")
_CLIENT = ("socket", "user", "group", "command", "server", "timeout", "SSL_verify", "SSL_version",
           "SSL_cipher_list", "ca-file", "proxy", "jobs", "confine")
_WEBSERVER = ("listen", "challenge-directory", "user", "group", "command", "iptables", "confine")
_ACCOUNTD = ("user", "group", "command", "config", "privkey", "quiet", "confine")


class Program(NamedTuple):
    """A child of the master: what to run, as whom, and where that is configured."""

    where: str                     # FILE, [SECTION]: for messages
    user: str                      # "" keeps the master's
    group: str
    command: Tuple[str, ...]
    confine: str                   # auto | required | no


class Client(NamedTuple):
    """[client]"""

    program: Program
    socket: str                    # the signer's, before %-expansion
    server: str
    timeout: int                   # seconds
    verify: bool
    tls_minimum: str               # "TLSv1.2" …, "" for the library's default
    tls_maximum: str
    ciphers: str
    ca_file: str
    proxy: str
    jobs: int


class Webserver(NamedTuple):
    """[webserver]"""

    program: Program
    listen: str                    # "auto" or addresses
    challenge_directory: str       # "" for one of our own
    firewall: bool


class Accountd(NamedTuple):
    """[accountd]: the signer that the master spawns"""

    program: Program
    config: str
    privkey: str
    quiet: bool


class Config(NamedTuple):
    """letsencrypt-tiny.conf"""

    file: str
    config_certs: Optional[Tuple[str, ...]]   # None: the default files, which may be missing
    library_directory: str
    run_directory: str
    openssl: str
    client: Client
    webserver: Webserver
    accountd: Optional[Accountd]              # None: an existing signer on client.socket

    @property
    def certs_directory(self) -> str:
        """Where keys and certificates of the short form live."""
        return f"{self.library_directory}/certs"

    @property
    def state_directory(self) -> str:
        """What must be remembered between runs (§6 of the design)."""
        return f"{self.library_directory}/state"


def load(filename: Optional[str] = None, socket: Optional[str] = None) -> Config:
    """Read the main configuration; ``socket`` is the --socket option, which beats [accountd].

    Raises ConfigError.
    """
    path = specifiers.expand(filename or f"%E/{paths.PROGRAM}/{paths.MASTER_CONFIG}")
    sections = inifile.read(path)
    _check_sections(path, sections)
    main = sections[""]
    config_certs = None
    if "config-certs" in main:
        config_certs = tuple(main.words("config-certs"))
    accountd = None
    if socket is None and "accountd" in sections:
        accountd = _accountd(sections["accountd"])
    client = _client(sections.get("client") or Section(path, "client", {}))
    if socket is not None:
        client = client._replace(socket=socket)
    return Config(
        file=path, config_certs=config_certs,
        library_directory=_directory(main, "library-directory", paths.STATE_DIR),
        run_directory=_directory(main, "run-directory", paths.RUN_DIR),
        openssl=_absolute(main, "openssl", paths.OPENSSL),
        client=client,
        webserver=_webserver(sections.get("webserver") or Section(path, "webserver", {})),
        accountd=accountd)


def _check_sections(path: str, sections: Dict[str, Section]) -> None:
    valid = {"": _DEFAULTS, "client": _CLIENT, "webserver": _WEBSERVER, "accountd": _ACCOUNTD}
    for name, section in sections.items():
        if name not in valid:
            raise ConfigError(f"{path}: unknown section [{name}] "
                              "(valid: [client], [webserver], [accountd])")
        section.allow_only(valid[name])


def _program(section: Section, user: str, command: str) -> Program:
    words = section.words("command", command)
    if not words:
        raise section.bad("command", "names no program")
    return Program(section.where, section.text("user", user), section.text("group", user),
                   tuple(words), section.choice("confine", CONFINE, "auto"))


def _client(section: Section) -> Client:
    minimum, maximum = section.parsed("SSL_version", parse_tls_versions)
    server = section.text("server") or paths.DIRECTORY_URL
    if not server.startswith("https://") or len(server.split()) != 1:
        raise section.bad("server", "not an https URL")
    proxy = section.text("proxy")
    if proxy and not proxy.startswith("http://"):
        raise section.bad("proxy", "not http://[USER:PASSWORD@]HOST:PORT")
    timeout = section.integer("timeout", 0, 86400)
    jobs = section.integer("jobs", 1, 64)
    return Client(
        program=_program(section, paths.CLIENT_USER, paths.CLIENT),
        socket=section.text("socket") or paths.SIGNER_SOCKET,
        server=server, timeout=90 if timeout is None else timeout,
        verify=section.boolean("SSL_verify", True), tls_minimum=minimum, tls_maximum=maximum,
        ciphers=section.text("SSL_cipher_list"), ca_file=_absolute(section, "ca-file", ""),
        proxy=proxy, jobs=4 if jobs is None else jobs)


def _webserver(section: Section) -> Webserver:
    return Webserver(
        program=_program(section, paths.WEBSERVER_USER, paths.WEBSERVER),
        listen=section.text("listen", "auto"),
        challenge_directory=section.text("challenge-directory"),
        firewall=section.boolean("iptables", True))


def _accountd(section: Section) -> Accountd:
    return Accountd(
        program=_program(section, paths.ACCOUNTD_USER, paths.ACCOUNTD),
        config=section.text("config"), privkey=section.text("privkey"),
        quiet=section.boolean("quiet", True))


def _absolute(section: Section, key: str, default: str) -> str:
    value = section.text(key) or default
    if value and not value.startswith("/"):
        raise section.bad(key, "not an absolute path")
    return value


def _directory(section: Section, key: str, default: str) -> str:
    value = os.path.normpath(_absolute(section, key, default))
    if value == "/" or ".." in section.text(key).split("/"):
        raise section.bad(key, "not the absolute path of a directory of its own")
    return value


def parse_tls_versions(text: str) -> Tuple[str, str]:
    """Return the least and greatest TLS version that ``text`` allows.

    The syntax is lacme's, IO::Socket::SSL's: one version such as ``TLSv1_2``, or ``SSLv23``
    (any) followed by ``:!VERSION`` for those to leave out.  Raises ValueError.
    """
    if not text:
        return "", ""
    allowed: List[str] = []
    for word in text.replace(",", ":").split(":"):
        name = {"TLSv11": "TLSv1_1", "TLSv12": "TLSv1_2", "TLSv13": "TLSv1_3",
                "SSLv2/3": "SSLv23"}.get(word.lstrip("!"), word.lstrip("!"))
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
    return tuple(TLS_VERSIONS[i].replace("_", ".") for i in (indices[0], indices[-1]))  # type: ignore
