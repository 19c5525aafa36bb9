"""INI files: values as written, and errors that say where."""

import os
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.common import inifile
from letsencrypt_tiny.common.errors import ConfigError


@pytest.fixture
def file() -> Iterator[Path]:
    """Where to write a configuration file."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "x.conf"


def value(text: str) -> str:
    """Return the value of ``x`` in [a] of a file with the line ``x = TEXT``."""
    return inifile.parse(f"[a]\nx = {text}\ny = 1\n", "F")["a"].text("x")


@pytest.mark.parametrize("text", [
    "a, b,", "%(y)s", "%%", "$y ${y}", "$ENV::HOME", "a # b", "a ; b", "#", "'a'", '"a', '"a" # b',
    "it's", "a = b = c", "[b]", "{}", "\\n \\", "sh -c 'a; b' && c", "ü “x” 日本", "a\tb", "None",
    "''", '""', "systemctl reload 'nginx' # or not"])
def test_a_value_is_taken_as_written(text: str) -> None:
    assert value(text) == text


def test_white_space_around_is_no_part_of_it() -> None:
    sections = inifile.parse("  a  =  b c \t\n\n\t[ s t ]  \n\t x=\n  y =1", "F")
    assert sections[""].text("a") == "b c"
    assert sections["s t"].text("x") == "" and "x" in sections["s t"]
    assert sections["s t"].text("y") == "1"


@pytest.mark.parametrize("line", [
    "# [b]", ";x = 2", "   # x = 2", "\t;", "#'''", "# \x1b[31m", "; [[b]]"])
def test_comments(line: str) -> None:
    sections = inifile.parse(f"{line}\n[a]\n{line}\nx = 1\n{line}", "F")
    assert list(sections) == ["", "a"] and dict(sections["a"].items()) == {"x": "1"}
    assert sections["a"].text("x") == "1"


def test_sections_and_settings_keep_their_order() -> None:
    sections = inifile.parse("z = 1\na = 2\n[y]\n[b]\n[x]\n", "F")
    assert list(sections) == ["", "y", "b", "x"]
    assert list(sections[""].items()) == [("z", "1"), ("a", "2")]


@pytest.mark.parametrize("data", [
    b"x = 1\r\n\r\n# c\r\n[a]\r\ny = b c\r\n", b"\xef\xbb\xbfx = 1\n[a]\ny = b c\n",
    b"\xef\xbb\xbfx=1\r\n[a]\r\ny=b c", b"x=1\n\n[a] # a comment\ny  = b c   \n\n",
    b"x=1\n\t[a]\t; a comment [b]\ny=b c\n", b"x=1\n[a];\ny=b c\n",
    # whatever the encoding of a comment
    b"# M\xfcller\nx=1\n[a] ; M\xfcller\n ;\xff\x1b\ny=b c\n"])
def test_carriage_returns_byte_order_mark_missing_newline(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    sections = inifile.read(str(file))
    assert list(sections) == ["", "a"]
    assert sections[""].text("x") == "1" and sections["a"].text("y") == "b c"


def test_empty_file(file: Path) -> None:
    file.write_bytes(b"")
    assert list(inifile.read(str(file))) == [""]


@pytest.mark.parametrize("text, line", [
    ("a\n", 1), ("x = 1\nnonsense\n", 2), ("\n\nx : 1", 3), ("[a\n", 1), ("[a]]", 1), ("[]", 1),
    ("['']", 1), ('[""]', 1), ("[ ]", 1), ("= 1", 1), ("[a] b", 1), ("[a]\n[[b]]", 2),
    ("[a]\n[b]\n[a]", 3), ("x = 1\nx = 2", 2), ("x = 1\n[a]\nx = 1\nx = 1", 4),
    ("x = '''\ny\n'''", 1), ('[a]\nx = """y"""', 2), ("x = a\0b", 1), ("x = 1\ny = \x1b[31m", 2),
    ("x = 1\rb = 2", 1), ("[a\x1bb]", 1), ("x\u202e = 1", 1), ("a = 1\nx = a\u2028b", 2),
    ("names =\u00a0a.example", 1), ("\ufeff\ufeffx = 1", 1), ("\n[\u200b]", 2), ("x = a\x0cb", 1)])
def test_what_is_wrong_with_a_line_names_it(file: Path, text: str, line: int) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        inifile.read(str(file))
    assert str(caught.value).startswith(f"{file}, line {line}: ")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("data, line", [
    (b"\xff", 1), (b"x = 1\ny = \xe4\n", 2), (b"\n\n\n\xc3\n\n", 4),
    (b"\xef\xbb\xbf\n\xff\n\n\n", 2), (b"x = \xed\xa0\x80", 1)])
def test_not_utf8_names_the_line(file: Path, data: bytes, line: int) -> None:
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=f"{file}, line {line}: not UTF-8"):
        inifile.read(str(file))


def test_files_that_cannot_be_read(file: Path) -> None:
    for path, problem in ((str(file), "No such file"), (str(file.parent), "directory"),
                          (f"{file}/x", "No such file|Not a directory")):
        with pytest.raises(ConfigError, match=problem) as caught:
            inifile.read(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_unreadable_file(file: Path) -> None:
    file.write_text("x = 1")
    file.chmod(0o000)
    file.parent.chmod(0o711)
    pid = os.fork()
    if pid == 0:   # root reads everything
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
            inifile.read(str(file))
        except ConfigError as exc:
            os._exit(0 if "Permission denied" in str(exc) and str(file) in str(exc) else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_world_writable_file(file: Path) -> None:
    file.write_text("x = 1")
    file.chmod(0o646)
    with pytest.raises(ConfigError, match="writable by everybody"):
        inifile.read(str(file))
    file.chmod(0o664)
    assert inifile.read(str(file))[""].text("x") == "1"


def test_a_file_of_many_sections() -> None:
    """It is read in parts, as if it were one: what is wrong is told by its line all the same."""
    lines = ["x = 1", *(line for number in range(5000)
                        for line in (f"[{number}]", "a = 1", "# [no]", f"b = {number}", ""))]
    found = inifile.parse("\n".join(lines), "f")
    assert list(found) == ["", *map(str, range(5000))] and found[""].text("x") == "1"
    assert all(found[str(number)].values == {"a": "1", "b": str(number)} for number in range(5000))
    for wrong, problem in (("[17]", "given before"), ("nothing", "neither"), ("[[x]]", "nested"),
                           ("a = \x01", "control"), ("a = \'\'\'", "triple")):
        with pytest.raises(ConfigError, match=f"f, line {len(lines) + 1}: .*{problem}"):
            inifile.parse("\n".join([*lines, wrong]), "f")


def test_size_is_limited(file: Path) -> None:
    file.write_bytes(b"#" * inifile.MAX_SIZE)
    assert list(inifile.read(str(file))) == [""]
    with open(file, "ab") as grown:
        grown.write(b"\n")
    with pytest.raises(ConfigError, match="larger than"):
        inifile.read(str(file))
    with pytest.raises(ConfigError, match="larger than"):
        inifile.read("/dev/zero")


SECTION = inifile.parse("""[s]
yes = Yes
on = 1
no = FALSE
empty =
maybe = maybe
number = 21
negative = -1
words = a,b  c\td
huge = 99999999999
arabic = ٣
plus = +3
float = 1.0
spaced = 1 2
""", "F")["s"]


def test_booleans() -> None:
    assert SECTION.boolean("yes", False) and SECTION.boolean("on", False)
    assert SECTION.boolean("no", True) is False
    for default in (True, False):
        assert SECTION.boolean("empty", default) is default
        assert SECTION.boolean("absent", default) is default
    with pytest.raises(ConfigError, match=r"^F, \[s\]: maybe = maybe: neither “yes” nor “no”$"):
        SECTION.boolean("maybe", True)


def test_integers() -> None:
    assert SECTION.integer("number", 0, 21) == 21
    assert SECTION.integer("negative", -1, 0) == -1
    assert SECTION.integer("empty", 0, 1) is None and SECTION.integer("absent", 0, 1) is None
    for key in ("huge", "arabic", "plus", "float", "spaced", "maybe", "negative"):
        with pytest.raises(ConfigError, match=rf"^F, \[s\]: {key} = .*from 0 to 20$"):
            SECTION.integer(key, 0, 20)
    with pytest.raises(ConfigError):
        SECTION.integer("number", 0, 20)


def test_words_choices_and_parsers() -> None:
    assert SECTION.words("words") == ["a,b", "c", "d"]
    assert SECTION.words("words", separators=",") == ["a", "b", "c", "d"]
    assert SECTION.words("absent", "x y") == ["x", "y"] and SECTION.words("empty", "x") == []
    assert SECTION.choice("maybe", ("maybe", "not"), "not") == "maybe"
    assert SECTION.choice("empty", ("a", "b"), "b") == "b"
    with pytest.raises(ConfigError, match=r"^F, \[s\]: maybe = maybe: not one of a, b$"):
        SECTION.choice("maybe", ("a", "b"), "b")
    assert SECTION.parsed("number", int) == 21
    with pytest.raises(ConfigError, match=r"^F, \[s\]: maybe = maybe: .*int"):
        SECTION.parsed("maybe", int)


def test_a_secret_is_not_shown() -> None:
    settings = inifile.parse("[s]\nx = http://u:s3cret@h\ny = http://h\n", "F")["s"]
    assert str(settings.bad("x", "odd")) == "F, [s]: x = http://u:s3cret@h: odd"
    assert str(settings.bad("x", "odd", secret=True)) == "F, [s]: x = …@…: odd"
    assert str(settings.bad("y", "odd", secret=True)) == "F, [s]: y = http://h: odd"


def test_unknown_settings_are_listed_with_the_valid_ones() -> None:
    SECTION.allow_only(dict(SECTION.items()))
    with pytest.raises(ConfigError, match=r"^F, \[s\]: unknown setting “yes” \(valid: a, b\)$"):
        SECTION.allow_only(["b", "a"])


def test_a_setting_with_an_error_of_spelling_has_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"“names”\?$"):
        inifile.parse("[s]\nname = x\n", "F")["s"].allow_only(["names", "mode"])
    with pytest.raises(ConfigError, match=r"“min-days”\?$"):
        inifile.parse("[s]\nMin_Days = x\n", "F")["s"].allow_only(["names", "min-days"])


# --- lacme's files -------------------------------------------------------------------------------

@pytest.mark.parametrize("path, expected", [
    ("/etc/lacme/lacme.conf", True), ("/etc/lacme/x.conf", True), ("/x/lacme-certs.conf", True),
    ("/x/lacme-certs.conf.d/a.conf", True), ("lacme.conf", True), ("/x/lacme-accountd.conf", True),
    ("/x/certs.conf", False), ("/x/lacmex.conf", False), ("/lacme/x/certs.conf", False),
    ("/x/my-lacme.conf", False), ("certs.conf", False)])
def test_lacme_files_are_known_by_their_name(path: str, expected: bool) -> None:
    assert inifile.is_lacme(path) is expected


@pytest.mark.parametrize("text", [
    "x = 30 ; seconds", "x = 30\t;\tseconds; more", "x=30 ; a = b", "x = 1\nx = 30",
    "x = 30\n[b]\n[a]\ny = 1", "x = 30\ny = 1\n[ a ] ; again", "x = 30 ; [b]",
    "  x=30 ; \x1b[31m"])
def test_lacme_syntax(text: str) -> None:
    """As Config::Tiny has it; in our own files each of these is refused, or part of the value."""
    found = inifile.parse(f"[a] ; comment\n{text}\n", "F", lacme=True)
    assert found["a"].text("x") == "30"
    try:
        assert inifile.parse(f"[a]\n{text}\n", "F")["a"].text("x") != "30"
    except ConfigError:
        pass


@pytest.mark.parametrize("text, expected", [
    ("a;b", "a;b"), ("a; b", "a; b"), ("a ;b", "a ;b"), ("a # b", "a # b"), ("a ;", "a ;"),
    ("'a'", "'a'"), ("'''a'''", "'''a'''"), ("a = b", "a = b"), ("", ""), ("; b", ""),
    ("sh -c 'a ; b'", "sh -c 'a")])
def test_lacme_values(text: str, expected: str) -> None:
    """A semicolon between white space begins a comment, in a command too: so it is with lacme."""
    found = inifile.parse(f"[a]\nx = {text}\ny = 1\n", "F", lacme=True)["a"]
    assert (found.text("x"), found.text("y")) == (expected, "1")


def test_lacme_sections_are_merged_and_keep_their_order() -> None:
    found = inifile.parse("z = 0\n[b]\nx = 1\ny = 1\n[a]\n[b]\ny = 2\nz = 2\n", "F", lacme=True)
    assert list(found) == ["", "b", "a"] and found["b"].where == "F, [b]"
    assert dict(found["b"].items()) == {"x": "1", "y": "2", "z": "2"}
    assert dict(found[""].items()) == {"z": "0"}


@pytest.mark.parametrize("text, problem", [
    ("x = 1\nnonsense", "line 2: neither a"), ("[a", "line 1: neither"), ("[]", "line 1: neither"),
    ("= 1", "line 1: neither"), ("x = \x1b", "line 1: holds a control"),
    ("\nx = \udcfc ; y", "line 2: not UTF-8")])
def test_what_is_wrong_with_a_line_of_lacme(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^F, {problem}"):
        inifile.parse(text, "F", lacme=True)


@pytest.mark.skipif(not os.path.exists("/usr/share/perl5/Config/Tiny.pm"),
                    reason="needs libconfig-tiny-perl")
def test_lacme_files_are_read_as_its_own_parser_reads_them(file: Path) -> None:
    import json
    import subprocess
    text = ("g = 1 ; x\n[a] ; b\nx = 1\nx = a ; b ; c\n# c\n ; c\ny=a;b\n[b]\nn = sh 'a ; b'\nm=\n"
            "[ c d ]\nk = v w\n[a]\ny = \"q\" # r\nz = a ;\n")
    file.write_text(text)
    done = subprocess.run(
        ["/usr/bin/perl", "-MConfig::Tiny", "-MJSON::PP", "-e",
         "print encode_json({%{Config::Tiny->read($ARGV[0])}})", str(file)],
        stdout=subprocess.PIPE, check=True)
    expected = json.loads(done.stdout)
    found = inifile.read(str(file), lacme=True)
    assert {name or "_": dict(section.items()) for name, section in found.items()} == expected
