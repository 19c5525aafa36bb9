"""letsencrypt-tiny.conf.d/*.conf: what the administrator adds to letsencrypt-tiny.conf.

That one is the package's to change; these are nobody else's, so no upgrade asks about them.  A
setting of a later file takes the place of an earlier one's; whatever is wrong is told of the file
that it stands in.
"""

from ...common import inifile
from ...common.errors import ConfigError
from ...common.inifile import Settings
from . import sources, values


class _Merged(Settings):
    """The settings of a section of several files."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Settings]) -> None:
        """``parts``: of each file that has the section, the first first."""
        joined: dict[str, str] = {}
        for part in parts:
            joined.update(part.values)
        super().__init__(parts[0].file, parts[0].name, joined)
        self._parts = parts

    def bad(self, key: str, problem: str, secret: bool = False) -> ConfigError:
        """Return the ConfigError for the setting ``key``, of the file that has it last."""
        return self._of(key).bad(key, problem, secret)

    def unknown(self, key: str, valid: object) -> ConfigError:
        """Return the ConfigError for a setting that there is not, of the file that has it."""
        return self._of(key).unknown(key, valid)   # type: ignore[arg-type]

    def _of(self, key: str) -> Settings:
        found = [part for part in self._parts if key in part]
        return found[-1] if found else self._parts[0]


def read(path: str) -> dict[str, Settings]:
    """Read the main configuration at ``path`` with what is in ``path``.d; as inifile.read.

    Beside one of lacme's there is no such directory.  Raises ConfigError.
    """
    found = inifile.read(path, opener=values.open_own)
    files = [] if inifile.is_lacme(path) else sources.files([f"{path}.d/"], optional=True)
    if not files:
        return found
    parts = {name: [settings] for name, settings in found.items()}
    for file in files:
        for name, settings in sources.read(file, False, None).items():
            parts.setdefault(name, []).append(settings)
    return {name: _Merged(mine) for name, mine in parts.items()}
