"""apache2 and nginx of Debian start whatever becomes of the packages: nothing is enabled unasked,
what is stays so in upgrades, and goes with them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

# As “add --web-server” writes it, and as an administrator does
WRITTEN = "etc/nginx/sites-enabled/zz-letsencrypt-tiny-a.example.conf"
MINE = ("etc/nginx/sites-available/mine", "etc/apache2/sites-available/mine.conf")
INCLUDE = "include /etc/letsencrypt-tiny"
TEXTS = {
    WRITTEN: "# Written by “letsencrypt-tiny add --web-server”: these names have no server {} of "
             f"their own.\nserver {{ server_name a.example; {INCLUDE}/nginx.conf; }}\n",
    MINE[0]: f"server {{ server_name b.example;\n  {INCLUDE}/nginx.conf; }}\n",
    MINE[1]: f"<VirtualHost *:80>\n  Include{INCLUDE[7:]}/apache2.conf\n</VirtualHost>\n",
    "etc/nginx/sites-available/not": f"# {INCLUDE}/nginx.conf;\n"}
ENABLED, AVAILABLE = (f"etc/apache2/conf-{which}/letsencrypt-tiny.conf"
                      for which in ("enabled", "available"))


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Throwaway]:
    """Both servers are installed."""
    made = Throwaway(request.param, ["systemd", "apache2", "nginx"], tree=False)
    try:
        (made.path / "srv/new").mkdir()
        for package in debs:
            shutil.copy(package, made.path / "srv/new")
        yield made
    finally:
        made.remove()


def fine(debian: Throwaway, *argv: str) -> str:
    done = debian.run(*argv, loopback=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def start(debian: Throwaway) -> None:
    """They would."""
    fine(debian, "/usr/sbin/apache2ctl", "configtest")
    fine(debian, "/usr/sbin/nginx", "-t")


def files(debian: Throwaway) -> dict[str, bytes]:
    """What apache2 has, and has noted; nginx's, too."""
    found = [path for top in ("etc/apache2", "var/lib/apache2", "etc/nginx")
             for path in (debian.path / top).rglob("*") if not path.is_dir()]
    return {str(path.relative_to(debian.path)): bytes(path.readlink()) if path.is_symlink()
            else path.read_bytes() for path in found}


def test_they_start(debian: Throwaway) -> None:
    fine(debian, "/usr/sbin/a2enmod", "proxy_http")
    before = files(debian)
    install = ["/bin/sh", "-c", "exec dpkg --force-unsafe-io -i /srv/new/*.deb"]
    fine(debian, *install)
    assert files(debian).keys() - before.keys() == {AVAILABLE}, "nobody has asked for more"
    fine(debian, "/usr/sbin/a2enconf", "letsencrypt-tiny")
    for name, text in TEXTS.items():
        (debian.path / name).write_text(text)
    (debian.path / "etc/nginx/sites-enabled/mine").symlink_to(f"/{MINE[0]}")
    fine(debian, "/usr/sbin/a2ensite", "mine")
    start(debian)
    fine(debian, *install)    # an upgrade
    assert (debian.path / ENABLED).is_symlink()
    start(debian)

    said = fine(debian, "dpkg", "--remove", "letsencrypt-tiny")
    assert not (debian.path / ENABLED).is_symlink(), said
    start(debian)
    fine(debian, *install)
    assert not (debian.path / ENABLED).is_symlink(), "it is asked for anew"
    start(debian)
    fine(debian, "/usr/sbin/a2enconf", "letsencrypt-tiny")

    said = fine(debian, "dpkg", "--purge", "letsencrypt-tiny", "letsencrypt-tiny-accountd")
    told = [line for line in said.splitlines() if line.startswith("letsencrypt-tiny: ")]
    assert told == [f"letsencrypt-tiny: /{mine} includes a file of /etc/letsencrypt-tiny, which is "
                    f"gone: remove that line, {mine.split('/')[1]} won't start with it."
                    for mine in MINE], said
    fine(debian, "/usr/sbin/a2dissite", "--purge", "mine")
    (debian.path / "etc/nginx/sites-enabled/mine").unlink()
    start(debian)
    for name in TEXTS:
        (debian.path / name).unlink(missing_ok=name == WRITTEN)
    assert files(debian) == before
