"""letsencrypt-tiny.conf -> values: the master's own settings and its children's.

Whatever is wrong is a ConfigError that names file, section and setting, before anything is
touched.  The certificates have a room of their own (``certificates.py``).
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ...common import inifile, paths, specifiers
from ...common.errors import ConfigError, did_you_mean
from ...common.inifile import Settings
from ...common.wire.access import Access
from . import dropins, network, values
from .network import Address
from .program import CONFINE, Program, program_rows
from .rows import Setting, Table, Values, record

if TYPE_CHECKING:
    from .authorities import Authority
    from .challenges import Dns, Tlsserver


class Client(NamedTuple):
    """[client]"""

    program: Program
    socket: str                    # the signer's, before %-expansion
    access: Access
    contact: tuple[str, ...] = ()  # as Authority has them
    eab_kid: str = ""


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
    run_hooks: str                            # a directory, or ""
    client: Client
    webserver: Webserver
    accountd: Accountd | None                 # None: an existing signer on client.socket
    authorities: "dict[str, Authority]"       # those of [ca NAME], by name
    dns: "dict[str, Dns]"                     # by zone; "" is for all names
    tlsserver: "Tlsserver | None"             # None: as the defaults say
    signer_user: str = paths.ACCOUNTD_USER    # who runs the signer; "" is the master's
    metrics_file: str = ""                    # that is written after each run; "": none

    @property
    def programs(self) -> list[Program]:
        """The programs of the children."""
        found = [self.client.program, self.webserver.program]
        if self.accountd is not None:
            found.append(self.accountd.program)
        if self.tlsserver is not None:
            found.append(self.tlsserver.program)
        return found + [zone.program for zone in self.dns.values()]

    @property
    def certs_directory(self) -> str:
        """Where keys and certificates of the short form live."""
        return f"{self.library_directory}/certs"

    @property
    def state_directory(self) -> str:
        """What must be remembered between runs (§6 of the design)."""
        return f"{self.library_directory}/state"


# --- the tables ----------------------------------------------------------------------------------

# What is said of a CA: how it is reached, and who we are there
CA = (
    Setting("server", "server", network.server, paths.DIRECTORY_URL,
            "the ACME server's directory, or its name", secret=True),
    Setting("origins", "origins", network.origins, "",
            "other origins that URLs of this server may have"),
    Setting("timeout", "timeout", values.integer(0, 86400), "90",
            "seconds that an order may wait"),
    Setting("answer-timeout", "answer_timeout", values.integer(1, 3600), "90",
            "seconds for one answer of the server"),
    Setting("jobs", "jobs", values.optional_integer(1, 64), "",
            "connections to the server at most"),
    Setting("ca-file", "ca_file", values.absolute, "", "CA certificates to check the server by"),
    Setting("proxy", "proxy", network.proxy, "", "HTTP proxy", secret=True),
    Setting("SSL_verify", "verify", inifile.boolean, "yes",
            "whether to check the server's certificate"),
    Setting("SSL_version", "tls", network.tls_versions, "", "TLS versions to use"),
    Setting("SSL_cipher_list", "ciphers", network.ciphers, "", "ciphers to use"),
    Setting("contact", "contact", values.contacts, "", "whom the CA may write to"),
    Setting("eab-kid", "eab_kid", values.key_identifier, "",
            "what the CA calls its customer's key"))

MAIN = Table(
    Setting("config-certs", "config_certs", values.file_names, " ".join(paths.CERTS_CONFIG),
            "files that say which certificates are wanted"),
    Setting("library-directory", "library_directory", values.own_directory, paths.STATE_DIR,
            "certificates of the short form, and state"),
    Setting("run-directory", "run_directory", values.own_directory, paths.RUN_DIR,
            "lock and sockets"),
    Setting("openssl", "openssl", values.absolute, paths.OPENSSL, "the program"),
    Setting("run-hooks", "run_hooks", values.absolute, "",
            "programs to run after a run that has installed something"),
    Setting("metrics-file", "metrics_file", values.file, "",
            "where each run writes metrics for Prometheus"))

CLIENT = Table(
    *CA,
    Setting("socket", "socket", str, paths.SIGNER_SOCKET, "of an account key manager that runs "
                                                          "already"),
    *program_rows(paths.CLIENT_USER, paths.CLIENT))

WEBSERVER = Table(
    Setting("listen", "listen", network.listen, "auto", "addresses to listen on", empty=True),
    Setting("challenge-directory", "challenge_directory", values.expanded_absolute, "",
            "that another web server serves"),
    Setting("iptables", "firewall", inifile.boolean, "yes", "whether to open the firewall"),
    *program_rows(paths.WEBSERVER_USER, paths.WEBSERVER))

ACCOUNTD = Table(
    Setting("config", "config", str, "", "its configuration file"),
    Setting("privkey", "privkey", str, "", "the account key (deprecated)"),
    Setting("quiet", "quiet", inifile.boolean, "yes", "whether to say only what went wrong"),
    Setting("policy", "policy", values.choice(*CONFINE), "auto",
            "whether it signs only what the task needs"),
    *program_rows(paths.ACCOUNTD_USER, paths.ACCOUNTD))

TABLES = {"": MAIN, "client": CLIENT, "webserver": WEBSERVER, "accountd": ACCOUNTD}
# A room of their own (challenges.py), which most need not enter
OTHERS = ("ca NAME", "dns", "dns ZONE", "tlsserver")


# --- the file ------------------------------------------------------------------------------------

def load(filename: str | None = None, signer: str | None = None) -> Config:
    """Read the main configuration; ``signer`` is the --socket option, which beats [accountd].

    Raises ConfigError.
    """
    if filename is None:
        filename = f"%E/{paths.PROGRAM}/{paths.MASTER_CONFIG}"
        if os.geteuid() != 0 and not os.path.lexists(specifiers.expand(filename)):
            raise ConfigError(f"{specifiers.expand(filename)}: no such file, and you are not root: "
                              f"run it as root, whose is {paths.CONFIG_DIR}/{paths.MASTER_CONFIG}")
    path = specifiers.expand(filename)
    sections = dropins.read(path)
    _check_names(path, sections)
    accountd = _accountd(sections["accountd"]) if "accountd" in sections else None
    client = _client(sections.get("client") or Settings(path, "client", {}))
    found = MAIN.read(sections[""])
    if not sections[""].text("config-certs"):
        found["config_certs"] = None
    found.update(
        file=path, client=client if signer is None else client._replace(socket=signer),
        webserver=_webserver(sections.get("webserver") or Settings(path, "webserver", {})),
        accountd=accountd if signer is None else None,
        dns={}, tlsserver=None, authorities={},
        signer_user=paths.ACCOUNTD_USER if accountd is None else accountd.program.user)
    if not TABLES.keys() >= sections.keys():
        from . import authorities, challenges
        found["authorities"] = authorities.read(sections.values(), authorities.table(CA),
                                                client.access)
        found["dns"] = challenges.zones(sections.values())
        if "tlsserver" in sections:
            found["tlsserver"] = challenges.tlsserver(sections["tlsserver"])
    return record(Config, found)


def _check_names(path: str, sections: Iterable[str]) -> None:
    """Raise ConfigError for a section that there is not."""
    for name in sections:
        if name not in TABLES and name not in OTHERS[1:] and not name.startswith(("ca ", "dns ")):
            known = [*filter(None, TABLES), *OTHERS]
            raise ConfigError(f"{path}: unknown section [{name}] (valid: "
                              f"{', '.join(f'[{item}]' for item in known)})"
                              f"{did_you_mean(name, known)}")


def _with_program(settings: Settings, found: Values) -> Values:
    return {**found, "program": record(Program, {**found, "where": settings.where})}


def _client(settings: Settings) -> Client:
    found = CLIENT.read(settings)
    found["tls_minimum"], found["tls_maximum"] = found["tls"]
    found["access"] = record(Access, found)
    return record(Client, _with_program(settings, found))


def _webserver(settings: Settings) -> Webserver:
    return record(Webserver, _with_program(settings, WEBSERVER.read(settings)))


def _accountd(settings: Settings) -> Accountd:
    return record(Accountd, _with_program(settings, ACCOUNTD.read(settings)))
