"""What is generated from the models is up to date and true."""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from bridge_core.config import Config, ConfigError, NetworkCommon, PortalEntry, load_config
from bridge_core.config.adapters import shipped_models
from bridge_core.config.describe import item_section, section_of
from bridge_core.config.example import EXAMPLE, render_config, scalar
from bridge_core.config.reference import render_reference

_ROOT = Path(__file__).parents[3]
_HINT = "run: python -m bridge_core.config {} > {}"


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("docs/config.example.yaml", render_config(), "example"),
        ("docs/reference/config.md", render_reference(shipped_models()), "reference"),
    ],
)
def test_committed_files_are_current(path: str, text: str, kind: str) -> None:
    """The files in docs/ are what the models say now."""
    assert text == (_ROOT / path).read_text(), _HINT.format(kind, path)


def _with_nested(models: Iterable[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    for model in models:
        yield model
        inner = [section_of(one.annotation) or item_section(one.annotation) for one in model.model_fields.values()]
        yield from _with_nested(one for one in inner if one is not None)


def test_every_key_is_documented() -> None:
    """Each field of each section, those of adapters and what is within them included, has a description."""
    sections: list[type[BaseModel]] = [NetworkCommon, PortalEntry]
    sections += [found for field in Config.model_fields.values() if (found := section_of(field.annotation))]
    sections += _with_nested(shipped_models().values())
    missing = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description
    ]

    assert missing == []


def test_the_reference_has_the_keys_of_each_network() -> None:
    """Keys of each shipped adapter stand on the page with their texts, however deep they are."""
    pages = render_reference(shipped_models()).split("\n## Networks of type ")[1:]
    page = {one.split("\n", 1)[0]: one for one in pages}

    assert list(page) == ["echo", "email", "irc"]
    for kind, model in shipped_models().items():
        for section in _with_nested([model]):
            for name, field in section.model_fields.items():
                words = (field.description or "").replace("|", "\\|")
                assert re.search(rf"(?m)^\| `{name}` \| .* \| {re.escape(words)} \|", page[kind]), (kind, name)


def test_the_reference_says_how_keys_within_sections_are_set() -> None:
    """A section within a network's section has a variable of its own; entries under free names have none."""

    class Box(BaseModel):
        size: int = Field(default=3, description="How large it is.")

    class Model(BaseModel):
        """A network."""

        box: Box = Field(default_factory=Box, description="The one box.")
        boxes: dict[str, Box] = Field(default={}, description="Boxes by name.")

    text = render_reference({"x": Model}).split("## Networks of type x\n")[1]

    assert "| `box` |  | The one box. | a mapping |" in text
    assert "### x: box\n\nThe one box.\n\nEnvironment: `MATRIX_BRIDGE__NETWORKS__NAME__BOX__KEY`.\n" in text
    assert "### x: boxes (each entry)\n\nBoxes by name.\n\n| key |" in text
    assert text.count("| `size` | `3` | How large it is. | a whole number |") == 2


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

    class Made(BaseModel):
        depth: int = Field(default=2, description="How deep.")

    class Model(BaseModel):
        server: str = Field(description="Where to connect.", examples=["irc.example.org"])
        port: int = Field(default=6697, description="Which port.")
        made: Made = Field(default_factory=Made, description="A section that is made.")

    values = {**EXAMPLE, "networks": {"x": {"type": "irc", "server": "s", "more": {"a": [1, {"b": None}]}}}}
    text = render_config(values, {"irc": Model})

    assert "    # Where to connect.\n    server: s\n    # Which port." in text
    assert "    #port: 6697\n" in text
    assert "    #made:\n      #depth: 2\n" in text
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


def test_defaults_that_are_sections_are_yaml() -> None:
    """A list of sections as default is written as YAML, and the keys of its entries are listed."""

    class Kind(StrEnum):
        ONE = "one"

    class Door(BaseModel):
        kind: Kind = Field(default=Kind.ONE, description="Which.")
        listen: str = Field(default="0.0.0.0:25", description="Where.")

    class Model(BaseModel):
        """A network."""

        doors: tuple[Door, ...] = Field(default=(Door(),), description="Doors.")

    text = render_reference({"x": Model}).split("## Networks of type x\n")[1]
    assert '| `doors` | `[{kind: one, listen: "0.0.0.0:25"}]` |' in text
    assert "### x: doors (each entry)\n" in text and '| `listen` | `"0.0.0.0:25"` | Where. |' in text
    text = render_config({**EXAMPLE, "networks": {"x": {"type": "x"}}}, {"x": Model})
    assert '    #doors:\n      #- {kind: one, listen: "0.0.0.0:25"}\n' in text
