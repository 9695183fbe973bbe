"""Configuration against registration, and who may read the two files."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge_core.cli.checks.report import Report
from bridge_core.cli.wanted import wanted_registration
from bridge_core.config.encryption import EncryptionMode
from bridge_core.config.load import LoadedConfig
from registration.model import Namespace, Registration, RegistrationError, load
from registration.review import compare, review

REGENERATE: Final = (
    "Run `matrix-bridge init --only-registration` (tokens and config.yaml are kept), let the homeserver read the file, "
    "then restart the homeserver."
)
"""What to do where the registration does not fit."""


def check_registration(loaded: LoadedConfig, others: Sequence[Path], report: Report) -> Registration | None:
    """The registration by itself, against the configuration, and against other bridges' files."""
    path = loaded.registration_path
    if not path.exists():
        tokens_given = loaded.config.appservice.as_token is not None
        say = report.warning if tokens_given else report.error
        say(str(path), "does not exist", f"Write it: {REGENERATE}")
        return None
    try:
        registration = load(path)
    except RegistrationError as error:
        for problem in error.problems:
            report.error("registration", problem, "Correct the file, and restart the homeserver.")
        return None
    _private(path, report, group_may_read=True)
    before = len(report.findings)
    report.add(review(path.name, registration, loaded.config.homeserver.domain))
    _agreement(loaded, registration, path.name, report)
    if len(report.findings) == before:
        report.ok(f"{path.name} fits the configuration")
    known = {path.name: registration}
    for other in others:
        try:
            known[str(other)] = load(other)
        except RegistrationError as error:
            report.warning("registration", str(error), "Another bridge's file: correct it, or leave it out.")
    report.add(compare(known))
    return registration


def check_private(path: Path, report: Report) -> None:
    """The configuration holds secrets: only its owner (and group) should read it."""
    _private(path, report, group_may_read=True)


def _private(path: Path, report: Report, *, group_may_read: bool) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    open_to = stat.S_IRWXO | (0 if group_may_read else stat.S_IRWXG)
    if mode & open_to:
        report.warning(str(path), f"can be read by every user of this machine (mode {mode:o})", f"chmod 640 {path}")


def _agreement(loaded: LoadedConfig, registration: Registration, name: str, report: Report) -> None:
    wanted = wanted_registration(loaded.config)
    given = loaded.config.appservice
    for key, have, want in (
        ("id", registration.id, wanted.id),
        ("sender_localpart", registration.sender_localpart, wanted.sender or wanted.bot),
    ):
        if have != want:
            config_key = "id" if key == "id" else "sender" if wanted.sender else "bot"
            # A registration that lists the bot among its users was made with a sender beside it.
            bot = f"@{wanted.bot}:{wanted.domain}"
            apart = key != "id" and any(re.match(one.regex, bot) for one in registration.namespaces.users)
            report.error(
                f"{name}: {key}",
                f"is {have}, but appservice.{config_key} is {want}",
                f"Set appservice.{'sender' if apart else config_key} to {have}, or: {REGENERATE}",
            )
    for key, token in (("as_token", given.as_token), ("hs_token", given.hs_token)):
        if token is not None and token.get_secret_value() != getattr(registration, key):
            report.error(
                f"{name}: {key}",
                f"differs from appservice.{key}",
                f"Remove appservice.{key} (and its environment variable), or copy the file's token there.",
            )
    if wanted.url is not None and registration.url != wanted.url:
        report.warning(
            f"{name}: url",
            f"is {registration.url}, but the configuration means {wanted.url}",
            "Right when a proxy stands between: then set appservice.url to the registration's. "
            f"Otherwise: {REGENERATE}",
        )
    keys = wanted.encryption and loaded.config.encryption.mode is not EncryptionMode.SYNC
    if wanted.ephemeral and not registration.ephemeral and not keys:
        report.warning(f"{name}: receive_ephemeral", "is not set, so typing and receipts do not cross", REGENERATE)
    if wanted.encryption:
        _encryption(registration, name, report, loaded.config.encryption.mode, typing=given.ephemeral)
    missing = sorted(set(wanted.protocols or ()) - set(registration.protocols or ()))
    if missing:
        words = f"does not name {', '.join(missing)}, so people find nothing there by look-ups in their clients"
        report.warning(f"{name}: protocols", words, REGENERATE)
    spaces = wanted.namespaces()
    for kind, have_spaces, want_spaces in (
        ("users", registration.namespaces.users, spaces.users),
        ("aliases", registration.namespaces.aliases, spaces.aliases),
    ):
        _namespaces(f"{name}: namespaces.{kind}", have_spaces, want_spaces, report)


def _encryption(registration: Registration, name: str, report: Report, mode: EncryptionMode, *, typing: bool) -> None:
    """What end-to-end encryption asks of the registration, in the words of the file. Nobody need push in sync mode."""
    pushed = mode is not EncryptionMode.SYNC
    if not registration.msc3202:
        words = "is not true, so the homeserver's transactions tell nothing of devices and keys"
        say = report.error if mode is EncryptionMode.APPSERVICE else report.warning
        if pushed:
            say(f"{name}: org.matrix.msc3202", words, REGENERATE)
    if not registration.msc4190:
        words = "is not true: a homeserver that asks for it lets the bridge make no devices"
        report.warning(f"{name}: io.element.msc4190", words, REGENERATE)
    if not registration.ephemeral and pushed:
        words = f"is not true, so no keys{', typing or receipts' * typing} arrive with transactions"
        say = report.error if mode is EncryptionMode.APPSERVICE else report.warning
        say(f"{name}: receive_ephemeral", words, REGENERATE)


def _namespaces(where: str, have: Sequence[Namespace], want: Sequence[Namespace], report: Report) -> None:
    """By text: a wider pattern that holds ours as well is only pointed out, since it may be meant."""
    regexes = {space.regex: space for space in have}
    for space in want:
        found = regexes.get(space.regex)
        if found is None and not any(_holds(other, space) for other in have):
            report.error(where, f"lacks {space.regex}, so the homeserver refuses these names", REGENERATE)
        elif found is not None and not found.exclusive:
            report.warning(where, f"{space.regex} is not exclusive: people can take ghosts' names", REGENERATE)


def _holds(other: Namespace, wanted: Namespace) -> bool:
    """Whether `other` matches what `wanted` would name, tried on a few names."""
    plain = wanted.regex.replace("\\", "")
    return all(re.match(other.regex, plain.replace(".*", sample, 1)) for sample in ("a", "z9", "_x=5b"))
