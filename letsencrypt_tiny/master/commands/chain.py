"""A certificate and its chain, on the way from the client, or the journal, to its place."""

from collections.abc import Sequence
from typing import NamedTuple

from ...common.x509.certificate import Certificate
from ..plan.orders import OrderPlan
from .life import Life


class Chain(NamedTuple):
    """A chain (PEM) that is here for a plan; ``kept``: an earlier run could not install it."""

    plan: OrderPlan
    life: Life
    pem: str
    kept: bool = False


Good = tuple[Chain, Sequence[Certificate]]   # verified
