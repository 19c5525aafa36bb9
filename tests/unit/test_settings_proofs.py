"""Which challenges prove which names: what a section wishes, what can be, and what is started."""

import sys
from pathlib import Path
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import ConfigError, Error
from letsencrypt_tiny.master.plan import challenges
from letsencrypt_tiny.master.settings import certificates, main, proofs
from letsencrypt_tiny.master.settings.certificates import Certificates
from letsencrypt_tiny.master.settings.main import Config

NO_LISTEN = "[webserver]\nlisten =\n"
DNS = "[dns]\nserver = ns.example\n"
ZONE = "[dns zone.example]\nserver = ns.example\n"
STATIC = NO_LISTEN + "challenge-directory = /srv/x\n"


def read(tmp_path: Path, configuration: str, sections: str) -> tuple[Config, Certificates]:
    """Return what is configured."""
    (tmp_path / "main.conf").write_text(configuration)
    (tmp_path / "certs.conf").write_text(sections)
    config = main.load(str(tmp_path / "main.conf"))
    return config, certificates.load(config)


@pytest.mark.parametrize("configuration, challenge, names, types", [
    # auto
    ("", "", "a.example", "http-01"), ("", "auto", "a.example 192.0.2.1", "http-01"),
    (STATIC, "", "a.example", "http-01"), (DNS, "", "a.example", "http-01"),
    (DNS, "", "*.a.example", "dns-01"), (DNS, "", "*.a.example a.example", "http-01 dns-01"),
    (DNS, "", "*.a.example ::1", "http-01 dns-01"),
    (ZONE, "", "*.zone.example b.example", "http-01 dns-01"),
    (NO_LISTEN + DNS, "", "a.example", "dns-01"),
    (NO_LISTEN + ZONE, "", "zone.example *.a.zone.example", "dns-01"),
    # what is wished, in that order, and no type that proves none of the names
    (DNS, "dns-01", "a.example", "dns-01"),
    (DNS, "dns-01, http-01", "a.example", "dns-01 http-01"),
    (DNS, "tls-alpn-01 http-01 dns-01 http-01", "a.example", "tls-alpn-01 http-01 dns-01"),
    ("", "dns-01, http-01", "a.example", "http-01"),
    (ZONE, "dns-01 http-01", "a.example", "http-01"),
    (NO_LISTEN, "http-01 tls-alpn-01", "a.example", "tls-alpn-01"),
    (DNS, "http-01 dns-01 tls-alpn-01 stateless", "*.a.example", "dns-01"),
    (DNS, "dns-01 tls-alpn-01", "192.0.2.1", "tls-alpn-01"),
    ("", "dns-persist-01", "*.a.example a.example", "dns-persist-01"),
    ("", "dns-persist-01 http-01", "::1 *.a.example", "dns-persist-01 http-01"),
    (NO_LISTEN, "stateless", "a.example ::1", "stateless")])
def test_what_is_asked_for(tmp_path: Path, configuration: str, challenge: str, names: str,
                           types: str) -> None:
    config, found = read(tmp_path, configuration,
                         f"[s]\nnames = {names}\nchallenge = {challenge}\n")
    assert not found.faults
    section = found.sections["s"]
    assert challenges.types(section, config) == tuple(types.split())
    for kind in proofs.TYPES:   # each name is somebody's, and nobody's that can't
        for what, name in challenges.names(section, kind, config):
            assert not name.startswith("*.") and (what == "dns" or "dns" not in kind)


@pytest.mark.parametrize("configuration, challenge, names, why", [
    ("", "", "*.a.example", "*.a.example: a wildcard needs the challenge dns-01: add a section "
                            "[dns] to {main}, or list the names"),
    (ZONE, "", "*.a.example", "add a section [dns] that it is below to {main}"),
    (DNS, "http-01", "a.example *.a.example", "*.a.example: a wildcard needs the challenge dns-01: "
                                              "add it to challenge, or list the names"),
    (DNS, "tls-alpn-01 stateless", "*.a.example", "add it to challenge"),
    ("", "dns-01", "192.0.2.1", "192.0.2.1: an address needs the challenge http-01 or tls-alpn-01 "
                                "(RFC 8738 §7): add it to challenge"),
    ("", "dns-persist-01", "::1", "::1: an address needs the challenge"),
    ("", "dns-01", "a.example", "a.example: the challenge dns-01 needs a section [dns]: add it to "
                                "{main}"),
    (ZONE, "dns-01", "zone.example a.example", "a.example: the challenge dns-01 needs a section "
                                               "[dns] that it is below"),
    (NO_LISTEN, "", "a.example", "; or let http-01 be answered: set listen or challenge-directory"),
    (NO_LISTEN + ZONE, "", "a.example",
     "a.example: the challenge dns-01 needs a section [dns] that"),
    (NO_LISTEN + DNS, "", "::1", "::1: an address needs the challenge http-01"),
    (NO_LISTEN, "http-01", "a.example", "a.example: nothing answers the challenge http-01, as "
                                        "listen of [webserver] is empty: set it or "
                                        "challenge-directory in {main}, or another challenge"),
    ("", "dns-01", "xn--bcher-kva.example",
     "bücher.example (xn--bcher-kva.example): the challenge")])
def test_a_wish_that_cannot_be_is_that_sections_fault(tmp_path: Path, configuration: str,
                                                      challenge: str, names: str, why: str) -> None:
    _, found = read(tmp_path, configuration, f"""
[other]
names = other.example
challenge = stateless
[s]
names = {names}
challenge = {challenge}
""")
    assert list(found.sections) == ["other"] and list(found.faults) == ["s"]
    assert why.format(main=tmp_path / "main.conf") in str(found.faults["s"])
    assert str(found.faults["s"]).startswith(f"{tmp_path}/certs.conf, [s]: ")


@pytest.mark.parametrize("text", ["dns-02", "auto, http-01", "http-01 auto", "HTTP-01", "none"])
def test_challenges_that_are_none(tmp_path: Path, text: str) -> None:
    _, found = read(tmp_path, "", f"[s]\nnames = a.example\nchallenge = {text}\n")
    assert "challenge = " in str(found.faults["s"])


@pytest.mark.parametrize("listen", ["", ","])
def test_nothing_need_listen(tmp_path: Path, listen: str) -> None:
    config, found = read(tmp_path, f"[webserver]\nlisten = {listen}\n{DNS}", "[s]\nnames = a.b\n")
    assert config.webserver.listen == () and not proofs.listens(config)
    assert challenges.types(found.sections["s"], config) == ("dns-01",)


def test_names_of_a_type(tmp_path: Path) -> None:
    config, found = read(tmp_path, ZONE, """[s]
names = a.zone.example, *.zone.example, b.example, 192.0.2.1, zone.example
""")

    def names(kind: str) -> Any:
        return {name for _, name in challenges.names(found.sections["s"], kind, config)}
    assert names("http-01") == {"a.zone.example", "b.example", "192.0.2.1", "zone.example"}
    assert names("dns-01") == {"a.zone.example", "zone.example"}
    assert names("dns-persist-01") == {"a.zone.example", "zone.example", "b.example"}


@pytest.mark.parametrize("challenge, names, lost, unable, kinds, fails", [
    # somebody else's names, or a type of which there is no need
    ("dns-01 http-01", "a.example", "dns-01", "b.example", "dns-01 http-01", False),
    ("http-01", "a.example", "dns-01", "a.example", "http-01", False),
    # passed over, where another type can prove each name
    ("dns-01 http-01", "a.example", "dns-01", "a.example", "http-01", False),
    ("dns-01 http-01", "a.example b.example", "dns-01", "b.example", "http-01", False),
    # a fault where none can
    ("dns-01", "a.example", "dns-01", "a.example", "", True),
    ("dns-01 http-01", "a.example *.b.example", "dns-01", "b.example", "", True),
    ("http-01 tls-alpn-01", "192.0.2.1", "http-01 tls-alpn-01", "192.0.2.1", "", True),
    # the wildcard is below another zone, which is all right
    ("dns-01 http-01", "a.example *.b.example", "dns-01", "a.example", "dns-01 http-01", False)])
def test_without_a_type(tmp_path: Path, challenge: str, names: str, lost: str, unable: str,
                        kinds: str, fails: bool) -> None:
    """What can't be answered for some names is a matter of the sections that need it."""
    config, found = read(tmp_path, DNS, f"[s]\nnames = {names}\nchallenge = {challenge}\n")
    section = found.sections["s"]
    why = Error("x")
    what = "ip" if unable[0].isdigit() else "dns"
    left, error = challenges.without(section, challenges.types(section, config), lost.split(),
                                     {(what, unable): why}, config)
    assert error is (why if fails else None)
    assert fails or left == tuple(kinds.split())


def test_a_zone_in_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the names in it are written."""
    text = "[dns b\u00fccher.example]\nserver = ns.example\n"
    config, found = read(tmp_path, text, "[s]\nnames = *.b\u00fccher.example\n")
    assert list(config.dns) == ["xn--bcher-kva.example"] and not found.faults
    for bad, why in (("\u2603.example", "no internationalized name"), ("*.a", "no name of a zone")):
        with pytest.raises(ConfigError, match=why):
            read(tmp_path, f"[dns {bad}]\nserver = ns.example\n", "")
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ConfigError, match="python3-idna"):
        read(tmp_path, text, "")
