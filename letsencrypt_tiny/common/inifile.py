"""INI files -> checked values: the only user of configobj.

A value is taken as written up to the end of its line: no lists, no interpolation, no
inline comments, quotes are part of it.  A line that begins with ``#`` or ``;`` is a comment, and
so is what follows a header; in comments bytes needn't be UTF-8.

lacme's own files are read as lacme reads them (Config::Tiny of Perl): a value ends before white
space, a semicolon and white space; of a setting given twice the last holds; a section given twice
is one.  Ours are read more strictly, for there the semicolon may belong to a command, and what
stands twice is a mistake.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from .errors import ConfigError, Error, did_you_mean

MAX_SIZE = 64 << 20  # bytes; 100,000 sections take about ten MiB
PART = 32 << 10      # characters that configobj has at a time, and the rest of a section

_AT_ONCE = 1 << 16   # bytes; memory for what is asked for is taken whether it comes or not

T = TypeVar("T")

_LACME = re.compile(r"lacme(?![a-z0-9])")
_HEADER_COMMENT = re.compile(r"(\s*\[[^\[\]]*\])\s*[;#].*\Z")
# What a PKCS #11 URI must not hold, and an error must not repeat
_PIN = r"(?i)(pin-value=)[^&]*"
# Config::Tiny's own; few have such files, and to compile takes time
_TINY_COMMENT = r"\s;\s.+\Z"
_TINY_HEADER = r"\s*\[\s*([^\[\]]+?)\s*\]\s*\Z"
_TINY_SETTING = r"\s*([^=\s\[][^=]*?)\s*=\s*(.*?)\s*\Z"


class Settings:
    """The settings of one section, with accessors that say where a bad value stands."""

    __slots__ = ("file", "name", "values")   # there may be 100,000

    def __init__(self, file: str, name: str, values: dict[str, str]) -> None:
        self.file = file
        self.name = name
        self.values = values

    @property
    def where(self) -> str:
        """Where the section stands, for messages: ``FILE, [SECTION]``."""
        return f"{self.file}, [{self.name}]" if self.name else self.file

    def allow_only(self, valid: Iterable[str]) -> None:
        """Raise ConfigError if there is a setting whose name is not among ``valid``."""
        known = set(valid)
        for key in self.values:
            if key not in known:
                raise self.unknown(key, known)

    def items(self) -> Iterable[tuple[str, str]]:
        """The settings given, name and value as written, in the order of the file."""
        return self.values.items()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def bad(self, key: str, problem: str, secret: bool = False) -> ConfigError:
        """Return the ConfigError for the setting ``key``; ``problem`` completes the sentence.

        Of a ``secret`` value nothing is shown if it has an “@”, which a password may precede.
        """
        value = self.values.get(key, "")
        if secret and "@" in value:
            value = "…@…"
        value = without_pin(value)
        if " ; " in value and not is_lacme(self.file):
            problem += " (only in lacme's files a value may be followed by a comment)"
        return ConfigError(f"{self.where}: {key} = {value}: {problem}")

    def unknown(self, key: str, valid: Iterable[str]) -> ConfigError:
        """Return the ConfigError for a setting whose name is not among the ``valid`` ones."""
        names = sorted(valid)
        return ConfigError(f"{self.where}: unknown setting “{key}” "
                           f"(valid: {', '.join(names)}){did_you_mean(key, names)}")

    def text(self, key: str, default: str = "") -> str:
        """Return the value of ``key`` as written."""
        return self.values.get(key, default)

    def words(self, key: str, default: str = "", separators: str = "") -> list[str]:
        """Return the value split at white space and at each character of ``separators``."""
        value = self.text(key, default)
        for separator in separators:
            value = value.replace(separator, " ")
        return value.split()

    def boolean(self, key: str, default: bool) -> bool:
        """Return a yes/no value (also true/false, on/off, 1/0), whatever its case."""
        return self.parsed(key, boolean) if self.text(key) else default

    def integer(self, key: str, least: int, most: int) -> int | None:
        """Return a whole number of ``least`` … ``most``, None where there is none."""
        return self.parsed(key, lambda text: integer(text, least, most)) if self.text(key) else None

    def choice(self, key: str, valid: Sequence[str], default: str) -> str:
        """Return a value that is one of ``valid``, or ``default`` where it is empty."""
        return self.parsed(key, lambda text: choice(text, valid)) if self.text(key) else default

    def parsed(self, key: str, parse: Callable[[str], T], default: str = "") -> T:
        """Return ``parse(value)``; a ValueError of it becomes a ConfigError that says where."""
        value = self.text(key, default)
        try:
            return parse(value)
        except ValueError as exc:
            raise self.bad(key, str(exc)) from exc


def without_pin(value: str) -> str:
    """Return what may be shown of a value: the PIN that a URI must not hold is no part of it."""
    return re.sub(_PIN, r"\1…", value)


def boolean(text: str) -> bool:
    """Parse yes or no (also true/false, on/off, 1/0), whatever its case; raises ValueError."""
    value = text.lower()
    if value in ("yes", "true", "on", "1"):
        return True
    if value in ("no", "false", "off", "0"):
        return False
    raise ValueError("neither “yes” nor “no”")


def integer(text: str, least: int, most: int) -> int:
    """Parse a whole number of ``least`` … ``most``; raises ValueError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9
            and least <= int(text) <= most):
        raise ValueError(f"not a whole number from {least} to {most}")
    return int(text)


def choice(text: str, valid: Sequence[str]) -> str:
    """Return ``text`` if it is one of ``valid``; raises ValueError."""
    if text not in valid:
        raise ValueError(f"not one of {', '.join(valid)}")
    return text


def is_lacme(path: str) -> bool:
    """True for a file of lacme's, by its name or its directory's: lacme.conf, lacme-*, lacme/*."""
    directory, name = os.path.split(path)
    return bool(_LACME.match(name) or _LACME.match(os.path.basename(directory)))


def read(path: str, lacme: bool | None = None, opener: Callable[[str], int] | None = None
         ) -> dict[str, Settings]:
    """Read an INI file: section names -> sections, in order; "" is what stands before the first.

    ``lacme`` says whether it is one of lacme's; its name says it where that is None.  ``opener``
    returns a descriptor for a path, or raises Error for one that is not to be believed.
    Raises ConfigError naming the file and line at fault.
    """
    try:
        with open(path if opener is None else opener(path), "rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            if stat.S_ISDIR(info.st_mode):
                raise ConfigError(f"{path}: is a directory, not a configuration file")
            if stat.S_ISREG(info.st_mode) and info.st_mode & stat.S_IWOTH:
                raise ConfigError(f"{path}: writable by everybody (chmod o-w it)")
            data = bytearray()
            while len(data) <= MAX_SIZE and (part := file.read(_AT_ONCE)):
                data += part
    except OSError as exc:
        raise ConfigError(f"{path}: cannot read the configuration: {exc.strerror}") from exc
    except ConfigError:
        raise
    except Error as exc:
        raise ConfigError(str(exc)) from exc
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{path}: larger than {MAX_SIZE} bytes")
    text = data.decode("utf-8-sig", "surrogateescape")   # a surrogate is a byte that isn't UTF-8
    del data
    return parse(text, path, is_lacme(path) if lacme is None else lacme)


def parse(text: str, path: str, lacme: bool = False) -> dict[str, Settings]:
    """Parse the text of an INI file, as ``read`` does; ``path`` is for messages only."""
    if lacme:
        return _parse_lacme(_without_comments(text.split("\n")), path)
    result: dict[str, Settings] = {}
    for before, part in _parts(text):
        found = _parse_part(part, path, before)
        if before and not result.keys().isdisjoint(found):
            _parse_part(text, path, 0)   # which says what is there twice, and where
        result.update(found)
    return result


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text of a file in parts of whole sections, each with the number of lines before it.

    configobj takes 3 kB for a section, and some for a line: it has a few at a time.
    """
    start = before = 0
    while True:
        end = text.find("\n[", start + PART)
        part = text[start:end if end >= 0 else None]
        yield before, part
        if end < 0:
            return
        start, before = end + 1, before + part.count("\n") + 1


def _without_comments(lines: list[str]) -> list[str]:
    return ["" if line.lstrip()[:1] in (";", "#") else line for line in lines]


def _parse_part(part: str, path: str, before: int) -> dict[str, Settings]:
    from configobj import ConfigObj, ConfigObjError
    lines = part.split("\n")
    if "#" in part or ";" in part:
        lines = [_HEADER_COMMENT.sub(r"\1", line) if "[" in line else line
                 for line in _without_comments(lines)]
    _check(lines, path, before)
    try:
        # _inspec: values come as written, with no meaning given to quotes and “#” (§ above)
        parsed = ConfigObj(lines, list_values=False, interpolation=False, raise_errors=True,
                           _inspec=True)
    except ConfigObjError as exc:
        raise ConfigError(f"{path}, line {before + exc.line_number}: {_explain(exc)}") from exc
    result = {} if before else {
        "": Settings(path, "", {key: parsed[key].strip() for key in parsed.scalars})}
    seen: dict[str, str] = {}   # what many sections say is there once
    for name in parsed.sections:
        values = {}
        # as a plain dict: its own look-up would ask about interpolation each time
        for key, value in dict.items(parsed[name]):
            value = value.strip()
            values[sys.intern(key)] = seen.setdefault(value, value)
        result[name] = Settings(path, name, values)
    return result


def _parse_lacme(lines: Sequence[str], path: str) -> dict[str, Settings]:
    """Parse lines as Config::Tiny does."""
    values: dict[str, str] = {}
    result = {"": Settings(path, "", values)}
    for number, line in enumerate(lines, 1):
        line = re.sub(_TINY_COMMENT, "", line)
        _check_characters(line, f"{path}, line {number}")
        if match := re.match(_TINY_HEADER, line):
            name = match.group(1)
            if name not in result:
                result[name] = Settings(path, name, {})
            values = result[name].values
        elif match := re.match(_TINY_SETTING, line):
            values[match.group(1)] = match.group(2)
        elif line.strip():
            raise ConfigError(f"{path}, line {number}: neither a [section] nor a "
                              "“setting = value”")
    return result


def _check_characters(line: str, where: str) -> None:
    """Refuse what cannot be seen; ``line`` is without comments."""
    text = line.rstrip().replace("\t", " ")
    if text.isprintable():
        return
    if any("\udc80" <= character <= "\udcff" for character in text):
        raise ConfigError(f"{where}: not UTF-8")
    raise ConfigError(f"{where}: holds a control character, or a space that only looks like one")


def _check(lines: Sequence[str], path: str, before: int) -> None:
    """Refuse what configobj would take for something; ``lines`` are without the comments, and
    there are so many ``before``."""
    joined = "\n".join(lines)
    if joined.replace("\n", "").replace("\t", "").isprintable() and not any(
            mark in joined for mark in ("'''", '"""', "[[")):
        return   # the most have nothing to look at more closely
    for number, line in enumerate(lines, before + 1):
        _check_characters(line, f"{path}, line {number}")
        # triple quotes begin values of several lines: nobody needs one here
        if "'''" in line or '"""' in line:
            raise ConfigError(f"{path}, line {number}: triple quotes are not supported")
        if line.lstrip().startswith("[["):
            raise ConfigError(f"{path}, line {number}: sections cannot be nested")


def _explain(exc: Exception) -> str:
    kind = type(exc).__name__
    if kind == "DuplicateError":
        return "this section or setting was given before"
    return "neither a [section] nor a “setting = value”"
