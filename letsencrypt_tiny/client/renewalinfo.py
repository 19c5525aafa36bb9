"""renewalInfo (RFC 9773): when the CA suggests to renew certificates.

Nothing is signed for it, and no account is needed: each is one GET, after one of the directory.
What can't be had now is told at once: the next run asks again, and renews without it if it must.
"""

from collections.abc import Sequence

from ..common import clock, log
from ..common.errors import Error, ProtocolError
from ..common.log import printable
from ..common.wire import jsonfields
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import Directory, Request
from ..common.wire.renewal import MAX_EXPLANATION, MAX_MOMENT, RenewalInfo, RenewalQuery
from . import outcome
from .problem import ProblemError
from .profiles import NotOffered
from .replies import Replies
from .scheduler import Steps, Task
from .session import Session
from .transport import TransportError


def whole_run(session: Session, requests: Sequence[Request], replies: Replies) -> Steps[None]:
    """Ask for all certificates; what becomes of one is no other's business.

    Raises Error if the server has no directory.
    """
    session.fetch_directory()
    replies(Directory(session.directory.issuers, session.directory.renewal_info is not None))
    lost: list[Error] = []
    tasks: list[Task] = [_query(session, request, replies, lost) for request in requests
                         if isinstance(request, RenewalQuery)]
    for ended in (yield tasks):
        if ended.error is not None:
            raise ended.error


def _query(session: Session, request: RenewalQuery, replies: Replies, lost: list[Error]
           ) -> Steps[None]:
    """Ask for one, unless a server that is ``lost``, or wants to be left alone, was asked before:
    a thousand certificates are not to wait for it one by one."""
    yield from ()    # it waits for nobody
    try:
        if lost:
            raise lost[0]
        replies.final(request, _ask(session, request))
    except Exception as exc:    # even our own mistake must not cost others their answers
        if isinstance(exc, TransportError) or isinstance(exc, ProblemError) and exc.busy:
            lost.append(exc)
        replies.failed(request, exc, outcome.REQUEST)


def _ask(session: Session, request: RenewalQuery) -> RenewalInfo:
    """Ask once.  Raises Error."""
    base = session.directory.renewal_info
    if base is None:
        raise NotOffered("the CA offers no renewal information")
    what = "the renewal information"
    response = session.get(f"{base.rstrip('/')}/{request.cert_id}", what)    # §4.1
    start, end, explanation = parse(session.json(response, what))
    return RenewalInfo(request.section, start, end, session.retry_after(response) or 0,
                       explanation)


def parse(obj: JsonObject) -> tuple[int, int, str]:
    """Return the suggested window of a RenewalInfo object (§4.2), Unix time, and its
    explanationURL, "" without one that can be shown.

    Raises ProtocolError.
    """
    try:
        window = jsonfields.get_object(obj, "suggestedWindow")
        start, end = (_moment(window, member) for member in ("start", "end"))
    except ProtocolError as exc:
        raise ProtocolError(f"the renewal information is none (RFC 9773 §4.2): {exc}") from exc
    if end <= start:
        raise ProtocolError("the renewal information is none (RFC 9773 §4.2): its window ends "
                            "before it begins")
    return start, end, _explanation(obj.get("explanationURL"))


def _moment(window: JsonObject, member: str) -> int:
    """Return a moment (RFC 3339 §5.6); raises ProtocolError."""
    text = jsonfields.get_str(window, member, 64)
    found = clock.parse_timestamp(text)
    if found is None or not 0 < found <= MAX_MOMENT:
        raise ProtocolError(f"“{member}” is no moment: “{printable(text, 64)}”")
    return found


def _explanation(value: object) -> str:
    """Nothing depends on it: what isn't a web page's URL is left out."""
    if not isinstance(value, str) or not value:
        return ""
    if len(value) > MAX_EXPLANATION or not value.isascii() or not value.isprintable() \
            or " " in value or not value.startswith(("https://", "http://")):
        log.debug(f"explanationURL is none: “{printable(value, 200)}”")
        return ""
    return value


def is_about_renewal(requests: Sequence[Request]) -> bool:
    """True if that is all that is asked: no account is needed then."""
    return bool(requests) and all(isinstance(request, RenewalQuery) for request in requests)
