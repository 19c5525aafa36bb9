"""One name for each thing, in whatever users read: that of letsencrypt-tiny(8).

What the code calls the signer is the account key manager to who runs it; so with the others.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
# what isn't said -> what is.  “The client” alone is nobody's name to who runs the master, and a
# server may be anybody's.
NAMES = {
    r"\b[Ss]igners?\b": "account key manager",
    r"\b[Aa]ccount manager\b": "account key manager",
    r"\bupdater of DNS records\b": "DNS updater",
    r"\bTLS server for challenges\b": "challenge TLS server",
    r"\b(our|the) responder\b": "challenge web server, challenge TLS server, DNS updater",
    r"\b[Tt]he webserver\b": "the challenge web server, or the web server",
    r"\bthe client (ended|answers|broke|does not|has been|makes|closed|tells)\b": "the ACME client",
    r"\bthe server (sent|answers|names no|refuses|asked not|does not say)\b": "the CA",
    r"\bserver's certificate is not\b": "the new certificate, or the CA's server certificate",
}
# who is at the other end of the account key manager's socket may be another program
NOT_OURS = {"the client ended in the middle of a line"}
# for a type of challenge that has no process yet
STAND_IN = {"the responder"}
DOCUMENTS = sorted(path for pattern in (
    "README.md", "TASKS.md", "SECURITY.md", "man/*", "config/*", "share/*", "examples/*",
    "examples/ansible/**/*", "debian/control", "debian/*.NEWS", "debian/*.service",
    "debian/*.socket", "debian/*.timer", "debian/*.cron.d", "debian/*.bug-script",
    "debian/*.sysusers", "debian/apparmor/*", "debian/*inst", "debian/*rm")
    for path in TREE.glob(pattern) if path.is_file())
SOURCES = sorted([*(TREE / "letsencrypt_tiny").rglob("*.py"),
                  *(path for path in (TREE / "programs").iterdir() if path.is_file())])


def said(source: str) -> Iterator[tuple[int, str]]:
    """Yield each string of several words that is no docstring, with its line; f-strings whole."""
    skipped = set()   # what stands in another node that comes first
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr):
            skipped.add(id(node.value))
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
            text = "".join(str(value.value) if isinstance(value, ast.Constant) else "…"
                           for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and id(node) not in skipped:
            text = node.value
        else:
            continue
        if re.search(r"\S\s+\S", text):
            yield node.lineno, text


def wrong(text: str) -> list[str]:
    """Return what to say instead of what stands in ``text``."""
    return [f"“{found.group()}”: say {instead}" for pattern, instead in NAMES.items()
            for found in re.finditer(pattern, text)]


@pytest.mark.parametrize("text, so_many", [
    ('x("the signer is busy")', 1), ('x(f"{a}: the "\n  "signer is busy")', 1),
    ('"""The signer is busy."""', 0), ('x("signer", "signer/main.py")', 0),
    ('x(f"the client {a} ended")', 0), ('x("see [webserver], “listen”")', 0),
    ('x("error: the client ended with status 3")', 1)])
def test_what_is_found(text: str, so_many: int) -> None:
    assert sum(len(wrong(words)) for _, words in said(text)) == so_many


def test_messages() -> None:
    strings = [(path, line, text) for path in SOURCES for line, text in said(path.read_text())]
    assert len(strings) > 1500, "there is that much to say"
    assert not [f"{path.relative_to(TREE)}:{line}: {why}" for path, line, text in strings
                if text not in NOT_OURS | STAND_IN for why in wrong(text)]


def test_documents() -> None:
    """Those in Markdown without what is the code's, such as names of tests."""
    assert len(DOCUMENTS) > 60
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        if path.suffix == ".md":
            text = re.sub(r"`[^`]*`", "", text)
        found += [f"{path.relative_to(TREE)}: {why}" for why in wrong(" ".join(text.split()))]
    assert not found
