"""Names that are the CA's business, and what is told of those that are none."""

import re
from pathlib import Path

import pytest

from letsencrypt_tiny.master.settings import certificates, main
from letsencrypt_tiny.master.settings.identifiers import parse_identifier


@pytest.mark.parametrize("server, public", [
    ("https://acme-v02.api.letsencrypt.org/directory", True),
    ("https://ACME-staging-v02.api.letsencrypt.org:443/directory", True),
    ("https://dv.acme-v02.api.pki.goog/directory", True),
    ("https://acme.zerossl.com/v2/DV90", True),
    ("https://ca.internal/acme/directory", False), ("https://notletsencrypt.org/dir", False),
    ("https://127.0.0.1:14000/dir", False), ("https://[::1]:443/dir", False)])
def test_names_of_a_private_ca(tmp_path: Path, server: str, public: bool) -> None:
    (tmp_path / "main.conf").write_text(f"[client]\nserver = {server}\n")
    configuration = main.load(str(tmp_path / "main.conf"))

    def accepted(text: str) -> bool:
        (tmp_path / "certs.conf").write_text(f"[a]\n{text}\n")
        return "a" in certificates.load(configuration).sections
    for name in ("intranet", "a_b.example", "_x.example"):
        for text in (f"names = {name}", f"subject = /CN={name}", f"subjectAltName = DNS:{name}"):
            assert accepted(text) is not public, text
    for name in ("a..b", "-a.example", "x" * 64, "*.example", "1.2.3", "a.example."):
        assert not accepted(f"names = {name}"), "no CA's"


@pytest.mark.parametrize("text, what", [
    ("https://www.example.org/", "a URL"), ("http://Example.org:8080/x?y", "a URL"),
    ("example.org:8443", "a name and a port"), ("[2001:db8::1]:443", "a name and a port"),
    ("[2001:db8::1]", "in brackets"), ("192.0.2.1:80", "a name and a port"),
    ("example.org/path", "a name and a path"), ("admin@example.org", "an address of mail"),
    ("DNS:example.org", "openssl's notation"), ("IP:192.0.2.1", "openssl's notation"),
    ("https://example.org:443", "a URL")])
def test_what_is_wrong_with_a_name_is_told(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        parse_identifier(text)
    told = re.findall(r"“([^”]*)”", str(caught.value))
    assert told[0] == text and parse_identifier(told[-1])[1] == told[-1]
