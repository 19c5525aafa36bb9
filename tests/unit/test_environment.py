"""The environment is made anew before anything of ours can have read another (F 53)."""

import ast
import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest

from letsencrypt_tiny.common import environment

TREE = Path(__file__).resolve().parents[2]
PROGRAMS = {"letsencrypt-tiny": "master", "letsencrypt-tiny-accountd": "signer",
            "client": "client", "webserver": "webserver", "tlsserver": "tlsserver"}
POISON = [
    "OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES", "OPENSSL_TRACE",
    "OPENSSL_ia32cap", "CTLOG_FILE", "SSLKEYLOGFILE", "RANDFILE", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_DEBUG", "GLIBC_TUNABLES", "GCONV_PATH",
    "LOCPATH", "NLSPATH", "LANGUAGE", "TEXTDOMAINDIR", "MALLOC_ARENA_MAX", "MALLOC_TRACE",
    "MALLOC_PERTURB_", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES", "RESOLV_HOST_CONF", "TZ",
    "TZDIR", "TMPDIR", "TMP", "TEMP", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "BASH_ENV",
    "ENV", "IFS", "CDPATH", "SHELL", "SHELLOPTS", "PS4", "http_proxy", "HTTP_PROXY", "all_proxy",
    "PYCRYPTODOME_DISABLE_GMP", "TERMINFO", "TERMCAP", "COLUMNS", "LISTEN_FDS", "NOTIFY_SOCKET",
    "P11_KIT_STRICT", "GTK_MODULES", "QT_PLUGIN_PATH", "DYLD_INSERT_LIBRARIES", "NSS_WRAPPER", "x"]


def source(program: str) -> str:
    """The program as it is shipped, but with the modules of this tree."""
    text = (TREE / "programs" / program).read_text()
    assert '"/usr/share/letsencrypt-tiny"' in text
    return text.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE)))


def python(code: str, variables: dict[str, str], *arguments: str) -> str:
    """Run code as a program's is run; return what it prints."""
    done = subprocess.run(["/usr/bin/python3", "-ISB", "-c", code, *arguments], env=variables,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/", text=True,
                          stderr=subprocess.PIPE, timeout=30, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def environment_of(program: str, variables: dict[str, str]) -> dict[str, str]:
    """What a program has left of ``variables`` when it begins; the C library says the same."""
    begin = source(program).partition("from letsencrypt_tiny." + PROGRAMS[program])[0]
    code = begin + f"""
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
for name in {list(variables)!r}:
    assert (libc.getenv(name.encode()) or b"").decode() == os.environ.get(name, ""), name
print(dict(os.environ), end="")
"""
    found = ast.literal_eval(python(code, variables))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_that_is_not_on_the_list(program: str) -> None:
    variables = dict.fromkeys(POISON, "/evil") | {"PATH": "/evil", "TERM": "/evil", "LANG": "../x/"}
    found = environment_of(program, variables)
    found.pop("LC_CTYPE")   # the interpreter's own: it knows no such locale (PEP 538)
    if os.getuid() != 0 and program.startswith("letsencrypt-tiny"):
        assert found.pop("TMPDIR") == "/evil"   # the user's own
    assert found == {"PATH": environment.search_path(os.getuid())}


USER = {"HOME": "/h", "USER": "u", "LOGNAME": "u", "LANG": "tr_TR.ISO-8859-9", "LC_ALL": "C.UTF-8",
        "LC_CTYPE": "C", "LC_MESSAGES": "de"}
PROXY = {"https_proxy": "http://p:1", "no_proxy": "a", "HTTPS_PROXY": "http://q:1", "NO_PROXY": ""}
TERMINAL = {"TERM": "xterm-256color", "GPG_TTY": "/dev/pts/1"}
SYSTEMD = {"CREDENTIALS_DIRECTORY": "/run/credentials/x"}
GPG = {"GNUPGHOME": "/h/gpg", "DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0", "XAUTHORITY": "/x",
       "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x", "PINENTRY_USER_DATA": "x"}
OWN = {"XDG_RUNTIME_DIR": "/run/user/1", "XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/d",
       "TMPDIR": "/t"}
KEPT = {"letsencrypt-tiny": {**USER, **PROXY, **TERMINAL},
        "letsencrypt-tiny-accountd": {**USER, **TERMINAL, **GPG, **SYSTEMD},
        "client": {**USER, **PROXY}, "webserver": USER, "tlsserver": USER}


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_needed_stays(program: str) -> None:
    found = environment_of(program, {**USER, **PROXY, **TERMINAL, **GPG, **SYSTEMD, **OWN})
    expected = {"PATH": environment.search_path(os.getuid()), **KEPT[program]}
    if os.getuid() != 0 and program.startswith("letsencrypt-tiny"):
        expected.update(OWN)
    assert found == expected


@pytest.mark.parametrize("program", ["master", "signer"])
def test_directories_are_those_of_users_not_of_root(program: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert environment.kept(program).items() >= {**OWN, "PATH": "/usr/bin:/bin"}.items()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert not OWN.keys() & environment.kept(program).keys()


def test_variables_that_are_there_twice_or_have_no_name() -> None:
    """Not by way of Python, which makes no such environment."""
    def output(*entries: bytes) -> tuple[int, bytes]:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(write, 1)
            os.dup2(write, 2)
            code = (f"import sys; sys.path.insert(0, {str(TREE)!r})\n"
                    "from letsencrypt_tiny.common.environment import rebuild\nrebuild('signer')\n"
                    "import subprocess; subprocess.run(['/usr/bin/env'])")
            argv = [b"python3", b"-ISB", b"-c", code.encode(), None]
            ctypes.CDLL(None).execve(b"/usr/bin/python3", (ctypes.c_char_p * len(argv))(*argv),
                                     (ctypes.c_char_p * (len(entries) + 1))(*entries, None))
            os._exit(127)
        os.close(write)
        with open(read, "rb") as file:
            text = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
    path = f"PATH={environment.search_path(os.getuid())}\n".encode()
    assert output(b"OPENSSL_CONF=/a", b"HOME=/h", b"OPENSSL_CONF=/b", b"HOME=/evil",
                  b"LC_ALL=C.UTF-8", b"BASH_FUNC_a%%=() { b; }", b"\xff=\xff") == (
                      0, path + b"HOME=/h\nLC_ALL=C.UTF-8\n")
    status, text = output(b"=x", b"OPENSSL_CONF=/a")
    assert status == 1 and text.startswith(b"error: ") and text.count(b"\n") == 1


# --- nothing is imported before ------------------------------------------------------------------

# All that comes before the environment is made anew, and what the interpreter begins with
BEFORE = {"os", "stat", "_stat", "posixpath", "genericpath", "os.path", "_collections_abc",
          "abc", "_abc", "letsencrypt_tiny", "letsencrypt_tiny.common",
          "letsencrypt_tiny.common.environment"}
WATCH = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        import posix
        os = sys.modules.get("os")
        if b"OPENSSL_CONF" in posix.environ and (os is None or "OPENSSL_CONF" in getattr(
                os, "environ", posix.environ) or not hasattr(os, "environ")):
            early.append(name)
early = []
sys.meta_path.insert(0, Watch())
"""


ENDING = re.compile(r"(?:sys\.exit|process\.end)\(main\(\)\)$", re.M)


def imported_before(program: str, text: str) -> set[str]:
    """What a program has begun to import while its environment was still its caller's."""
    text = ENDING.sub("try:\n    main()\nexcept SystemExit:\n    pass\n"
                      "print(chr(10) + ' '.join(early))", text)
    found = python(WATCH + text, {"OPENSSL_CONF": "/dev/null"}, "--help")
    return set(found.splitlines()[-1].split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_imported_before(program: str) -> None:
    """Nothing that could load libcrypto, nor any other shared object."""
    assert imported_before(program, source(program)) <= BEFORE


@pytest.mark.parametrize("module", ["hashlib", "ssl", "_hashlib", "ctypes", "json"])
def test_what_is_imported_before_is_seen(module: str) -> None:
    text = source("letsencrypt-tiny")
    first = "from letsencrypt_tiny.common.environment"
    assert text.count(first) == 1
    found = imported_before("letsencrypt-tiny", text.replace(first, f"import {module}\n{first}"))
    assert module in found - BEFORE


def test_the_interpreter_itself_loads_no_library() -> None:
    """With the options of the programs; and os is all that the module needs."""
    code = ("import sys, os; print([m for m in sys.modules.values() if getattr(m, '__file__', '')"
            " and m.__file__.endswith('.so')]); "
            "print('libcrypto' in open('/proc/self/maps').read())")
    assert python(code, {}).split() == ["[]", "False"]
    tree = ast.parse((TREE / "letsencrypt_tiny/common/environment.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imports] == ["import os"]
