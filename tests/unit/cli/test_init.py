"""`matrix-bridge init`."""

import stat
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge_core.cli import init
from bridge_core.cli.init import Asker
from bridge_core.cli.main import main
from bridge_core.config import load_config
from registration import load

_FLAGS = ["--homeserver", "http://127.0.0.1:8008", "--domain", "example.org", "--no-input"]
_IRC = ["--network", "libera=irc", "--set", "networks.libera.server=irc.example.org"]


def _init(folder: Path, *more: str) -> int:
    return main(["init", "-c", str(folder / "config.yaml"), *_FLAGS, *more])


def test_both_files_are_written_private_and_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags alone make a configuration that loads and a registration that fits it."""
    assert _init(tmp_path, *_IRC, "--admin", "@me:example.org", "--set", "logging.level=debug") == 0
    config = load_config(tmp_path / "config.yaml", {}).config
    registration = load(tmp_path / "registration.yaml")

    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"config.yaml", "registration.yaml"} == {path.name for path in tmp_path.iterdir()}
    assert config.networks["libera"]["server"] == "irc.example.org"
    assert config.permission_of("@me:example.org") == "admin"
    assert config.logging.level == "debug"
    users = ["@_libera_.*:example\\.org", "@bridgebot:example\\.org"]
    assert [one.regex for one in registration.namespaces.users] == users
    assert registration.url == "http://127.0.0.1:29310"
    assert registration.protocols == ["irc"]
    out = capsys.readouterr().out
    assert "app_service_config_files" in out
    assert str(tmp_path / "registration.yaml") in out
    assert config.journal.secret.get_secret_value() not in out


def test_the_adapters_keys_are_explained(tmp_path: Path) -> None:
    """The written file documents the adapter's own keys."""
    _init(tmp_path, *_IRC)

    text = (tmp_path / "config.yaml").read_text()
    assert "    # The server to connect to.\n    server: irc.example.org\n" in text
    assert "    #port: 6697\n" in text


def test_an_existing_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --force nothing is touched."""
    (tmp_path / "config.yaml").write_text("mine")

    assert _init(tmp_path, *_IRC) == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "config.yaml").read_text() == "mine"
    assert not (tmp_path / "registration.yaml").exists()


def test_force_keeps_secrets_tokens_and_id(tmp_path: Path) -> None:
    """A second run changes networks, never what seals the database or what the homeserver knows."""
    _init(tmp_path, *_IRC, "--set", "appservice.id=known")
    first, registration = load_config(tmp_path / "config.yaml", {}).config, load(tmp_path / "registration.yaml")

    assert _init(tmp_path, "--network", "oftc=irc", "--set", "networks.oftc.server=x", "--force") == 0
    second, again = load_config(tmp_path / "config.yaml", {}).config, load(tmp_path / "registration.yaml")
    assert (first.journal.secret, first.media.secret) == (second.journal.secret, second.media.secret)
    assert ("known", registration.as_token, registration.hs_token) == (again.id, again.as_token, again.hs_token)
    assert second.appservice.id == "known"
    assert list(second.networks) == ["oftc"]


def test_the_sender_is_another_than_the_bot(tmp_path: Path) -> None:
    """Synapse's /sync serves the bot of a new installation; the sender of one that is there stays."""
    _init(tmp_path, *_IRC, "--set", "appservice.bot=irc")
    assert load(tmp_path / "registration.yaml").sender_localpart == "irc-sender"
    old = tmp_path / "old"
    old.mkdir()
    _init(old, *_IRC, "--set", "appservice.sender=bridgebot")
    for _ in range(2):
        assert load(old / "registration.yaml").sender_localpart == "bridgebot"
        assert _init(old, *_IRC, "--force") == 0
    assert _init(tmp_path, *_IRC, "--set", "appservice.bot=irc", "--force") == 0
    assert load_config(tmp_path / "config.yaml", {}).config.appservice.sender == "irc-sender"


def test_only_the_registration_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--only-registration follows what was changed in config.yaml by hand, and keeps it and the tokens."""
    _init(tmp_path, *_IRC)
    before = load(tmp_path / "registration.yaml")
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace('  #mode: "off"', "  mode: auto", 1) + "\n# by hand\n")
    mine = config.read_text()

    assert main(["init", "-c", str(config), "--only-registration"]) == 0
    after = load(tmp_path / "registration.yaml")
    assert not before.msc3202
    assert (after.msc3202, after.msc4190, after.ephemeral) == (True, True, True)
    assert (after.as_token, after.hs_token, after.id) == (before.as_token, before.hs_token, before.id)
    assert config.read_text() == mine
    assert not (tmp_path / "config.yaml.bak").exists()
    assert "tokens kept" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["off", "sync", "auto", "appservice"])
def test_what_encryption_needs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    """Who turns encryption on is told what Synapse needs for it, and of the guide; nobody else is."""
    config = tmp_path / "config.yaml"
    _init(tmp_path, *_IRC, "--set", f"encryption.mode={mode}")
    written = capsys.readouterr().out
    assert main(["init", "-c", str(config), "--only-registration"]) == 0
    anew = capsys.readouterr().out
    pushed = mode in {"auto", "appservice"}
    for out in (written, anew):
        assert ("msc3202_transaction_extensions: true" in out) is pushed
        assert ("docs/guides/encryption.md, step 3" in out) is pushed
    assert ("docs/guides/encryption.md, step 5" in written) is (mode != "off")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is named, and what to do, before anything is asked or written."""
    missing = tmp_path / "missing"
    assert _init(missing, *_IRC) == 1
    told = capsys.readouterr().err
    assert told == f"The folder {missing} does not exist. Make it (mkdir -p {missing}), or name another file with -c.\n"
    assert _init(tmp_path, *_IRC, "-r", str(missing / "registration.yaml")) == 1
    assert f"The folder {missing} does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert _init(tmp_path / "file", *_IRC) == 1
    assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_fresh_secrets_differ(tmp_path: Path) -> None:
    """Two installations share no secret."""
    configs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _init(tmp_path / name, *_IRC)
        configs.append(load_config(tmp_path / name / "config.yaml", {}).config)

    assert configs[0].journal.secret != configs[1].journal.secret


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--network", "libera=irc"], "--set networks.libera.server=... is missing"),
        (["--network", "libera=icq"], "networks.libera.type: no adapter 'icq' can be loaded. Allowed: broken, irc."),
        (["--network", "broken"], "adapter broken: made.up.module:Missing cannot be loaded"),
        (["--network", "Big=irc"], "a name holds a-z"),
        ([*_IRC, "--set", "logging.level=loud"], "the new config.yaml: logging.level: 'loud' is not allowed"),
        ([*_IRC, "--set", "loging.level=info"], "the new config.yaml: loging: unknown key, did you mean logging?"),
        ([*_IRC, "--set", "nothing"], "must look like KEY=VALUE"),
        ([*_IRC, "--admin", "@me"], "the new config.yaml: permissions"),
    ],
)
def test_mistakes_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    """Whatever is wrong is said, with exit code 1, and no file is left behind."""
    assert _init(tmp_path, *flags) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _answers(*given: str) -> Callable[[str], str]:
    left = list(given)
    return lambda question: left.pop(0)


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    """On a terminal each missing value is a question; an empty answer takes the default shown."""
    parser = ArgumentParser()
    init.add_parser(parser)
    options = parser.parse_args(["-c", str(tmp_path / "config.yaml")])
    asker = Asker(True, _answers("https://matrix.example.org", "", "@me:x", "", "libera", ""))
    values = init.collect(options, asker)

    assert values["homeserver"] == {"address": "https://matrix.example.org", "domain": "matrix.example.org"}
    assert values["permissions"] == {"local": "user", "@me:x": "admin"}
    assert values["networks"] == {"libera": {"type": "irc", "server": "irc.example.org"}}


def test_without_a_terminal_nothing_is_guessed() -> None:
    """A question without default and without terminal is an error that names its flag."""
    with pytest.raises(init.MissingAnswer, match="--domain is missing"):
        Asker(False).ask("The name", "--domain")


def test_questions_without_default_are_repeated() -> None:
    """An empty answer to a question without default asks again."""
    assert Asker(True, _answers("", " ", "x")).ask("What", "--what") == "x"
