"""Debian's nginx, apache2, haproxy and caddy at port 80 or 443, with the snippets that we ship."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from .daemon import Daemon
from .run import CLIENT_USER, PARENT, Prefix

_NGINX_MAIN = """\
daemon off;
user www-data;
worker_processes 1;
pid {path}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
"""


def nginx(http: str) -> str:
    """Return a template of nginx's whole configuration, all of whose files are in ``path``, with
    ``http`` in its http {}."""
    return _NGINX_MAIN + """\
http {{
    access_log off;
    client_body_temp_path {path}/body;
    proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi;
    scgi_temp_path {path}/scgi;
""" + http + "}}\n"


_NGINX = nginx("""\
    server {{
        listen 80;
        listen [::]:80;
        root {path};
        location / {{ return 404; }}
        include {snippet};
    }}
""")

_APACHE2 = """\
ServerName localhost
ServerRoot {path}
DefaultRuntimeDir {path}
PidFile {path}/apache2.pid
ErrorLog /dev/stderr
User www-data
Group www-data
Listen [::]:80
{modules}
DocumentRoot {path}
<Directory />
    Require all denied
</Directory>
Include {snippet}
"""
_APACHE2_MODULES = ("mpm_event", "authz_core", "alias", "proxy", "proxy_http",
                    "rewrite")

_HAPROXY = """\
global
    chroot {path}
    user www-data
    group www-data
    maxconn 64
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend http
    bind 0.0.0.0:80
    bind [::]:80 v6only
    use_backend letsencrypt-tiny if {{ path_beg /.well-known/acme-challenge/ }}
"""

# What is not for us goes to port 8443, where the test has whatever it likes
_NGINX_STREAM = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
""" + _NGINX_MAIN + """\
stream {{ include {snippet}; }}
"""
_HAPROXY_TLS = """\
global
    chroot {path}
    user www-data
    group www-data
    maxconn 64
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend tls
    bind 0.0.0.0:443
    bind [::]:443 v6only
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend letsencrypt-tiny-tls if {{ req.ssl_alpn acme-tls/1 }}
    default_backend others
backend others
    server here 127.0.0.1:8443
"""
_CADDY = """\
{{
    admin off
    auto_https off
}}
http:// {{
    import {snippet}
    respond 404
}}
"""
# how each is told the thumbprint that its stateless snippet wants: what to replace, and by what
_TOLD = {
    "nginx": ("include {snippet};", 'set $acme_thumbprint "%s"; include {snippet};'),
    "apache2": ("Include {snippet}", "Define ACME_THUMBPRINT %s\nInclude {snippet}"),
    "haproxy": ("global\n", "global\n    setenv ACME_THUMBPRINT %s\n"),
    "caddy": ("import {snippet}", "vars acme_thumbprint %s\n    import {snippet}")}
TLS_KINDS = {"nginx-stream.conf": _NGINX_STREAM, "haproxy-tls.cfg": _HAPROXY_TLS}
# How others are told the client's address, in snippet and configuration, as the snippets say
_PROXIED = (
    ("acme-tls/1  unix:{run}/tls.socket;", "acme-tls/1  127.0.0.1:8444;"),
    ("    ssl_preread on;\n", "    ssl_preread on;\n    proxy_protocol on;\n"),
    ("stream {{ ", "stream {{ server {{ listen 127.0.0.1:8444 proxy_protocol; proxy_pass "
     "unix:{run}/tls.socket; }} "),
    ("    server here 127.0.0.1:8443\n", "    server tls unix@/tls.socket send-proxy-v2\n"
     "frontend inner\n    bind unix@{path}/tls.socket user www-data mode 600 accept-proxy\n"
     "    default_backend inner\nbackend inner\n    server here 127.0.0.1:8443\n"))


def _proxied(text: str, run: Path) -> str:
    for old, new in _PROXIED:
        text = text.replace(old.replace("{run}", str(run)), new.replace("{run}", str(run)))
    return text


class Frontend:
    """A web server at port 80: ``kind`` is the name of a snippet, such as "nginx-static.conf".

    Those of TLS_KINDS are at port 443.  ``directory`` stands for the /var/www/acme-challenge of a
    static one, and ``socket`` is what ``listen`` must be for haproxy, which sees nothing outside
    its chroot.  Those named “stateless” answer for the account with ``thumbprint``; those at port
    443 pass all but challenges on with a PROXY header if they are ``proxied``.  A ``bare`` one has
    no snippet.
    """

    def __init__(self, prefix: Prefix, kind: str, thumbprint: str = "",
                 proxied: bool = False, bare: bool = False) -> None:
        self._snippet = prefix.path / "etc/letsencrypt-tiny" / kind
        self._kind = kind
        self._thumbprint = thumbprint
        self._proxied = proxied
        self._bare = bare
        self._run = prefix.path / "run/letsencrypt-tiny"

    def __enter__(self) -> "Frontend":
        self._temporary = tempfile.TemporaryDirectory(prefix="frontend-", dir=PARENT)
        path = Path(self._temporary.name)
        path.chmod(0o755)
        tls = self._kind in TLS_KINDS
        self.socket = path / f"letsencrypt-tiny{'-tls' if tls else ''}.socket"
        self.directory = path / "acme-challenge"
        self.directory.mkdir()
        os.chown(self.directory, pwd.getpwnam(CLIENT_USER).pw_uid, pwd.getpwnam("www-data").pw_gid)
        self.directory.chmod(0o710)
        snippet = shutil.copy(self._snippet, path)
        text = self._snippet.read_text()
        if self._proxied:
            text = _proxied(text, self._run)
        Path(snippet).write_text(text.replace("/var/www/acme-challenge", str(self.directory)))
        config = path / "config"
        modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
                            for name in _APACHE2_MODULES)
        server = self._kind.partition("-")[0].partition(".")[0]
        template = TLS_KINDS.get(self._kind) or {
            "nginx": _NGINX, "apache2": _APACHE2, "haproxy": _HAPROXY, "caddy": _CADDY}[server]
        if self._thumbprint:
            old, new = _TOLD[server]
            template = template.replace(old, new % self._thumbprint).replace(
                "use_backend letsencrypt-tiny ", "use_backend letsencrypt-tiny-stateless ")
        if self._proxied:
            template = _proxied(template, self._run)
        if self._bare:
            template = template.replace("include {snippet};", "").replace("Include {snippet}", "")
        config.write_text(template.format(path=path, snippet=snippet, modules=modules))
        argv: list[str] = {
            "nginx": ["/usr/sbin/nginx", "-e", "stderr", "-c", str(config)],
            "apache2": ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(config)],
            "haproxy": ["/usr/sbin/haproxy", "-db", "-f", str(config), "-f", str(snippet)],
            "caddy": ["/usr/bin/caddy", "run", "--config", str(config), "--adapter", "caddyfile"],
        }[server]
        try:
            self._daemon = Daemon(argv, path / f"{server}.log", [443 if tls else 80])
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._temporary.cleanup()
