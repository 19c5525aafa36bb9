"""Who has the port of HTTP or HTTPS, and what has to be told to it so that challenges reach us."""

import os
import sys
from collections.abc import Iterable, Iterator

from ...common import paths
from ..settings.network import HTTP_PORT, TLS_PORT

_LISTEN = "0A"   # the state of a socket (proc(5))
# Who can pass challenges on, and the file that shows how
_SNIPPETS = {
    HTTP_PORT: {"nginx": "nginx.conf", "apache2": "apache2.conf", "haproxy": "haproxy.cfg"},
    TLS_PORT: {"nginx": "nginx-stream.conf", "haproxy": "haproxy-tls.cfg"}}
_CHALLENGES = {
    HTTP_PORT: "challenges are answered on {}, to which it must pass them on",
    TLS_PORT: "tls-alpn-01 challenges are answered on {}, to which it must pass on the "
              "connections that ask for “acme-tls/1”, as they are"}


# … and what is to be done, in lines that can be typed or copied
_CURES = {
    "nginx": "add “include {0}/nginx.conf;” to its server {{}} of the name, and run “systemctl "
             "reload nginx”",
    "apache2": "run “a2enmod proxy_http && a2enconf letsencrypt-tiny” and “systemctl reload "
               "apache2”",
    "haproxy": "see {0}/haproxy.cfg: two lines, and a listen in letsencrypt-tiny.conf",
    "caddy": "add “reverse_proxy /.well-known/acme-challenge/* unix/{1}” to its site, and run "
             "“systemctl reload caddy”"}


def cure(port: int, path: str) -> str:
    """Return what to do so that whoever listens on ``port`` passes challenges on to ``path``."""
    name, _ = holder(port)
    return _CURES.get(name, "let it pass /.well-known/acme-challenge/ on to {1}, as "
                            f"{_listed(_SNIPPETS[HTTP_PORT].values())} do").format(
        paths.CONFIG_DIR, path)


def who(port: int) -> str:
    """Return what to call whoever listens on ``port``."""
    name, pid = holder(port)
    return f"{name} (process {pid})" if pid else "another program"


def advice(port: int, path: str) -> str:
    """Return a sentence: who listens on ``port``, that of HTTPS or of HTTP, and how it passes
    challenges on to ``path``."""
    name, pid = holder(port)
    what = TLS_PORT if port == TLS_PORT else HTTP_PORT
    known = _SNIPPETS[what]
    if pid and name not in known and what == TLS_PORT:
        how = f"if it can't, let nginx or haproxy have the port: {_listed(known.values())}"
    else:
        how = f"include {_listed([known[name]] if name in known else known.values())}"
    return f"{who(port)} listens on port {port}: {_CHALLENGES[what].format(path)} ({how})"


def _listed(names: Iterable[str]) -> str:
    return f"{paths.CONFIG_DIR}/{', '.join(names)}"


def holder(port: int) -> tuple[str, int]:
    """Return name and number of a process that listens on ``port``; "" and 0 if none is seen.

    Of several it is the one that started the others.
    """
    wanted = set(_sockets(port))
    found: dict[int, tuple[str, int]] = {}   # number -> name, number of the parent
    for pid in sorted(int(name) for name in os.listdir("/proc") if wanted and name.isdigit()):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{number}") in wanted
                   for number in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(")")
                found[pid] = name, int(rest.split()[1])
        except OSError:
            continue   # it has ended, or is not for us to see
    return next(((name, pid) for pid, (name, parent) in found.items() if parent not in found),
                ("", 0))


def address(port: int) -> str:
    """Return an address at which whoever listens on ``port`` can be asked from here."""
    import ipaddress   # only where somebody does
    for text, _ in _listeners(port):
        raw = b"".join(int(text[start:start + 8], 16).to_bytes(4, sys.byteorder)
                       for start in range(0, len(text), 8))   # words as the host has them
        found = ipaddress.ip_address(raw)
        if found.is_unspecified:
            return "127.0.0.1" if found.version == 4 else "::1"
        return str(found)
    return "127.0.0.1"


def _sockets(port: int) -> Iterator[str]:
    """Yield what descriptors of sockets that listen on ``port`` are links to."""
    for _, inode in _listeners(port):
        yield f"socket:[{inode}]"


def _listeners(port: int) -> Iterator[tuple[str, str]]:
    """Yield address and inode of sockets that listen on ``port``, both as the kernel tells them
    (proc_pid_net(5))."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[1].partition(":")[0], fields[9]
