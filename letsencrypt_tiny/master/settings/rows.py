"""A setting is a row; a section of a file is read by going once through what it gives.

To add a setting: a row in the table of its section, the field of its record, a paragraph of the
man page and a commented line of the configuration (a test compares them).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from ...common.inifile import Settings

# By their fields' names, each of its field's type (a test compares parsers and records)
Values = dict[str, Any]


class Setting(NamedTuple):
    """One setting of a section."""

    name: str
    field: str                       # of the record that its value becomes part of
    parse: Callable[[str], object]   # text -> value; raises ValueError
    default: str                     # parsed where the setting is missing or empty
    help: str                        # one phrase
    old: tuple[str, ...] = ()        # other names for it
    empty: bool = False              # an empty value means something of its own
    secret: bool = False             # may hold a password, which no message shows


class Table:
    """The settings of one section."""

    def __init__(self, *rows: Setting) -> None:
        self.rows = rows
        self._by_name = {name: row for row in rows for name in (row.name, *row.old)}
        self._defaults: Values = {}

    @property
    def names(self) -> list[str]:
        """What a setting may be called, other names included."""
        return list(self._by_name)

    def defaults(self) -> Values:
        """Return what holds where nothing is said."""
        if not self._defaults:
            self._defaults = {row.field: row.parse(row.default) for row in self.rows}
        return self._defaults

    def read(self, settings: Settings, inherited: Values | None = None) -> Values:
        """Return the values of a section; what it doesn't give is ``inherited``, or the default.

        Raises ConfigError.
        """
        defaults = self.defaults()
        values = dict(inherited or defaults)
        for name, text in settings.items():
            row = self._by_name.get(name)
            if row is None:
                raise settings.unknown(name, self._by_name)
            if name != row.name and row.name in settings:
                continue   # of two names for one setting ours is what counts
            if not text and not row.empty:
                values[row.field] = defaults[row.field]
                continue
            try:
                values[row.field] = row.parse(text)
            except ValueError as exc:
                raise settings.bad(name, str(exc), row.secret) from exc
        return values


R = TypeVar("R", bound=NamedTuple)


def record(kind: type[R], values: Mapping[str, Any]) -> R:
    """Return the record of which ``values`` has all fields, and maybe those of others."""
    return kind._make(_getter(kind._fields)(values))


@lru_cache(32)   # each for up to 100,000 sections
def _getter(fields: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*fields)
