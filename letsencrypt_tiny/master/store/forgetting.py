"""A section that is given up: its files, and what is remembered of it."""

import os
from collections.abc import Collection

from ...common.errors import Error
from ..settings.certificates import Section
from ..settings.main import Config
from . import files, sectionfile
from .journal import Journal, filename_of


def forget(config: Config, section: Section) -> None:
    """Remove what is remembered of a section alone.

    What CAs count, and the window that its certificate was to be renewed in, is forgotten once it
    is past.  That something can't be removed does no harm.
    """
    directory, name = config.state_directory, section.name
    for path in (f"{directory}/{filename_of(name)}",
                 f"{directory}/{filename_of(name, 'issued-', '.pem')}",
                 f"{directory}/requests/{filename_of(name, 'csr-')}",
                 Journal(directory).pending_key(section.key)):
        files.remove(path)


def remove(config: Config, section: Section, shared: Collection[str] = ()) -> list[str]:
    """Remove key and certificates, and the directory that was made for them; return the paths of
    the files that were there.

    A key in a token stays, and one that others have, too: those ``shared``.  Raises Error.
    """
    found = [path for path in section.outputs if os.path.lexists(path)]
    if not section.in_token and section.key not in shared:
        found += filter(os.path.lexists, (section.key, f"{section.key}.old"))
    for path in found:
        sectionfile.remove(path, section.trusted)
    own = os.path.dirname(section.outputs[0])
    if os.path.dirname(own) == config.certs_directory:
        from .versions import Versions
        try:
            with Versions(own) as known:
                known.remove_old(1)
                if not os.listdir(own):   # whatever else is in it is not ours
                    known.remove()
            if os.path.lexists(own):
                os.rmdir(own)
        except (OSError, Error):
            pass
    return found
