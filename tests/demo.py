"""A certificate from Pebble through the four installed processes, and what they were.

Usage: demo.py, as root, with the package installed.  Everything happens in a network
namespace of its own, where port 80 is free and the firewall drops what comes in, so that the
rule which opens the port is seen at work; configuration and state are in a temporary directory.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import netns, proc
from harness.net import free_port, is_listening
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, ini

NAMES = ("www.demo.example", "demo.example")
ACCOUNTD_USER = "_letsencrypt-accountd"
PROGRAMS = (("letsencrypt-tiny", "master"), ("letsencrypt-tiny-accountd", "account key manager"),
            ("client", "ACME client"), ("webserver", "challenge web server"))


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def run(*argv: str) -> str:
    """Show a command, run it, show and return what it printed; raises CalledProcessError."""
    print(f"$ {' '.join(argv)}", flush=True)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, check=False)
    print(done.stdout, end="", flush=True)
    done.check_returncode()
    return done.stdout


def configure(path: Path, pebble: Pebble) -> str:
    """Write the three configuration files below ``path``; return the main one's name."""
    library = path / "lib"
    for directory, mode in ((library, 0o755), (library / "certs", 0o755),
                            (library / "accountd", 0o700)):
        directory.mkdir()
        directory.chmod(mode)
    shutil.chown(library / "accountd", ACCOUNTD_USER, ACCOUNTD_USER)
    files: dict[str, dict[str, dict[str, str]]] = {
        "letsencrypt-tiny.conf": {
            "": {"library-directory": str(library), "run-directory": str(path / "run")},
            "client": {"server": pebble.directory, "ca-file": str(pebble.ca_file)},
            "accountd": {"config": str(path / "accountd.conf")}},
        "certs.conf": {"demo": {"names": ", ".join(NAMES), "CAfile": str(pebble.roots()),
                                "notify": "echo reloading: $LETSENCRYPT_TINY_SECTIONS"}},
        "accountd.conf": {"": {"privkey": f"file:{library}/accountd/account.key"}}}
    for name, sections in files.items():
        (path / name).write_text(ini(sections), encoding="ascii")
    return str(path / "letsencrypt-tiny.conf")


def firewall() -> None:
    """Drop what comes in, as a careful host does."""
    for tool in ("iptables", "ip6tables"):
        if shutil.which(f"/usr/sbin/{tool}"):
            for rule in ("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                         "-A INPUT -i lo -p tcp ! --dport 80 -j ACCEPT",
                         "-A INPUT -i lo -p udp -j ACCEPT", "-P INPUT DROP"):
                subprocess.run([f"/usr/sbin/{tool}", "-w", *rule.split()], check=True)


def show_processes(watched: proc.Watched) -> None:
    """Say what each of the four processes was, as /proc had it when it was settled."""
    print(f"{'PROCESS':<22}{'UID':<27}{'GID':<6}{'GROUPS':<8}{'CAPABILITIES':<14}"
          f"{'NO_NEW_PRIVS':<14}{'SECCOMP':<9}DESCRIPTORS")
    for program, name in PROGRAMS:
        lives = watched.of(program)
        if not lives:
            raise SystemExit(f"{name} was not seen")
        last = max(lives[0].samples, key=lambda sample: (sample.seccomp, len(sample.fds)))
        uid, = set(last.uids)
        gid, = set(last.gids)
        user = pwd.getpwuid(uid).pw_name
        groups = ",".join(map(str, last.groups)) or "none"
        print(f"{name:<22}{f'{uid} {user}':<27}{gid:<6}{groups:<8}"
              f"{'all' if uid == 0 else f'{last.capabilities:x}':<14}"
              f"{'yes' if last.no_new_privs else 'no':<14}"
              f"{'filter' if last.seccomp == 2 else 'none':<9}{len(last.fds)}")


def tls(path: Path, certificates: Path, roots: Path) -> None:
    """Serve TLS with the new certificate and connect to it, names verified."""
    port = free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-www",
         "-cert", str(certificates / "cert.pem"), "-cert_chain", str(certificates / "chain.pem"),
         "-key", str(certificates / "privkey.pem")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=path)
    try:
        while not is_listening(port) and server.poll() is None:
            time.sleep(0.05)
        output = run("openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{port}",
                     "-servername", NAMES[0], "-verify_hostname", NAMES[0],
                     "-verify_return_error", "-CAfile", str(roots), "-no-CApath", "-no-CAstore")
        if "Verification: OK" not in output:
            raise SystemExit("the TLS connection was not verified")
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Run the demonstration."""
    if os.geteuid() != 0:
        raise SystemExit("the demonstration needs root")
    netns.enter()
    firewall()
    path = Path(tempfile.mkdtemp(prefix="letsencrypt-tiny-demo-", dir="/srv"))
    path.chmod(0o755)
    try:
        # Pebble as it comes: bad nonces, reused authorizations, slow validations
        with Pebble(http_port=80) as pebble:
            config = f"--config={configure(path, pebble)}"
            heading("An account key, which only its manager's user can read")
            run("runuser", "-u", ACCOUNTD_USER, "--", "letsencrypt-tiny-accountd",
                f"--config={path}/accountd.conf", "--genkey=ec:P-256")
            run("letsencrypt-tiny", config, "account", "--register", "--tos-agreed",
                "mailto:admin@demo.example")
            run("letsencrypt-tiny", config, "check")
            heading("A certificate for two names, through the four processes")
            argv = ["letsencrypt-tiny", config, "--debug", "newOrder"]
            print(f"$ {' '.join(argv)}", flush=True)
            watched = proc.watch(argv, timeout=180, env=ENVIRONMENT)
            print(watched.stdout + watched.stderr, end="")
            if watched.returncode != 0:
                raise SystemExit(f"letsencrypt-tiny ended with status {watched.returncode}")
            heading("What each process was, read from /proc while it ran")
            show_processes(watched)
            certificates = path / "lib/certs/demo"
            heading("The certificate")
            run("openssl", "x509", "-noout", "-subject", "-issuer", "-dates", "-ext",
                "subjectAltName", "-in", str(certificates / "cert.pem"))
            roots = pebble.roots()
            run("openssl", "verify", "-CAfile", str(roots), "-untrusted",
                str(certificates / "chain.pem"), str(certificates / "cert.pem"))
            run("ls", "-l", str(certificates))
            heading("A TLS connection with it")
            tls(path, certificates, roots)
            heading("A second run finds nothing to do, and the table says so")
            run("letsencrypt-tiny", config, "--quiet", "newOrder")
            run("letsencrypt-tiny", config, "status")
    finally:
        shutil.rmtree(path)
    print("\nDone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
