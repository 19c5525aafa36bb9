"""A setting is a row; the man pages and the commented configuration have them all, and no other."""

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common import inifile
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.master.settings import authorities, certificates, challenges, main
from letsencrypt_tiny.master.settings.rows import Setting, Table, record

TREE = Path(__file__).resolve().parents[2]
# of sections that need not be there: their names stand for the headers
OPTIONAL = {"ca NAME": authorities.table(main.CA), "dns": challenges.DNS,
            "tlsserver": challenges.TLSSERVER}
TABLES = {**main.TABLES, **OPTIONAL, "certs": certificates.SECTION}
ROWS = [(section, row) for section, table in TABLES.items() for row in table.rows]
RECORDS = {"": (main.Config,), "client": (main.Client, main.Program, Access),
           "webserver": (main.Webserver, main.Program), "accountd": (main.Accountd, main.Program),
           "ca NAME": (authorities.Authority, Access), "dns": (challenges.Dns, main.Program),
           "tlsserver": (challenges.Tlsserver, main.Program), "certs": (certificates.Section,)}
# what main.py imports for the type checker only
NAMES = {"Authority": authorities.Authority, "Dns": challenges.Dns,
         "Tlsserver": challenges.Tlsserver}
IDENTIFIERS = tuple[tuple[str, str], ...]
# values that the fields of a record are made of: (section, field) -> type
INTERMEDIATE = {("client", "tls"): tuple[str, str], ("ca NAME", "tls"): tuple[str, str],
                ("certs", "names"): IDENTIFIERS,
                ("certs", "alternative_names"): IDENTIFIERS,
                ("certs", "key_types"): tuple[str, ...]}


def settings(text: str) -> inifile.Settings:
    """Return the settings of a section [s] with this text."""
    return inifile.parse(f"[s]\n{text}\n", "F")["s"]


# --- reading -------------------------------------------------------------------------------------

def _letter(text: str) -> str:
    if text not in "abc":
        raise ValueError("no such letter")
    return text.upper()


TABLE = Table(
    Setting("one", "first", _letter, "a", "a letter"),
    Setting("two", "second", _letter, "b", "another", old=("zwei", "deux")),
    Setting("three", "third", str, "x", "anything, or nothing", empty=True),
    Setting("four", "fourth", _letter, "", "a password", secret=True))
DEFAULTS = {"first": "A", "second": "B", "third": "x", "fourth": ""}


@pytest.mark.parametrize("text, changes", [
    ("", {}), ("one = b", {"first": "B"}), ("zwei = c", {"second": "C"}),
    ("deux = c\none = c", {"second": "C", "first": "C"}),
    ("one =", {}), ("two =", {}), ("zwei =", {}), ("three =", {"third": ""}),
    # of two names for one setting that of the row is what counts, wherever it stands
    ("two = c\nzwei = a", {"second": "C"}), ("zwei = a\ntwo = c", {"second": "C"}),
    ("zwei = nonsense\ntwo =", {})])
def test_what_is_not_given_is_the_default(text: str, changes: dict[str, str]) -> None:
    assert TABLE.read(settings(text)) == {**DEFAULTS, **changes}
    assert TABLE.defaults() == DEFAULTS, "they are everybody's"


def test_what_is_not_given_is_inherited() -> None:
    inherited = TABLE.read(settings("one = b\ntwo = c\nthree ="))
    assert TABLE.read(settings(""), inherited) == inherited
    found = TABLE.read(settings("one = c\nzwei ="), inherited)
    # an empty value is the default; another name overrides what was inherited by the first
    assert found == {**inherited, "first": "C", "second": "B"}
    assert inherited["first"] == "B", "it is not changed"


@pytest.mark.parametrize("text, message", [
    ("five = 1", "F, [s]: unknown setting “five” (valid: deux, four, one, three, two, zwei)"),
    ("One = a", "F, [s]: unknown setting “One” (valid: deux, four, one, three, two, zwei): "
                "did you mean “one”?"),
    ("thre = a", "F, [s]: unknown setting “thre” (valid: deux, four, one, three, two, zwei): "
                 "did you mean “three”?"),
    ("one = z ; no", "F, [s]: one = z ; no: no such letter (only in lacme's files a value may be "
                     "followed by a comment)"),
    ("first = a", "F, [s]: unknown setting “first” (valid: deux, four, one, three, two, zwei)"),
    ("one = z", "F, [s]: one = z: no such letter"),
    ("zwei = z", "F, [s]: zwei = z: no such letter"),
    ("four = s3cret@z", "F, [s]: four = …@…: no such letter")])
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TABLE.read(settings(text))
    assert str(caught.value) == message


def test_a_record_takes_its_fields_of_them() -> None:
    class Two(typing.NamedTuple):
        second: str
        first: str
    assert record(Two, DEFAULTS) == Two("B", "A")
    with pytest.raises(KeyError):
        record(Two, {"first": "A"})


# --- the tables ----------------------------------------------------------------------------------

@pytest.mark.parametrize("section", TABLES)
def test_names_and_fields_are_unique(section: str) -> None:
    rows = TABLES[section].rows
    names = [name for row in rows for name in (row.name, *row.old)]
    assert len(set(names)) == len(names) == len(TABLES[section].names) > 3
    assert len({row.field for row in rows}) == len(rows)


@pytest.mark.parametrize("section, row", ROWS, ids=lambda value: getattr(value, "name", value))
def test_a_parser_returns_what_the_field_takes(section: str, row: Setting) -> None:
    fields = {field: kind for kind_of in RECORDS[section]
              for field, kind in typing.get_type_hints(kind_of, None, NAMES).items()}
    expected = INTERMEDIATE.get((section, row.field)) or fields[row.field]
    found = str if row.parse is str else typing.get_type_hints(row.parse)["return"]
    # the files that may be missing are no setting's value
    assert found == expected or row.name == "config-certs" and expected == (found | None)
    row.parse(row.default)
    assert 3 < len(row.help) < 60 and not row.help.endswith(".")


# --- the commented configuration -----------------------------------------------------------------

def shown(text: str) -> dict[str, dict[str, str]]:
    """Return section -> setting -> default of a file in which all is commented but headers."""
    found: dict[str, dict[str, str]] = {"": {}}
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"#?\[(.+)\]", line):
            section = match.group(1)
            found[section] = {}
        elif match := re.fullmatch(r"#?([A-Za-z-]+|SSL_[a-z_]+) =(?: (.*))?", line):
            assert line.startswith("#") and match.group(1) not in found[section], line
            found[section][match.group(1)] = match.group(2) or ""
    return found


def test_the_commented_configuration_has_each_row() -> None:
    found = shown((TREE / "config/letsencrypt-tiny.conf").read_text())
    assert found == {section: {row.name: row.default for row in table.rows}
                     for section, table in {**main.TABLES, **OPTIONAL}.items()}


def test_the_commented_certificates_have_each_row() -> None:
    text = (TREE / "config/certs.conf").read_text()
    examples, defaults = text.split("\n# What stands before", 1)
    assert shown(defaults) == {
        "": {row.name: row.default for row in certificates.SECTION.rows}}
    used = set(re.findall(r"^#([A-Za-z-]+) = ", examples, re.M))
    assert 5 < len(used) and used <= set(certificates.SECTION.names)


# --- the man pages -------------------------------------------------------------------------------

def documented(page: str) -> dict[str, dict[tuple[str, ...], str]]:
    """Return heading -> names of an item -> its text, of the outermost lists of an mdoc page."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    items: dict[tuple[str, ...], str] = {}
    names: tuple[str, ...] = ()
    depth = 0
    for line in (TREE / "man" / page).read_text().splitlines():
        if line.startswith(".Sh "):
            items = found.setdefault(line[4:], {})
            assert depth == 0
        depth += line.startswith((".Bl ", ".Bd ")) - line.startswith((".El", ".Ed"))
        if depth == 1 and line.startswith(".It Ic "):
            names = tuple(line[7:].split(" , "))
            assert names not in items
            items[names] = ""
        elif depth and names in items:
            items[names] += re.sub(r"^\.[A-Z][a-z] ", "", line) + "\n"
    return found


def pages() -> Iterator[tuple[str, dict[tuple[str, ...], str]]]:
    """Yield the name of a table and the items of the man page that are about it."""
    page = documented("letsencrypt-tiny.conf.5")
    yield "", page["DEFAULT SECTION"]
    for section in ("client", "webserver", "accountd", *OPTIONAL):
        yield section, next(items for heading, items in page.items()
                            if heading.startswith(f"[{section}]"))
    yield "certs", documented("letsencrypt-tiny-certs.conf.5")["SETTINGS"]


def test_the_manual_has_each_row() -> None:
    found = {section: sorted(name for names in items for name in names)
             for section, items in pages()}
    assert found == {section: sorted(table.names) for section, table in TABLES.items()}


@pytest.mark.parametrize("section, row", ROWS, ids=lambda value: getattr(value, "name", value))
def test_the_manual_has_its_default(section: str, row: Setting) -> None:
    items = dict(pages())[section]
    names, text = next((names, text) for names, text in items.items() if row.name in names)
    assert set(row.old) <= set(names) and text.strip()
    if text.startswith("As above.\n") and "Default" not in text:
        assert row.default in [other.default for other in main.CLIENT.rows
                               if other.name == row.name]
    elif row.default:
        start = re.search(r"\b[Dd]efault(?: is|:)", text)
        assert start and re.search(rf"(?<!\S){re.escape(row.default)}(?!\w)",
                                   text[start.start():]), text
