"""Renewal information (ARI, RFC 9773) of a ``Hostile`` server: good, or odd by a word.

>>> suggests = Suggests(hostile)
>>> suggests.window = (now - 60, now - 30)
>>> suggests.word = "html-502"
"""

import time
from collections.abc import Callable

from .hostile import JSON, Default, Hostile, Request, Response

DAY = 86400


def timestamp(moment: float) -> str:
    """Return a Unix time as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


class Suggests:
    """Lets a server answer renewalInfo.

    ``window`` is what all certificates are told, Unix time; ``explanation`` its explanationURL,
    ``retry_after`` the header.  ``word``, one of WORDS, stands for another answer.
    ``replaced`` are the certIDs that newOrder was told of.
    """

    def __init__(self, server: Hostile, start: float | None = None, end: float | None = None
                 ) -> None:
        now = time.time()
        self.server = server
        self.window = (now + 50 * DAY if start is None else start,
                       now + 51 * DAY if end is None else end)
        self.explanation: object = None
        self.retry_after: str | None = "21600"
        self.word = ""
        server.edit("directory", self._directory)
        server.on["renewalInfo"] = self._answer

    @property
    def asked(self) -> list[str]:
        """The certIDs that were asked for, in order."""
        return [request.id for request in self.server.asked("renewalInfo")]

    @property
    def replaced(self) -> list[str | None]:
        """What each newOrder said that it replaces."""
        return [request.payload.get("replaces") for request in self.server.asked("newOrder")]

    def members(self) -> JSON:
        """Return the right answer."""
        start, end = map(timestamp, self.window)
        more = {} if self.explanation is None else {"explanationURL": self.explanation}
        return {"suggestedWindow": {"start": start, "end": end}, **more}

    def _directory(self, directory: JSON) -> None:
        if self.word != "not-offered":
            directory["renewalInfo"] = self.server.url("renewalInfo")
        if self.word == "other-origin":
            directory["renewalInfo"] = "https://elsewhere.example/renewalInfo"

    def _answer(self, request: Request, _default: Default) -> Response:
        if request.method != "GET" or "authorization" in request.headers:
            return Response.problem("malformed", "an unsigned GET is what is wanted", 405)
        if self.word in WORDS:
            return WORDS[self.word](self)
        return Response.json(self.members(), headers={"Retry-After": self.retry_after})

    def refuse_to_replace(self, kind: str, status: int = 409) -> None:
        """Let newOrder complain of “replaces”, if it is there."""
        def handler(request: Request, default: Default) -> Response:
            if "replaces" in request.payload:
                return Response.problem(kind, "not this one", status)
            return default()
        self.server.on["newOrder"] = handler


def _window(start: object, end: object) -> Callable[[Suggests], Response]:
    return lambda _suggests: Response.json({"suggestedWindow": {"start": start, "end": end}})


def _without_retry(suggests: Suggests) -> Response:
    return Response.json(suggests.members())


def _silence(suggests: Suggests) -> Response:
    suggests.server.stopping.wait(3)
    return Response(raw=b"", reset=True)


PAGE = b"<html><title>Bad Gateway</title></html>"

# What a CA, or whoever is before it, says instead; none is an answer
WORDS: dict[str, Callable[[Suggests], Response]] = {
    "html-502": lambda _: Response(502, {"Content-Type": "text/html"}, PAGE),
    "html-200": lambda _: Response(200, {"Content-Type": "text/html"}, PAGE),
    "busy": lambda _: Response.problem("rateLimited", "later", 429, {"Retry-After": "7200"}),
    "down": lambda _: Response(raw=b"", reset=True),
    "not-enabled": lambda _: Response.problem("malformed", "ARI is not enabled", 404),
    "gone": lambda _: Response(404), "redirect": lambda _: Response(302, {"Location": "/x"}),
    "silence": _silence,
    "empty": lambda _: Response.json({}), "null": lambda _: Response.json(
        {"suggestedWindow": None}), "list": lambda _: Response.json([1]),
    "text": lambda _: Response.json({"suggestedWindow": "soon"}),
    "numbers": _window(1700000000, 1800000000), "words": _window("tomorrow", "later"),
    "backwards": _window("2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    "no-time-at-all": _window("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
    "before-time": _window("1960-01-01T00:00:00Z", "1961-01-01T00:00:00Z"),
    "no-such-day": _window("2026-13-01T00:00:00Z", "2026-14-01T00:00:00Z"),
    "half": _window("2026-02-01T00:00:00Z", None),
    "endless": lambda _: Response.json({"suggestedWindow": {"start": "1" * 3_000_000}}),
    "escape": _window("\x1b[2J", "\x1b]0;x\x07"),
}
# What is odd about the directory instead
OF_THE_DIRECTORY = ("not-offered", "other-origin")
# What is worth asking again soon
PASSING = ("html-502", "busy", "down", "silence")
