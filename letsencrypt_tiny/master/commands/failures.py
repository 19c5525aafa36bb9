"""The failures command: what fails now, as the mail has it; and the mail."""

import os
import time

from ...common import log, paths
from ...common.environment import search_path
from ...common.errors import ConfigError, Error, UsageError
from ..peers.spawn import sealed
from ..report import failing as text
from ..settings import main as settings
from ..store.told import Failing

SENDMAIL = "/usr/sbin/sendmail"   # of any mail transport agent (Debian Policy §11.6)
_SECONDS = 60


def failures(config: str | None, mail: str | None) -> int:
    """Print what fails; or ``mail`` it to an address, unless that was done within a day.

    ``config`` is the file's name.  Returns the exit status: 1 if something fails, and is printed.
    Raises Error if the mail can't be sent.
    """
    now = time.time()
    known = Failing(_state_directory(config))
    result = os.environ.get("MONITOR_SERVICE_RESULT", "")
    if mail is not None and result not in ("", "success", "exit-code"):
        known.run_failed(f"the run was ended by systemd: {log.printable(result, 40)} (journalctl "
                         "-u letsencrypt-tiny.service has more)", int(now))
    there = known.all()
    if mail is None:
        for line in text.lines(there, now) if there else ():
            print(line)
        return 1 if there else 0
    if there and known.untold(now):
        _send(_checked(mail), text.subject(there, os.uname().nodename),
              "\n".join(text.lines(there, now)))
        known.told(now)
    return 0


def _state_directory(config: str | None) -> str:
    """What is wrong with the configuration is what there is to tell of."""
    try:
        return settings.load(config).state_directory
    except ConfigError as exc:
        log.debug(exc)
        return f"{paths.STATE_DIR}/state"


def _checked(address: str) -> str:
    if not address or address.startswith("-") or not address.isprintable() or " " in address \
            or "," in address:
        raise UsageError(f"failures: --mail={log.printable(address)}: not an address of mail")
    return address


def _send(address: str, subject: str, body: str) -> None:
    import subprocess
    message = (f"To: {address}\nSubject: {_encoded(subject)}\nAuto-Submitted: auto-generated\n"
               "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
               f"Content-Transfer-Encoding: 8bit\n\n{body}\n")
    given = sealed(message.encode("utf-8", "backslashreplace"))
    try:
        # what it says is for whoever reads ours; it may go on behind our back
        status = subprocess.run(
            [SENDMAIL, "-oi", "-t"], stdin=given, stdout=2, check=False, cwd="/",
            timeout=_SECONDS, env={"PATH": search_path(0), "LANG": "C.UTF-8"}).returncode
    except subprocess.TimeoutExpired as exc:
        raise Error(f"{SENDMAIL} did not end within {_SECONDS} seconds") from exc
    except OSError as exc:
        raise Error(f"{SENDMAIL}: cannot run it: {exc.strerror}; is there a mail transport agent?"
                    ) from exc
    finally:
        os.close(given)
    if status != 0:
        raise Error(f"{SENDMAIL} ended with status {status}: nobody was told of what fails")


def _encoded(subject: str) -> str:
    """Return a header's value in ASCII (RFC 2047)."""
    if subject.isascii():
        return subject
    from base64 import b64encode
    return f"=?utf-8?B?{b64encode(subject[:50].encode()).decode()}?="
