"""Where key and certificate of a section are, and what Debian's servers are told of them."""

from collections.abc import Iterator

from ..settings.certificates import Section

# server -> lines of its configuration, for the key and the certificate with its chain
_LINES = (
    ("nginx", ("ssl_certificate {chain};", "ssl_certificate_key {key};")),
    ("apache2", ("SSLCertificateFile {chain}", "SSLCertificateKeyFile {key}")),
    ("haproxy", ("bind :443 ssl crt /etc/haproxy/{name}.pem   # once linked:",
                 "ln -s {chain} /etc/haproxy/{name}.pem",
                 "ln -s {key} /etc/haproxy/{name}.pem.key")),
    ("postfix", ("smtpd_tls_chain_files = {key}, {chain}",)),
    ("dovecot", ("ssl_cert = <{chain}", "ssl_key = <{key}")),
    ("  2.4", ("ssl_server_cert_file = {chain}", "ssl_server_key_file = {key}")))


def places(section: Section) -> Iterator[str]:
    """Yield lines for people."""
    chain = section.fullchain or section.certificate
    yield f"key          {section.key}"
    yield f"certificate  {chain}"
    if section.in_token:
        return
    yield "in the configuration of"
    for server, lines in _LINES:
        for number, line in enumerate(lines):
            text = line.format(name=section.name, key=section.key, chain=chain)
            yield f"  {server if number == 0 else '':<9}{text}"
    if not section.notify:
        yield ("and for the server to learn of renewals: letsencrypt-tiny add "
               f"{section.name} --notify='systemctl reload nginx'")
