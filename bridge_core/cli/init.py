"""`matrix-bridge init`: write a commented config.yaml and the registration that goes with it."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge_core.cli.wanted import wanted_registration
from bridge_core.config.adapters import adapter_models, installed_types
from bridge_core.config.describe import allowed_words
from bridge_core.config.encryption import EncryptionMode
from bridge_core.config.example import render_config
from bridge_core.config.homeserver import Appservice
from bridge_core.config.load import LoadedConfig, load_config
from bridge_core.config.network import NetworkCommon
from bridge_core.config.problems import ConfigError, Problem
from registration.document import read_document
from registration.generate import generate, render, write_private
from registration.model import Registration
from registration.model import load as load_registration
from registration.namespaces import NETWORK_NAME


class MissingAnswer(Exception):  # noqa: N818  (a question nobody is there to answer)
    """A needed value was given by no flag, and nobody can be asked."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks on a terminal; without one, a question without default raises `MissingAnswer`."""

    interactive: bool
    read: Callable[[str], str] = input

    def ask(self, question: str, flag: str, default: str | None = None) -> str:
        """The answer, or the default for an empty one."""
        if not self.interactive:
            if default is None:
                raise MissingAnswer(f"{flag} is missing ({question}), and there is no terminal to ask on")
            return default
        shown = f" [{default}]" if default is not None else ""
        while True:
            answer = self.read(f"{question}{shown}: ").strip()
            if answer or default is not None:
                return answer or str(default)


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """The flags; on a terminal, what is missing is asked for."""
    add = subparser.add_argument
    add("-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    add("-r", "--registration", type=Path, metavar="FILE", help="default: registration.yaml beside the config")
    add("--homeserver", metavar="URL", help="address of the homeserver's client API")
    add("--domain", help="the homeserver's own name, such as example.org")
    add("--admin", metavar="@USER:SERVER", action="append", help="may do everything; may be repeated")
    add("--database", metavar="URL", help="sqlite:///bridge.db or postgresql://...")
    add("--listen", metavar="HOST:PORT", help="where the homeserver's requests arrive")
    add("--url", help="the same place as the homeserver sees it")
    add("--network", metavar="NAME=TYPE", action="append", help=f"may be repeated; types: {_types()}")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any key: networks.libera.server=...")
    add("--force", action="store_true", help="replace an existing config; its secrets and the tokens are kept")
    add("--no-input", action="store_true", help="ask nothing, even on a terminal")
    add(
        "--only-registration",
        action="store_true",
        help="write the registration anew from the config.yaml there is, which stays as it is; the tokens are kept",
    )


def _types() -> str:
    return ", ".join(installed_types()) or "none installed"


def run(options: argparse.Namespace) -> int:
    """Write both files; nothing is written unless both are valid."""
    config_path: Path = options.config
    if options.only_registration:
        return _registration_anew(config_path)
    if config_path.exists() and not options.force:
        print(
            f"{config_path} exists already; --force replaces it and keeps its secrets, --only-registration writes the "
            "registration that fits it.",
            file=sys.stderr,
        )
        return 1
    for file in (config_path, options.registration or config_path):
        if problem := _unusable(file.absolute().parent):
            print(problem, file=sys.stderr)
            return 1
    asker = Asker(interactive=sys.stdin.isatty() and not options.no_input)
    try:
        values = collect(options, asker)
    except (MissingAnswer, EOFError) as error:
        print(str(error) or "no answer was given", file=sys.stderr)
        return 1
    if config_path.exists():
        # A new file is made of the answers: what was written into the old one by hand is in the copy only.
        kept = config_path.with_name(config_path.name + ".bak")
        write_private(kept, config_path.read_text())
        print(f"The former file is kept as {kept}: take from it what you had written there by hand.")
    return _write(config_path, values)


def _unusable(folder: Path) -> str:
    """Why no files can be put there, and what to do; empty when they can."""
    if not folder.exists():
        return f"The folder {folder} does not exist. Make it (mkdir -p {folder}), or name another file with -c."
    if not folder.is_dir():
        return f"{folder} is not a folder. Name a file in one with -c."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"Files in {folder} may not be written by you. Run this as the folder's owner, the bridge's user."
    return ""


def collect(options: argparse.Namespace, asker: Asker) -> dict[str, Any]:
    """What config.yaml shall set, from flags, questions and an earlier file's secrets."""
    address = options.homeserver or asker.ask(
        "Address of the homeserver's client API", "--homeserver", "http://127.0.0.1:8008"
    )
    domain = options.domain or asker.ask(
        "The homeserver's own name (behind the colon of its user ids)", "--domain", _guess_domain(address)
    )
    admins = options.admin or _list(asker.ask("Administrator, such as @you:" + domain, "--admin", ""))
    values: dict[str, Any] = {
        "homeserver": {"address": address, "domain": domain},
        "appservice": {"registration": str(_registration_path(options))},
        "journal": {"secret": secrets.token_hex(32)},
        "media": {"secret": secrets.token_hex(32)},
        "permissions": {"local": "user"} | dict.fromkeys(admins, "admin"),
        "networks": _networks(options.network, asker),
    }
    for key, name in (("listen", "listen"), ("url", "url")):
        if getattr(options, name):
            values["appservice"][key] = getattr(options, name)
    if options.database:
        values["database"] = {"url": options.database}
    for assignment in options.set:
        _assign(values, assignment)
    models, _ = adapter_models(str(one.get("type")) for one in values["networks"].values())
    for name, section in values["networks"].items():
        _ask_required(name, section, models.get(section["type"]), asker)
    _keep_secrets(values, options.config)
    registration = options.config.parent / values["appservice"]["registration"]
    _keep_identity(values["appservice"], load_registration(registration) if registration.exists() else None)
    return values


def _keep_identity(appservice: dict[str, Any], known: Registration | None) -> None:
    """The homeserver knows the bridge by id and sender. A new sender is not the bot: Synapse has no /sync for it."""
    bot = str(appservice.get("bot", Appservice.model_fields["bot"].default))
    if known is None:
        appservice.setdefault("sender", f"{bot}-sender")
        return
    appservice.setdefault("id", known.id)
    if known.sender_localpart != bot:
        appservice.setdefault("sender", known.sender_localpart)


def _guess_domain(address: str) -> str | None:
    host = urlsplit(address).hostname or ""
    return None if host in ("", "localhost") or host.replace(".", "").isdigit() or ":" in host else host


def _list(text: str) -> list[str]:
    return [part for part in text.replace(",", " ").split() if part]


def _registration_path(options: argparse.Namespace) -> Path:
    """As config.yaml shall name it: relative when it is in the same folder."""
    path: Path = options.registration or Path("registration.yaml")
    if options.registration is None:
        return path
    folder = options.config.absolute().parent
    absolute = path.absolute()
    return Path(absolute.name) if absolute.parent == folder else absolute


def _networks(given: list[str] | None, asker: Asker) -> dict[str, dict[str, Any]]:
    if not given:
        types = installed_types()
        default = "irc" if "irc" in types else types[0] if types else None
        kind = asker.ask(f"Kind of the first network ({', '.join(types)})", "--network", default)
        given = [f"{asker.ask('A short name for it', '--network', kind)}={kind}"]
    networks: dict[str, dict[str, Any]] = {}
    for one in given:
        name, equals, kind = one.partition("=")
        if not NETWORK_NAME.fullmatch(name):
            raise MissingAnswer(f"--network {one}: a name holds a-z, 0-9 and -, and starts with a letter")
        networks[name] = {"type": kind if equals else name}
    return networks


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.split(".")):
        raise MissingAnswer(f"--set {assignment}: must look like KEY=VALUE, such as logging.level=debug")
    current = values
    *parents, last = key.split(".")
    for part in parents:
        inner = current.setdefault(part, {})
        if not isinstance(inner, dict):
            raise MissingAnswer(f"--set {assignment}: {part} is a plain value")
        current = inner
    try:
        current[last] = YAML(typ="safe", pure=False).load(text)
    except YAMLError:
        current[last] = text
    if isinstance(current[last], dict) and not text.startswith("{"):
        current[last] = text


def _ask_required(name: str, section: dict[str, Any], model: type[BaseModel] | None, asker: Asker) -> None:
    for key, field in (model.model_fields if model is not None else {}).items():
        if field.is_required() and key not in section and key not in NetworkCommon.model_fields:
            words = (field.description or allowed_words(field) or key).rstrip(".")
            example = str(field.examples[0]) if field.examples else None
            flag = f"--set networks.{name}.{key}=..."
            default = example if asker.interactive else None
            _assign(section, f"{key}={asker.ask(f'{name}: {key} ({words})', flag, default)}")


def _keep_secrets(values: dict[str, Any], path: Path) -> None:
    """An earlier file's secrets stay: a new journal secret could not open what waits in the database."""
    if path.exists():
        old = read_document(path).data
        for section in ("journal", "media"):
            secret = old.get(section, {}).get("secret") if isinstance(old.get(section), dict) else None
            if isinstance(secret, str) and secret:
                values[section]["secret"] = secret


def _registration_anew(path: Path) -> int:
    """Write the registration that fits a configuration which was changed by hand."""
    loaded = load_config(path)
    target, kept = _write_registration(loaded)
    print(f"Wrote {target}{', tokens kept' if kept else ''}.")
    print("Let the homeserver read it (Synapse: copy it, or chgrp to its group and chmod 640), then restart it.")
    if loaded.config.encryption.mode in _PUSHED:
        print(f"For the keys of encrypted rooms, Synapse's homeserver.yaml needs as well ({_GUIDE}, step 3):")
        print(_FEATURES)
    return 0


def _write_registration(loaded: LoadedConfig) -> tuple[Path, bool]:
    target = loaded.registration_path
    existing = load_registration(target) if target.exists() else None
    registration = generate(wanted_registration(loaded.config), existing)
    write_private(target, render(registration))
    return target, existing is not None


def _write(path: Path, values: Mapping[str, Any]) -> int:
    target, kept = write_files(path, values)
    print(f"Wrote {path} and {target}{', tokens kept' if kept else ''}.")
    print(_next_steps(path, target, load_config(path, {}).config.encryption.mode))
    return 0


def write_files(path: Path, values: Mapping[str, Any]) -> tuple[Path, bool]:
    """Write config.yaml and its registration: where the latter is, and whether it kept the tokens of an earlier one.

    Nothing is written unless both are valid. Raises `ConfigError`, `RegistrationError`, `OSError`. Blocks on the disk.
    """
    models, broken = adapter_models(str(one.get("type")) for one in values["networks"].values())
    for kind, reason in broken.items():
        print(f"warning: adapter {kind}: {reason}", file=sys.stderr)
    text = render_config(values, models)
    loaded = _validated(path, text, models)
    target, kept = _write_registration(loaded)
    write_private(path, text)
    return target, kept


def _validated(path: Path, text: str, models: Mapping[str, type[BaseModel]]) -> LoadedConfig:
    """Check the text as it will be read, before anything is replaced."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        write_private(draft, text)
        loaded = load_config(draft, {})
        loaded.validate_networks(models, installed_types())
    except ConfigError as error:
        problems = [Problem(f"the new {path.name}", one.key, one.text, one.allowed) for one in error.problems]
        raise ConfigError(problems) from None
    finally:
        draft.unlink(missing_ok=True)
    return loaded


_GUIDE: Final = "docs/guides/encryption.md"
_PUSHED: Final = (EncryptionMode.AUTO, EncryptionMode.APPSERVICE)
_FEATURES: Final = """        experimental_features:
          msc2409_to_device_messages_enabled: true
          msc3202_transaction_extensions: true"""


def _next_steps(path: Path, registration: Path, mode: EncryptionMode) -> str:
    features = f"\n{_FEATURES}\n    (The second part is for encryption: {_GUIDE}, step 3.)" if mode in _PUSHED else ""
    encrypted = "" if mode is EncryptionMode.OFF else f"\n 4. Keep the recovery key: {_GUIDE}, step 5"
    return f"""
Next:
 1. Tell the homeserver. For Synapse, in homeserver.yaml:
        app_service_config_files:
          - {registration}{features}
    Let Synapse's user read that file (chgrp to its group, chmod 640), then restart Synapse.
 2. matrix-bridge check -c {path}
 3. matrix-bridge run -c {path}{encrypted}
Both files hold secrets and are readable by you only. Back them up, apart from the database: journal.secret opens it."""
