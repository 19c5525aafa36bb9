"""A program of the administrator's: ``PATH [ARGUMENT …] add|remove NAME VALUE``, without a shell.

It cannot be confined as this process is, for nobody knows what it needs.  So it is not this
process that executes it, but one that was forked from it beforehand, hears nothing but records
from it, and answers with a status: see executor.py.
"""

import os
import socket
import threading
from collections.abc import Sequence

from ...common.errors import Error, ProtocolError
from ...common.wire.dns import Task
from ...common.wire.jsonfields import dump, get_int, get_str, parse_object
from ..asking import Server
from ..records import Record
from . import executor
from .update import Refused

MARGIN = 5      # seconds that the executor may take beyond the command's


class Command:
    """See update.Update.  One command at a time: few were written for more."""

    modules: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    def __init__(self, task: Task, secret: bytes) -> None:
        self.how = f"command {task.update[1]}"
        self._timeout = task.update_timeout
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.getpid()
        if os.fork() == 0:
            self._socket.close()
            executor.run(theirs, pid, task.update[1:], task.update_timeout, secret)
        theirs.close()

    def add(self, record: Record, zone: str) -> None:
        """Publish one more value.  Raises Error."""
        self._ask("add", record)

    def remove(self, record: Record, zone: str) -> None:
        """Remove this value alone.  Raises Error."""
        self._ask("remove", record)

    def servers(self) -> Sequence[Server]:
        """Return nobody: where the command publishes is its business."""
        return ()

    def _ask(self, what: str, record: Record) -> None:
        with self._lock:
            try:
                self._socket.settimeout(self._timeout + MARGIN)
                self._socket.send(dump({"do": what, **record._asdict()}))
                answer = parse_object(self._socket.recv(executor.MAX_MESSAGE), "an answer",
                                      executor.MAX_MESSAGE)
                status, why = get_int(answer, "status", -1000, 1000), get_str(answer, "why")
            except (OSError, ProtocolError) as exc:
                self._socket.close()   # what it may still say is no answer to anything else
                raise Error(f"{self.how}: who executes it is gone ({exc})") from exc
        if status == executor.NOT_STARTED:
            raise Refused(f"{self.how} can't be executed: {why}")
        if status:
            raise Error(f"{self.how} {what} {record.name}: {why}")
