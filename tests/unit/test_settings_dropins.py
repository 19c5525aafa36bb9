"""letsencrypt-tiny.conf.d/*.conf: added to the main file, told of by their own names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run import PARENT
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.master.settings import main as settings

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root's, with a main configuration and a directory for more."""
    import shutil
    import tempfile
    path = Path(tempfile.mkdtemp(prefix="dropins-", dir=PARENT))
    (path / "main.conf").write_text("openssl = /usr/bin/false\n[client]\ntimeout = 30\n")
    (path / "main.conf.d").mkdir()
    yield path
    shutil.rmtree(path)


def more(place: Path, name: str, text: str) -> Path:
    path = place / "main.conf.d" / name
    path.write_text(text)
    return path


def load(place: Path) -> settings.Config:
    return settings.load(str(place / "main.conf"))


def test_later_files_win(place: Path) -> None:
    assert load(place).client.access.timeout == 30 and not load(place).authorities
    more(place, "a.conf", "openssl = /usr/bin/openssl\n[client]\njobs = 3\n[ca mine]\n"
                          "server = https://ca.example/dir\n")
    more(place, "b.conf", "[client]\ntimeout = 40\njobs = 4\n")
    for name in (".c.conf", "#c.conf", "c.conf~", "c.conf.dpkg-new"):
        more(place, name, "[client]\ntimeout = 50\n")
    found = load(place)
    assert found.openssl == "/usr/bin/openssl" and list(found.authorities) == ["mine"]
    assert (found.client.access.timeout, found.client.access.jobs) == (40, 4)
    assert found.file == str(place / "main.conf")


@pytest.mark.parametrize("text, told", [
    ("[client]\ntimeout = soon\n", "[client]: timeout = soon: not a whole number"),
    ("[client]\ntimout = 3\n", "[client]: unknown setting “timout”"),
    ("[ca x]\n", "[ca x]: server = : must be set"), ("nonsense\n", "line 1: neither"),
    ("colour = red\n", "unknown setting “colour”")])
def test_what_is_wrong_is_told_of_its_own_file(text: str, told: str, place: Path) -> None:
    path = more(place, "x.conf", text)
    with pytest.raises(ConfigError) as raised:
        load(place)
    assert str(raised.value).startswith(str(path)) and told in str(raised.value)
    path.write_text("")
    (place / "main.conf").write_text("[client]\ntimeout = soon\n")
    more(place, "y.conf", "[client]\njobs = 3\n")
    with pytest.raises(ConfigError, match="main.conf, .client.: timeout = soon"):
        load(place)


def test_nobody_else_can_add_to_it(place: Path) -> None:
    path = more(place, "x.conf", "[client]\njobs = 3\n")
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="x.conf: belongs to uid 65534"):
        load(place)
    os.chown(path, 0, 0)
    os.chown(path.parent, 65534, 65534)
    with pytest.raises(ConfigError, match="main.conf.d: belongs to uid 65534"):
        load(place)
