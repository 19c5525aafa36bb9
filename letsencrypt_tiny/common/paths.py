"""Directories, users and executables: the only place that names them.

``make install`` rewrites the four directories below to those it installs to.
"""

PREFIX = "/usr"
SYSCONFDIR = "/etc"
LOCALSTATEDIR = "/var"
RUNSTATEDIR = "/run"

PROGRAM = "letsencrypt-tiny"

CONFIG_DIR = f"{SYSCONFDIR}/{PROGRAM}"
STATE_DIR = f"{LOCALSTATEDIR}/lib/{PROGRAM}"
RUN_DIR = f"{RUNSTATEDIR}/{PROGRAM}"

MASTER_CONFIG = "letsencrypt-tiny.conf"
ACCOUNTD_CONFIG = "accountd.conf"
CERTS_CONFIG = ("certs.conf", "certs.conf.d/")
LACME_CERTS_CONFIG = ("lacme-certs.conf", "lacme-certs.conf.d/")   # under their old names

ACCOUNTD = f"{PREFIX}/bin/letsencrypt-tiny-accountd"
CLIENT = f"{PREFIX}/libexec/{PROGRAM}/client"
WEBSERVER = f"{PREFIX}/libexec/{PROGRAM}/webserver"
DNS = f"{PREFIX}/libexec/{PROGRAM}/dns"
TLSSERVER = f"{PREFIX}/libexec/{PROGRAM}/tlsserver"
OPENSSL = "/usr/bin/openssl"

ACCOUNTD_USER = "_letsencrypt-accountd"
CLIENT_USER = "_letsencrypt-client"
WEBSERVER_USER = "_letsencrypt-www"
DNS_USER = "_letsencrypt-dns"
TLSSERVER_USER = "_letsencrypt-tls"

SIGNER_SOCKET = "%t/S.letsencrypt-tiny"

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DIRECTORY_URL = "https://acme-v02.api.letsencrypt.org/directory"
