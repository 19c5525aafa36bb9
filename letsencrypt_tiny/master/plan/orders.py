"""What is asked of whom for one section."""

from typing import NamedTuple

from ...common.wire.order import Order
from ...common.x509.csr import CSR
from ..settings.certificates import Section
from ..store.journal import SectionState
from .issuers import Issuer
from .lifecycle import Facts


class OrderPlan(NamedTuple):
    """A section on its way to a certificate."""

    section: Section
    issuer: Issuer
    csr: CSR
    order_key: str               # SHA-256 of its SubjectPublicKeyInfo, in hexadecimal
    resume: str | None = None    # URL of an earlier order for the same …
    account: str = ""            # … made by the account of this key
    finalize: str | None = None  # where that order is finalized, if known

    @property
    def name(self) -> str:
        """The section's."""
        return self.section.name

    def order(self) -> Order:
        """What the client is asked for."""
        return Order(self.name, self.section.identifiers, self.csr.der, url=self.resume,
                     account=self.account, profile=self.issuer.profile,
                     challenges=self.issuer.challenges, finalize=self.finalize)

    def facts(self, url: str | None, account: str, finalize: str | None = None) -> Facts:
        """What to remember of the order at ``url``, which is of the account of that key."""
        return Facts(directory=self.issuer.directory, account=account, order=url,
                     order_key=self.order_key, finalize=finalize)


def plan(section: Section, issuer: Issuer, csr: CSR, state: SectionState) -> OrderPlan:
    """Plan the order of a section; an earlier one is taken up if it is for the same key."""
    from hashlib import sha256
    key = sha256(csr.spki).hexdigest()
    if state.order and state.directory == issuer.directory and state.order_key == key:
        return OrderPlan(section, issuer, csr, key, state.order, state.account or "",
                         state.finalize)
    return OrderPlan(section, issuer, csr, key)
