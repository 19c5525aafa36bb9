"""A certificate from Pebble through the four processes, as a picture of what they were and did.

Usage: demo.py [--tree] [--svg=FILE] [--log=FILE], as root, with the package installed, or with
--tree, which installs this tree in a directory of its own for the while.

Everything happens in a network namespace of its own, where port 80 is free and the firewall drops
what comes in, so that the rule which opens the port is seen at work; configuration and state are
in a temporary directory.  What the commands say goes to the log; without one its end is shown
if something fails.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness import memory, netns
from harness.net import free_port, is_listening
from harness.pebble import Pebble
from harness.proc import kill_tree
from harness.run import ENVIRONMENT, Installed, Prefix, Site, Users
from picture import lines, looks
from picture.drawn import Certificate, Facts, picture
from picture.held import Held
from picture.progress import Step, Terminal
from picture.svg import svg

NAMES = ("www.demo.example", "demo.example")
SECTION = "demo"
VALIDITY = 90 * 24 * 3600    # seconds
TIMEOUT = 120                # seconds, for any one command
SHOWN = 20                   # lines of the log
TITLE = "A certificate for two names: four processes, the order's way between them and the CA"


class Failed(Exception):
    """The demonstration, in one line."""


class Log:
    """All that was said, in a file or in memory."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lines: list[str] = []

    def add(self, text: str) -> None:
        """Write down what was said."""
        self._lines += text.splitlines()
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)

    def tail(self) -> str:
        """Return its last lines."""
        return "\n".join(self._lines[-SHOWN:])


class Demonstration:
    """The run."""

    def __init__(self, prefix: Prefix, terminal: Terminal, log: Log) -> None:
        self._prefix = prefix
        self._terminal = terminal
        self._log = log
        self._site = Site(prefix)

    def run(self) -> Facts:
        """Return what was seen; raises Failed."""
        try:
            # Bad nonces and slow validations, as Pebble likes them; the second name's isn't over
            # before the processes have been looked at
            with Held(NAMES[1]) as self._held, \
                    Pebble(http_port=80, sleeptime=2, config=_validity(),
                           dns_server=self._held.address, dns_port=self._held.port) as pebble:
                return self._run(pebble)
        except (OSError, RuntimeError, ValueError, lines.Missing,
                subprocess.SubprocessError) as exc:
            raise Failed(str(exc)) from exc
        finally:
            self._site.remove()

    def _run(self, pebble: Pebble) -> Facts:
        site = self._site
        with Step(self._terminal, "account with a CA on this machine"):
            self._configure(pebble)
            self._command(*site.signer("--genkey=ec:P-256"))
            self._command(*site.command("account", "--register", "--tos-agreed",
                                        "mailto:admin@demo.example"))
            self._command(*site.command("check"))
        with Step(self._terminal, "certificate for two names") as step:
            seen, said = self._order(step)
        with Step(self._terminal, "verification, a second run"):
            certificate = self._certificate(pebble)
        return Facts(_server(), seen, lines.way(said, SECTION), certificate)

    def _configure(self, pebble: Pebble) -> None:
        site = self._site
        site.use(pebble)
        # as it is without any of these settings
        del site.main["webserver"]["listen"]
        for section in "client", "webserver", "accountd":
            del site.main[section]["confine"]
        site.certificate(SECTION, NAMES, notify="echo reloading: $LETSENCRYPT_TINY_SECTIONS")

    def _command(self, *argv: str) -> str:
        """Run a command; return what it wrote to standard output."""
        self._log.add(f"$ {' '.join(argv)}\n")
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="backslashreplace", env=ENVIRONMENT, timeout=TIMEOUT,
                              check=False)
        self._log.add(done.stdout + done.stderr)
        if done.returncode != 0:
            raise Failed(f"“{_short(argv)}” ended with status {done.returncode}")
        return done.stdout

    # --- the order ---------------------------------------------------------------------------

    def _order(self, step: Step) -> tuple[dict[str, looks.Look], list[lines.Line]]:
        """Order the certificate; look at the processes at the first validation."""
        argv = self._site.command("--debug", "newOrder")
        self._log.add(f"$ {' '.join(argv)}\n")
        said: list[lines.Line] = []
        seen: dict[str, looks.Look] = {}
        began = time.monotonic()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
                              env=ENVIRONMENT) as process:
            assert process.stdout is not None
            limit = threading.Timer(TIMEOUT, kill_tree, [process.pid])
            limit.start()
            try:
                for line in process.stdout:
                    said.append((time.monotonic() - began, line.rstrip("\n")))
                    self._log.add(line)
                    step.note = _note(line) or step.note
                    if lines.validating(line) and not seen:
                        seen = self._look(process.pid)
                        self._held.release()
            except BaseException:
                kill_tree(process.pid)
                raise
            finally:
                limit.cancel()
        if time.monotonic() - began > TIMEOUT:
            raise Failed(f"the certificate isn't there after {TIMEOUT} s")
        if process.returncode != 0:
            raise Failed(f"“{_short(argv)}” ended with status {process.returncode}")
        missing = [name for program, name in looks.NAMES.items() if program not in seen]
        if missing:
            raise Failed(f"not seen while the order was validated: {', '.join(missing)}")
        return seen, said

    def _look(self, pid: int) -> dict[str, looks.Look]:
        secrets = {looks.ACCOUNT_KEY: memory.forms(self._site.account_key.read_text())}
        for path in self._site.lib.rglob("*"):
            if path.is_file() and path != self._site.account_key:
                text = path.read_text(errors="replace")
                if "PRIVATE KEY-----" in text:
                    secrets[looks.SERVER_KEY] = memory.forms(text)
        return {program: looks.look(each, secrets)
                for program, each in looks.processes(pid).items()}

    # --- the certificate ---------------------------------------------------------------------

    def _certificate(self, pebble: Pebble) -> Certificate:
        site = self._site
        roots = str(pebble.roots())
        cert, chain, key = (str(site.file(SECTION, f"{name}.pem"))
                            for name in ("cert", "chain", "privkey"))
        self._command("openssl", "verify", "-CAfile", roots, "-untrusted", chain, cert)
        if self._command("openssl", "x509", "-noout", "-pubkey", "-in", cert) \
                != self._command("openssl", "pkey", "-pubout", "-in", key):
            raise Failed("the certificate is for another key")
        protocol = self._tls(cert, chain, key, roots)
        self._command(*site.command("--quiet", "newOrder"))
        section, = json.loads(self._command(*site.command("status", "--json")))["sections"]
        if section["due"]:
            raise Failed(f"the certificate is due again: {section['reason']}")
        return Certificate(
            tuple(section["names"]), section["issuer"].removeprefix("CN="), section["serial"],
            _when(section["not_before"]), _when(section["expires"]), _when(section["renews"]),
            section["renews_why"], section["key_type"],
            ("by openssl: chain to the CA's root, and this key",
             f"by a {protocol} connection: the name {NAMES[0]}",
             "by a second run: nothing to do"))

    def _tls(self, cert: str, chain: str, key: str, roots: str) -> str:
        """Serve TLS with the new certificate and connect to it, names verified; return the
        protocol's name."""
        port = free_port()
        server = subprocess.Popen(
            ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-www",
             "-cert", cert, "-cert_chain", chain, "-key", key],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not is_listening(port) and server.poll() is None:
                time.sleep(0.02)
            argv = ["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{port}",
                    "-servername", NAMES[0], "-verify_hostname", NAMES[0],
                    "-verify_return_error", "-CAfile", roots, "-no-CApath", "-no-CAstore"]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  env=ENVIRONMENT, timeout=TIMEOUT, check=False)
            output = done.stdout + done.stderr
            self._log.add(f"$ {' '.join(argv)}\n{output}")
            protocol = re.search(r"^Protocol version: TLSv(\S+)", output, re.M)
            if "Verification: OK" not in output or protocol is None:
                raise Failed("the TLS connection was not verified")
            return f"TLS {protocol.group(1)}"
        finally:
            server.terminate()
            server.wait()


def _validity() -> dict[str, object]:
    """Ninety days, in the words of Pebble up to 2.6 and of those after it."""
    return {"certificateValidityPeriod": VALIDITY, "profiles": {
        "default": {"description": "as on this machine", "validityPeriod": VALIDITY}}}


def _server() -> str:
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "pebble"], text=True,
                             capture_output=True, check=False).stdout
    return f"Pebble {re.sub(r'^[0-9]+:|[+~-].*', '', version)}".strip()


def _short(argv: list[str] | tuple[str, ...]) -> str:
    return " ".join([os.path.basename(word) for word in argv if not word.startswith("--config=")
                     and "/setpriv" not in word])


def _note(line: str) -> str:
    match = re.match(rf"{SECTION}: (order \S+|generating|certificate installed)", line)
    return "a validation" if lines.validating(line) else match.group(1) if match else ""


def _when(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def firewall() -> None:
    """Drop what comes in, as a careful host does."""
    for tool in ("iptables", "ip6tables"):
        if shutil.which(f"/usr/sbin/{tool}"):
            for rule in ("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                         "-A INPUT -i lo -p tcp ! --dport 80 -j ACCEPT",
                         "-A INPUT -i lo -p udp -j ACCEPT", "-P INPUT DROP"):
                subprocess.run([f"/usr/sbin/{tool}", "-w", *rule.split()], check=True)


@contextlib.contextmanager
def programs(tree: bool) -> Iterator[Prefix]:
    """The installed programs, or those of this tree."""
    with contextlib.ExitStack() as stack:
        if tree:
            stack.enter_context(Users())
        prefix = Prefix() if tree else Installed()
        stack.callback(prefix.remove)
        yield prefix


def main() -> int:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", action="store_true", help="the programs of this tree")
    parser.add_argument("--svg", metavar="FILE", help="write the picture there, too")
    parser.add_argument("--log", metavar="FILE", help="where what commands say goes")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("demo: needs root", file=sys.stderr)
        return 2
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, signal.default_int_handler)
    terminal, log = Terminal(), Log(options.log)
    try:
        netns.enter()
        firewall()
        with programs(options.tree) as prefix:
            sheet = picture(Demonstration(prefix, terminal, log).run())
        if options.svg:
            Path(options.svg).write_text(svg(sheet, TITLE), encoding="utf-8")
    except (Failed, OSError, RuntimeError, subprocess.SubprocessError) as exc:
        print(log.tail(), terminal.shown(f"demo: {exc}"), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n" + sheet.text(terminal.utf8, terminal.colour))
    return 0


if __name__ == "__main__":
    sys.exit(main())
