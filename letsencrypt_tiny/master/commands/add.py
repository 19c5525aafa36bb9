"""The add command: from nothing to a certificate, each step telling what it does.

    names → the section, as it will be → account key → terms → account → SECTION.conf → check
    → order → where it is, and what a server is told

Repeated, it does what is left or new.  What fails takes back what this run has written, unless the
CA has issued something or has an order that goes on; account key and account stay, as the next
attempt needs them.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...common import log
from ...common.errors import Error, UsageError
from ...common.names import Identifier
from ..plan import issuers
from ..report.places import places
from ..settings import certificates, values
from ..settings.certificates import Certificates, Section
from ..settings.identifiers import parse_identifier
from ..settings.main import Config
from ..store import forgetting, sectionfile
from ..store.installed import read_certificate
from ..store.journal import Journal
from . import opening
from .locked import Locked

# option -> the field of a Section that its setting becomes
_FIELDS = {"notify": "notify", "challenge": "challenges", "ca": "issuers"}
_RELOADS, _PAUSE = 10, 0.5   # how often to look whether a web server has reloaded, and seconds


class Options(NamedTuple):
    """The options of the add command."""

    names: Sequence[str]
    notify: str | None = None
    challenge: str | None = None
    ca: Sequence[str] | None = None
    contact: Sequence[str] | None = None
    terms_agreed: bool = False
    web_server: bool = False             # that has port 80 is to be told where challenges are

    @property
    def given(self) -> dict[str, str]:
        """The settings that are given."""
        found = {"notify": self.notify, "challenge": self.challenge,
                 "ca": ", ".join(self.ca) if self.ca else None}
        return {key: value for key, value in found.items() if value is not None}


class Wish(NamedTuple):
    """The section that is wanted, and what is to be written for it."""

    section: Section
    path: str                     # of its file
    text: str | None              # None: it is as wanted
    before: str | None            # what is there now; None: no file


def add(config: Config, options: Options) -> int:
    """Get the certificate, and whatever it needs; returns the exit status.

    Raises UsageError and ConfigError before anything is touched, and Error.
    """
    wish = _wish(config, options)
    contact = _contact(options)
    known = issuers.configured(config)
    asked = [known[name] for name in wish.section.issuers]
    with Locked(config):
        opening.make_key(config, asked)
        missing = [one for issuer in asked
                   if (one := opening.look_up(config, issuer, contact)) is not None]
    opening.agree(missing, options.terms_agreed)   # others may run while somebody reads
    with Locked(config):
        for wanted in missing:
            opening.register(config, wanted, contact)
        if missing:
            wish = _wish(config, options)
        if options.web_server:
            _adapt(config, wish.section)
        return _order(config, wish)


# --- what is wanted ------------------------------------------------------------------------------

def _wish(config: Config, options: Options) -> Wish:
    """Return the section as it will be, which is read as if its file were there.

    Raises UsageError, ConfigError.
    """
    wanted = {_identifier(word): word for name in options.names for word in values.split(name)}
    if not wanted:
        raise UsageError("add: name the host, such as letsencrypt-tiny add www.example.org")
    name = sectionfile.name_for(next(iter(wanted))[1])
    found = certificates.load(config)
    if name in found.faults:
        raise found.faults[name]
    path = f"{sectionfile.place(found)}/{name}.conf"
    had = _ours(path, name)
    text = sectionfile.text_of(name, _settings(had or {}, wanted, options))
    section, old = _tried(config, found, name, path, text), found.sections.get(name)
    if old is not None and (had is None or old.source != path):
        _compare(old, section, options)
        return Wish(old, old.source, None, None)
    before = sectionfile.text_of(name, had) if had is not None else None
    return Wish(section, path, None if text == before else text, before)


def _settings(had: Mapping[str, str], wanted: Mapping[Identifier, str], options: Options
              ) -> dict[str, str]:
    """Return what the file is to say: what it ``had``, with what is given in its place, and the
    names ``wanted`` behind those that are there."""
    if options.notify is not None and not options.notify.isprintable():
        raise UsageError("add: --notify is a command of one line")
    names = values.split(had.get("names", ""))
    known = {parse_identifier(word, public=False) for word in names}
    names += [word for identifier, word in wanted.items() if identifier not in known]
    return {**had, **options.given, "names": ", ".join(names)}


def _identifier(word: str) -> Identifier:
    try:
        return parse_identifier(word, public=False)
    except ValueError as exc:
        raise UsageError(f"add: {exc}") from exc


def _ours(path: str, name: str) -> dict[str, str] | None:
    try:
        return sectionfile.read(path, name)
    except FileNotFoundError:
        return None


def _tried(config: Config, found: Certificates, name: str, path: str, text: str) -> Section:
    """Return what the section is once its file is there; raises UsageError for what is wrong with
    it, or becomes wrong with others."""
    tried = certificates.load(config, new=(path, text))
    if name in tried.faults:
        raise UsageError(f"add: {str(tried.faults[name]).removeprefix(f'{path}, [{name}]: ')}")
    for other, fault in tried.faults.items():
        if other not in found.faults:
            raise UsageError(f"add: {fault}")
    return tried.sections[name]


def _compare(old: Section, new: Section, options: Options) -> None:
    """Raise UsageError if what is wanted is not what a section has that is not ours to change."""
    wanted = [key for key in options.given
              if getattr(old, _FIELDS[key]) != getattr(new, _FIELDS[key])]
    names = [value for identifier in new.identifiers if identifier not in old.identifiers
             for value in identifier[1:]]
    if wanted or names:
        what = [f"add {', '.join(names)} to its names"] * bool(names) + [
            f"set {key} = {options.given[key]}" for key in wanted]
        raise UsageError(f"add: {old.where} is yours, and not changed here: {' and '.join(what)} "
                         f"there, and run “letsencrypt-tiny newOrder {old.name}”")


def _contact(options: Options) -> tuple[str, ...]:
    try:
        return values.contacts(" ".join(options.contact or ()))
    except ValueError as exc:
        raise UsageError(f"add: --contact: {exc}") from exc


# --- the order -----------------------------------------------------------------------------------

def _order(config: Config, wish: Wish) -> int:
    """Write the file, check, order and tell; raises Error."""
    written, is_new = None, not os.path.lexists(os.path.dirname(wish.section.outputs[0]))
    sectionfile.tidy(os.path.dirname(wish.path))
    if wish.text is None:
        log.info(f"configuration: {wish.path} is as wanted")
    else:
        written = sectionfile.Written(wish.path, wish.text, wish.before)
        log.info(f"configuration: {wish.path} written")
    done = False
    try:
        status = _checked_and_ordered(config, wish.section)
        done = _is_there(wish.section)
    finally:
        if written is not None and not done:
            _take_back(config, wish, written, is_new)
    if done:
        for line in places(wish.section):
            if log.shows_info():
                print(line)
    return status


def _adapt(config: Config, section: Section) -> None:
    """Have the web server at the port of HTTP pass challenges on, unless it does.  Raises Error."""
    from . import frontend, through
    names = through.concerned(config, [section])
    if not names:
        log.info("web server: none has port 80 that challenges are to pass")
    elif through.trial(config, names):
        frontend.adapt(config, section)
        for _ in range(_RELOADS):   # a server that is told to reload does so when it likes
            if not through.trial(config, names):
                break
            time.sleep(_PAUSE)


def _checked_and_ordered(config: Config, section: Section) -> int:
    from .check import check
    from .new_order import Options as Ordering, new_order
    status = check(config, [section.name])
    if status != 0:
        log.error(f"{section.name}: nothing is ordered")
        return status
    return new_order(config, certificates.load(config), Ordering([section.name]))


def _is_there(section: Section) -> bool:
    """Say whether a certificate is installed for the names of a section."""
    try:
        found = read_certificate(section.outputs[0], section.trusted)
    except (OSError, Error):
        return False
    return set(found.names) == set(section.identifiers)


def _take_back(config: Config, wish: Wish, written: sectionfile.Written, is_new: bool) -> None:
    """Nothing was issued: nothing is configured, and there is no key, either, if there was none.

    What the CA has issued, or is about to, is the next run's, which the timer starts.
    """
    state = Journal(config.state_directory).section(wish.section.name)
    if state.kept or state.order:
        log.info(f"{wish.section.name}: the order is taken up by the next run")
        return
    written.take_back()
    if is_new and wish.before is None:
        forgetting.remove(config, wish.section)
        forgetting.forget(config, wish.section)
    log.info(f"configuration: {wish.path} {'is as it was' if wish.before else 'is taken back'}: "
             "run the same command again once that is mended")
