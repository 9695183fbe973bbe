"""The pages name only what exists: links, commands, options, configuration keys, files to deploy."""

import argparse
import configparser
import contextlib
import importlib
import io
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from bridge_core.cli import main as cli
from bridge_core.config import Config, NetworkCommon, PortalEntry
from bridge_core.config.describe import section_of
from bridges.echo.connector import EchoConfig
from bridges.email.config.network import EmailConfig
from bridges.irc.config import IrcConfig, Sasl
from tests.docs.source import ROOT, code_of, pages

MODELS: dict[str, type[BaseModel]] = {"irc": IrcConfig, "echo": EchoConfig, "email": EmailConfig}
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS: dict[str, str] = _PROJECT["entry-points"].get("matrix_bridge.tools", {})
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _blocks(text: str, *kinds: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind in kinds]


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _words(text: str) -> str:
    """The prose without what stands in it as code."""
    return re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", _prose(text))


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the project leads to a file that is there, and to a heading that it has."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _words(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in _anchors(found.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_blocks_of_code_are_closed(page: Path) -> None:
    """No block of code runs on into the prose."""
    assert len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) % 2 == 0


def _help(*words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    return out.getvalue()


def _tool_help(name: str, part: str) -> str:
    """What `matrix-bridge NAME PART --help` says, whether or not this state of the project is installed."""
    module, _, attribute = TOOLS[name].partition(":")
    parser = argparse.ArgumentParser()
    getattr(importlib.import_module(module), attribute)().add_arguments(parser)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
        parser.parse_args([part, "--help"])
    return out.getvalue()


def _calls(text: str) -> Iterator[list[str]]:
    """Calls of `./run` and `matrix-bridge` in a piece of code, as words."""
    joined = text.replace("\\\n", " ")
    for match in re.finditer(r"(?:\./run|(?:^|\$ |bin/)matrix-bridge) +([^\n]*)", joined, re.MULTILINE):
        words = match[1].partition(" #")[0].split()
        if words and not words[0].startswith("#"):
            yield words


@pytest.mark.parametrize("page", [page for page in pages() if page.name != "CHANGELOG.md"], ids=_name)
def test_commands_and_their_options_exist(page: Path) -> None:
    """Each command line of ours in a page has a subcommand that exists and options that its --help names."""
    text = page.read_text(encoding="utf-8")
    pieces = [*_blocks(text, "sh", ""), *code_of(_prose(text))]
    wrong = []
    for words in (words for piece in pieces for words in _calls(piece)):
        command, rest = words[0], words[1:]
        if command in TOOLS:
            shown = _tool_help(command, rest[0]) if rest else ""
            wrong += [" ".join(words)] if not shown else []
            wrong += [" ".join(words) for one in rest[1:] if one.islower() and one.isalpha() and one not in shown]
            continue
        if command.startswith("-") or command not in cli.COMMANDS:
            if command not in ("-c", "--version", "--help") and re.fullmatch(r"[a-z][a-z-]+", command):
                wrong.append(" ".join(words))
            continue
        path = [command, rest[0]] if command in ("db", "journal") and rest and rest[0].isalpha() else [command]
        shown = _help(*path)
        options = [word.partition("=")[0] for word in rest if word.startswith("-")]
        wrong += [f"{' '.join(path)} {option}" for option in options if not re.search(rf"(?<![\w-]){option}\b", shown)]
    assert wrong == []


def test_options_named_in_the_reference_exist() -> None:
    """An option that a key's words name alone (`--so`) is one of the bridge's own commands."""
    text = (ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[a-z-]+)`", text))
    shown = "".join(_help(command) for command in cli.COMMANDS)
    assert {option for option in named if not re.search(rf"(?<![\w-]){option}\b", shown)} == set()


def test_the_readmes_commands_are_there() -> None:
    """`./run` and `./test` exist, and know the options that README and CONTRIBUTING name."""
    shown = subprocess.run([ROOT / "test", "--help"], capture_output=True, text=True, check=True).stdout
    named: set[str] = set()
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        named |= {f"--{option}" for option in re.findall(r"\./test --([a-z]+)", text)}
        for script in re.findall(r"(?:^|[`(])(\./[a-z]+|scripts/[a-z]+)", text, re.MULTILINE):
            assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"
    assert named >= {"--fast", "--mutants", "--chaos"}
    assert {option for option in named if option not in shown} == set()


def _unknown(data: Mapping[str, Any], model: type[BaseModel], where: str) -> list[str]:
    """Keys of a piece of configuration that the models do not have."""
    wrong = [f"{where}{key}" for key in data if key not in model.model_fields]
    for key, value in data.items():
        field = model.model_fields.get(key)
        section = section_of(field.annotation) if field is not None else None
        if section is not None and isinstance(value, dict):
            wrong += _unknown(value, section, f"{where}{key}.")
    return wrong


def _of_network(section: dict[str, Any]) -> list[str]:
    own = MODELS[section["type"]]
    common = {key: value for key, value in section.items() if key in NetworkCommon.model_fields}
    rest = {key: value for key, value in section.items() if key not in common}
    NetworkCommon.model_validate(common)
    own.model_validate(rest)
    return []


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_configuration_in_pages_is_valid(page: Path) -> None:
    """Each piece of configuration in a page has only keys that exist, and its networks are complete."""
    wrong = []
    for block in _blocks(page.read_text(encoding="utf-8"), "yaml"):
        data = YAML(typ="safe").load(block)
        if "app_service_config_files" in data:
            continue  # Synapse's
        wrong += _unknown(data, Config, "")
        for section in data.get("networks", {}).values():
            wrong += _of_network(section)
    assert wrong == []


@pytest.mark.parametrize("page", [*GUIDES, *(ROOT / "bridges").rglob("README.md")], ids=_name)
def test_keys_named_in_pages_exist(page: Path) -> None:
    """Each `section.key`, and each key in the first column of a table of keys, is one of the configuration."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)`", text):
        field = Config.model_fields.get(section)
        model = section_of(field.annotation) if field is not None else None
        if key != "yaml" and model is not None and key not in model.model_fields:
            wrong.append(f"{section}.{key}")
    known = set(NetworkCommon.model_fields) | set(PortalEntry.model_fields) | set(Sasl.model_fields)
    known |= {key for one in MODELS.values() for key in one.model_fields}
    for table in re.findall(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines():
            keys = [key.partition(":")[0] for key in code_of(line.split("|")[1])]
            wrong += [key for key in keys if key not in known]
    assert wrong == []


def test_defaults_in_the_irc_guide_are_the_models() -> None:
    """The numbers and names that the guide gives as defaults are those of the code."""
    config = IrcConfig(server="irc.example.org")
    text = (ROOT / "docs" / "guides" / "irc.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    checked = 0
    for line in table.splitlines():
        keys, given = code_of(line.split("|")[1]), [part.strip(" `") for part in line.split("|")[2].split(",")]
        for key, value in zip(keys, given, strict=False):
            if re.fullmatch(r"\d+", value.partition(":")[0]):
                assert float(value.partition(":")[0]) == getattr(config, key), key
                checked += 1
    assert checked >= 10


def test_the_service_runs_what_is_installed() -> None:
    """The systemd unit calls the command the guide installs, asks for no watchdog, and leaves time to stop."""
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((ROOT / "deploy" / "matrix-bridge.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    program, command, *rest = service["ExecStart"].split()
    guide = (ROOT / "docs" / "guides" / "install.md").read_text(encoding="utf-8")
    assert program in guide
    assert command in cli.COMMANDS
    assert rest == ["-c", f"{service['WorkingDirectory']}/config.yaml"]
    assert "WatchdogSec" not in service  # nothing tells systemd that the bridge is alive
    deadline = Config.model_fields["limits"].get_default(call_default_factory=True).stop_deadline
    assert int(service["TimeoutStopSec"]) >= 4 * deadline


def test_the_container_copies_what_the_wheel_needs() -> None:
    """The container file copies every package and file that pyproject.toml names, and runs an existing command."""
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", *_packages()}
    assert all((ROOT / one).exists() for one in copied)
    assert '["run", "-c", "/data/config.yaml"]' in text


def _packages() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (include,) = re.findall(r"^include = \[(.*)\]$", text, re.MULTILINE)
    return set(re.findall(r'"(\w+)\*"', include))
