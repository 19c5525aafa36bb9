"""The import command: what another client has becomes ours, and nothing of it is changed.

    its files → account key and account → for each certificate key and files, then its section
    → hooks, and what can't be taken over → what is left to do

Repeated, it does what is new: sections that are there stay as they are.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ....common import log
from ....common.errors import ConfigError, Error, UsageError, did_you_mean
from ...settings import certificates
from ...settings.certificates import Section
from ...settings.main import Config
from ...store import sectionfile
from ...store.journal import Journal
from ...store.written import File
from ..locked import Locked
from . import accounts, pairs, sections
from .model import Estate, Found, Hook
from .pairs import Pair
from .sections import Draft
from .table import CLIENTS, Client


class Job(NamedTuple):
    """A certificate to take over."""

    found: Found
    section: Section
    text: str             # of its file
    files: list[File]     # its key and certificates; none: they are ordered anew


def import_(config: Config, words: Sequence[str], dry_run: bool) -> int:
    """Take over what a client has, or with ``dry_run`` show what that would be; returns the exit
    status.  Raises UsageError and ConfigError before anything is touched, and Error."""
    client, directory = _chosen(words)
    try:
        estate = client.read(directory, accounts.servers(config))
    except ConfigError as exc:
        raise Error(str(exc)) from exc
    if dry_run:
        return _take(config, client, estate, True)
    with Locked(config):
        return _take(config, client, estate, False)


def _chosen(words: Sequence[str]) -> tuple[Client, str]:
    """Return the client, and the directory that its files are in.  Raises UsageError."""
    if not words or len(words) > 2:
        raise UsageError(f"import: say whose certificates: {', '.join(CLIENTS)}; and the directory "
                         "that they are in, if it isn't the usual one")
    name = {"acmesh": "acme.sh", "acme_tiny": "acme-tiny", "acmetiny": "acme-tiny"}.get(
        words[0].lower(), words[0].lower())
    client = CLIENTS.get(name)
    if client is None:
        raise UsageError(f"import: “{log.printable(words[0], 100)}” is none of "
                         f"{', '.join(CLIENTS)}{did_you_mean(words[0], CLIENTS)}")
    if len(words) == 2:
        return client, os.path.abspath(words[1])
    for place in client.places:
        if os.path.isdir(place):
            return client, place
    raise UsageError(f"import {name}: there is no {' and no '.join(client.places)}: name the "
                     "directory")


def _take(config: Config, client: Client, estate: Estate, dry_run: bool) -> int:
    loaded = certificates.load(config)
    directory = sectionfile.place(loaded)   # or there is none, before anything is touched
    jobs = _jobs(config, client, estate, loaded)
    status, thumbprint = 0, ""
    account = accounts.main_one(config, estate)
    if account is not None:
        try:
            thumbprint = accounts.take(config, account, estate, dry_run)
        except Error as exc:
            log.error(exc)
            status = 1
    for job in jobs:
        if dry_run:
            _show(job)
            continue
        try:
            _write(config, job, thumbprint)
        except Error as exc:
            log.error(f"{job.section.name}: not taken over: {exc}")
            status = 1
    if not dry_run:
        sectionfile.tidy(directory)
    _tell(client, estate, jobs, dry_run)
    return status


def _jobs(config: Config, client: Client, estate: Estate, loaded: certificates.Certificates
          ) -> list[Job]:
    """Return what there is to do; what there isn't is told among what is left."""
    drafts: dict[str, tuple[Found, Pair | None, Draft]] = {}
    for found in estate.certificates:
        pair, why = None, ""
        if found.names:   # else its files stay where they are
            try:
                pair = pairs.read(config, found)
            except Error as exc:
                why = str(exc)
        try:
            draft = sections.draft(config, client.name, loaded, found, pair, drafts)
        except sections.Present as exc:
            log.info(f"{found.name}: nothing to do: {exc}")
            continue
        except Error as exc:
            estate.left += [f"{found.name}: {line}" for line in (
                f"{found.source}: {exc}", *found.left)]
            continue
        drafts[draft.name] = found, pair, draft
        estate.left += [f"{draft.name}: {line}" for line in (*found.left, *draft.left)]
        if why:
            estate.left.append(f"{draft.name}: key and certificate, so others are ordered: {why}")
    return list(_good(config, estate, loaded, drafts))


def _good(config: Config, estate: Estate, loaded: certificates.Certificates,
          drafts: dict[str, tuple[Found, Pair | None, Draft]]) -> Iterator[Job]:
    """Yield those with which nothing is wrong."""
    tried = sections.tried(config, loaded, [draft for _, _, draft in drafts.values()])
    for found, pair, draft in drafts.values():
        section = tried[draft.name]
        if isinstance(section, Error):
            estate.left.append(f"{draft.name}: {found.source}: {section}")
        else:
            yield Job(found, section, draft.text,
                      pairs.contents(config, section, pair) if pair else [])


def _show(job: Job) -> None:
    for file in job.files:
        source = job.found.key if file.path == job.section.key else job.found.chain
        print(f"{file.path}  (mode {file.mode:04o}, from {log.printable(source)})")
    print(f"{job.section.source}:")
    for line in job.text.splitlines():
        print(f"    {log.printable(line)}")


def _write(config: Config, job: Job, thumbprint: str) -> None:
    """Files first: a section without them has others ordered.  Raises Error."""
    section = job.section
    if job.files:
        try:
            pairs.write(config, section, job.files)
        except Error as exc:
            log.warning(f"{section.name}: key and certificate are not copied: {exc}")
        else:
            log.info(f"{section.name}: key and certificate copied to "
                     f"{os.path.dirname(section.key)}")
            directory = accounts.directory_of(config, job.found)
            if directory:
                journal = Journal(config.state_directory)
                journal.remember(section.name, journal.section(section.name)._replace(
                    issuer=directory, issuer_account=thumbprint or None))
    sectionfile.Written(job.section.source, job.text, None)
    log.info(f"{section.name}: {job.section.source} written")


def _tell(client: Client, estate: Estate, jobs: Sequence[Job], dry_run: bool) -> None:
    for hook in dict.fromkeys([*(hook for job in jobs for hook in job.found.hooks),
                               *estate.hooks]):
        log.info(f"hook, for you to decide: {hook.when}: {_command(hook)}")
    for line in dict.fromkeys(estate.left):
        log.info(f"not taken over: {line}")
    if dry_run:
        log.info(f"{len(jobs)} certificate{'' if len(jobs) == 1 else 's'} would be taken over from "
                 f"{client.name}; nothing was changed")
        return
    for job in jobs:
        if job.files and os.path.lexists(job.section.key):
            for old, new in ((job.found.key, job.section.key),
                             (job.found.chain, job.section.outputs[0])):
                log.info(f"{job.section.name}: servers read {old} now: have them read "
                         f"{new} instead")
    log.info(f"{len(jobs)} certificate{'' if len(jobs) == 1 else 's'} taken over from "
             f"{client.name}; “letsencrypt-tiny newOrder --dry-run” tries to renew them")
    if jobs:
        log.info(f"once that is well, stop {client.name}: {client.stop}")


def _command(hook: Hook) -> str:
    return f"{log.printable(hook.command, 1000)}  ({hook.source})"
