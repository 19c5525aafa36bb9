"""Who answers for a name at port 80, as nginx's configuration has it: beside nginx itself."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from letsencrypt_tiny.master.responders.nginxconf import Found, answers, parse

MAIN = """\
pid %(path)s/pid;
error_log stderr;
events { }
http {
    access_log off;   # server { listen 80; server_name comment.example; }
    map $host $x { default "a;{b"; 'c d' e; }
    include %(path)s/conf.d/*.conf;
    include sites/*;
}
"""
SITES = {
    "conf.d/a.conf": 'server {\n    listen 443 ssl;\n    server_name tls.example;\n'
                     '    ssl_certificate x; }\n',
    "sites/b": "# first\nserver {\n  listen 80; listen [::]:80;\n  server_name b.example "
               "www.b.example;\n  location / { return 404; }\n}\n"
               "server { listen 8080; server_name other.example; }\n",
    "sites/c": "\n\nserver { listen 80 default_server; server_name _; }\n"
               "server { server_name *.wild.example .both.example; }\n"
               "server { listen 127.0.0.1; server_name ~^re[0-9]+\\.example$ start.*; }\n"}


@pytest.fixture
def printed(tmp_path: Path) -> str:
    """What nginx prints of this; that of TLS is left out, as it would want a certificate."""
    with tempfile.TemporaryDirectory(dir="/srv") as directory:
        path = Path(directory)
        for name, text in SITES.items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(text.replace("ssl_certificate x;", "").replace(" ssl;", ";"))
        (path / "main").write_text(MAIN % {"path": path})
        done = subprocess.run(["/usr/sbin/nginx", "-e", "stderr", "-c", str(path / "main"), "-T"],
                              capture_output=True, text=True, check=True)
        return done.stdout.replace(directory, "/etc/x").replace("listen 443;", "listen 443 ssl;")


def found_for(found: Found, name: str) -> str:
    server = answers(found, name)
    return f"{server.file}:{server.line}" if server is not None else ""


def test_who_answers(printed: str) -> None:
    found = parse(printed)
    assert found.includes == ("/etc/x/conf.d/*.conf", "/etc/x/sites/*")
    assert len(found.servers) == 6
    for name, place in (
            ("b.example", "b:2"), ("www.b.example", "b:2"), ("tls.example", "c:3"),
            ("other.example", "c:3"), ("comment.example", "c:3"), ("x.wild.example", "c:4"),
            ("wild.example", "c:3"), ("both.example", "c:4"), ("a.both.example", "c:4"),
            ("re7.example", "c:5"), ("start.example", "c:5")):
        assert found_for(found, name) == f"/etc/x/sites/{place}", name


@pytest.mark.parametrize("text", ["", "nonsense", "# configuration file /x:\n}}}; server {",
                                  "# configuration file /x:\ninclude /x;",
                                  "# configuration file /x:\nhttp { include /x; server { listen; "
                                  "} }"])
def test_what_makes_no_sense(text: str) -> None:
    assert answers(parse(text), "a.example") is None or "listen" in text
