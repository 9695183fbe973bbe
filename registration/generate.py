"""Make a registration, keeping what an existing one already promised to the homeserver."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from registration.model import Namespace, Namespaces, Registration
from registration.namespaces import NETWORK_NAME, Template, TemplateError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the bridge's configuration asks of the registration; `encryption` adds MSC3202 and MSC4190."""

    id: str
    url: str | None
    domain: str
    bot: str
    networks: Sequence[str]
    user_template: str = "_{network}_{id}"
    alias_template: str = "_{network}_{id}"
    ephemeral: bool = True
    encryption: bool = False
    protocols: Sequence[str] | None = None
    sender: str | None = None
    """The registration's sender where it is not the bot, which is in the namespace then."""

    def namespaces(self) -> Namespaces:
        """Exclusive user and alias namespaces, one pair per network; raises `TemplateError`."""
        for network in self.networks:
            if not NETWORK_NAME.fullmatch(network):
                raise TemplateError(f"network name {network!r}: a-z, 0-9 and -, starting with a letter")
        users, aliases = Template(self.user_template), Template(self.alias_template)
        for template in (users, aliases):
            if len(self.networks) > 1 and not template.has_network:
                raise TemplateError(f"{template.text!r} needs {{network}}: several networks share this registration")
        regexes = [users.regex("@", network, self.domain) for network in self.networks]
        if self.sender not in (None, self.bot):
            regexes.append(f"@{re.escape(self.bot)}:{re.escape(self.domain)}")
        return Namespaces(
            users=_namespaces(regexes),
            aliases=_namespaces(aliases.regex("#", network, self.domain) for network in self.networks),
        )


def _namespaces(regexes: object) -> list[Namespace]:
    assert hasattr(regexes, "__iter__")
    return [Namespace(exclusive=True, regex=regex) for regex in dict.fromkeys(regexes)]


def new_token() -> str:
    """64 hexadecimal digits of the operating system's randomness."""
    return secrets.token_hex(32)


def generate(wanted: Wanted, existing: Registration | None = None) -> Registration:
    """The registration for `wanted`; id, tokens and unknown keys of `existing` are kept.

    The legacy ephemeral flag is dropped: with both flags every such event arrives twice.
    """
    values: dict[str, object] = dict(existing.model_extra or {}) if existing else {}
    values |= {
        "id": existing.id if existing else wanted.id,
        "url": wanted.url,
        "as_token": existing.as_token if existing else new_token(),
        "hs_token": existing.hs_token if existing else new_token(),
        "sender_localpart": wanted.sender or wanted.bot,
        "namespaces": wanted.namespaces(),
        "rate_limited": bool(existing and existing.rate_limited),
        "protocols": list(wanted.protocols) if wanted.protocols else (existing.protocols if existing else None),
        "receive_ephemeral": wanted.ephemeral,
        "push_ephemeral": None,
        "msc3202": True if wanted.encryption else (existing.msc3202 if existing else None),
        "msc4190": True if wanted.encryption else (existing.msc4190 if existing else None),
    }
    return Registration.model_validate(values)


_COMMENTS = {
    "id": "Unique among the homeserver's appservices. Never change it: state is kept under it.",
    "url": "Where the homeserver reaches the bridge.",
    "as_token": "The bridge shows this token to the homeserver. Keep both tokens private.",
    "hs_token": "The homeserver shows this token to the bridge.",
    "sender_localpart": "The bridge's bot, unless appservice.sender says otherwise.",
    "rate_limited": "Whether ghosts are rate limited; a bridge needs this off.",
    "namespaces": "Ghosts and rooms of the bridge; nobody else can create these names.",
    "protocols": "Networks offered to third-party lookups.",
    "receive_ephemeral": "Typing, receipts and to-device messages.",
    "org.matrix.msc3202": "Device lists and key counts, for encryption.",
    "io.element.msc4190": "Devices without a login, for encryption.",
}


def render(registration: Registration) -> str:
    """The commented YAML text of a registration."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1000
    plain = registration.model_dump(by_alias=True, exclude_none=True)
    plain.setdefault("url", None)
    order = [key for key in _COMMENTS if key in plain]
    tree = CommentedMap()
    for key in [*order, *(key for key in plain if key not in _COMMENTS)]:
        tree[key] = _commented(plain[key])
        if key in _COMMENTS:
            tree.yaml_set_comment_before_after_key(key, before=_COMMENTS[key])
    tree.yaml_set_start_comment(
        "Registration of the bridge with the homeserver. For Synapse: list this file under\n"
        "app_service_config_files in homeserver.yaml, let its user read it, and restart Synapse.\n "
    )
    out = StringIO()
    yaml.representer.add_representer(type(None), _represent_null)
    yaml.dump(tree, out)
    return re.sub(r"[ \t]+$", "", out.getvalue(), flags=re.MULTILINE)


def _represent_null(representer: object, _: None) -> object:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")  # type: ignore[attr-defined]


def _commented(value: object) -> object:
    if isinstance(value, dict):
        return CommentedMap((key, _commented(one)) for key, one in value.items())
    if isinstance(value, list):
        return CommentedSeq([_commented(one) for one in value])
    return value


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, readable by its owner only. Blocks; raises `OSError`.

    A reader sees the old file or the new one; after a power cut it is one of the two as well.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp creates it 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
