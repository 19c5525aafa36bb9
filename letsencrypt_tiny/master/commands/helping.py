"""What --help says: each command in a sentence, and each of its options in a line.

Read by whoever asks only; the options themselves are a table of master/arguments.py.
"""

# command -> what may follow it, and what it does
COMMANDS = {
    "add": ("NAME ...", "Get a certificate for these names, and all that it needs: account key, "
                        "account, configuration; say where it is."),
    "remove": ("SECTION ...", "Give up what add has made: it is renewed no more.  At a terminal it "
                              "is asked whether to revoke the certificate; files stay."),
    "import": ("CLIENT [DIRECTORY]", "Take over account and certificates of certbot, lacme, "
                                     "dehydrated, acme-tiny, acme.sh or lego, of which nothing is "
                                     "changed."),
    "account": ("[CONTACT ...]", "Show, register, change or deactivate the account that belongs "
                                 "to the account key."),
    "newOrder": ("[SECTION ...]", "Obtain, renew and install the certificates that are due: of "
                                  "all sections, or of those named."),
    "revokeCert": ("SECTION|FILE ...", "Revoke certificates."),
    "status": ("[SECTION ...]", "Show each section's certificate, and when it is renewed."),
    "records": ("[SECTION ...]", "Print the DNS records that the sections' challenges and CAs "
                                 "want."),
    "check": ("[--online [NAME ...]]", "Look for what would keep the next run from succeeding; "
                                       "changes nothing."),
    "failures": ("", "Show what fails: since when, what is tried next, when the certificate "
                     "expires."),
    "tidy": ("", "Remove what a run that was killed has left: the next one would, too."),
}

# what an option does, whichever command it is given to
_OPTIONS = {
    "--config": "read this configuration instead of /etc/letsencrypt-tiny's",
    "--socket": "connect to the account key manager that listens here",
    "--quiet": "say only what went wrong",
    "--debug": "say every step",
    "--help": "show this, or what a command named with it knows",
    "--version": "show the version",
    "--register": "register the account if there is none",
    "--tos-agreed": "agree to the terms of service of the CA",
    "--contact": "whom the CA may write to, such as mailto:admin@example.org; may be repeated",
    "--orders": "print the account's orders, where the CA tells them",
    "--rollover": "replace the account key by a new one",
    "--deactivate": "give the account up, for good",
    "--yes": "don't ask whether to deactivate it",
    "--notify": "command after new files have been installed, such as systemctl reload nginx",
    "--challenge": "how to prove that the names are ours, such as http-01, dns-01 or tls-alpn-01",
    "--web-server": "have the web server at port 80 pass challenges on",
    "--purge": "remove key and certificates, too",
    "--thumbprint": "print the account key's thumbprint, for web servers that answer by themselves",
    "--ca": "the CA meant: a section [ca NAME]",
    "--config-certs": "read the sections from here instead; may be repeated",
    "--min-days": "renew what expires within so many days",
    "--force": "order what is not due, too",
    "--new-key": "make new keys",
    "--dry-run": "order from a CA for trials; install nothing",
    "--unattended": "for cron: tell the system's log, and write once a day what lasts",
    "--mail": "send it by mail, once a day at most, and only if something fails",
    "--reason": "why, by name or number of RFC 5280, such as superseded or 4",
    "--certificate-key": "sign by the certificate's own key, not by the account's",
    "--authorize": "prove the names first, where another account had the certificate",
    "--json": "print JSON",
    "--check": "print a line for a monitoring system, and end as its plugins do",
    "--warning": "with --check: how many days, or hours (36h), must be left",
    "--critical": "the same for what is critical",
    "--metrics": "write metrics for Prometheus into this file; - is standard output",
    "--online": "ask the CA and the DNS, and try challenges, too",
}
# what it does in one command only
_ESPECIALLY = {
    ("add", "--ca"): "the CA to ask: a section [ca NAME], or such as letsencrypt-staging",
    ("import", "--dry-run"): "show what would be written, and write nothing",
    ("account", "--ca"): "the CA meant, a section [ca NAME]; may be repeated",
    ("newOrder", "--ca"): "with --dry-run: the CA for trials, a section [ca NAME]",
    ("newOrder", "--tos-agreed"): "with --dry-run: agree to the terms of service of that CA",
    ("revokeCert", "--force"): "don't ask, and whosever the certificate is",
    ("check", "--json"): "with --online: print JSON",
}


def listed(columns: int) -> str:
    """Return a line or two for each command: what follows it, and what it does."""
    from textwrap import fill
    return "\n".join(fill(f"{command} {follows}".strip() + f" - {does}", max(columns, 40),
                          initial_indent="  ", subsequent_indent=" " * 10,
                          break_on_hyphens=False)
                     for command, (follows, does) in COMMANDS.items())


def option(command: str, name: str) -> str:
    """Return what the option ``name`` does in ``command``, "" for the list of all."""
    return _ESPECIALLY.get((command, name)) or _OPTIONS[name]
