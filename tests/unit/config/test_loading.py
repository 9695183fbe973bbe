"""Loading the configuration: everything right quickly, everything wrong at once."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from bridge_core.config import ConfigError, LoadedConfig, Permission, UnknownOutcome, load_config
from bridge_core.config.encryption import TrustName

_SECRET = "0f8fad5bd9cb469fa16570867728950e7d3c"
_GOOD = f"""\
homeserver:
  address: http://127.0.0.1:8008
  domain: example.org
journal:
  secret: {_SECRET}
networks:
  libera:
    type: irc
    server: irc.example.org
    portals:
      - chat: "#one"
        room: "!abc"
      - "#two"
"""
_TRUST = "encryption: {{mode: auto, trust: {{{}: mismatched}}}}\n"


class _Irc(BaseModel):
    server: str = Field(description="The server.")
    port: int = Field(default=6697, ge=1, le=65535)
    password: SecretStr | None = None


def _load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> LoadedConfig:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path, environment or {})


def _problems(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text, environment)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    """Address, name, secret and a network are all that is required; the rest has defaults."""
    loaded = _load(tmp_path, _GOOD)
    networks = loaded.validate_networks({"irc": _Irc})

    assert loaded.config.journal.retry_window == 7 * 86400
    assert UnknownOutcome.REPORT is loaded.config.journal.unknown
    assert [(p.chat, p.room) for p in networks["libera"].common.portals] == [("#one", "!abc"), ("#two", None)]
    assert _Irc(server="irc.example.org") == networks["libera"].settings
    assert f"sqlite:///{tmp_path}/bridge.db" == loaded.database_url
    assert tmp_path / "registration.yaml" == loaded.registration_path


@pytest.mark.parametrize(
    ("database", "spool", "expected"),
    [
        ("sqlite:///data/b.db", None, "data/spool"),
        ("sqlite:////var/lib/bridge/b.db", None, "/var/lib/bridge/spool"),
        ("postgresql://bridge@db/bridge", None, "spool"),
        ("postgresql://bridge@db/bridge", "/var/spool/bridge", "/var/spool/bridge"),
        ("sqlite:///b.db", "files", "files"),
    ],
)
def test_files_wait_where_writing_is_meant(tmp_path: Path, database: str, spool: str | None, expected: str) -> None:
    """The spool is beside an SQLite database, so that the configuration's folder may be read-only."""
    variables = {"MATRIX_BRIDGE__DATABASE__URL": database} | ({"MATRIX_BRIDGE__MEDIA__SPOOL": spool} if spool else {})
    assert _load(tmp_path, _GOOD, variables).spool_path == tmp_path / expected


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """Each mistake has its line, its key, what is wrong, and what would be allowed; sorted by line."""
    text = """\
homeserver:
  address: example.org
  domian: example.org
  max_connections: many
appservice:
  listen: nowhere
  user_template: "{id}"
journal:
  secret: REPLACE-ME-matrix-bridge-init-does-this
  retry_window: soon
permissions:
  "!x": user
  example.org: king
limits: 3
networks:
  Libera:
    type: irc
  oftc:
    portals:
      - chat: "#x"
        room: 5
"""
    problems = _problems(tmp_path, text)
    expected = [
        "config.yaml:1: homeserver.domain: is missing. Allowed: a server name such as example.org.",
        "config.yaml:2: homeserver.address: 'example.org' is not an http:// or https:// address.",
        "config.yaml:3: homeserver.domian: unknown key, did you mean domain?",
        "config.yaml:4: homeserver.max_connections: 'many' is not allowed. Allowed: a whole number (at least 1",
        "config.yaml:6: appservice.listen: 'nowhere' is not an address to listen on. Allowed: host:port",
        "config.yaml:7: appservice.user_template: needs text before {id}",
        "config.yaml:9: journal.secret: is still the example's placeholder.",
        "config.yaml:10: journal.retry_window: 'soon' is not a duration. Allowed: a duration such as 30s",
        "config.yaml:12: permissions.!x: is not allowed as a key here. Allowed: *, local, a server name",
        "config.yaml:13: permissions.example.org: 'king' is not allowed. Allowed: one of blocked, relay, user, admin.",
        "config.yaml:14: limits: 3 is not allowed. Allowed: a mapping.",
        "config.yaml:16: networks.Libera: is not allowed as a key here. Allowed: a-z, 0-9 and -",
        "config.yaml:18: networks.oftc.type: is missing.",
        "config.yaml:21: networks.oftc.portals.0.room: 5 is not allowed. Allowed: a room id (!...) or alias (#...)",
    ]

    assert len(expected) == len(problems.splitlines())
    for start, line in zip(expected, problems.splitlines(), strict=True):
        assert line.startswith(start), line


def test_adapters_settings_are_checked_in_the_same_way(tmp_path: Path) -> None:
    """Mistakes in an adapter's own keys and in types have file, line, key and a suggestion too."""
    loaded = _load(
        tmp_path,
        _GOOD.replace("server: irc", "sevrer: irc") + "    port: 70000\n  other:\n    type: icq\n",
    )
    with pytest.raises(ConfigError) as caught:
        loaded.validate_networks({"irc": _Irc}, ["echo"])
    problems = str(caught.value).replace(f"{tmp_path}/", "")

    assert "config.yaml:9: networks.libera.sevrer: unknown key, did you mean server?" in problems
    assert "config.yaml:7: networks.libera.server: is missing" in problems
    assert "config.yaml:14: networks.libera.port: 70000 is not allowed. Allowed: a whole number" in problems
    assert "config.yaml:16: networks.other.type: no adapter 'icq' can be loaded. Allowed: echo, irc." in problems


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "config.yaml:1: must be a mapping"),
        ("a: [\nb: }\n", "config.yaml:2: is not valid YAML"),
        ("a: 1\na: 2\n", "config.yaml:2: is not valid YAML: found duplicate key"),
        ("a: !!python/object/apply:os.getpid []\n", "is not valid YAML"),
        ("", "homeserver: is missing"),
    ],
)
def test_what_is_no_configuration_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    """Broken YAML, lists, duplicate keys, foreign tags and emptiness are named with their line."""
    assert words in _problems(tmp_path, text)


def test_the_file_is_bounded_and_text(tmp_path: Path) -> None:
    """A huge or binary file is refused before it is parsed, a missing one is named."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_config(path, {})
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r":2: is not UTF-8"):
        load_config(path, {})
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nothing.yaml", {})


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("media: {enabled: true}\n", "config.yaml:14: media.public_url: is missing, and media.enabled is true"),
        ("appservice: {as_token: " + _SECRET + "}\n", "appservice.hs_token: is missing, and appservice.as_token"),
        (
            "health: {listen: '127.0.0.1:29310'}\n",
            "config.yaml:14: health.listen: 127.0.0.1:29310 is appservice.listen",
        ),
        ("  xmpp: {type: xmpp}\nappservice: {user_template: '_x_{id}'}\n", "user_template: needs {network}"),
    ],
)
def test_sections_must_agree(tmp_path: Path, extra: str, words: str) -> None:
    """Keys that contradict each other are found."""
    assert words in _problems(tmp_path, _GOOD + extra)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """Numbers, lists, names with hyphens, items of lists and files can come from the environment."""
    secret = tmp_path / "secret"
    secret.write_text("f" + _SECRET + "\n")
    loaded = _load(
        tmp_path,
        _GOOD + "  my-net: {type: irc, server: x}\n",
        {
            "MATRIX_BRIDGE__JOURNAL__SECRET_FILE": str(secret),
            "MATRIX_BRIDGE__HOMESERVER__MAX_CONNECTIONS": "7",
            "MATRIX_BRIDGE__HOMESERVER__REQUEST_TIMEOUT": "5s",
            "MATRIX_BRIDGE__APPSERVICE__LEGACY_ROUTES": "false",
            "MATRIX_BRIDGE__APPSERVICE__BOT_DISPLAYNAME": "[Bot]",
            "MATRIX_BRIDGE__NETWORKS__MY_NET__PASSWORD": "123456",
            "MATRIX_BRIDGE__NETWORKS__MY_NET__PORT": "6667",
            "MATRIX_BRIDGE__NETWORKS__MY_NET__PROVIDED_LOGINS": '["*"]',
            "MATRIX_BRIDGE__NETWORKS__LIBERA__PORTALS__0__ROOM": "#other:example.org",
            "UNRELATED": "x",
        },
    )
    networks = loaded.validate_networks({"irc": _Irc})
    settings: Any = networks["my-net"].settings

    assert loaded.config.journal.secret.get_secret_value() == "f" + _SECRET
    assert (loaded.config.homeserver.max_connections, loaded.config.homeserver.request_timeout) == (7, 5.0)
    assert (loaded.config.appservice.legacy_routes, loaded.config.appservice.bot_displayname) == (False, "[Bot]")
    assert (settings.password.get_secret_value(), settings.port) == ("123456", 6667)
    assert networks["my-net"].common.provided_logins == ["*"]
    assert networks["libera"].common.portals[0].room == "#other:example.org"


def test_mistakes_from_the_environment_name_their_variable(tmp_path: Path) -> None:
    """A bad value, an unknown key, an unreadable file and a double setting point at the variable."""
    problems = _problems(
        tmp_path,
        _GOOD,
        {
            "MATRIX_BRIDGE__LOGGING__LEVEL": "loud",
            "MATRIX_BRIDGE__LOGGING__LEVLE": "info",
            "MATRIX_BRIDGE__JOURNAL__SECRET_FILE": str(tmp_path / "none"),
            "MATRIX_BRIDGE__DATABASE__URL": "sqlite:///x",
            "MATRIX_BRIDGE__DATABASE__URL_FILE": str(tmp_path / "config.yaml"),
            "MATRIX_BRIDGE__NETWORKS__LIBERA__PORTALS__9__ROOM": "x",
            "MATRIX_BRIDGE__": "x",
        },
    )

    assert "environment variable MATRIX_BRIDGE__LOGGING__LEVEL: logging.level: 'loud' is not allowed" in problems
    assert "environment variable MATRIX_BRIDGE__LOGGING__LEVLE: logging.levle: unknown key, did you mean" in problems
    assert "SECRET_FILE: journal.secret: " in problems
    assert "URL_FILE: database.url: is set by MATRIX_BRIDGE__DATABASE__URL too" in problems
    assert "the list has no item 9" in problems
    assert "environment variable MATRIX_BRIDGE__: names no key" in problems


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Neither a mistake in a secret nor the loaded configuration prints it."""
    short = "5ca1ab1e-0123456789"
    problems = _problems(tmp_path, _GOOD.replace(_SECRET, short))
    number = _problems(tmp_path, _GOOD.replace(_SECRET, "918273645918273645"))
    loaded = _load(tmp_path, _GOOD + "database: {url: 'postgresql://u:hunter2@h/d'}\n")

    assert "is shorter than 32 characters" in problems
    assert short not in problems
    assert "918273645" not in number
    assert _SECRET not in repr(loaded.config)
    assert "hunter2" not in repr(loaded.config)


@pytest.mark.parametrize(
    "secret", ["", "x" * 40, "change-me-change-me-change-me-1234567890", "your-secret-goes-here-0123456789abcdef"]
)
def test_placeholder_secrets_are_refused(tmp_path: Path, secret: str) -> None:
    """What an example might contain is not accepted as a secret."""
    assert re.search(
        r"journal\.secret: is (empty|still the example)", _problems(tmp_path, _GOOD.replace(_SECRET, f'"{secret}"'))
    )


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("@boss:example.org", Permission.ADMIN),
        ("@any:example.org", Permission.USER),
        ("@any:friend.org", Permission.RELAY),
        ("@bad:friend.org", Permission.BLOCKED),
        ("@any:evil.org", Permission.BLOCKED),
        ("@any:example.org.evil.org", Permission.BLOCKED),
    ],
)
def test_the_closest_permission_counts(tmp_path: Path, user: str, expected: Permission) -> None:
    """A user's own entry beats the server's; who is not named is blocked."""
    text = _GOOD + (
        "permissions:\n  local: user\n  friend.org: relay\n  '@boss:example.org': admin\n  '@bad:friend.org': blocked\n"
    )

    assert expected is _load(tmp_path, text).config.permission_of(user)


def test_federated_users_are_opted_in(tmp_path: Path) -> None:
    """Without a permissions section only the homeserver's own users may use the bridge."""
    config = _load(tmp_path, _GOOD).config

    assert Permission.USER is config.permission_of("@a:example.org")
    assert Permission.BLOCKED is config.permission_of("@a:elsewhere.org")


def test_ten_thousand_portals_load(tmp_path: Path) -> None:
    """A large configuration is read whole, and a mistake at its end still has its line."""
    portals = "".join(f"      - {{chat: '#c{number}', room: '!r{number}'}}\n" for number in range(10_000))
    head = _GOOD.split("    portals:")[0]
    loaded = _load(tmp_path, f"{head}    portals:\n{portals}")

    assert len(loaded.validate_networks({"irc": _Irc})["libera"].common.portals) == 10_000
    assert "config.yaml:10011: networks.libera.portals.10000.caht: unknown key, did you mean chat?" in _problems(
        tmp_path, f"{head}    portals:\n{portals}      - {{caht: x}}\n"
    )


def test_tokens_come_from_the_registration_or_the_configuration(tmp_path: Path) -> None:
    """The registration file's tokens are used unless the configuration has its own; a bad file is named."""
    loaded = _load(tmp_path, _GOOD)
    with pytest.raises(ConfigError, match=r"registration\.yaml: cannot be read"):
        loaded.tokens()
    (tmp_path / "registration.yaml").write_text("id: x\nurl: null\nas_token: a\nsender_localpart: b\nnamespaces: {}\n")
    with pytest.raises(ConfigError, match=r"registration\.yaml:1: hs_token: is missing"):
        loaded.tokens()
    with (tmp_path / "registration.yaml").open("a") as file:
        file.write("hs_token: h\n")
    assert loaded.tokens() == ("a", "h")
    own = _load(tmp_path, _GOOD + f"appservice: {{as_token: a{_SECRET}, hs_token: h{_SECRET}}}\n")
    assert (f"a{_SECRET}", f"h{_SECRET}") == own.tokens()


def test_sessions_of_others_may_be_read_but_never_given_keys(tmp_path: Path) -> None:
    """`mismatched` may be set for what is received; for what is sent or shared it is a mistake."""
    assert TrustName.MISMATCHED is _load(tmp_path, _GOOD + _TRUST.format("receive")).config.encryption.trust.receive
    for name in ("send", "share"):
        assert "mismatched is of use for receive alone" in _problems(tmp_path, _GOOD + _TRUST.format(name))
