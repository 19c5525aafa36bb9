"""What the client writes: bytes in, answers out, and no trust in between.

The client may be anybody once it has spoken to the network.  What it writes is cut into lines
of bounded size and number, parsed strictly, and must answer what was asked, each once.  Pure:
no I/O here.
"""

from collections.abc import Iterator, Sequence

from ...common.errors import ProtocolError
from ...common.wire.account import AccountObject, AccountUpdate, KnownOrder
from ...common.wire.order import (MAX_ANSWER, Account, Answer, Directory, Failed, Issued, Log,
                                  Order, Progress, Request, Revocation, Revoked, parse_answer)
from ...common.wire.probe import Finding, Probe, Probed
from ...common.wire.renewal import RenewalInfo, RenewalQuery

# Progress and messages included
LINES, LINES_EACH = 1000, 1000      # for a conversation, and in addition for each request
BYTES, BYTES_EACH = 16 << 20, 16 << 20

# request -> what it may be answered, besides Failed
_KINDS: dict[type, type] = {Order: Issued, AccountUpdate: AccountObject, Revocation: Revoked,
                            Probe: Probed, RenewalQuery: RenewalInfo}
# answers of which there may be many -> request
_MANY: dict[type, type] = {Progress: Order, Finding: Probe, KnownOrder: AccountUpdate}


def section_of(item: Request | Answer) -> str:
    """Return the section that a request or an answer is about; "" for the account's."""
    if isinstance(item, (Order, Revocation, Probe, RenewalQuery, Progress, Finding, Issued,
                         Revoked, Probed, RenewalInfo, Failed)):
        return item.section
    return ""


class Reader:
    """Takes the answers to ``requests`` apart; every request is answered once."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._buffer = bytearray()
        self._lines = LINES + LINES_EACH * len(requests)
        self._bytes = BYTES + BYTES_EACH * len(requests)
        self.left: dict[str, Request] = {section_of(request): request for request in requests}

    def feed(self, data: bytes) -> Iterator[Answer]:
        """Yield the answers that ``data`` completes, in order; raises ProtocolError at the first
        that is none.  Those before it have been yielded, and hold."""
        self._bytes -= len(data)
        if self._bytes < 0:
            raise ProtocolError("the ACME client answers without end")
        start = len(self._buffer)
        self._buffer += data
        begin = 0
        try:
            while (end := self._buffer.find(b"\n", max(begin, start))) >= 0:
                line = bytes(self._buffer[begin:end])
                begin = end + 1
                self._lines -= 1
                if self._lines < 0:
                    raise ProtocolError("the ACME client answers without end")
                answer = parse_answer(line)
                self._check(answer)
                yield answer
        finally:
            del self._buffer[:begin]
        if len(self._buffer) > MAX_ANSWER:
            raise ProtocolError(f"a line longer than {MAX_ANSWER} bytes")

    def _check(self, answer: Answer) -> None:
        """An answer must be to a request that has none yet, and of its kind."""
        if isinstance(answer, (Account, Directory, Log)):
            return   # they answer nothing
        request = self.left.get(section_of(answer))
        if request is None:
            raise ProtocolError("the ACME client answers for a section that it was not asked for")
        if type(answer) in _MANY:
            if not isinstance(request, _MANY[type(answer)]):
                raise ProtocolError("the ACME client tells the progress of what is no order"
                                    if isinstance(answer, Progress) else
                                    "the ACME client tells of what it was not to look at")
            return
        if not isinstance(answer, (Failed, _KINDS[type(request)])):
            raise ProtocolError("the ACME client answers something that it was not asked for")
        del self.left[section_of(answer)]

    def end(self) -> None:
        """The client has closed its output; raises ProtocolError if too early."""
        if self._buffer:
            raise ProtocolError("the ACME client ended in the middle of an answer")
