"""Read the configuration: one file, the environment over it, and every mistake at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bridge_core.config.environment import apply_environment
from bridge_core.config.model import Config
from bridge_core.config.network import Network, NetworkCommon
from bridge_core.config.problems import ConfigError, Problem, Sources, unknown_key
from registration.document import DocumentError, Key, read_document
from registration.model import Registration, RegistrationError
from registration.model import load as load_registration

_COMMON = frozenset(NetworkCommon.model_fields)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A valid configuration and where it came from."""

    config: Config
    path: Path
    sources: Sources

    @property
    def registration_path(self) -> Path:
        """The registration file; a relative one starts at the configuration's folder."""
        return self.path.parent / self.config.appservice.registration

    @property
    def database_url(self) -> str:
        """The database's address; a relative SQLite file starts at the configuration's folder."""
        url = self.config.database.url.get_secret_value()
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            return f"sqlite:///{(self.path.parent / url.removeprefix('sqlite:///')).resolve()}"
        return "postgresql" + url.removeprefix("postgres") if url.startswith("postgres:") else url

    @property
    def spool_path(self) -> Path:
        """The folder of files on their way. Nothing but this and an SQLite database is ever written."""
        given, url = self.config.media.spool, self.database_url
        if given is None and url.startswith("sqlite:///"):
            return Path(url.removeprefix("sqlite:///")).parent / "spool"
        return self.path.parent / (given or "spool")

    def tokens(self) -> tuple[str, str]:
        """`(as_token, hs_token)`, from the configuration or the registration file; raises `ConfigError`."""
        given = self.config.appservice
        if given.as_token is not None and given.hs_token is not None:
            return given.as_token.get_secret_value(), given.hs_token.get_secret_value()
        registration = self.registration()
        return registration.as_token, registration.hs_token

    def registration(self) -> Registration:
        """The registration file's contents; raises `ConfigError`. Blocks on the disk."""
        try:
            return load_registration(self.registration_path)
        except RegistrationError as error:
            raise ConfigError([Problem(*_split(one)) for one in error.problems]) from error

    def validate_networks(
        self, models: Mapping[str, type[BaseModel]], installed: Collection[str] = ()
    ) -> dict[str, Network]:
        """Every network's own settings, checked by its adapter's model (`models` by adapter type).

        `installed` are more types that exist, to be named when a network's type does not.
        Raises `ConfigError` with all mistakes of all networks.
        """
        problems: list[Problem] = []
        networks: dict[str, Network] = {}
        for name, section in self.config.networks.items():
            common, settings, found = _network(self.sources, name, section, models, installed)
            problems += found
            if common is not None and settings is not None:
                networks[name] = Network(name=name, common=common, settings=settings)
        if problems:
            raise ConfigError(problems)
        return networks


def _split(problem: str) -> tuple[str, str, str]:
    where, _, rest = problem.partition(": ")
    key, colon, text = rest.partition(": ")
    return (where, key, text) if colon else (where, "", rest)


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and validate a configuration; raises `ConfigError` with every mistake. Blocks on the disk.

    `environment` is the process's unless given.
    """
    try:
        document = read_document(path)
    except DocumentError as error:
        where = f"{path}:{error.line}" if error.line else str(path)
        raise ConfigError([Problem(where, "", error.text)]) from error
    changed = apply_environment(document.data, os.environ if environment is None else environment, Config)
    sources = Sources(document, changed.variables)
    problems = list(changed.problems)
    config: Config | None = None
    try:
        config = Config.model_validate(changed.data)
    except ValidationError as error:
        problems += sources.problems(error, Config)
    else:
        found = config.disagreements()
        places = sources.places([tuple(key.split(".")) for key, _ in found]) if found else []
        problems += [Problem(place, key, text) for place, (key, text) in zip(places, found, strict=True)]
    networks = changed.data.get("networks")
    if isinstance(networks, dict):
        for name, section in networks.items():
            if isinstance(section, dict):
                problems += _common(sources, str(name), section)[1]
    if problems or config is None:
        raise ConfigError(problems)
    return LoadedConfig(config, path.absolute(), sources)


def _common(sources: Sources, name: str, section: dict[str, object]) -> tuple[NetworkCommon | None, list[Problem]]:
    try:
        known = {key: value for key, value in section.items() if key in _COMMON}
        return NetworkCommon.model_validate(known), []
    except ValidationError as error:
        return None, sources.problems(error, NetworkCommon, ("networks", name))


def _network(
    sources: Sources,
    name: str,
    section: dict[str, object],
    models: Mapping[str, type[BaseModel]],
    installed: Collection[str],
) -> tuple[NetworkCommon | None, object, list[Problem]]:
    common, problems = _common(sources, name, section)
    if common is None:
        return None, None, problems
    prefix: tuple[Key, ...] = ("networks", name)
    model = models.get(common.type)
    if model is None:
        place = sources.places([(*prefix, "type")])[0]
        names = ", ".join(sorted({*models, *installed}))
        key = f"networks.{name}.type"
        return common, None, [Problem(place, key, f"no adapter {common.type!r} can be loaded", names)]
    own = {key: value for key, value in section.items() if key not in _COMMON}
    known = {field.alias or key for key, field in model.model_fields.items()}
    extra = [key for key in own if key not in known]
    if extra and model.model_config.get("extra") != "allow":  # refused even where the model would ignore them
        places = sources.places([(*prefix, key) for key in extra])
        problems += [
            unknown_key(place, (*prefix, key), [*known, *_COMMON]) for place, key in zip(places, extra, strict=True)
        ]
        own = {key: value for key, value in own.items() if key in known}
    try:
        return common, model.model_validate(own), problems
    except ValidationError as error:
        return common, None, problems + sources.problems(error, model, prefix)
