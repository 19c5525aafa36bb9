"""Files take their places together: those of a directory of the short form by one switch
(``versions``), all others by renames in a row, the key first.

    begin → entry (``entry``) → versions filled, files written beside their places, all synced
          → entry: ready, if there is more than one step → steps, in order → entry removed

Killed before it is ready, or before the one step, the next run takes all back; afterwards it does
what is left.  Only between the first step and the last, if there are several, who reads meets
files of two generations.
"""

import os
import stat
import time
from _thread import allocate_lock
from collections.abc import Sequence
from contextlib import ExitStack

from ...common import log, trusted
from ...common.errors import Error
from . import files
from .entry import Entries, Entry, Step
from .files import File
from .versions import Plain, Versions

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_FILE = 16 << 20   # bytes; more was never written
_rehearses = allocate_lock()   # what one trial makes and takes back is not there for another


class Target:
    """Where files of sections go."""

    def __init__(self, state: str, certs: str) -> None:
        """``state`` is the state directory; what lies in one right below ``certs`` is switched."""
        self._entries = Entries(state)
        self._certs = certs

    def install(self, name: str, contents: Sequence[File], owner: int, keep: int) -> None:
        """Replace the files of ``contents``, in that order; ``name`` is the section's.

        ``owner`` is a uid that may, besides root, own directories on the way; of directories
        that are switched ``keep`` versions stay.  What is in place already is passed over, so
        that it may be repeated.  Raises Error naming a file, with the old ones in their places
        or, if that can't be done, with an entry for the next run.
        """
        with ExitStack() as stack:
            places = self._places(contents, stack)
            left = _left(contents, places, owner)
            places = {place: known for place, known in places.items()
                      if any(os.path.dirname(file.path) == place for file in left)}
            if not left:
                self._entries.remove(name)   # of a run that was killed
                return
            work = _Work(name, self._entries, Entry((), owner, keep), places)
            try:
                work.begin(left)
                work.fill()
            except BaseException:
                work.take_back()
                raise
            work.finish()

    def _places(self, contents: Sequence[File], stack: ExitStack) -> dict[str, Versions]:
        """Return the directories that can be switched."""
        found: dict[str, Versions] = {}
        for place in dict.fromkeys(os.path.dirname(file.path) for file in contents):
            if os.path.dirname(place) != self._certs:
                continue
            try:
                known = stack.enter_context(Versions(place))
            except (FileNotFoundError, Plain, trusted.Untrusted) as exc:
                log.debug(f"{place}: its files are replaced one by one: {exc}")
                continue
            if known.usable():
                found[place] = known
        return found


class _Work:
    """What takes its place in one go."""

    def __init__(self, name: str, entries: Entries, entry: Entry, places: dict[str, Versions]
                 ) -> None:
        """``entry`` has no steps yet."""
        self._name = name
        self._entries = entries
        self._entry = entry
        self._places = places
        self._fresh: dict[str, str] = {}       # place -> its new version
        self._contents: Sequence[File] = ()
        self._alone: list[File] = []           # files that are renamed by themselves
        self._prepared = files.Prepared(())

    def begin(self, contents: Sequence[File]) -> None:
        """Write down what is about to happen; plain directories become versions."""
        now = time.time()
        self._contents = contents
        for place in [place for place, known in self._places.items() if known.is_full()]:
            self._entries.write(self._name, self._entry._replace(steps=(Step(place),)))
            try:
                self._places[place].take_over(now)
            except Plain as exc:
                log.info(f"{self._name}: {exc}")
                del self._places[place]
        self._fresh = {place: known.free(now) for place, known in self._places.items()}
        self._alone = [file for file in contents if os.path.dirname(file.path) not in self._fresh]
        self._entry = self._entry._replace(steps=tuple(dict.fromkeys(map(self._step, contents))))
        self._entries.write(self._name, self._entry)

    def _step(self, file: File) -> Step:
        place = os.path.dirname(file.path)
        if place in self._fresh:
            return Step(place, self._fresh[place])
        return Step(file.path, digest=_digest(file.data))

    def fill(self) -> None:
        """Write everything, where nobody looks for it yet."""
        for place, version in self._fresh.items():
            known = self._places[place]
            mine = [file for file in self._contents if os.path.dirname(file.path) == place]
            known.begin(version)
            path = known.path(version)
            known.carry(version, [os.path.basename(file.path) for file in mine])
            try:
                files.fill([file._replace(path=f"{path}/{os.path.basename(file.path)}")
                            for file in mine], self._entry.owner)
            except Error as exc:   # where it is to be says more than where it is
                raise Error(str(exc).replace(path, place)) from exc
        self._prepared = files.Prepared(self._alone, owner=self._entry.owner)
        if len(self._entry.steps) > 1:
            self._entries.write(self._name, self._entry._replace(ready=True))

    def take_back(self) -> None:
        """Nothing is replaced, and nothing left."""
        self._prepared.close()
        for place, version in self._fresh.items():
            self._places[place].discard(version)
        self._forget()

    def finish(self) -> None:
        """Let everything take its place."""
        try:
            if len(self._entry.steps) > 1:
                self._prepared.together(self._take_places)
            self._take_places()
            self._prepared.sync()
        except BaseException:
            if len(self._entry.steps) > 1:
                self._prepared.close(remove=False)   # the next run goes on
            else:
                self.take_back()
            raise
        self._prepared.close()
        for known in self._places.values():
            known.remove_old(self._entry.keep)
        self._forget()

    def _take_places(self) -> None:
        """Do the steps; those that are done may be done again."""
        alone = {file.path: number for number, file in enumerate(self._alone)}
        for step in self._entry.steps:
            if step.version:
                self._places[step.place].switch(step.version)
            else:
                self._prepared.one(alone[step.place])

    def _forget(self) -> None:
        try:
            self._entries.remove(self._name)
        except Error as exc:   # the next run finds that all is done
            log.debug(exc)


def rehearse(certs: str, paths: Sequence[str]) -> None:
    """Raise Error if no version could be made of a directory of ``paths`` right below ``certs``;
    how files are written there is ``files.rehearse``'s business."""
    for place in dict.fromkeys(os.path.dirname(path) for path in paths):
        if os.path.dirname(place) == certs:
            try:
                with _rehearses, Versions(place) as known:
                    if known.usable():
                        known.rehearse()
            except (FileNotFoundError, Plain, trusted.Untrusted):
                pass   # there they are replaced one by one


def repair(state: str) -> None:
    """Finish, or take back, what a run had begun that was killed; ``state`` is the state
    directory.  What can't be done is told, and tried again by the next run."""
    entries = Entries(state)
    entries.tidy()
    for name, entry in entries.all().items():
        try:
            for step in entry.steps:
                _repair(step, entry)
            entries.remove(name)
            log.debug(f"{name}: what a run left that was killed is "
                      f"{'finished' if entry.ready else 'taken back'}")
        except (Plain, trusted.Untrusted) as exc:
            log.warning(f"{name}: what a run left that was killed stays as it is: {exc}")
            entries.remove(name)
        except (OSError, Error) as exc:
            log.warning(f"{name}: what a run left that was killed can't be cleared up: {exc}; the "
                        "next run tries again")


def _repair(step: Step, entry: Entry) -> None:
    try:
        if not step.digest:
            _repair_switch(step, entry)
        elif entry.ready:
            _finish(step, entry.owner)
        else:
            files.tidy(step.place, entry.owner)
    except FileNotFoundError:   # a directory was removed, and all with it
        pass


def _repair_switch(step: Step, entry: Entry) -> None:
    with Versions(step.place) as known:
        known.repair()
        if entry.ready and step.version > known.current():
            known.switch(step.version)
        known.discard(step.version)
        known.remove_old(entry.keep)


def _finish(step: Step, owner: int) -> None:
    """Rename the file that waits, if it is still the one that was written."""
    directory, name = trusted.open_parent(step.place, owner)
    waiting = files.temporary(name)
    try:
        if _is_written(waiting, directory, step.digest):
            os.rename(waiting, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
    except FileNotFoundError:   # it is in its place
        pass
    except OSError as exc:
        raise Error(f"{step.place}: {exc.strerror}") from exc
    finally:
        os.close(directory)
    files.tidy(step.place, owner)


def _is_written(name: str, directory: int, digest: str) -> bool:
    """Say whether that is the file that was written; raises FileNotFoundError if there is none."""
    if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return False
    with open(os.open(name, _READ, dir_fd=directory), "rb") as file:
        return _digest(file.read(_MAX_FILE)) == digest


def _left(contents: Sequence[File], places: "dict[str, Versions]", owner: int) -> list[File]:
    """Return those that are not in place; of a directory that is switched all, or none."""
    wrong = {file.path for file in contents if not _is_there(file, owner)}
    switched = {os.path.dirname(path) for path in wrong}.intersection(places)
    return [file for file in contents
            if file.path in wrong or os.path.dirname(file.path) in switched]


def _is_there(file: File, owner: int) -> bool:
    try:
        descriptor = trusted.open_file(file.path, owner)
    except (OSError, Error):
        return False
    try:
        info = os.fstat(descriptor)
        uid, gid = file.owner or (-1, -1)
        return stat.S_IMODE(info.st_mode) == file.mode and uid in (-1, info.st_uid) \
            and gid in (-1, info.st_gid) and info.st_size == len(file.data) \
            and os.read(descriptor, len(file.data) + 1) == file.data
    finally:
        os.close(descriptor)


def _digest(data: bytes) -> str:
    from hashlib import sha256
    return sha256(data).hexdigest()
