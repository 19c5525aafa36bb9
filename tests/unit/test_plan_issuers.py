"""Who issues: the CA of [client], and what its orders say."""

from pathlib import Path

from letsencrypt_tiny.common.x509.csr import CSR
from letsencrypt_tiny.master.plan import issuers, orders
from letsencrypt_tiny.master.settings import certificates, main
from letsencrypt_tiny.master.store.journal import SectionState


def test_a_section_is_issued_by_the_ca_of_client(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("[client]\nserver = https://ca.example/dir\njobs = 7\n")
    (tmp_path / "certs.conf").write_text("[a]\nnames = a.example\n")
    config = main.load(str(tmp_path / "main.conf"))
    section = certificates.load(config).sections["a"]
    known = issuers.configured(config)
    issuer = known[section.issuer]
    assert known == {"": issuers.Issuer("", config.client.access, where=f"{config.file}, [client]")}
    assert (issuer.directory, issuer.access.jobs) == ("https://ca.example/dir", 7)

    csr = CSR(b"der", b"", (), (), b"spki", (("dns", "a.example"),), (), (), False, ())
    order = orders.plan(section, issuer, csr, SectionState(), ("http-01",)).order()
    assert (order.section, order.identifiers, order.csr) == ("a", section.identifiers, b"der")
    assert (order.challenges, order.profile) == (("http-01",), None)
    assert not order.profile_required
    assert (order.url, order.finalize) == (None, None)
    from hashlib import sha256
    state = SectionState(issuer.directory, "t", "o", sha256(b"spki").hexdigest(), finalize="f")
    order = orders.plan(section, issuer, csr, state, ("http-01",)).order()
    assert (order.url, order.account, order.finalize) == ("o", "t", "f")
    other = section._replace(preferred_profile="shortlived")
    order = orders.plan(other, issuer, csr, SectionState(), ("dns-01", "http-01")).order()
    assert (order.challenges, order.profile) == (("dns-01", "http-01"), "shortlived")
    assert not order.profile_required
    other = other._replace(required_profile="classic")
    order = orders.plan(other, issuer, csr, SectionState(), ("http-01",)).order()
    assert (order.profile, order.profile_required) == ("classic", True)
