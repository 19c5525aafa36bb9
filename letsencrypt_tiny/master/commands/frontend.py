"""add --web-server: the web server that has port 80 is told to pass challenges on; and remove,
that takes back what that has written.

apache2 by a2enconf, of the file that the package has among its conf-available.  nginx by a file
that it includes, if nobody else has the name; a file of the administrator's is never changed: where
his own server {} answers, it is said what to add there, and in which line.
"""

import os
import re
from collections.abc import Collection, Sequence

from ...common import log, paths
from ...common.environment import search_path
from ...common.errors import Error
from ..peers import bounded
from ..responders import neighbours, nginxconf
from ..settings.certificates import Section
from ..settings.main import Config
from ..settings.network import HTTP_PORT
from ..store import files

_SECONDS = 60.0
_APACHE = "/etc/apache2/conf-available/letsencrypt-tiny.conf"
_DEFAULT_SITE = "/var/www/html"    # what Debian's nginx shows to begin with
_PLACES = "/etc/nginx/sites-enabled", "/etc/nginx/conf.d"    # of an nginx that isn't there to ask
_SITE = """\
# Written by “letsencrypt-tiny add --web-server”: these names have no server {{}} of their own.
# Once they do, put the line “include …;” into that, and remove this file.
server {{
    listen 80;
    listen [::]:80;
    server_name {names};
    root {root};
    include {snippet};
}}
"""


def adapt(config: Config, section: Section) -> None:
    """Have the web server at port 80 pass on the challenges for a section.  Raises Error, with
    what is to be done by hand, if it can't, or must not, be done here."""
    name, pid = neighbours.holder(HTTP_PORT)
    if name == "apache2":
        _apache2()
    elif name == "nginx":
        _nginx(section, pid)
    else:
        cure = neighbours.cure(HTTP_PORT, f"{config.run_directory}/www.socket")
        raise Error(f"--web-server knows apache2 and nginx, and {neighbours.who(HTTP_PORT)} "
                    f"listens on port {HTTP_PORT}: {cure}")


def take_back(section: Section) -> None:
    """Remove what ``adapt`` has written for a section, unless somebody has changed it.  Raises
    Error if the web server doesn't go on without it; what all sections share stays as it is."""
    name, pid = neighbours.holder(HTTP_PORT)
    command = _command(pid) if name == "nginx" else []
    places: Sequence[str] = _PLACES
    try:
        if command:
            places = [_place(nginxconf.parse(_run(*command, "-T")))]
    except Error:
        pass   # what nginx finds wrong is no matter of ours, as a rule
    for path in (_file(place, section) for place in places):
        if _is_ours(path):
            files.remove(path)
            log.info(f"web server: {path} removed")
            if command:
                _run(*command, "-s", "reload")
        elif os.path.lexists(path):
            log.info(f"web server: {path} stays: somebody has changed it")


def _run(*argv: str) -> str:
    """Run a program of the web server's; return what it prints.  Raises Error."""
    what = " ".join(argv)
    try:
        done = bounded.run(argv, what, _SECONDS, {"PATH": search_path(0), "LANG": "C.UTF-8"})
    except OSError as exc:
        raise Error(f"{what}: cannot run it: {exc.strerror}") from exc
    if done.status != 0:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise Error(f"{what}: {log.printable(lines[-1], 500) if lines else 'failed'}")
    return done.stdout.decode("utf-8", "replace")


# --- apache2 -------------------------------------------------------------------------------------

def _apache2() -> None:
    if not os.path.exists(_APACHE):
        raise Error(f"{_APACHE}: no such file: link it to {paths.CONFIG_DIR}/apache2.conf")
    _run("a2enmod", "-q", "proxy_http")
    _run("a2enconf", "-q", "letsencrypt-tiny")
    try:
        _run("apache2ctl", "configtest")
    except Error:
        _run("a2disconf", "-q", "letsencrypt-tiny")
        raise
    _run("apache2ctl", "graceful")
    log.info("web server: apache2 passes challenges on: “a2enconf letsencrypt-tiny” (a2disconf "
             "takes it back)")


# --- nginx ---------------------------------------------------------------------------------------

def _nginx(section: Section, pid: int) -> None:
    command = _command(pid)
    found = nginxconf.parse(_run(*command, "-T"))
    ours = {server.file: _site(server.names) for server in found.servers if _is_ours(server.file)}
    names = _names(section, found, ours)
    path = _file(_place(found), section)
    before = ours.get(path)
    # what another section's file answers for has what it needs
    _write(path, _site([name for name, file in names if file == path or file not in ours]),
           before is not None)
    try:
        _run(*command, "-t", "-q")
        _run(*command, "-s", "reload")
    except BaseException:
        if before is None:
            files.remove(path)
        else:
            _write(path, before, True)
        raise
    log.info(f"web server: {path} written, by which nginx passes challenges on")


def _names(section: Section, found: nginxconf.Found, ours: Collection[str]
           ) -> list[tuple[str, str]]:
    """Return the names of a section, each with the file that answers for it, "" for none.  Raises
    Error where that is the administrator's."""
    names = [value for _, value in section.identifiers if not value.startswith("*.")]
    servers = [nginxconf.answers(found, name) for name in names]
    taken = {server for server in servers if server is not None
             and server.file not in ours and not _is_debians(server)}
    if taken:
        places = " and ".join(f"{server.file}:{server.line}" for server in sorted(taken))
        raise Error(f"--web-server: {places} answers for {', '.join(names)} and is yours, and not "
                    f"changed: add “include {_snippet()};” to that server {{}}, and run “systemctl "
                    "reload nginx”")
    return [(name, server.file if server is not None else "")
            for name, server in zip(names, servers)]


def _place(found: nginxconf.Found) -> str:
    """Return the directory whose files nginx includes as sites.  Raises Error."""
    for pattern in reversed(found.includes):
        if os.path.basename(pattern) in ("*", "*.conf"):
            return os.path.dirname(pattern)
    raise Error(f"--web-server: nginx includes no directory of sites: add “include {_snippet()};” "
                "to its server {}, and run “systemctl reload nginx”")


def _file(place: str, section: Section) -> str:
    return f"{place}/zz-letsencrypt-tiny-{section.name.replace('*', '_')}.conf"


def _snippet() -> str:
    return f"{paths.CONFIG_DIR}/nginx.conf"


def _write(path: str, text: str, replaces: bool) -> None:
    """Write a file, a new one unless it ``replaces`` ours.  Raises Error."""
    file = files.File(path, text.encode())
    if replaces:
        files.install([file])
    else:
        files.create(file)


def _site(names: Sequence[str]) -> str:
    """Return the text of a file of ours."""
    return _SITE.format(names=" ".join(names), root=_DEFAULT_SITE, snippet=_snippet())


def _is_ours(path: str) -> bool:
    """Whether a file is one that we have written, and nobody has changed since."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        return False
    names = re.search("^    server_name (.*);$", text, re.M)
    return names is not None and text == _site(names[1].split(" "))


def _command(pid: int) -> list[str]:
    """Return how that nginx was started: with which configuration."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            title = file.read()   # “nginx: master process …”, its words between spaces
    except OSError:
        title = ""
    found = re.search(r"\s-c[\s\0]*([^\s\0]+)", title)
    return ["/usr/sbin/nginx", *(["-c", found.group(1)] if found else [])]


def _is_debians(server: nginxconf.Server) -> bool:
    """Whether a server {} is the one of Debian's package, as it came: nobody's site."""
    if set(server.names) - {"_"}:
        return False
    try:
        with open(server.file, "rb") as file:
            text = file.read(1 << 20)
        listed = _run("dpkg-query", "-W", "-f", "${Conffiles}", "nginx-common")
    except (OSError, Error):
        return False
    import hashlib
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
    return any(line.split()[1:2] == [digest] for line in listed.splitlines())
