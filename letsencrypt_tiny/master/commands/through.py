"""A challenge is tried through the web server that has port 80, before any CA does: by the client,
which asks it on this machine, whatever the DNS says.

A web server without our snippet is what most hosts have, and all that an order would end in is a
404.  Nothing is ordered or signed, and nobody outside is asked.
"""

import base64
import os
from collections.abc import Iterable, Iterator

from ...common import log
from ...common.errors import Error
from ...common.names import Identifier
from ...common.wire.order import Failed
from ...common.wire.probe import Finding, Probe
from ..peers.conversation import Answered, Conversation, Ended
from ..peers.identity import identity
from ..peers.loop import Loop, Tick
from ..peers.messages import Messages
from ..plan import challenges
from ..plan.issuers import Issuer
from ..responders import neighbours
from ..responders.table import Responder, responders_for
from ..settings.certificates import Section
from ..settings.main import Config
from ..settings.network import HTTP_PORT

MOST = 20   # names that are tried
_NOWHERE = "127.0.0.1:9"   # no CA is asked, nor looked up, nor a proxy


def concerned(config: Config, sections: Iterable[Section]) -> list[Identifier]:
    """Return the names that challenges are to reach us for through a web server that is there;
    none if nothing of ours is to be behind another one, or nobody has the port."""
    if config.webserver.listen is not None or config.webserver.challenge_directory \
            or not neighbours.holder(HTTP_PORT)[1]:
        return []
    names = {name: None for section in sections
             if "http-01" in challenges.types(section, config)
             for name in section.identifiers if not name[1].startswith("*.")}
    return list(names)[:MOST]


def trial(config: Config, names: Iterable[Identifier]) -> dict[str, str]:
    """Return by name why a challenge does not reach us through the web server at the port; those
    for which it does are left out.  Whoever calls holds the lock.  Raises Error."""
    loop = Loop()
    messages = Messages(loop)
    client = identity(config.client.program)
    access = config.client.access._replace(server=f"https://{_NOWHERE}/", origins=(),
                                           proxy=f"http://{_NOWHERE}")
    conversation = Conversation(loop, messages, config, Issuer("", access))
    responder, = responders_for(["http-01"], config, client, messages.pipe)
    try:
        wanted = list(names)
        key = _random()   # nobody's thumbprint
        responder.open(wanted)
        probes = [Probe(name[1], name, "http-01", _random(), key, (key,), public=False,
                        address=neighbours.address(HTTP_PORT)) for name in wanted]
        conversation.start_client(probes, client, responder.rooms(1)[0])
        responder.serve([key])
        conversation.begin("")
        return dict(_heard(loop, conversation, responder))
    finally:
        responder.close()
        conversation.close()
        messages.close()


def _heard(loop: Loop, conversation: Conversation, responder: Responder
           ) -> Iterator[tuple[str, str]]:
    """Yield names, and why each is not reached."""
    for event in loop.events(lambda: conversation.runs):
        if isinstance(event, Tick):
            responder.check()
        elif isinstance(event, Ended) and event.error is not None:
            raise event.error
        elif isinstance(event, Answered):
            answer = event.answer
            if isinstance(answer, Failed):
                raise Error(answer.message)
            elif isinstance(answer, Finding) and answer.verdict != "ok":
                yield answer.section, answer.text.partition("): ")[2] or answer.text


def fault(config: Config, names: Iterable[Identifier]) -> Error | None:
    """Try it, and return what there is to be told of it, with what helps; None if all is well.
    Raises Error where it can't be tried."""
    found = trial(config, names)
    if not found:
        log.info(f"{neighbours.who(HTTP_PORT)} listens on port {HTTP_PORT}, and passes challenges "
                 "on: it was tried")
        return None
    why = dict.fromkeys(found.values())
    return Error(f"{neighbours.who(HTTP_PORT)} listens on port {HTTP_PORT}, and a challenge for "
                 f"{', '.join(list(found)[:5])} does not reach us through it "
                 f"({'; '.join(list(why)[:2])}): "
                 f"{neighbours.cure(HTTP_PORT, f'{config.run_directory}/www.socket')}")


def _random() -> str:
    """Return 256 bits as a token (RFC 8555 §8.1), which is how a thumbprint looks, too."""
    return base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode("ascii")
