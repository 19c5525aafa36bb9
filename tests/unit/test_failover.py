"""Which of several CAs is asked, for how long one is passed over, and what is remembered."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.failed import Failed
from letsencrypt_tiny.common.x509.certificate import Certificate
from letsencrypt_tiny.common.x509.csr import CSR
from letsencrypt_tiny.master.commands.elsewhere import Elsewhere
from letsencrypt_tiny.master.plan import failover, issuers, orders, renewal
from letsencrypt_tiny.master.plan.failover import HOUR
from letsencrypt_tiny.master.plan.issuers import Issuer
from letsencrypt_tiny.master.settings import certificates, main, presets
from letsencrypt_tiny.master.settings.presets import PRESETS
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.pauses import LONGEST, Pause, Pauses

NOW = 1_800_000_000
A, B, C = (Issuer(name, Access(f"https://{name}.example/dir")) for name in "abc")


def held(**pauses: Pause) -> dict[str, Pause | None]:
    return {issuer.directory: pauses.get(issuer.name) for issuer in (A, B, C)}


def lasting(kind: str, seconds: int = HOUR) -> Pause:
    return Pause(kind, NOW + seconds, seconds)


@pytest.mark.parametrize("pauses, expected", [
    ({}, [A, B, C]),
    ({"a": lasting("down")}, [B, C, A]),
    ({"a": lasting("refused"), "b": lasting("down")}, [C, A, B]),
    ({"a": lasting("limited")}, [B, C]),
    ({"a": lasting("limited"), "b": lasting("limited"), "c": lasting("down")}, [C]),
    ({"a": lasting("limited"), "b": lasting("limited"), "c": lasting("limited")}, [A, B, C]),
    # over, and of a clock that was wrong
    ({"a": Pause("down", NOW, HOUR)}, [A, B, C]),
    ({"a": Pause("limited", NOW + LONGEST + 1, HOUR)}, [A, B, C])])
def test_who_is_asked(pauses: dict[str, Pause], expected: list[Issuer]) -> None:
    assert failover.candidates([A, B, C], held(**pauses), NOW) == expected


def test_how_long_one_that_is_down_is_passed_over() -> None:
    """Longer from time to time; from the beginning if it was well for a day."""
    last, now, seconds = None, NOW, []
    for _ in range(8):
        last = failover.pause("down", None, last, now)
        assert last.until == now + last.seconds
        seconds.append(last.seconds // HOUR)
        now = last.until + 60
    assert seconds == [1, 2, 4, 8, 16, 24, 24, 24]
    assert failover.pause("down", None, last, now + 2 * DAY).seconds == HOUR
    assert failover.pause("down", 7 * HOUR, None, NOW).seconds == 7 * HOUR


@pytest.mark.parametrize("kind, asked, seconds", [
    ("limited", None, HOUR), ("limited", 90, 90), ("limited", 100 * DAY, LONGEST),
    ("refused", None, LONGEST), ("refused", 5, LONGEST)])
def test_how_long_others_are(kind: str, asked: int | None, seconds: int) -> None:
    assert failover.pause(kind, asked, lasting("down", DAY), NOW) == Pause(
        kind, NOW + seconds, seconds)


@pytest.mark.parametrize("pauses, moment", [
    ({}, 0), ({"a": lasting("limited"), "b": lasting("limited")}, 0),
    ({"a": lasting("limited", 50), "b": lasting("limited", 40), "c": lasting("limited", 60)},
     NOW + 40),
    ({"a": lasting("limited"), "b": lasting("down"), "c": lasting("limited")}, 0)])
def test_how_long_a_section_waits(pauses: dict[str, Pause], moment: int) -> None:
    assert failover.wait([A, B, C], held(**pauses), NOW) == moment


# --- what is remembered --------------------------------------------------------------------------

def test_pauses_come_and_go(tmp_path: Path) -> None:
    def again() -> Pauses:
        return Pauses(str(tmp_path))
    again().begin("https://a/", "", lasting("down"), NOW)
    again().begin("https://a/", "s", lasting("limited"), NOW)
    again().begin("https://a/", "t", lasting("refused")._replace(wish="w"), NOW)
    assert again().of("https://a/") == lasting("down")
    assert again().of("https://a/", "t") == lasting("refused")._replace(wish="w")
    assert again().of("https://b/") is None is again().of("https://a/", "x")
    again().end("https://a/", "s")
    assert again().of("https://a/") is None is again().of("https://a/", "s")
    assert again().of("https://a/", "t") is not None
    # those of long ago go with the next
    again().begin("https://b/", "", lasting("down", LONGEST), NOW + 2 * LONGEST)
    assert json.loads((tmp_path / "pauses.json").read_text()).keys() == {"https://b/"}


@pytest.mark.parametrize("text", [
    "", "[]", "{", '{"https://a/": 3}', '{"https://a/": {"": 3}}',
    '{"https://a/": {"": {"kind": "odd", "until": 1, "seconds": 1}}}',
    '{"https://a/": {"": {"kind": "down", "until": "x", "seconds": 1}}}',
    '{"https://a/": {"": {"kind": "down", "until": 1, "seconds": 1e9}}}',
    '{"https://a/": {"": {"kind": "", "until": 1, "seconds": 1}}}'])
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "pauses.json").write_text(text)
    pauses = Pauses(str(tmp_path))
    assert pauses.of("https://a/") is None
    pauses.end("https://a/", "s")
    pauses.begin("https://a/", "", lasting("down"), NOW)
    assert Pauses(str(tmp_path)).of("https://a/") == lasting("down")


# --- presets and [ca NAME] -----------------------------------------------------------------------

def test_the_presets() -> None:
    """https, no two alike, each with a name in records."""
    directories = [preset.directory for preset in PRESETS.values()]
    assert len(set(directories)) == len(directories) == 7
    for name, preset in PRESETS.items():
        assert preset.name == name and preset.caa
        assert preset.directory.startswith("https://")
        assert preset.staging.startswith("https://") or not preset.staging
    assert presets.staging(PRESETS["letsencrypt"].directory) == \
        PRESETS["letsencrypt-staging"].directory == presets.staging(
            PRESETS["letsencrypt-staging"].directory)
    assert presets.staging("https://ca.example/") == "" == presets.staging(
        PRESETS["zerossl"].directory)
    found = presets.of_directory(PRESETS["letsencrypt-staging"].directory)
    assert found is PRESETS["letsencrypt-staging"]


def load(tmp_path: Path, text: str, certs: str = "[a]\nnames = a.example\n"
         ) -> tuple[main.Config, certificates.Certificates]:
    (tmp_path / "main.conf").write_text(text)
    (tmp_path / "certs.conf").write_text(certs)
    config = main.load(str(tmp_path / "main.conf"))
    return config, certificates.load(config)


def test_what_is_inherited_from_client(tmp_path: Path) -> None:
    """What is the host's, and nothing that is of the other CA."""
    config, _ = load(tmp_path, """[client]
server = https://ca.example/dir
origins = https://other.example
timeout = 7
answer-timeout = 8
jobs = 2
proxy = http://proxy.example:3128
SSL_version = TLSv1_3
ca-file = /private.pem
SSL_verify = no
contact = a@ca.example
eab-kid = k1

[ca zerossl]
eab-kid = k2
contact = mailto:b@ca.example, tel:+12

[ca mine]
server = letsencrypt-staging
jobs = 3
proxy =
socket = /run/mine
ca-file = /mine.pem
""")
    zerossl, mine = config.authorities["zerossl"], config.authorities["mine"]
    assert zerossl.access == Access(
        PRESETS["zerossl"].directory, timeout=7, answer_timeout=8, jobs=2,
        proxy="http://proxy.example:3128", tls_minimum="TLSv1.3", tls_maximum="TLSv1.3")
    assert (zerossl.eab_kid, zerossl.contact, zerossl.socket) == (
        "k2", ("mailto:b@ca.example", "tel:+12"), "")
    assert (mine.access.server, mine.access.jobs, mine.access.proxy, mine.access.ca_file) == (
        PRESETS["letsencrypt-staging"].directory, 3, "", "/mine.pem")
    assert (mine.socket, mine.contact, mine.eab_kid) == ("/run/mine", (), "")
    assert (config.client.contact, config.client.eab_kid) == (("mailto:a@ca.example",), "k1")
    assert mine.where.endswith("main.conf, [ca mine]")


@pytest.mark.parametrize("text, message", [
    ("[ca mine]", "[ca mine]: server = : must be set: the URL of its directory (mine is none of "
                  "letsencrypt, letsencrypt-staging, zerossl"),
    ("[ca mine]\nserver = zerosl", "server = zerosl: not an https URL, nor one of letsencrypt, "),
    ("[ca mine]\nserver = http://ca.example/", "not an https URL"),
    ("[ca default]", "“default” can't name a CA"), ("[ca a b]", "“a b” can't name a CA"),
    ("[ca]", "unknown section [ca] (valid: [client]"),
    ("[ca zerossl]\ncontact = nobody", "“nobody” is not a contact URL"),
    ("[ca zerossl]\neab-kid = two words", "not a key identifier"),
    ("[ca zerossl]\nuser = me", "unknown setting “user”")])
def test_what_is_no_section_of_a_ca(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


CONFIG = """[client]
server = https://ca.example/dir
[ca le]
server = letsencrypt
[ca internal]
server = https://internal.example/dir
"""


@pytest.mark.parametrize("words, names", [
    ("", [""]), ("default", [""]), ("https://ca.example/dir", [""]), ("le, zerossl", None),
    ("letsencrypt", ["le"]), (PRESETS["letsencrypt"].directory, ["le"]),
    ("zerossl default zerossl", ["zerossl", ""]), ("le, letsencrypt", ["le"]),
    (PRESETS["google"].directory, ["google"]),
    ("https://new.example/acme", ["https://new.example/acme"])])
def test_which_cas_are_meant(tmp_path: Path, words: str, names: list[str] | None) -> None:
    config, found = load(tmp_path, CONFIG, f"[a]\nnames = a.example\nca = {words}\n")
    section = found.sections["a"]
    assert list(section.issuers) == (names or ["le", "zerossl"])
    known = issuers.configured(config)
    for name in section.issuers:
        issuer = known[name]
        assert issuer.name == name and issuer.directory.startswith("https://")
        assert issuers.Issuer(*issuer) == issuers.configured(config)[name]
    assert section.issuer == section.issuers[0]


def test_defaults_and_faults_of_ca(tmp_path: Path) -> None:
    _, found = load(tmp_path, CONFIG, "ca = le, zerossl\n[a]\nnames = a.example\n"
                    "[b]\nnames = b.example\nca = lee\n[c]\nnames = c.example\nca = http://x/\n")
    assert found.sections["a"].issuers == ("le", "zerossl")
    assert "[b]: ca = lee: there is no CA “lee”: no section [ca lee]" in str(found.faults["b"])
    assert "did you mean “le”?" in str(found.faults["b"])
    assert "[c]: ca = http://x/: not an https URL" in str(found.faults["c"])


def test_a_private_ca_certifies_other_names(tmp_path: Path) -> None:
    """If one of a section's CAs is private it may be asked for what no public one does."""
    _, found = load(tmp_path, "[ca internal]\nserver = https://internal.example/dir\n", """
[a]
names = intranet
ca = internal
[b]
names = intranet
[c]
names = intranet
ca = letsencrypt, zerossl
[d]
names = intranet
ca = letsencrypt, internal
""")
    assert list(found.sections) == ["a", "d"]
    assert all("no public CA signs it" in str(found.faults[name]) for name in "bc")


def test_which_are_used(tmp_path: Path) -> None:
    config, found = load(tmp_path, CONFIG, "[a]\nnames = a.example\nca = google, le\n")

    def names(named: Iterable[tuple[str, ...]]) -> list[str]:
        return [issuer.name for issuer in issuers.used(config, named)]
    assert names(section.issuers for section in found.sections.values()) == [
        "le", "internal", "google"]
    assert names([]) == ["", "le", "internal"]
    assert names([("",), ("https://x.example/",)]) == ["", "le", "internal", "https://x.example/"]


# --- what makes a certificate due ----------------------------------------------------------------

@pytest.mark.parametrize("required, wish, had, asked, other", [
    (False, "", None, None, False), (False, "x", None, None, True), (False, "x", "x", None, False),
    (False, "x", None, "x", False), (False, "x", "y", "x", False), (True, "x", "y", "x", True),
    (True, "x", None, "x", False), (True, "x", "x", "y", False), (False, "", "y", "y", False)])
def test_another_profile(tmp_path: Path, required: bool, wish: str, had: str | None,
                         asked: str | None, other: bool) -> None:
    setting = "required" if required else "preferred"
    _, found = load(tmp_path, "", f"[a]\nnames = a.example\n{setting}-profile = {wish}\n")
    state = SectionState(profile=had, profile_wish=asked)
    assert renewal._other_profile(found.sections["a"], state) is other


# --- one section, several CAs --------------------------------------------------------------------

LISTED = CONFIG + "[ca b]\nserver = https://b.example/dir\n"


@pytest.mark.parametrize("state, asked", [
    (SectionState(), ""),
    # what it has issued waits, whoever is passed over; or it has an order
    (SectionState(directory=B.directory, kept=7), "b"), (SectionState(directory=B.directory), ""),
    (SectionState(directory=B.directory, order="https://b.example/order/1"), "b"),
    (SectionState(directory="https://gone.example/", kept=7, order="https://x/"), "")])
@pytest.mark.parametrize("paused", ["", "default", "b"])
def test_what_there_is_of_a_ca_decides(tmp_path: Path, state: SectionState, asked: str,
                                       paused: str) -> None:
    config, found = load(tmp_path, f"library-directory = {tmp_path}\n{LISTED}",
                         "[a]\nnames = a.example\nca = default, b\n")
    (tmp_path / "state").mkdir()
    others = Elsewhere(config)
    section = found.sections["a"]
    if paused:
        directory = B.directory if paused == "b" else config.client.access.server
        others._pauses.begin(directory, "a", Pause("down", int(time.time()) + HOUR, HOUR),
                             time.time())
    if paused == "default":
        asked = "b"
    elif paused == "b" and not state.kept:
        asked = ""
    assert others.first(section, state).name == asked


def test_a_limit_that_is_known_has_the_next_one_asked(tmp_path: Path,
                                                      capfd: pytest.CaptureFixture[str]) -> None:
    """In this run only: it is counted, and so no pause."""
    config, found = load(tmp_path, f"library-directory = {tmp_path}\n{LISTED}",
                         "[a]\nnames = a.example\nca = default, b\n")
    others, section = Elsewhere(config), found.sections["a"]
    first = config.client.access.server
    assert others.first(section, SectionState(), {first: "5 a week"}).name == "b"
    assert ": 5 a week; b is asked" in capfd.readouterr().err
    issuer = issuers.configured(config)["b"]
    csr = CSR(b"der", b"", (), (), b"spki", section.identifiers, (), (), False, ())
    plan = orders.plan(section, issuer, csr, SectionState(), ("http-01",))
    assert others.next(plan, Failed("a", "no", "lost", elsewhere="down")) is None
    assert others.first(section, SectionState(), {B.directory: "5 a week"}).name == ""
    both = {first: "5 a week", B.directory: "6 a week"}
    assert others.first(section, SectionState(), both).name == ""


def test_nothing_is_replaced_at_another_ca(tmp_path: Path) -> None:
    """A certificate is the CA's that issued it, to that account; the next one asked knows nothing
    of it (RFC 9773 §5)."""
    config, found = load(tmp_path, f"library-directory = {tmp_path}\n{LISTED}",
                         "[a]\nnames = a.example\nca = default, b\n")
    section, known = found.sections["a"], issuers.configured(config)
    csr = CSR(b"der", b"", (), (), b"spki", section.identifiers, (), (), False, ())
    certificate = Certificate(b"", b"\1", b"", b"", (), 0, 10**10, b"", section.identifiers,
                              b"aki", None, False, ())
    state = SectionState(issuer=known[""].directory, issuer_account="key")
    plan = orders.plan(section, known[""], csr, state, ("http-01",), certificate=certificate)
    assert plan.order().replaces == "YWtp.AQ" and plan.order().account == "key"
    assert plan._replace(issuer=known["b"]).anew().order().replaces is None
    asked = orders.plan(section, known["b"], csr, state, ("http-01",), certificate=certificate)
    assert asked.order().replaces is None and asked.order().account == ""


def test_a_refusal_is_of_what_was_refused(tmp_path: Path) -> None:
    """With other names, or another profile, the CA is asked again."""
    certs = "[a]\nnames = a.example\nca = default, b\n"
    config, found = load(tmp_path, f"library-directory = {tmp_path}\n{LISTED}", certs)
    (tmp_path / "state").mkdir()
    section = found.sections["a"]
    issuer = issuers.configured(config)[""]
    csr = CSR(b"der", b"", (), (), b"spki", section.identifiers, (), (), False, ())
    plan = orders.plan(section, issuer, csr, SectionState(), ("http-01",))
    others = Elsewhere(config)
    assert others.first(section, SectionState()) == issuer
    again = others.next(plan, Failed("a", "no", "refused", elsewhere="refused"))
    assert again is not None and again.name == "b"
    assert others.next(plan, Failed("a", "no", "refused", elsewhere="refused")) is None
    for changed, name in ((section, "b"), (section._replace(preferred_profile="x"), ""),
                          (section._replace(identifiers=(("dns", "b.example"),)), "")):
        assert Elsewhere(config).first(changed, SectionState()).name == name
    assert Elsewhere(config, patient=False).first(section, SectionState()).name == ""
    # whoever has no other is not passed over, nor asked what nobody else does better
    alone = section._replace(issuers=("",))
    assert Elsewhere(config).first(alone, SectionState()).name == ""
    assert others.next(plan._replace(section=alone), Failed("a", "no", "lost", elsewhere="down")
                       ) is None
    assert others.next(plan, Failed("a", "no", "refused")) is None


def test_a_ca_by_its_directory(tmp_path: Path) -> None:
    config, _ = load(tmp_path, CONFIG)
    for url, name in (("https://ca.example/dir", ""), (PRESETS["letsencrypt"].directory, "le"),
                      (PRESETS["zerossl"].directory, "zerossl"),
                      ("https://new.example/", "https://new.example/")):
        found = issuers.of_directory(config, url)
        assert (found.name, found.directory) == (name, url)
