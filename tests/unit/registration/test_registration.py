"""The registration file: read, made, kept, checked."""

import stat
from pathlib import Path
from typing import Any

import pytest

from registration import (
    Finding,
    Level,
    Registration,
    RegistrationError,
    TemplateError,
    Wanted,
    compare,
    generate,
    load,
    render,
    review,
    write_private,
)
from registration.__main__ import main

_WANTED = Wanted(id="irc-bridge", url="http://127.0.0.1:1", domain="example.org", bot="ircbot", networks=["irc"])


def _registration(**changes: Any) -> Registration:
    return generate(_WANTED).model_copy(update=changes)


def _words(findings: list[Finding], level: Level) -> str:
    return "\n".join(finding.what for finding in findings if finding.level is level)


def test_every_key_is_read(tmp_path: Path) -> None:
    """Stable, unstable and unknown keys are read, and written again as they were."""
    text = """\
id: "x"
url: null
as_token: a
hs_token: b
sender_localpart: bot
rate_limited: false
protocols: [irc]
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
org.matrix.msc3202: true
io.element.msc4190: true
com.example.own: {deep: [1]}
namespaces:
  users:
    - {exclusive: true, regex: '@_x_.*', group_id: '+x:y'}
  rooms:
"""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    registration = load(path)
    path.write_text(render(registration))

    assert (
        registration.url,
        registration.receive_ephemeral,
        registration.push_ephemeral,
        registration.msc3202,
        registration.msc4190,
    ) == (None, True, True, True, True)
    assert registration == load(path)
    assert "com.example.own:" in path.read_text()
    assert "group_id: +x:y" in path.read_text()


def test_all_mistakes_come_at_once_with_their_lines(tmp_path: Path) -> None:
    """A broken file is reported key by key, with line numbers."""
    path = tmp_path / "r.yaml"
    path.write_text("id: x\nurl: null\nas_token: a\nsender_localpart: 5\nnamespaces:\n  users:\n  - regex: '['\n")

    with pytest.raises(RegistrationError) as caught:
        load(path)

    problems = "\n".join(caught.value.problems)
    assert f"{path}:1: hs_token: is missing" in problems
    assert f"{path}:4: sender_localpart: " in problems
    assert f"{path}:7: namespaces.users.0.regex: is not a regular expression" in problems
    assert f"{path}:7: namespaces.users.0.exclusive: is missing" in problems


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "a: 1\na: 2\n", "\x00", "id: !!python/object:os.system {}\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Lists, broken YAML, duplicate keys and foreign tags are one clear error."""
    path = tmp_path / "r.yaml"
    path.write_text(text)

    with pytest.raises(RegistrationError, match=r"r\.yaml"):
        load(path)


def test_regenerating_keeps_what_the_homeserver_knows() -> None:
    """Id, tokens, flags and unknown keys survive; namespaces follow the configuration."""
    first = Registration.model_validate(
        generate(_WANTED).model_dump(by_alias=True)
        | {"id": "old", "com.example.own": 1, "org.matrix.msc3202": True, "protocols": ["irc"]}
    )
    second = generate(Wanted(id="new", url=None, domain="example.org", bot="b", networks=["irc", "oftc"]), first)

    assert (first.id, first.as_token, first.hs_token) == (second.id, second.as_token, second.hs_token)
    assert second.model_extra == {"com.example.own": 1}
    assert (second.msc3202, second.protocols) == (True, ["irc"])
    assert [one.regex for one in second.namespaces.users] == ["@_irc_.*:example\\.org", "@_oftc_.*:example\\.org"]


def test_both_ephemeral_flags_are_never_generated() -> None:
    """The legacy flag of an earlier file is dropped, since with both every such event arrives twice."""
    old = _registration(push_ephemeral=True, receive_ephemeral=None)
    new = generate(_WANTED, old)

    assert (new.receive_ephemeral, new.push_ephemeral) == (True, None)
    assert "twice" in _words(review("r", _registration(push_ephemeral=True)), Level.WARNING)


def test_tokens_are_fresh_and_independent() -> None:
    """Each registration has two tokens of 256 bits of its own."""
    tokens = {token for one in (generate(_WANTED), generate(_WANTED)) for token in (one.as_token, one.hs_token)}

    assert {64} == {len(token) for token in tokens}
    assert len(tokens) == 4


def test_several_networks_need_their_name_in_the_template() -> None:
    """Ghosts of two networks never share names."""
    with pytest.raises(TemplateError, match="several networks"):
        generate(Wanted("x", None, "example.org", "b", ["irc", "oftc"], user_template="_x_{id}"))


def test_files_are_private_and_replaced_in_one_step(tmp_path: Path) -> None:
    """The file is readable by its owner only, even where a readable one was, and leaves nothing behind."""
    path = tmp_path / "r.yaml"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")

    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, "new")
    assert [path] == list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """What cannot be encoded leaves the old file and no draft."""
    path = tmp_path / "r.yaml"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")

    assert path.read_text() == "old"
    assert [path] == list(tmp_path.iterdir())


def test_a_generated_registration_is_fine() -> None:
    """What the generator makes has no findings."""
    assert review("r", generate(_WANTED), "example.org") == []


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"as_token": "short"}, Level.ERROR, "shorter"),
        ({"hs_token": "change-me-change-me-change-me-change-me"}, Level.ERROR, "placeholder"),
        ({"as_token": "ab" * 32}, Level.ERROR, "repeats"),
        ({"url": "127.0.0.1:1"}, Level.ERROR, "http"),
    ],
)
def test_weak_values_are_found(changes: dict[str, Any], level: Level, words: str) -> None:
    """Weak tokens and wrong addresses are errors."""
    assert words in _words(review("r", _registration(**changes), "example.org"), level)


@pytest.mark.parametrize(
    ("regex", "exclusive", "level", "words"),
    [
        ("@.*", True, Level.ERROR, "every user"),
        ("@.*", False, Level.WARNING, "every user"),
        ("_irc_.*:example\\.org", True, Level.WARNING, "does not start with @"),
        ("@irc_.*:example\\.org", True, Level.WARNING, "collide with people"),
        ("@_irc_[a-z]*:other\\.org", True, Level.ERROR, "no user of example.org"),
    ],
)
def test_bad_user_namespaces_are_found(regex: str, exclusive: bool, level: Level, words: str) -> None:
    """Too wide, unanchored and foreign user namespaces are pointed out."""
    spaces = {"users": [{"regex": regex, "exclusive": exclusive}]}
    registration = Registration.model_validate(generate(_WANTED).model_dump(by_alias=True) | {"namespaces": spaces})

    assert words in _words(review("r", registration, "example.org"), level)


def test_a_bot_beside_the_sender_is_no_finding() -> None:
    """A bot that is not the registration's sender has its own name as a namespace, which collides with nobody else."""
    registration = generate(Wanted("b", None, "example.org", "bot.b", ["irc"], sender="b.sender"))
    assert "@bot\\.b:example\\.org" in [one.regex for one in registration.namespaces.users]
    assert review("r", registration, "example.org") == []


def test_collisions_between_bridges_are_found() -> None:
    """Same ids, tokens, bots and overlapping exclusive namespaces are errors; the undecidable a warning."""
    one = generate(_WANTED)
    two = one.model_copy(update={"hs_token": "x"})
    other = generate(Wanted("b", None, "example.org", "bbot", ["xmpp"]))
    odd = Registration.model_validate(
        generate(Wanted("c", None, "example.org", "cbot", ["y"])).model_dump(by_alias=True)
        | {"namespaces": {"users": [{"regex": "@(?!a).*", "exclusive": True}]}}
    )

    errors = _words(compare({"a": one, "b": two}), Level.ERROR)
    assert all(words in errors for words in ("same id", "same as_token", "same sender_localpart", "overlap"))
    assert compare({"a": one, "b": other}) == []
    assert "may overlap" in _words(compare({"a": one, "c": odd}), Level.WARNING)


def test_the_command_generates_checks_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`generate` twice keeps the tokens, `check` is content, `show` hides the tokens."""
    path = tmp_path / "r.yaml"
    arguments = ["generate", "-o", str(path), "--domain", "example.org", "--network", "irc"]

    assert main(arguments) == 0
    first = load(path)
    assert main([*arguments, "--network", "oftc"]) == 0
    second = load(path)
    assert (first.as_token, first.hs_token) == (second.as_token, second.hs_token)
    assert main(["check", str(path), "--domain", "example.org"]) == 0
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "@_oftc_" in shown
    assert first.as_token not in shown
    assert first.hs_token not in shown


def test_the_command_fails_on_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` ends with 1 when a file is broken or two collide."""
    one, two, broken = (tmp_path / name for name in ("1.yaml", "2.yaml", "3.yaml"))
    for path in (one, two):
        main(["generate", "-o", str(path), "--domain", "example.org", "--network", "irc"])
    broken.write_text("id: x\n")

    assert main(["check", str(one), str(two)]) == 1
    assert "overlap" in capsys.readouterr().out
    assert main(["check", str(broken)]) == 1
    assert "as_token: is missing" in capsys.readouterr().out
