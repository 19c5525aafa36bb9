"""certbot: /etc/letsencrypt, with a file in renewal/ for each certificate.

    renewal/NAME.conf   [renewalparams], [[webroot_map]]: how it is renewed
    live/NAME/          links to the current key and certificates
    accounts/HOST/PATH/ID/{private_key.json,regr.json}
"""

import os
from collections.abc import Iterator, Mapping

from ....common.errors import Error
from . import reading
from .model import Account, Estate, Found, Hook

PLACES = ("/etc/letsencrypt",)
# the same CA, with the protocol of before RFC 8555, and since: certbot makes no difference
_OLD = {"https://acme-v01.api.letsencrypt.org/directory":
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://acme-staging.api.letsencrypt.org/directory":
        "https://acme-staging-v02.api.letsencrypt.org/directory"}
_DEFAULT = "https://acme-v02.api.letsencrypt.org/directory"
_CURVES = {"secp256r1": "ec:P-256", "secp384r1": "ec:P-384"}
_HOOKS = {"pre_hook": "before a renewal", "post_hook": "after a renewal, be it or not",
          "renew_hook": "after a renewal"}
_DIRECTORIES = {"pre": "before a renewal", "deploy": "after a renewal",
                "post": "after a renewal, be it or not"}
# What is read below, and what says nothing that we would want to know
_READ = {*_HOOKS, "account", "authenticator", "server", "key_type", "elliptic_curve",
         "rsa_key_size", "reuse_key", "must_staple", "preferred_chain", "preferred_profile",
         "required_profile", "webroot_path", "pref_challs", "installer", "autorenew"}
_NOTHING = {"config_dir", "work_dir", "logs_dir", "version", "user_agent", "tos", "email",
            "register_unsafely_without_email", "non_interactive", "noninteractive_mode", "quiet",
            "renew_by_default", "verb", "allow_subset_of_names", "domains", "agree_tos",
            "manual_public_ip_logging_ok", "dry_run", "expand", "keep_until_expiring", "new_key"}
_CHALLENGES = ("http-01", "dns-01", "tls-alpn-01")


def read(directory: str, servers: Mapping[str, str]) -> Estate:
    """Return what certbot has in ``directory``.  Raises Error if there is nothing to read."""
    found = Estate()
    renewal = f"{directory}/renewal"
    if not os.path.isdir(renewal):
        raise Error(f"{directory}: not a directory of certbot's: it has no renewal/")
    accounts: dict[tuple[str, str], None] = {}
    for name in reading.listing(renewal):
        path = f"{renewal}/{name}"
        if not name.endswith(".conf"):
            continue
        try:
            top, params, nested = _options(reading.text(path))
            found.certificates.append(_certificate(path, top, params, nested))
            server = params.get("server", _DEFAULT)
            accounts[server, params.get("account") or _only_account(directory, server)] = None
        except Error as exc:
            found.left.append(f"{path}: {str(exc).removeprefix(f'{path}: ')}")
    for server, identifier in accounts:
        _account(found, directory, server, identifier)
    for name, when in _DIRECTORIES.items():
        place = f"{directory}/renewal-hooks/{name}"
        found.hooks += [Hook(when, f"{place}/{entry}", place) for entry in reading.listing(place)
                        if os.access(f"{place}/{entry}", os.X_OK)]
    return found


def _certificate(path: str, top: Mapping[str, str], params: Mapping[str, str],
                 nested: Mapping[str, str]) -> Found:
    if params.get("autorenew") == "False":
        raise Error("certbot doesn't renew it (autorenew = False)")
    chain = top.get("fullchain", "")
    if not chain:
        raise Error("doesn't say where the certificate is (fullchain)")
    settings = {"key-type": _key_type(params), **{
        name.replace("_", "-"): params.get(name, "")
        for name in ("preferred_chain", "preferred_profile", "required_profile")},
        **{name: value if params.get(key) == "True" else "" for name, key, value in (
            ("reuse-key", "reuse_key", "yes"), ("tlsfeature", "must_staple", "status_request"))}}
    challenge, left = _challenge(params, nested)
    server = params.get("server", _DEFAULT)
    return Found(
        os.path.basename(path).removesuffix(".conf"), path, reading.names(chain),
        _OLD.get(server, server), top.get("privkey", ""), chain, settings, challenge,
        tuple(Hook(when, params[name], f"{path} ({name})") for name, when in _HOOKS.items()
              if params.get(name, "None") != "None"), (*left, *_others(top, params)))


def _others(top: Mapping[str, str], params: Mapping[str, str]) -> Iterator[str]:
    """Yield what has no counterpart here."""
    if params.get("installer", "None") != "None":
        yield (f"installer = {params['installer']}: what it wrote into the server's configuration "
               "stays there")
    if "renew_before_expiry" in top:
        yield f"renew_before_expiry = {top['renew_before_expiry']}: see min-days"
    for name in params:   # the name alone: there may be a secret
        if name not in _READ | _NOTHING and not name.startswith(("dns_", "manual_")):
            yield f"{name}: no such setting here"


def _key_type(params: Mapping[str, str]) -> str:
    """Return the setting; "" if nothing says it."""
    kind = params.get("key_type", "rsa" if "rsa_key_size" in params else "")
    if kind == "ecdsa":
        curve = params.get("elliptic_curve", "secp256r1")
        return _CURVES.get(curve, f"ec:{curve}")
    return f"rsa:{params.get('rsa_key_size', '2048')}" if kind == "rsa" else ""


def _challenge(params: Mapping[str, str], nested: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the type of challenge, and what of the plugin for it can't be taken over."""
    plugin = params.get("authenticator", "")
    wanted = [word for word in _list(params.get("pref_challs", "")) if word in _CHALLENGES]
    if plugin in ("standalone", ""):
        return "", []
    if plugin == "webroot":
        roots = dict.fromkeys([*_list(params.get("webroot_path", "")), *nested.values()])
        return "", [f"webroot {', '.join(roots)}: challenges are answered on port 80, or behind "
                    "the web server that has it (“letsencrypt-tiny check” says how)"]
    if plugin in ("nginx", "apache"):
        return "", [f"plugin {plugin}: challenges are answered behind that web server, once it has "
                    "the snippet (“letsencrypt-tiny check” says how)"]
    if plugin.startswith("dns-") or plugin == "manual" and wanted[:1] == ["dns-01"]:
        what = ", ".join(f"{name} = {params[name]}" for name in sorted(params)
                         if name.endswith(("_credentials", "_hook")) and name not in _HOOKS
                         and params[name] != "None")
        return "dns-01", [f"plugin {plugin}{f' ({what})' if what else ''}: [dns] of "
                          "letsencrypt-tiny.conf says how records are published"]
    return (wanted or [""])[0].replace("http-01", ""), [
        f"plugin {plugin}: there is none of that name here"]


def _account(found: Estate, directory: str, server: str, identifier: str) -> None:
    place = f"{_accounts(directory, server)}/{identifier}"
    if not (identifier.isascii() and identifier.isalnum()) or ".." in place.split("/") \
            or not os.path.lexists(f"{place}/private_key.json"):
        found.left.append(f"{place}: there is no account")
        return
    try:
        url = reading.member(reading.json(f"{place}/regr.json"), "uri")
    except Error as exc:
        url = ""
        found.left.append(str(exc))
    found.accounts.append(Account(_OLD.get(server, server), f"{place}/private_key.json", url))


def _accounts(directory: str, server: str) -> str:
    """Return the directory of the accounts at a CA."""
    return f"{directory}/accounts/{server.partition('://')[2].strip('/')}"


def _only_account(directory: str, server: str) -> str:
    """Return which account is meant where nothing says so: the only one at the CA, or "?"."""
    found = reading.listing(_accounts(directory, server))
    return found[0] if len(found) == 1 else "?"


def _list(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _options(text: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the settings before [renewalparams], in it, and in [[webroot_map]]."""
    sections: dict[str, dict[str, str]] = {"": {}}
    for header, name, value in _lines(text):
        if header:
            sections.setdefault(header, {})
        else:
            sections[next(reversed(sections))][name] = value
    return sections[""], sections.get("renewalparams", {}), sections.get("webroot_map", {})


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield header, "", "" or "", name, value."""
    for line in map(str.strip, text.split("\n")):
        if line.startswith("["):
            yield line.strip("[] "), "", ""
        elif line and not line.startswith("#") and "=" in line:
            name, _, value = map(str.strip, line.partition("="))
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            yield "", name, value
