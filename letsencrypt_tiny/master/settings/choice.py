"""Which CAs the words of the setting “ca” mean: [ca NAME], a preset, a URL, or that of [client]."""

from collections.abc import Callable, Sequence

from ...common.errors import ConfigError, did_you_mean
from ...common.inifile import Settings
from . import network, values
from .authorities import DEFAULT, Authority
from .identifiers import is_public
from .main import Config
from .presets import PRESETS, of_directory


def find(config: Config, name: str) -> Authority:
    """Return the CA that a Section calls ``name``; raises KeyError for what ``resolve`` would not
    return."""
    client = config.client
    if not name:
        return Authority("", f"{config.file}, [client]", client.access, "", client.eab_kid,
                         client.contact)
    if name in config.authorities:
        return config.authorities[name]
    url = PRESETS[name].directory if name in PRESETS else name
    if "://" not in url:
        raise KeyError(name)
    return Authority(name, f"{config.file}, [ca {name}]" if name in PRESETS else config.file,
                     client.access._replace(server=url, origins=(), verify=True, ca_file=""))


def resolve(config: Config, word: str) -> str:
    """Return the name of the CA that a word of the setting “ca” means: [ca WORD], a preset, a
    URL, or “default”.  Raises ValueError.

    One that is configured, under whatever name, is meant by its preset and its URL, too.
    """
    if word == DEFAULT:
        return ""
    if word in config.authorities:
        return word
    if word not in PRESETS and "://" not in word:
        known = [DEFAULT, *config.authorities, *PRESETS]
        raise ValueError(f"there is no CA “{word}”: no section [ca {word}] in {config.file}, and "
                         f"none of {', '.join(PRESETS)}{did_you_mean(word, known)}")
    url = network.server(word)
    for name, access in (("", config.client.access),
                         *((item.name, item.access) for item in config.authorities.values())):
        if access.server == url:
            return name
    preset = of_directory(url)
    return preset.name if preset is not None and preset.directory == url else url


def meant(config: Config, settings: Settings, words: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the CAs that ``words`` of the setting “ca” mean, each once.

    ``settings`` are those of the section.  Raises ConfigError.
    """
    if tuple(words) == (DEFAULT,):   # the most
        return ("",)
    try:
        return tuple(dict.fromkeys(resolve(config, word) for word in words))
    except ValueError as exc:
        raise ConfigError(f"{settings.where}: ca = {', '.join(words)}: {exc}") from exc


def is_private(config: Config, settings: Settings, inherited: Sequence[str]) -> bool:
    """True if a CA of a section may certify what no public one does; ``inherited`` is its “ca”
    where ``settings`` have none.  Raises ConfigError."""
    names = meant(config, settings, values.words(settings.text("ca")) or inherited)
    return not all(is_public(find(config, name).access.server) for name in names)


def judge(config: Config, inherited: Sequence[str]) -> Callable[[Settings], bool]:
    """Return ``is_private`` for many sections, which looks once at what they have in common."""
    known: dict[str, bool] = {}

    def judged(settings: Settings) -> bool:
        words = settings.text("ca")
        if words not in known:
            known[words] = is_private(config, settings, inherited)
        return known[words]
    return judged
