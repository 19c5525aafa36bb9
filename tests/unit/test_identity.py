"""As whom a child runs, and that it is so for good."""

import os
import pwd

import pytest

from harness.parent import SLEEP, program
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.master.peers.identity import drop, identity

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize("user, group, match", [
    ("no-such-user", "daemon", r"user = no-such-user: there is no such user"),
    ("nobody", "no-such-group", r"group = no-such-group: there is no such group"),
    ("0", "", "there is no such user"), ("nobody", "0", "there is no such group")])
def test_missing_users(user: str, group: str, match: str) -> None:
    with pytest.raises(ConfigError, match=rf"^F, \[x\]: .*{match}$"):
        identity(program(*SLEEP, user=user, group=group))


def test_only_root_can_be_somebody_else() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY.pw_gid, NOBODY.pw_gid, NOBODY.pw_gid)
            os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
            assert identity(program(*SLEEP, user="", group="")).uid == NOBODY.pw_uid
            try:
                identity(program(*SLEEP, user="daemon"))
            except ConfigError as exc:
                os._exit(0 if "only root can run it as daemon:daemon" in str(exc) else 2)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_dropped_for_good() -> None:
    """Not one id is left to go back with, nor a group."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([0, 4, 24])
            who = identity(program(*SLEEP))
            drop(who)
            assert os.getresuid() == (who.uid,) * 3 == (NOBODY.pw_uid,) * 3
            assert os.getresgid() == (who.gid,) * 3 and os.getgroups() == [who.gid]
            drop(who)   # who has become that already
            for action in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
                           lambda: drop(who._replace(uid=0))):
                with pytest.raises(OSError):
                    action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
