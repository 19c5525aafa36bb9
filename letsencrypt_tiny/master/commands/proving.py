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
    from .answering import Responders


def proof(config: Config, issuer: Issuer, name: str, certificate: Certificate,
          section: Section | None) -> OrderPlan:
    """Return what is to be proved of a certificate, which is called ``name``.

    As the ``section`` that it is of proves its names, else as by default.  Raises Error if there
    is a name that can't be proved.
    """
    names = tuple((kind, value) for kind, value in certificate.names if kind != "other")
    found = {**SECTION.defaults(), "name": name, "where": name, "chain": "",
             "issuers": (issuer.name,), "identifiers": names}
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
        self._proofs = dict(proofs)
        self._responders: Responders | None = None
        self._crowd: Crowd | None = None
        self.directory = "/"    # the client's
        if proofs:
            from .answering import Responders
            self._responders = Responders(config, client, messages.pipe)

    def open(self) -> None:
        """Raises Error if there is a name that nothing can be answered for."""
        def unable(names: Iterable[str], error: Error) -> None:
            raise Error(f"{', '.join(names)}: {error}")
        if self._responders is not None:
            self._proofs = self._responders.open(self._proofs, unable)
            self.directory, = self._responders.directories(1)
            self._crowd = Crowd(self.directory, sum(
                len(plan.section.identifiers) for plan in self._proofs.values()))

    def doors(self) -> list[Door]:
        """Return those of the client."""
        return [] if self._responders is None else self._responders.doors(self._proofs.values())

    def serve(self, thumbprint: str) -> None:
        """The signer has greeted."""
        if self._responders is not None:
            self._responders.serve([thumbprint])

    def check(self, now: float) -> None:
        """Raise Error if somebody doesn't do what he should."""
        if self._responders is not None and self._crowd is not None:
            self._crowd.check(now)
            self._responders.check()

    def close(self) -> None:
        """Take everything back."""
        if self._responders is not None:
            self._responders.close()
