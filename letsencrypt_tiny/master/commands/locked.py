"""One command at a time, and none begins on what a killed one has left."""

import os

from ...common import log
from ...common.errors import Error, LockedError
from ..settings.main import Config


class Locked:
    """The lock, for the time of a with statement; what a killed run left is gone then.

    ``idle``: there is nothing to do, which a run directory that can't be used is no hindrance for.
    """

    def __init__(self, config: Config, idle: bool = False) -> None:
        self._config = config
        self._idle = idle
        self._descriptor = -1

    def __enter__(self) -> None:
        from ..responders.table import remove_stale
        from ..store.lock import acquire
        try:
            self._descriptor = acquire(self._config)
        except LockedError:
            raise
        except Error as exc:
            if not self._idle:
                raise
            log.info(f"{exc} (no hindrance: there is nothing to do)")
            return
        remove_stale(self._config)
        from ..store.entry import is_there
        if is_there(self._config.state_directory):
            from ..store.placing import repair
            repair(self._config.state_directory)

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
