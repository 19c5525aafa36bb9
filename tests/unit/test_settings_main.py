"""letsencrypt-tiny.conf: lacme's settings and ours; every fault names file, section and setting."""

import re
import socket
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.common import paths
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.master.settings import certificates as certs, choice, main as config, network
from letsencrypt_tiny.master.settings.network import Address

TREE = Path(__file__).resolve().parents[2]
LACME = Path("/etc/lacme")


@pytest.fixture
def file() -> Iterator[Path]:
    """Where to write the configuration."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "main.conf"


def load(file: Path, text: str, signer: str | None = None) -> config.Config:
    """Write and load a configuration."""
    file.write_text(text)
    return config.load(str(file), signer)


def test_an_empty_file_has_good_defaults(file: Path) -> None:
    loaded = load(file, "")
    assert loaded.file == str(file) and loaded.config_certs is None and loaded.accountd is None
    assert loaded.library_directory == "/var/lib/letsencrypt-tiny"
    assert loaded.certs_directory == "/var/lib/letsencrypt-tiny/certs"
    assert loaded.state_directory == "/var/lib/letsencrypt-tiny/state"
    assert loaded.run_directory == "/run/letsencrypt-tiny" and loaded.openssl == "/usr/bin/openssl"
    client, webserver = loaded.client, loaded.webserver
    assert client.program == config.Program(
        f"{file}, [client]", "_letsencrypt-client", "_letsencrypt-client",
        ("/usr/libexec/letsencrypt-tiny/client",), "auto")
    assert client.socket == "%t/S.letsencrypt-tiny"
    assert client.access == (paths.DIRECTORY_URL, 90, True, "", "", "", "", "", None, 90,
                             ())
    assert webserver.program == config.Program(
        f"{file}, [webserver]", "_letsencrypt-www", "_letsencrypt-www",
        ("/usr/libexec/letsencrypt-tiny/webserver",), "auto")
    assert webserver[1:] == (None, "", True)
    accountd = load(file, "[accountd]").accountd
    assert accountd is not None and accountd[:4] == (config.Program(
        f"{file}, [accountd]", "_letsencrypt-accountd", "_letsencrypt-accountd",
        ("/usr/bin/letsencrypt-tiny-accountd",), "auto"), "", "", True)


def test_everything_set(file: Path) -> None:
    loaded = load(file, """
config-certs = a.conf  b.d/ /etc/%u.conf
library-directory = /srv//lib/
run-hooks = /srv/hooks
run-directory = /srv/run
openssl = /opt/openssl
[client]
socket = /run/S
user =
group =
command = /x/client --opt  y
server = https://a.example/dir
timeout = 0
answer-timeout = 3600
origins = https://B.example:443/, https://[2001:DB8::1]:8443 https://b.example
SSL_verify = No
SSL_version = TLSv1_3
SSL_cipher_list = EECDH+AESGCM:!aNULL
ca-file = /ca.pem
proxy = http://u:p@proxy:3128
jobs = 64
confine = required
[webserver]
listen = 0.0.0.0, [::]:81 /run/x.socket
challenge-directory = /srv/%%/%U
user = nobody
group = nogroup
command = webserver
iptables = off
confine = no
[accountd]
user = me
group = us
command = ssh -T host %h/signer --stdio
config = %E/x
privkey = file:/%h/k
quiet = no
""")
    assert loaded.config_certs == ("a.conf", "b.d/", "/etc/%u.conf")
    assert loaded.run_hooks == "/srv/hooks"
    assert (loaded.library_directory, loaded.run_directory, loaded.openssl) == \
        ("/srv/lib", "/srv/run", "/opt/openssl")
    client = loaded.client
    assert client.program[1:] == ("", "", ("/x/client", "--opt", "y"), "required")
    assert client.socket == "/run/S"
    assert client.access == ("https://a.example/dir", 0, False, "/ca.pem", "TLSv1.3", "TLSv1.3",
                             "EECDH+AESGCM:!aNULL", "http://u:p@proxy:3128", 64, 3600,
                             ("https://b.example", "https://[2001:db8::1]:8443"))
    webserver = loaded.webserver
    assert webserver.program[1:] == ("nobody", "nogroup", ("webserver",), "no")
    assert webserver.listen == (Address(socket.AF_INET, "0.0.0.0", 80),
                                Address(socket.AF_INET6, "::", 81),
                                Address(socket.AF_UNIX, "/run/x.socket"))
    import os
    assert webserver.challenge_directory == f"/srv/%/{os.getuid()}" and not webserver.firewall
    assert loaded.accountd is not None
    # expanded in the child, for its own user
    assert loaded.accountd.program.command == ("ssh", "-T", "host", "%h/signer", "--stdio")
    assert loaded.accountd[1:4] == ("%E/x", "file:/%h/k", False)


def test_the_socket_option_beats_accountd(file: Path) -> None:
    loaded = load(file, "[client]\nsocket = /a\n[accountd]\n", "/b")
    assert loaded.accountd is None and loaded.client.socket == "/b"
    # what is wrong in it matters all the same
    for line in ("usr = x", "quiet = shh"):
        with pytest.raises(ConfigError):
            load(file, f"[accountd]\n{line}\n", "/b")


@pytest.mark.parametrize("section, line, problem", [
    ("", "user = x", "unknown setting “user” (valid: config-certs, library-directory, "
     "metrics-file, openssl, run-directory, run-hooks)"),
    ("", "metrics-file = x.prom", "absolute"), ("", "metrics-file = /", "absolute"),
    ("", "library-directory = lib", "absolute"), ("", "library-directory = /", "absolute"),
    ("", "library-directory = /a/../b", "absolute"), ("", "run-directory = //", "absolute"),
    ("", "run-directory = ./x", "absolute"), ("", "run-directory = ///..", "absolute"),
    ("", "openssl = openssl", "absolute"),
    ("client", "Server = https://x", "unknown setting “Server” (valid: SSL_cipher_list, "),
    ("client", "names = x", "unknown"), ("client", "listen = x", "unknown"),
    ("client", "server = http://x/", "not an https URL"), ("client", "server = x", "https"),
    ("client", "server = https://a b", "https"), ("client", "server = HTTP://a", "https"),
    ("client", "origins = https://a, b", "“b” is not https://HOST[:PORT]: not an https URL"),
    ("client", "origins = https://a/x", "HOST[:PORT]: it has a path or a query"),
    ("client", f"origins = {' '.join(f'https://h{n}' for n in range(17))}", "more than 16"),
    ("client", "timeout = 1.5", "from 0 to 86400"), ("client", "timeout = -1", "from 0"),
    ("client", "answer-timeout = 0", "from 1 to 3600"),
    ("client", "timeout = 86401", "to 86400"), ("client", "timeout = ninety", "from 0"),
    ("client", "jobs = 0", "from 1 to 64"), ("client", "jobs = 65", "from 1 to 64"),
    ("client", "SSL_verify = maybe", "neither"), ("client", "SSL_version = SSLv3", "is not SSLv23"),
    ("client", "SSL_version = TLSv1_4", "TLSv1_4"), ("client", "SSL_version = !TLSv1", "no vers"),
    ("client", "SSL_version = SSLv23:!TLSv1_1", "gap"), ("client", "SSL_version = !!TLSv1", "not"),
    ("client", "SSL_version = SSLv23:", "“”"), ("client", "ca-file = ca.pem", "absolute"),
    ("client", "proxy = socks5://x", "http://"), ("client", "proxy = ftp://x:80", "http://"),
    ("client", "command = ./client", "absolute"), ("client", "command = bin/client x", "absolute"),
    ("client", "command =", "absolute"), ("client", "confine = yes", "auto, required, no"),
    ("webserver", "listen = 80", "“80” is not IPV4[:PORT], [IPV6][:PORT] or /PATH"),
    ("webserver", "listen = *:80", "is not"), ("webserver", "listen = 0.0.0.0:0", "is not"),
    ("webserver", "listen = 0.0.0.0:65536", "is not"), ("webserver", "listen = 1.2.3:80", "is not"),
    ("webserver", "listen = 256.1.1.1", "is not"), ("webserver", "listen = ::", "is not"),
    ("webserver", "listen = [1.2.3.4]", "is not"), ("webserver", "listen = [::]:", "is not"),
    ("webserver", "listen = [::%eth0]:80", "is not"), ("webserver", "listen = localhost", "is not"),
    ("webserver", "listen = a/b", "is not"), ("webserver", "listen = [::1:80", "is not"),
    ("webserver", "listen = 0.0.0.0:80 auto", "is not"),
    ("webserver", "listen = ١.2.3.4", "is not"),
    ("webserver", f"listen = /{'x' * 107}", "too long"),
    ("webserver", "challenge-directory = www", "absolute"),
    ("webserver", "challenge-directory = /%x", "%x is not a specifier"),
    ("webserver", "iptables = perhaps", "neither"), ("webserver", "server = x", "unknown"),
    ("webserver", "command = webserver/x", "absolute"),
    ("accountd", "keyid = x", "unknown setting “keyid” (valid: command, config, confine, group, "),
    ("accountd", "quiet = shh", "neither"),
    ("accountd", "confine = on", "not one of")])
def test_faults(file: Path, section: str, line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, f"[{section}]\n{line}\n" if section else f"{line}\n")
    message = str(caught.value)
    where = f"{file}, [{section}]: " if section else f"{file}: "
    assert message.startswith(where) and problem in message
    if "unknown" not in problem:
        key, _, value = line.partition("=")
        assert message.startswith(f"{where}{key.strip()} = {value.strip()}: ")
    assert caught.value.exit_status == 2


# What the master lets pass the client must understand, and nothing else reaches it
@pytest.mark.parametrize("line, problem", [
    ("server = https://ca.example.:443/dir", "its host is not a host name or address"),
    ("server = https://ca..example/", "its host is not"), ("server = https:///dir", "no host"),
    ("server = https://1.2.3/", "not an IPv4 address"), ("server = https://[::g]/", "IPv6"),
    ("server = https://a:65536/", "port"), ("server = https://a:0/", "port"),
    ("server = https://a/#x", "fragment"), ("server = https://a/{x}", "RFC 3986"),
    (f"server = https://a/{'x' * 2048}", "longer than"),
    ("server = https://user:s3cret@a.example/", "without user name"),
    ("proxy = http://p-:1", "its host is not a host name or address"),
    ("proxy = http://u:s3cret@p-:1", "its host is not"), ("proxy = http://p:0", "port"),
    ("proxy = http://u:s3cret@p:99999", "port"), ("proxy = http://u:s3cret@", "no host"),
    ("proxy = https://u:s3cret@p:80", "http://"),
    ("proxy = http://p:80/path", "http://")])
def test_addresses_of_others_are_judged_as_the_client_will(file: Path, line: str,
                                                           problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, f"[client]\n{line}\n")
    message = str(caught.value)
    key, _, value = line.partition(" = ")
    assert message.startswith(f"{file}, [client]: {key} = ") and problem in message
    assert (value in message) is ("@" not in value) and "s3cret" not in message
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("server", [
    "HTTPS://CA.Example:443/dir", "https://ca.example:443/Dir?x=%2f", "https://ca_1.example",
    "https://[2001:DB8::1]:14000/dir", "https://192.0.2.1/", "https://localhost:14000/dir"])
def test_a_server_is_kept_as_it_was_given(file: Path, server: str) -> None:
    access = load(file, f"[client]\nserver = {server}\nproxy = http://U:P%40x@Proxy:3128/\n"
                  ).client.access
    assert (access.server, access.proxy) == (server, "http://U:P%40x@Proxy:3128/")


def test_the_scheme_and_port_of_a_proxy_may_be_missing(file: Path) -> None:
    for proxy in ("p:3128", "U:P@p:3128", "p"):
        assert load(file, f"[client]\nproxy = {proxy}\n").client.access.proxy == proxy


def test_unknown_section(file: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(
            f"{file}: unknown section [Client] (valid: [client], [webserver], [accountd], "
            "[ca NAME], [dns], [dns ZONE], [tlsserver]): did you mean “client”?")):
        load(file, "[Client]\n")


def test_empty_values_are_defaults(file: Path) -> None:
    keys = ["socket", "server", "origins", "timeout", "answer-timeout", "SSL_verify", "SSL_version",
            "SSL_cipher_list", "ca-file", "proxy", "jobs", "confine"]
    text = "config-certs =\nlibrary-directory =\nrun-directory =\nopenssl =\n[client]\n"
    empty = load(file, text + "".join(f"{key} =\n" for key in keys))
    assert empty == load(file, "")


def test_an_empty_option_is_not_the_default_file() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load("")


def test_the_option_is_expanded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("")
    monkeypatch.setenv("TMPDIR", str(file.parent))
    assert config.load("%T/main.conf").file == str(file)
    with pytest.raises(ConfigError, match="%x is not a specifier"):
        config.load("%x/main.conf")


@pytest.mark.parametrize("text, expected", [
    ("", ("", "")), ("SSLv23", ("TLSv1", "TLSv1.3")), ("TLSv1_2", ("TLSv1.2", "TLSv1.2")),
    ("TLSv12", ("TLSv1.2", "TLSv1.2")), ("tlsv1_3", ("TLSv1.3", "TLSv1.3")),
    # the default of lacme's shipped file
    ("SSLv23:!TLSv1_1:!TLSv1:!SSLv3:!SSLv2", ("TLSv1.2", "TLSv1.3")),
    ("SSLv2/3:!sslv2:!SSLv3:!TLSV1", ("TLSv1.1", "TLSv1.3")),
    ("TLSv12:TLSv13", ("TLSv1.2", "TLSv1.3")), ("SSLv23:!TLSv13,!TLSv1", ("TLSv1.1", "TLSv1.2"))])
def test_tls_versions(text: str, expected: "tuple[str, str]") -> None:
    assert network.tls_versions(text) == expected


@pytest.mark.parametrize("text, shown", [
    ("0.0.0.0", ["0.0.0.0:80"]), ("[::]", ["[::]:80"]), ("127.0.0.1:5002", ["127.0.0.1:5002"]),
    ("0.0.0.0:80 [::]:80", ["0.0.0.0:80", "[::]:80"]),
    ("[::1]:1,[::ffff:1.2.3.4],/run/a", ["[::1]:1", "[::ffff:1.2.3.4]:80", "/run/a"]),
    ("/run/lacme-www.socket", ["/run/lacme-www.socket"]), ("", []),
    (f"/{'x' * 106}", [f"/{'x' * 106}"])])
def test_addresses(text: str, shown: list[str]) -> None:
    addresses = network.listen(text)
    assert addresses is not None and [str(address) for address in addresses] == shown


def uncommented(text: str) -> str:
    """Return a shipped file with every commented setting and section in force."""
    return re.sub(r"^#(?=[A-Za-z_-]+ =|\[)", "", text, flags=re.M)


@pytest.mark.skipif(not LACME.is_dir(), reason="needs Debian's lacme package")
def test_lacme_own_file(file: Path) -> None:
    text = (LACME / "lacme.conf").read_text()
    loaded = load(file, text)
    assert loaded.accountd is not None, "the section is there, with nothing in it"
    assert loaded._replace(accountd=None) == load(file, "")
    full = uncommented(text)
    assert full.count("\nlisten = ") == full.count("\nserver = ") == 1
    loaded = load(file, full)
    assert loaded.config_certs == ("lacme-certs.conf", "lacme-certs.conf.d/")
    client = loaded.client
    assert client.program[1:4] == ("_lacme-client", "nogroup", ("/usr/libexec/lacme/client",))
    assert client.socket == "%t/S.lacme"
    assert client.access[:7] == (paths.DIRECTORY_URL, 30, True, "", "TLSv1.2", "TLSv1.3",
                                 "EECDH+AESGCM:!MEDIUM:!LOW:!EXP:!aNULL:!eNULL")
    assert loaded.webserver.listen == (Address(socket.AF_UNIX, "/run/lacme-www.socket"),)
    assert loaded.webserver.program[1:3] == ("_lacme-www", "nogroup")
    assert not loaded.webserver.firewall and loaded.webserver.challenge_directory == ""
    assert loaded.accountd is not None and loaded.accountd.program[1:4] == (
        "", "", ("/usr/bin/lacme-accountd",))


@pytest.mark.skipif(not LACME.is_dir(), reason="needs Debian's lacme package")
def test_lacme_own_certificates_file(file: Path) -> None:
    main = load(file, "config-certs = certs.conf")
    (file.parent / "certs.conf").write_text((LACME / "lacme-certs.conf").read_text())
    assert certs.load(main).empty
    (file.parent / "certs.conf").write_text(uncommented((LACME / "lacme-certs.conf").read_text()))
    found = certs.load(main).sections
    assert list(found) == ["www", "smtp"]
    www, smtp = found.values()
    assert www[2:10] == (
        (("dns", "example.org"), ("dns", "www.example.org")), "/etc/nginx/ssl/srv.key",
        "/etc/nginx/ssl/srv.crt", "", "/etc/nginx/ssl/srv.chain.crt", (("CN", "example.org"),),
        "ec:P-256", 21)
    assert (www.ca_file, www.hash, www.key_usage, www.tls_feature) == \
        ("/usr/share/lacme/ca-certificates.crt", "", (), ())
    assert (www.owner, www.mode, www.notify) == ((0, 0), 0o644, "/bin/systemctl reload nginx")
    assert smtp[2:10] == ((("dns", "smtp.example.org"),), "/etc/postfix/ssl/srv.key", "", "",
                          "/etc/postfix/ssl/srv.crt", (("CN", "smtp.example.org"),), "ec:P-256", 21)


def test_our_own_file_shows_the_defaults(file: Path) -> None:
    text = (TREE / "config/letsencrypt-tiny.conf").read_text()
    loaded, plain = load(file, text), load(file, "[accountd]\n")
    assert loaded.tlsserver == load(file, "[tlsserver]\n").tlsserver
    assert loaded._replace(tlsserver=None) in (plain, load(file, ""))
    # one that takes updates has no default
    full = load(file, uncommented(text).replace("[ca NAME]", "[ca zerossl]").replace(
        "\nserver =\nkey-file", "\nserver = ns.example\nkey-file"))
    assert full.dns == load(file, "[dns]\nserver = ns.example\n").dns and loaded.dns == {}
    assert choice.find(full, "zerossl")[2:] == choice.find(plain, "zerossl")[2:]
    assert list(full.authorities) == ["zerossl"] and not loaded.authorities
    full = full._replace(dns={}, authorities={})
    # all that is shown is what holds without it
    assert full.tlsserver == loaded.tlsserver
    assert full._replace(config_certs=None) == plain._replace(
        accountd=full.accountd, webserver=full.webserver, tlsserver=full.tlsserver)
