"""%-specifiers, as root and as somebody else, with and without what they are made of."""

import os
import pwd
from collections.abc import Callable

import pytest

from letsencrypt_tiny.common import paths, specifiers
from letsencrypt_tiny.common.errors import ConfigError

AS_ROOT = os.getuid() == 0


def test_text_without_specifiers_is_left_alone() -> None:
    assert specifiers.expand("") == "" and specifiers.expand("/a $HOME ~ {t}") == "/a $HOME ~ {t}"


def test_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.getpwuid(os.getuid())
    assert specifiers.expand("%u:%U:%G:%h") == \
        f"{entry.pw_name}:{os.getuid()}:{os.getgid()}:{entry.pw_dir}"
    assert specifiers.expand("%%u %%%u%%") == f"%u %{entry.pw_name}%"
    monkeypatch.delenv("TMPDIR", raising=False)
    assert specifiers.expand("%T") == "/tmp"
    monkeypatch.setenv("TMPDIR", "")
    assert specifiers.expand("%T") == "/tmp"
    monkeypatch.setenv("TMPDIR", "/elsewhere/%u")
    assert specifiers.expand("%T") == "/elsewhere/%u", "what was put in is not expanded again"


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
def test_of_root_whatever_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "HOME", "USER"):
        monkeypatch.setenv(name, "/evil")
    assert specifiers.expand("%C %E %t %h %u %g") == (
        f"{paths.LOCALSTATEDIR}/cache {paths.SYSCONFDIR} {paths.RUNSTATEDIR} /root root root")


@pytest.mark.parametrize("text, letter", [
    ("%x", "%x"), ("a%", "%"), ("%%%", "%"), ("% u", "% "), ("%é", "%é"), ("%S/%u", "%S"),
    ("%\n", "%\n")])
def test_unknown_ones(text: str, letter: str) -> None:
    with pytest.raises(ConfigError) as caught:
        specifiers.expand(text)
    assert f"“{text}”: {letter} is not a specifier (valid: %C " in str(caught.value)


def as_uid(uid: int, environment: dict[str, str], work: Callable[[], str]) -> str:
    """Return what ``work`` returns in a child with this uid and environment."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.environ.clear()
            os.environ.update(environment)
            try:
                result = work()
            except ConfigError as exc:
                result = f"ConfigError: {exc}"
            os.write(writer, result.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        result = file.read()
    os.waitpid(pid, 0)
    return result


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
def test_of_somebody_else() -> None:
    nobody = pwd.getpwnam("nobody")
    home = nobody.pw_dir

    def expand() -> str:
        return specifiers.expand("%C %E %t %u %U")

    assert as_uid(nobody.pw_uid, {"XDG_RUNTIME_DIR": "/r", "HOME": "/evil"}, expand) == \
        f"{home}/.cache {home}/.config /r nobody {nobody.pw_uid}"
    assert as_uid(nobody.pw_uid, {"XDG_RUNTIME_DIR": "/r", "XDG_CACHE_HOME": "/c",
                                  "XDG_CONFIG_HOME": "/e"}, expand) == \
        f"/c /e /r nobody {nobody.pw_uid}"
    for environment in ({}, {"XDG_RUNTIME_DIR": ""}):
        assert "%t has no value here (is XDG_RUNTIME_DIR set?)" in \
            as_uid(nobody.pw_uid, environment, lambda: specifiers.expand("%t/S.x"))


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
@pytest.mark.parametrize("letter", ["%u", "%h", "%g", "%C", "%E"])
def test_of_a_uid_without_a_name(letter: str) -> None:
    assert f"ConfigError: “{letter}”: {letter} has no value here" in \
        as_uid(54321, {}, lambda: specifiers.expand(letter))
    assert as_uid(54321, {}, lambda: specifiers.expand("%U:%G")) == "54321:54321"
