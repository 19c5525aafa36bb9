"""Names are proved to be ours (RFC 8555 §7.5), and nothing is certified: for revocations (§7.6)."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...common.errors import Error
from ...common.wire.order import Door
from ...common.x509.certificate import Certificate
from ..peers.identity import Identity
from ..peers.messages import Messages
from ..peers.watchdog import Crowd
from ..plan import challenges
from ..plan.issuers import Issuer
from ..plan.orders import NO_CSR, OrderPlan
from ..settings import proofs
from ..settings.certificates import SECTION, Section
from ..settings.main import Config
from ..settings.rows import record

if TYPE_CHECKING:
    from .answering import Answering


def proof(config: Config, issuer: Issuer, name: str, certificate: Certificate,
          section: Section | None) -> OrderPlan:
    """Return what is to be proved of a certificate, which is called ``name``.

    As the ``section`` that it is of proves its names, else as by default.  Raises Error if there
    is a name that can't be proved.
    """
    names = tuple((kind, value) for kind, value in certificate.names if kind != "other")
    found = {**SECTION.defaults(), "name": name, "source": "", "chain": "", "key_type": "",
             "twin": "", "issuers": (issuer.name,), "identifiers": names}
    if section is not None:
        found["challenges"] = section.challenges
    wanted = record(Section, found)
    problem = proofs.fault(wanted.challenges, names, config)
    if problem or not names or len(names) < len(certificate.names):
        raise Error(f"{name}: {problem or 'it has names that no challenge proves'}")
    return OrderPlan(wanted, issuer, NO_CSR, "", challenges=challenges.types(wanted, config))


class Proving:
    """Who answers challenges meanwhile, if there are any."""

    def __init__(self, config: Config, client: Identity, messages: Messages,
                 proofs: Mapping[str, OrderPlan]) -> None:
        self._client, self._messages = client, messages
        self._left = {name: (plan, None) for name, plan in proofs.items()}
        self._answering: Answering[None] | None = None
        self._crowd: Crowd | None = None
        self.directory = "/"    # the client's
        if proofs:
            from . import answering
            self._answering = answering.Answering(config, self._left, _give_up)

    def open(self) -> None:
        """Raises Error if there is a name that nothing can be answered for."""
        if self._answering is not None:
            self._answering.open(self._client, self._messages.pipe)
            self.directory, = self._answering.directories(1)
            self._crowd = Crowd(self.directory, sum(
                len(plan.section.identifiers) for plan, _ in self._left.values()))

    def doors(self) -> list[Door]:
        """Return those of the client."""
        return [] if self._answering is None else self._answering.doors(
            plan for plan, _ in self._left.values())

    def serve(self, thumbprint: str) -> None:
        """The signer has greeted."""
        if self._answering is not None:
            self._answering.serve([thumbprint])

    def check(self, now: float) -> None:
        """Raise Error if somebody doesn't do what he should."""
        if self._answering is not None and self._crowd is not None:
            self._crowd.check(now)
            self._answering.check()

    def close(self) -> None:
        """Take everything back."""
        if self._answering is not None:
            self._answering.close()


def _give_up(names: Iterable[str], error: Error) -> None:
    raise Error(f"{', '.join(names)}: {error}")
