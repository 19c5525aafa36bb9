"""The clients that certificates are taken over from: a table, and nothing else."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from . import acme_sh, acme_tiny, certbot, dehydrated, lacme, lego
from .model import Estate


class Client(NamedTuple):
    """Another client."""

    name: str
    read: Callable[[str, Mapping[str, str]], Estate]   # directory, directories of CAs by host
    places: tuple[str, ...]          # where its files usually are, each tried in this order
    stop: str                        # how its renewals are stopped
    timers: tuple[str, ...] = ()     # units that renew


CLIENTS = {client.name: client for client in (
    Client("certbot", certbot.read, certbot.PLACES, "systemctl disable --now certbot.timer, "
           "or, for one certificate, autorenew = False in [renewalparams] of its file",
           ("certbot.timer", "certbot-renew.timer", "snap.certbot.renew.timer")),
    Client("lacme", lacme.read, lacme.PLACES, "take it out of cron, or disable the timer of yours "
           "that starts it", ("lacme.timer",)),
    Client("dehydrated", dehydrated.read, dehydrated.PLACES, "take it out of cron, or disable the "
           "timer that starts it", ("dehydrated.timer",)),
    Client("acme-tiny", acme_tiny.read, acme_tiny.PLACES, "take it out of cron",
           ("acme-tiny.timer",)),
    Client("acme.sh", acme_sh.read, acme_sh.PLACES, "acme.sh --uninstall-cronjob",
           ("acme.sh.timer", "acmesh.timer", "acme_letsencrypt.timer")),
    Client("lego", lego.read, lego.PLACES, "take it out of cron, or disable the timer that starts "
           "it", ("lego.timer", "lego-renew.timer")))}
