"""What is asked of whom for one section."""

from typing import NamedTuple

from ...common.wire.order import Order
from ...common.x509.summary import Known
from ...common.x509.csr import CSR
from ..settings.certificates import Section
from ..store.journal import SectionState
from . import ari
from .issuers import Issuer
from .lifecycle import Facts


# Of what is to be proved and not certified
NO_CSR = CSR(b"", b"", (), (), b"", (), (), (), False, ())


class OrderPlan(NamedTuple):
    """A section on its way to a certificate."""

    section: Section
    issuer: Issuer
    csr: CSR
    order_key: str               # SHA-256 of its SubjectPublicKeyInfo, in hexadecimal
    resume: str | None = None    # URL of an earlier order for the same …
    account: str = ""            # … made by the account of this key
    finalize: str | None = None  # where that order is finalized, if known
    kept: bool = False           # its chain was issued, and kept
    new_key: bytes | None = None   # PEM: to be installed with the certificate
    challenges: tuple[str, ...] = ("http-01",)   # types, in order of preference
    seen: bytes = b""              # fingerprint of the key that the CSR was made with
    asked: bool = False            # an earlier run asked for it, and heard of none
    replaces: str | None = None    # certID (RFC 9773 §5) of a certificate of the same account's

    @property
    def name(self) -> str:
        """The section's."""
        return self.section.name

    @property
    def alternates(self) -> bool:
        """Whether more chains than the default one are wanted (§7.4.2)."""
        return bool(self.section.preferred_chain)

    def order(self) -> Order:
        """What the client is asked for."""
        return Order(self.name, self.section.identifiers, self.csr.der, url=self.resume,
                     account=self.account, profile=self.section.profile or None,
                     profile_required=bool(self.section.required_profile),
                     challenges=self.challenges, finalize=self.finalize,
                     replaces=self.replaces, alternates=self.alternates, asked=self.asked)

    def facts(self, url: str | None, account: str, finalize: str | None = None) -> Facts:
        """What to remember of the order at ``url``, which is of the account of that key."""
        return Facts(directory=self.issuer.directory, account=account, order=url,
                     order_key=self.order_key, finalize=finalize)

    def anew(self) -> "OrderPlan":
        """The same, but for whatever there is of an earlier order."""
        return self._replace(resume=None, account="", finalize=None, kept=False, replaces=None,
                             asked=False)


def plan(section: Section, issuer: Issuer, csr: CSR, state: SectionState,
         challenges: tuple[str, ...], new_key: bytes | None = None,
         seen: bytes = b"", certificate: Known | None = None) -> OrderPlan:
    """Plan the order of a section; an earlier one is taken up if it is for the same key.

    ``certificate`` is what is installed, if anything.
    """
    from hashlib import sha256
    key = sha256(csr.spki).hexdigest()
    made = OrderPlan(section, issuer, csr, key, new_key=new_key, challenges=challenges, seen=seen,
                     asked=state.asked == issuer.directory)
    replaces = ari.replaces(section, certificate, state, issuer.directory)
    if (state.directory, state.order_key) != (issuer.directory, key):
        return made._replace(replaces=replaces,
                             account=state.issuer_account or "" if replaces else "")
    # one account has both, or what is replaced isn't said
    return made._replace(resume=state.order, account=state.account or "",
                         finalize=state.finalize, kept=bool(state.kept),
                         replaces=replaces if state.account == state.issuer_account else None)
