"""A shared object that tells who loads it, and the variables that have libcrypto load it."""

import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    FILE *mark = fopen(MARK, "a");
    if (mark) {
        fprintf(mark, "uid %d: %s\n", (int)getuid(), program_invocation_name);
        fclose(mark);
    }
}
"""

# What openssl.cnf says, and which variables besides OPENSSL_CONF; see config(5ssl)
_WAYS = {
    "provider": ("providers", "module = {library}\nactivate = 1", ()),
    "provider by its place": ("providers", "activate = 1", ("OPENSSL_MODULES",)),
    "engine": ("engines", "engine_id = evil\ndynamic_path = {library}\ninit = 0", ()),
    "engine by its place": ("engines", "engine_id = evil\ninit = 0", ("OPENSSL_ENGINES",)),
}
WAYS = tuple(_WAYS)


class Evil:
    """The object in a directory that everybody can read; ``mark`` can be written by everybody."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        directory.chmod(0o755)
        self.directory = directory
        self.library = directory / "evil.so"
        self.mark = directory / "mark"
        self.mark.touch()
        self.mark.chmod(0o666)
        subprocess.run(["/usr/bin/gcc", "-shared", "-fPIC", f'-DMARK="{self.mark}"', "-x", "c", "-",
                        "-o", str(self.library)], input=_SOURCE, text=True, check=True, timeout=60)

    def variables(self, way: str) -> dict[str, str]:
        """Return the environment that has libcrypto load the object, in one of WAYS."""
        kind, settings, more = _WAYS[way]
        file = self.directory / f"{way.replace(' ', '-')}.cnf"
        file.write_text(f"openssl_conf = init\n[init]\n{kind} = {kind}\n[{kind}]\nevil = evil\n"
                        f"[evil]\n{settings.format(library=self.library)}\n")
        return {"OPENSSL_CONF": str(file), **{name: str(self.directory) for name in more}}

    def told(self) -> str:
        """Return who has loaded it since this was asked last."""
        text = self.mark.read_text()
        self.mark.write_text("")
        return text

    def works(self, variables: dict[str, str]) -> bool:
        """Whether a program that does nothing against it loads it: else a test says nothing."""
        subprocess.run(["/usr/bin/python3", "-I", "-c", "import hashlib"], env=variables,
                       check=True, timeout=60)
        return self.told() != ""
