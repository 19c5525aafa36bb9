"""CAs that have a name of their own: a table, and nothing else.

A name stands for the CA in ``server``, ``[ca NAME]`` and ``ca``; nobody is asked for any of it.
"""

from typing import NamedTuple


class Preset(NamedTuple):
    """A CA that is well known."""

    name: str
    directory: str                   # URL (RFC 8555 §7.1.1)
    staging: str = ""                # its twin for trials: URL of that directory, "" for none
    caa: tuple[str, ...] = ()        # what it is called in records (RFC 8659 §4.2)
    eab: bool = False                # it wants external account binding (RFC 8555 §7.3.4)
    ari: bool = False                # it says when to renew (RFC 9773)
    ended: str = ""                  # since when it issues nothing any more, for messages


_LE, _LE_STAGING = ("https://acme-v02.api.letsencrypt.org/directory",
                    "https://acme-staging-v02.api.letsencrypt.org/directory")

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (
    Preset("letsencrypt", _LE, _LE_STAGING, ("letsencrypt.org",), ari=True),
    Preset("letsencrypt-staging", _LE_STAGING, _LE_STAGING, ("letsencrypt.org",), ari=True),
    Preset("zerossl", "https://acme.zerossl.com/v2/DV90", "", ("sectigo.com",), eab=True),
    Preset("google", "https://dv.acme-v02.api.pki.goog/directory",
           "https://dv.acme-v02.test-api.pki.goog/directory", ("pki.goog",), eab=True, ari=True),
    Preset("buypass", "https://api.buypass.com/acme/directory",
           "https://api.test4.buypass.no/acme/directory", ("buypass.com",),
           ended="October 2025"),
    # Its other directory, sslcom-dv-ecc, issues from an intermediate with an EC key
    Preset("sslcom", "https://acme.ssl.com/sslcom-dv-rsa", "", ("ssl.com",), eab=True),
    Preset("actalis", "https://acme-api.actalis.com/acme/directory", "", ("actalis.it",), eab=True),
)}


def of_directory(url: str) -> Preset | None:
    """Return the CA whose directory, or its twin's, has this URL; None if it is nobody's."""
    found = [preset for preset in PRESETS.values() if url in (preset.directory, preset.staging)]
    found.sort(key=lambda preset: preset.directory != url)
    return found[0] if found else None


def staging(url: str) -> str:
    """Return the URL of the twin for trials of the CA with the directory ``url``; "" if none is
    known."""
    preset = of_directory(url)
    return preset.staging if preset is not None else ""
