"""A certificate and its chain, on the way from the client, or the journal, to its place."""

from collections.abc import Sequence
from typing import NamedTuple

from ...common.x509.certificate import Certificate
from ..pki import chains
from ..pki.verification import Arrived
from ..plan.orders import OrderPlan
from .life import Life


class Chain(NamedTuple):
    """A chain (PEM) that is here for a plan, with its alternates (as ``chains.pack``);
    ``kept``: an earlier run could not install it."""

    plan: OrderPlan
    life: Life
    pem: str
    kept: bool = False

    def arrived(self) -> Arrived:
        """What is to be verified."""
        section = self.plan.section
        default, alternates = chains.unpack(self.pem)
        return Arrived(default, self.plan.csr.spki, section.identifiers, section.ca_file,
                       alternates, section.preferred_chain)


Good = tuple[Chain, Sequence[Certificate]]   # verified
