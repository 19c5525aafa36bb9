"""Each client that Debian has gets certificates from Pebble; then they are ours, and renewed by us.
"""

import json
import os
import re
from pathlib import Path

import pytest

from harness import ca, foreign, judge
from harness.foreign import Foreign
from harness.pebble import Pebble
from harness.run import Site, run
from harness.verdict import errors, snapshot, temporary, tidy

# client -> the section of its first certificate, and whether that keeps its key
FIRST = {"certbot": ("certbot.example", False), "lacme": ("web", True),
         "dehydrated": ("dehydrated.example", False), "acme-tiny": ("acme-tiny.example", True),
         "lego": ("lego.example", False), "acme.sh": ("acmesh.example", True)}


def public(key: Path) -> bytes:
    return ca.openssl("pkey", "-pubout", "-in", str(key))


@pytest.mark.parametrize("client", FIRST)
def test_imported_and_renewed(client: str, site: Site, pebble_tame: Pebble) -> None:
    if not foreign.installed(client):
        pytest.skip(f"{client} is not installed")
    made = Foreign(client, pebble_tame, site.path / "theirs")
    made.obtain()
    site.use(pebble_tame)
    site.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    site.certs[""] = {"CAfile": str(pebble_tame.roots()), **pebble_tame.settings}
    (site.etc / "certs.conf.d").mkdir()
    site.configure()
    before = snapshot(site.etc, site.lib, made.path)
    done = site.run("import", client, str(made.directory), "--dry-run")
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert snapshot(site.etc, site.lib, made.path) == before
    done = site.run("import", client, str(made.directory))
    assert done.returncode == 0 and errors(done) == [], done.stderr
    assert snapshot(made.path).items() <= before.items()
    before = snapshot(site.etc, site.lib / "certs", site.lib / "accountd", made.path)
    again = site.run("import", client, str(made.directory))
    assert again.returncode == 0 and again.stderr.count("is there already") == 2, again.stderr
    assert snapshot(site.etc, site.lib / "certs", site.lib / "accountd", made.path) == before

    known = accounts(pebble_tame)
    account = site.run("account")
    assert account.returncode == 0, account.stderr
    url = account.stderr.partition("Key ID: ")[2].split()[0]
    assert json.loads(account.stdout)["status"] == "valid" and known
    if client not in ("lacme", "acme-tiny"):   # which don't write it down
        assert f"account: {url}\n" in done.stderr

    (name, keeps), who = FIRST[client], client.replace(".", "")
    chain = Path(made.directory / "web.pem") if client == "lacme" else site.file(name)
    key = Path(made.directory / "web.key") if client == "lacme" else site.file(name, "privkey.pem")
    assert judge.matches(chain, key)
    serial, old = judge.serial(chain), public(key)
    done = site.run("newOrder")
    assert done.returncode == 0 and "installed" not in done.stderr, done.stderr   # nothing is due
    done = site.run("newOrder", "--force")
    assert done.returncode == 0 and done.stderr.count("certificate installed") == 2, done.stderr
    assert judge.serial(chain) != serial and judge.matches(chain, key)
    assert (public(key) == old) is keeps
    assert judge.names(chain) == {f"{who}.example", f"www.{who}.example"}
    assert accounts(pebble_tame) == known, "another account was made"
    assert site.run("revokeCert", "--force", name).returncode == 0
    if client != "lacme":   # whose files are those that are renewed
        assert snapshot(made.path).items() <= before.items()
    tidy(site)


def accounts(pebble: Pebble) -> int:
    """Return how many accounts there are."""
    return int(re.findall(r"There are now (\d+) accounts in memory", pebble.log)[-1])


def test_certbot_goes_on(site: Site, pebble_tame: Pebble) -> None:
    """Beside us, and after us: what it has is what it had."""
    if not foreign.installed("certbot"):
        pytest.skip("certbot is not installed")
    made = Foreign("certbot", pebble_tame, site.path / "theirs")
    made.obtain()
    site.use(pebble_tame)
    site.main[""]["config-certs"] = "certs.conf.d/"
    (site.etc / "certs.conf.d").mkdir()
    assert site.run("import", "certbot", str(made.directory)).returncode == 0
    serial = judge.serial(made.directory / "live/mail/fullchain.pem")
    made.renew_with_certbot("mail")
    assert judge.serial(made.directory / "live/mail/fullchain.pem") != serial
    assert os.listdir(site.etc / "certs.conf.d") != []


def test_killed_at_any_step(site: Site) -> None:
    """The same command again, and all is as if nobody had died."""
    site.main[""]["config-certs"] = "certs.conf.d/"
    site.main["client"]["server"] = foreign.server()
    (site.etc / "certs.conf.d").mkdir()
    theirs = foreign.copied("lego", site.path / "theirs")
    command = site.command("import", "lego", str(theirs))

    def state() -> dict[str, object]:
        return {path: content[-1][1] if content[-1] else None for path, content in snapshot(
            site.etc / "certs.conf.d", site.lib / "certs", site.lib / "accountd",
            site.lib / "state").items() if "lock" not in path}

    def forget() -> None:
        for name in ("certs", "accountd", "state"):
            for path in sorted((site.lib / name).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        for path in (site.etc / "certs.conf.d").iterdir():
            path.unlink()

    assert run(command).returncode == 0
    wanted = state()
    for call in ("linkat", "fsync"):
        step = 0
        while True:
            step += 1
            forget()
            done = run(["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                        f"inject={call}:signal=KILL:when={step}", *command], timeout=60)
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            again = run(command)
            assert again.returncode == 0 and errors(again) == [], (call, step, again.stderr)
            assert state() == wanted, (call, step)
            assert not temporary(site), (call, step)
        assert step > 8, call
