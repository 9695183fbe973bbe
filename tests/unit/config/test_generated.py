"""What is generated from the models is up to date and true."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from bridge_core.config import Config, ConfigError, NetworkCommon, PortalEntry, load_config
from bridge_core.config.describe import section_of
from bridge_core.config.example import EXAMPLE, render_config, scalar
from bridge_core.config.reference import render_reference

_ROOT = Path(__file__).parents[3]
_HINT = "run: python -m bridge_core.config {} > {}"


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("docs/config.example.yaml", render_config(), "example"),
        ("docs/reference/config.md", render_reference(), "reference"),
    ],
)
def test_committed_files_are_current(path: str, text: str, kind: str) -> None:
    """The files in docs/ are what the models say now."""
    assert text == (_ROOT / path).read_text(), _HINT.format(kind, path)


def test_every_key_is_documented() -> None:
    """Each field of each section has a description."""
    sections: list[type[BaseModel]] = [NetworkCommon, PortalEntry]
    sections += [found for field in Config.model_fields.values() if (found := section_of(field.annotation))]
    missing = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description
    ]

    assert missing == []


def test_the_example_is_valid_but_for_its_placeholder(tmp_path: Path) -> None:
    """The example can be used as soon as its secret is replaced, and not before."""
    path = tmp_path / "config.yaml"
    path.write_text(render_config())
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert [problem.key for problem in caught.value.problems] == ["journal.secret"]

    path.write_text(render_config().replace("REPLACE-ME-matrix-bridge-init-does-this", "0123456789abcdef" * 4))
    assert load_config(path, {}).config.homeserver.domain == "example.org"


def test_commented_keys_show_the_defaults(tmp_path: Path) -> None:
    """Uncommenting every key changes nothing: what is shown is the default, written correctly."""
    text = render_config().replace("REPLACE-ME-matrix-bridge-init-does-this", "0123456789abcdef" * 4)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    plain = load_config(path, {}).config
    path.write_text(re.sub(r"(?m)^( *)#([^ ])", r"\1\2", text))
    uncommented = load_config(path, {}).config

    assert plain.model_copy(update={"networks": {}}) == uncommented.model_copy(update={"networks": {}})
    assert uncommented.networks["echo"].keys() == NetworkCommon.model_fields.keys()


def test_an_adapters_keys_are_documented_too() -> None:
    """With an adapter's model, its keys stand in the file with their texts, and unknown ones are kept."""

    class Model(BaseModel):
        server: str = Field(description="Where to connect.", examples=["irc.example.org"])
        port: int = Field(default=6697, description="Which port.")

    values = {**EXAMPLE, "networks": {"x": {"type": "irc", "server": "s", "more": {"a": [1, {"b": None}]}}}}
    text = render_config(values, {"irc": Model})

    assert "    # Where to connect.\n    server: s\n    # Which port." in text
    assert "    #port: 6697\n" in text
    assert YAML(typ="safe").load(text)["networks"]["x"]["more"] == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    "value",
    ["", "x", "yes", "null", "1", "1e3", "7d", "64 KiB", "0x10", "a: b", "#c", "@u:x", "é\n\u2028", "~", ".5",
     "127.0.0.1:1", "http://x/y", True, None, 5, 1.5, [1, "a, b", "http://x"],
     {"a": {"b": [None]}}, "- x", "!r", "2020-01-01"],
)  # fmt: skip
def test_values_are_read_back_as_written(value: object) -> None:
    """Whatever is written on one line is the same value, of the same type, when read."""
    assert {"key": value} == YAML(typ="safe", pure=False).load(f"key: {scalar(value)}\n")
