"""What lies in the packages' way when they are installed or upgraded, by accident or by malice.

Whoever is root's neighbour may have had a directory of ours, or may have the user who has one now:
no maintainer script changes anything that a link there leads to, and what it can't mend it says in
one line.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

LIB, RUN, SIGNER = "/var/lib/letsencrypt-tiny", "/run/letsencrypt-tiny", "_letsencrypt-accountd"
OUT = "/srv/outside"
LINKS = "".join(f"ln -s {OUT}/{target} $0/{name}; " for name, target in (
    ("certs", "dir"), ("state", "dir"), ("accountd", "dir"), ("account.key", "file")))


class Case(NamedTuple):
    """Commands that go before, what is said (a regular expression; "": nothing, it is installed),
    and commands that hold after it."""

    before: str
    said: str = ""
    after: str = "true"


CASES = {
    "nothing": Case("true", after=f"test -d {LIB}/certs && test -d {LIB}/state"),
    "moved by root": Case(f"mkdir /srv/lib; ln -s /srv/lib {LIB}", after="test -d /srv/lib/certs"),
    "certs moved by root": Case(
        f"mkdir {LIB}; ln -s {OUT}/dir {LIB}/certs; "
        f"dpkg-statoverride --add mallory mallory 0777 {LIB}/certs", after=f"test -L {LIB}/certs"),
    "a link": Case(f"ln -s {OUT}/dir {LIB}; chown -h mallory {LIB}",
                   f"{LIB} is a link of mallory's: remove it"),
    "a link to nothing": Case(f"ln -s {OUT}/no {LIB}", f"{LIB} is no directory: move it away"),
    "a FIFO": Case(f"mkfifo {LIB}", f"{LIB} is no directory: move it away"),
    "a file": Case(f"echo 1 >{LIB}", f"{LIB} is no directory: move it away"),
    "of mallory's": Case(f"mkdir {LIB}; sh -c '{LINKS}' {LIB}; chown -hR mallory {LIB}",
                         f"{LIB} belongs to mallory with mode 755: move it away"),
    "for all": Case(f"mkdir -m 1777 {LIB}", f"{LIB} belongs to root with mode 1777"),
    "a link in it": Case(f"mkdir {LIB}; ln -s {OUT}/dir {LIB}/state; chown -h mallory {LIB}/state",
                         f"{LIB}/state is a link of mallory's: remove it"),
    "another link in it": Case(
        f"mkdir {LIB}; ln -s {OUT}/dir {LIB}/accountd; chown -h mallory {LIB}/accountd",
        f"{LIB}/accountd is a link of mallory's: remove it"),
    "state of mallory's": Case(
        f"mkdir -p {LIB}/state; sh -c '{LINKS}' {LIB}/state; chown -hR mallory {LIB}/state",
        f"{LIB}/state belongs to mallory with mode 755: move it away"),
    "state a FIFO": Case(f"mkdir {LIB}; mkfifo {LIB}/state", f"{LIB}/state is no directory"),
    "certs a FIFO": Case(f"mkdir {LIB}; mkfifo {LIB}/certs", f"{LIB}/certs is no directory"),
    "certs of mallory's": Case(
        f"mkdir -p {LIB}/certs; sh -c '{LINKS}' {LIB}/certs; chown -hR mallory {LIB}/certs",
        after=f"test $(stat -c %U {LIB}/certs) = mallory"),
    "accountd a file": Case(f"mkdir {LIB}; echo 1 >{LIB}/accountd", f"{LIB}/accountd is no direct"),
    "accountd of mallory's": Case(
        f"mkdir -p {LIB}/accountd; sh -c '{LINKS}' {LIB}/accountd; chmod 777 {LIB}/accountd; "
        f"chown -hR mallory {LIB}/accountd"),
    "run of mallory's": Case(f"mkdir {RUN}; sh -c '{LINKS}' {RUN}; chown -hR mallory {RUN}",
                             f"{RUN} belongs to mallory"),
    "run a link": Case(f"ln -s {OUT}/dir {RUN}; chown -h mallory {RUN}", f"{RUN} is a link of mal"),
    # RuntimeDirectory= of version 1.0; root will make sockets in it
    "the socket's directory": Case(
        f"put >/dev/null; mkdir {RUN}-accountd; chown {SIGNER} {RUN}-accountd; "
        f"as {SIGNER} sh -c 'chmod 777 $0; ln -s {OUT}/file $0/S.accountd; "
        f"ln -s {OUT}/dir $0/policy; mkdir $0/x; ln -s {OUT}/dir $0/x/y' {RUN}-accountd",
        after=f"test $(stat -c %U:%a {RUN}-accountd) = root:755 && ! ls {RUN}-accountd | grep ."),
    "planted before an upgrade": Case(
        f"put >/dev/null; as {SIGNER} sh -c 'cd {LIB}/accountd; {LINKS} mkfifo pipe; "
        f"chmod 777 .' . ", after=f"test -p {LIB}/accountd/pipe && "
        f"test $(stat -c %U:%a {LIB}/accountd) = {SIGNER}:700"),
    "a user who is root": Case("useradd --non-unique --uid=0 _letsencrypt-www",
                               "the user _letsencrypt-www has the uid of root: remove it"),
    "a user who is mallory": Case(
        f"useradd --non-unique --uid=$(id -u mallory) {SIGNER}",
        f"the user {SIGNER} has the uid of mallory: remove it"),
    "a user with another home": Case(
        f"useradd --home-dir={OUT}/dir --shell=/bin/sh _letsencrypt-dns",
        "note: the user _letsencrypt-dns was there before and may log in", "true"),
    "a group": Case(f"groupadd {SIGNER}", after=f"test $(id -g -n {SIGNER}) = {SIGNER}"),
    "a user of another group": Case(f"useradd --no-user-group --gid=nogroup {SIGNER}",
                                    after=f"test $(stat -c %U {LIB}/accountd) = {SIGNER}"),
}

# useradd says the uid's first user where several have it
SHELL = f"""
as() {{ user=$1; shift; setpriv --reuid=$user --clear-groups -- "$@"; }}
put() {{ dpkg --force-unsafe-io -i /srv/new/*.deb </dev/null 2>&1; }}
seen() {{
    find {OUT} -printf '%p %U:%G %m %s %l %T@\\n' -type f -exec cat '{{}}' ';'
    stat -c '%n %U:%G %a' / /etc /etc/shadow /root /srv /var/lib
}}
useradd --no-create-home mallory
mkdir -p {OUT}/dir; echo theirs >{OUT}/file; echo too >{OUT}/dir/file
chmod 0711 {OUT}/dir; chmod 0604 {OUT}/file; chown games:games {OUT}/file
"""
ASIDE = f"""
dpkg --force-unsafe-io --purge letsencrypt-tiny letsencrypt-tiny-accountd >/dev/null 2>&1
dpkg-statoverride --remove {LIB}/certs >/dev/null 2>&1
rm -rf {LIB} /srv/lib {OUT}
for user in mallory {SIGNER} _letsencrypt-client _letsencrypt-www _letsencrypt-dns _letsencrypt-tls
do userdel --force $user; groupdel $user; done >/dev/null 2>&1
true
"""


@pytest.fixture(scope="module", params=[("bookworm", "systemd"),
                                        ("trixie", "systemd-standalone-sysusers")], ids="-".join)
def debian(request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Throwaway]:
    """With all that the packages need."""
    release, systemd = request.param
    made = Throwaway(release, [systemd, "cron"], tree=False)
    try:
        (made.path / "srv/new").mkdir()
        for package in debs:
            shutil.copy(package, made.path / "srv/new")
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_is_changed(name: str, debian: Throwaway) -> None:
    case = CASES[name]
    script = f"""{SHELL}
{case.before}
touch -d 2020-01-01 {OUT}/dir {OUT}/file
seen >/tmp/before
put
echo status: $?
seen | diff /tmp/before - && echo same
{{ {case.after}; }} && echo holds
"""
    try:
        done = debian.run("/bin/sh", "-c", script)
    finally:
        debian.run("/bin/sh", "-c", ASIDE)
    said = done.stdout
    print(said)
    ours = [line for line in said.splitlines() if re.match(r"letsencrypt-tiny\S*: ", line)]
    assert "\nsame\n" in said, said + done.stderr
    if case.said and not case.said.startswith("note"):
        assert "status: 0" not in said, said
        assert len(ours) == 1 and re.search(re.escape(case.said), ours[0]), said
        assert "run “dpkg --configure --pending”" in ours[0]
    else:
        assert "status: 0" in said and "holds" in said, said + done.stderr
        assert len(ours) == bool(case.said) and all(case.said in line for line in ours), said
