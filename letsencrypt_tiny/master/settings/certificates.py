"""certs.conf and certs.conf.d/*.conf -> one ``Section`` a section.

The short form (``names``) and the explicit one (``certificate``, ``certificate-key``,
``subject``, ``subjectAltName`` …) meet here; what comes out is checked, so that nothing
unexpected ever reaches an openssl command line.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...common import inifile, paths, pkcs11, specifiers
from ...common.errors import ConfigError, Error
from ...common.inifile import Settings
from ...common.names import Identifier
from . import choice, clashes, identifiers, keys, proofs, sources, values
from .main import Config
from .rows import Setting, Table, Values, record

HASHES = ("sha256", "sha384", "sha512", "sha224", "sha1", "md5", "rmd160")
KEY_USAGES = ("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
              "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly")
TLS_FEATURES = ("status_request", "status_request_v2")
MAX_NAMES = 1000     # of one certificate; a bigger order would not fit into its message

_DIRECTORY = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*@+ -]{0,199}\Z")
_MAX_SECTION = 255   # characters of a section's name


class SectionError(Error):
    """A section is wrong; the others are not."""


class Section(NamedTuple):
    """What one section asks for."""

    name: str
    source: str                              # the file that it stands in
    identifiers: tuple[Identifier, ...]      # in the order given, each once
    key: str                                 # path of the private key, or its PKCS #11 URI
    certificate: str                         # path, or "" not to install it alone
    chain: str                               # of the intermediates alone, or ""
    fullchain: str                           # of the certificate and its chain, or ""
    subject: tuple[tuple[str, str], ...]     # (type, value), may be empty
    key_type: str
    min_days: int | None
    ca_file: str                             # "" skips the verification of the chain
    hash: str
    key_usage: tuple[str, ...]
    tls_feature: tuple[str, ...]
    owner: tuple[int, int] | None            # uid, gid (-1: leave)
    mode: int
    notify: str
    issuers: tuple[str, ...] = ("",)         # names of CAs by preference; "": that of [client]
    preferred_profile: str = ""              # asked for where the CA offers it
    required_profile: str = ""               # asked for whatever the CA says; "" for neither
    challenges: tuple[str, ...] = ()         # types, in order of preference; none: auto
    ari: bool = True                         # ask the CA when to renew (RFC 9773)
    preferred_chain: str = ""                # CN of an issuer in the chain; "" is the default one
    reuse_key: bool | None = True            # whether a renewal keeps the key; None is no
    next_key: bool = False                   # whether the key of the next one is made ahead
    twin: str = ""                           # the section for the other type of key, if any
    keep_versions: int = 3                   # of its directory, this one counted

    @property
    def where(self) -> str:
        """FILE, [SECTION]: for messages; the name alone of what is in no file."""
        return f"{self.source}, [{keys.written(self)}]" if self.source else self.name

    @property
    def issuer(self) -> str:
        """The name of the CA that is asked first."""
        return self.issuers[0]

    @property
    def profile(self) -> str:
        """What its orders name, "" for nothing (draft-ietf-acme-profiles)."""
        return self.required_profile or self.preferred_profile

    @property
    def outputs(self) -> list[str]:
        """The paths of the files to install, the one that tells most of the state first."""
        return [path for path in (self.fullchain, self.certificate, self.chain) if path]

    @property
    def in_token(self) -> bool:
        """True if the key is no file."""
        return pkcs11.is_uri(self.key)

    @property
    def trusted(self) -> int:
        """The uid that may, besides root, own directories of its files."""
        return self.owner[0] if self.owner else 0

    @property
    def group(self) -> int:
        """The gid that may, besides root and ssl-cert, read its key; -1 is none."""
        return self.owner[1] if self.owner else -1


class Certificates(NamedTuple):
    """What is configured."""

    sections: dict[str, Section]          # by name, in order
    faults: dict[str, SectionError]       # what is wrong with the others, by name
    files: tuple[str, ...]                # that were read, or would have been, for messages

    @property
    def empty(self) -> bool:
        """True if there is no section."""
        return not self.sections and not self.faults

    @property
    def hint(self) -> str:
        """What to say where there is no section."""
        return ("no certificate is configured: run “letsencrypt-tiny add example.org”, or add a "
                f"section [example.org] with names = example.org to {self.files[0]}")


def _hash(text: str) -> str:
    """Parse a digest, whatever its case; "" is openssl's default."""
    return inifile.choice(text, HASHES + tuple(map(str.upper, HASHES))).lower() if text else ""


SECTION = Table(
    Setting("names", "names", identifiers.name_list, "", "host names and addresses"),
    Setting("certificate", "certificate", values.file, "", "file of the certificate alone"),
    Setting("certificate-chain", "fullchain", values.file, "",
            "file of the certificate and its chain"),
    Setting("certificate-key", "key", keys.location, "", "file or PKCS #11 URI of the private key"),
    Setting("key-type", "key_types", keys.key_types, keys.KEY_TYPES[0],
            "types of keys that don't exist yet"),
    Setting("reuse-key", "reuse_key", values.optional_boolean, "",
            "whether a renewal keeps the key"),
    Setting("next-key", "next_key", inifile.boolean, "no",
            "whether the key of the next one is made ahead"),
    Setting("subject", "subject", identifiers.parse_subject, "", "/TYPE=VALUE/TYPE=VALUE…"),
    Setting("subjectAltName", "alternative_names", identifiers.alternative_names, "",
            "names in openssl's notation"),
    Setting("min-days", "min_days", values.optional_integer(-100000, 100000), "",
            "days left below which it is due"),
    Setting("ari", "ari", inifile.boolean, "yes", "whether the CA is asked when to renew"),
    Setting("CAfile", "ca_file", values.absolute, paths.CA_BUNDLE,
            "CA certificates that it must chain to", empty=True),
    Setting("preferred-chain", "preferred_chain", values.common_name, "",
            "CN of an issuer in the chain that is wanted"),
    Setting("owner", "owner", values.owner, "", "USER[:GROUP] of the files", old=("chown",)),
    Setting("mode", "mode", values.mode, "0644", "octal mode of the files", old=("chmod",)),
    Setting("keep-versions", "keep_versions", values.integer(1, 1000), "3",
            "how many versions of its directory stay"),
    Setting("notify", "notify", str, "", "command after new files have been installed"),
    Setting("challenge", "challenges", proofs.types, "auto",
            "how to prove that the names are ours"),
    Setting("ca", "issuers", values.words, "default", "CAs to ask, one after the other"),
    Setting("preferred-profile", "preferred_profile", values.profile, "",
            "certificate profile, where the CA has it"),
    Setting("required-profile", "required_profile", values.profile, "",
            "certificate profile, or no certificate"),
    Setting("hash", "hash", _hash, "", "digest that the CSR is signed with"),
    Setting("keyUsage", "key_usage", values.words_of(KEY_USAGES), "", "X509v3 Key Usage"),
    Setting("tlsfeature", "tls_feature", values.words_of(TLS_FEATURES), "", "TLS Feature"))


def _private() -> Table:
    """The table for a CA whose business it is which names it certifies."""
    def private(parse: Callable[..., object]) -> Callable[[str], object]:
        return lambda text: parse(text, public=False)
    return Table(*(row._replace(parse=private(row.parse))
                   if row.name in ("names", "subject", "subjectAltName") else row
                   for row in SECTION.rows))


def load(config: Config, filenames: Sequence[str] | None = None,
         new: sources.Candidate | None = None) -> Certificates:
    """Read the certificates' configuration, with a ``new`` file as if it were there.

    ``filenames`` are those of --config-certs.  A section of a later file replaces that of an
    earlier one; settings before the first section are defaults for all that follow.  Where
    neither says anything, and the default files have no section, lacme's are read.
    Raises ConfigError for what can't be read at all, or is wrong with those defaults.
    """
    if filenames is not None or config.config_certs is not None:
        names = list(filenames or config.config_certs or ())
        lacme = True if filenames is None and inifile.is_lacme(config.file) else None
        return _load(config, names, False, lacme, new)
    found = _load(config, paths.CERTS_CONFIG, True, None, new)
    return _load(config, paths.LACME_CERTS_CONFIG, True, True, new, found) if found.empty else found


def _load(config: Config, names: Sequence[str], optional: bool, lacme: bool | None,
          new: sources.Candidate | None, before: Certificates | None = None) -> Certificates:
    found = Certificates({}, {}, tuple(
        os.path.join(os.path.dirname(config.file), specifiers.expand(name)) for name in names))
    tables, defaults, common_form = (SECTION, _private()), SECTION.defaults(), True
    for file in sources.files(found.files, optional, new):
        sections = sources.read(file, lacme, new)
        common = sections.pop("")
        table = tables[choice.is_private(config, common, defaults["issuers"])]
        defaults = table.read(common, defaults)   # once, for all that follow
        is_private = choice.judge(config, defaults["issuers"])
        for name in list(sections):
            settings = sections.pop(name)   # what has been read makes room
            _forget(found, name)
            try:
                given = tables[is_private(settings)].read(settings, defaults)
                common_form &= not (given["key"] or given["certificate"] or given["fullchain"])
                for section in _twins(_section(settings, given, config), given["key_types"]):
                    if section.name in found.sections:
                        raise settings.bad("key-type", f"there is a section [{section.name}], too")
                    found.sections[section.name] = section
            except ConfigError as exc:
                found.faults[name] = SectionError(str(exc))
    if not common_form:   # there each has a directory of its own, and nobody's files are another's
        _compare(found)
    return before if before is not None and found.empty else found


def _compare(found: Certificates) -> None:
    """See which sections share a key, and which are in each other's way."""
    stays, faults = keys.share(found.sections)
    for name in stays:
        found.sections[name] = found.sections[name]._replace(reuse_key=True)
    for name, fault in {**faults, **clashes.found(found.sections)}.items():
        if name in found.sections:
            section = found.sections.pop(name)
            found.sections.pop(section.twin, None)
            found.faults[keys.written(section)] = SectionError(fault)


def _forget(found: Certificates, name: str) -> None:
    """A section of that name comes: it replaces what was read of an earlier one."""
    old = found.sections.pop(name, None)
    if old is not None and old.twin:
        found.sections.pop(old.twin)
        if name != keys.written(old):
            found.faults[old.twin] = SectionError(f"{old.where}: key-type: there is a section "
                                                  f"[{name}], too")
    found.faults.pop(name, None)


def _section(settings: Settings, found: Values, config: Config) -> Section:
    """Complete what ``settings`` say, whose values have been ``found``."""
    if len(settings.name) > _MAX_SECTION:
        raise ConfigError(f"{settings.where}: this name is longer than {_MAX_SECTION} characters")
    keys.complete(settings, found)
    names = _identifiers(settings, found)
    name = names[0][1]   # as the most are called: one string, not two
    found.update(name=name if name == settings.name else settings.name, source=settings.file,
                 chain="", twin="", key_type=found["key_types"][0], identifiers=names,
                 issuers=choice.meant(config, settings, found["issuers"]))
    fault = proofs.fault(found["challenges"], found["identifiers"], config)
    if fault:
        raise ConfigError(f"{settings.where}: {fault}")
    installs = found["certificate"] or found["fullchain"]
    if found["key"] and installs:
        return record(Section, found)
    if not _DIRECTORY.match(settings.name):
        raise ConfigError(f"{settings.where}: this name cannot name a directory below "
                          f"{config.certs_directory}; choose another, or set certificate-key "
                          "and certificate or certificate-chain")
    own = f"{config.certs_directory}/{settings.name}"
    if not found["key"]:
        found["key"] = f"{own}/privkey.pem"
    if not installs:
        found.update(certificate=f"{own}/cert.pem", chain=f"{own}/chain.pem",
                     fullchain=f"{own}/fullchain.pem")
    return record(Section, found)


def _twins(section: Section, types: Sequence[str]) -> list[Section]:
    """Return a section for each type of key."""
    if len(types) == 1:
        return [section]
    other = keys.second(section.name)
    return [section._replace(twin=other),
            section._replace(name=other, twin=section.name, key_type=types[1],
                             key=keys.beside(section.key),
                             certificate=keys.beside(section.certificate),
                             chain=keys.beside(section.chain),
                             fullchain=keys.beside(section.fullchain))]


def _identifiers(settings: Settings, given: Values) -> tuple[Identifier, ...]:
    """Return all names, each once, in the order of subject, names and subjectAltName."""
    found: tuple[Identifier, ...] = given["names"]
    subject, alternative = given["subject"], given["alternative_names"]
    if subject or alternative:
        found = (*identifiers.common_names(subject), *found, *alternative)
    if len(found) > 1:
        found = tuple(dict.fromkeys(found))
    if not found:
        raise ConfigError(f"{settings.where}: no names: set names = NAME[, NAME …]")
    if len(found) > MAX_NAMES:
        raise ConfigError(f"{settings.where}: more than {MAX_NAMES} names; use several sections")
    return found
