"""dns-persist-01 (draft-ietf-acme-dns-persist): a record that the administrator has published.

It names the CA and the account, and stays: “letsencrypt-tiny records” prints it.
"""

from collections.abc import Collection

from ...common.errors import ProtocolError
from ...common.log import printable
from ...common.names import Identifier
from ...common.wire.jsonfields import JsonObject, get_optional_str, get_strs
from ..scheduler import Steps

MAX_ISSUERS = 10    # §4.3.1 of the draft


class Persist:
    """Nothing is to be done but to see whether what is published is what is asked for.  See
    ``Solver``."""

    type = "dns-persist-01"
    has_token = False

    def __init__(self, issuers: Collection[str]) -> None:
        """``issuers`` are the CA's names that may have been published."""
        self._issuers = issuers

    def serves(self, identifier: Identifier) -> bool:
        """Addresses have no records."""
        return identifier[0] == "dns"

    def fault(self, challenge: JsonObject, account: str) -> str:
        """Return why the record can't be right: it says another CA or account."""
        try:
            issuers = get_strs(challenge, "issuer-domain-names", MAX_ISSUERS)
            asked = get_optional_str(challenge, "accounturi", 2048)
        except ProtocolError as exc:
            return f"its dns-persist-01 challenge is none: {exc}"
        if asked and asked != account:
            return (f"its dns-persist-01 challenge is for the account {printable(asked, 200)}, not "
                    f"{account}")
        if {name.lower().rstrip(".") for name in issuers} & set(self._issuers):
            return ""
        told = printable(", ".join(issuers), 200) or "nobody"
        if not self._issuers:
            return (f"its dns-persist-01 challenge is for records that name {told}, which was not "
                    "known before: publish what “letsencrypt-tiny records” prints now")
        return (f"its dns-persist-01 challenge is for records that name {told}, not "
                f"{' or '.join(self._issuers)}: see “letsencrypt-tiny records”")

    def present(self, _identifier: Identifier, _token: str, _thumbprint: str) -> Steps[bool]:
        """Ready, always; who shares the challenge may respond to it, too."""
        yield from ()
        return True

    def clean(self, _identifier: Identifier, _token: str) -> Steps[None]:
        """Nothing was presented."""
        yield from ()

    def close(self) -> None:
        """Nothing is left."""
