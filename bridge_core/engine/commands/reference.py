"""The commands as a page for people. Pure."""

from collections.abc import Iterable

from bridge_core.engine.commands.command import Command

_HEAD = """# Commands

Generated from the commands themselves (`python -m bridge_core.app.reference`): do not edit.

Invite the bot to a room of the two of you: this is your management room, where plain words are commands, until you
leave it and invite the bot to another one. In any other room they begin with `!bridge`. `[WORD]` may be left out,
`WORD...` takes all that is left, and what stands in double quotes is one word. Those marked with \u2217 are taken in a
management room only. What is marked with \u2020 cannot be taken back: said in a room, it first tells what will follow,
and is done when `confirm` stands behind it (`encryption reset confirm`).

## As an HTTP API

With `api.enabled`, all of this is served on `appservice.listen` under `/_matrix_bridge/v1/`. A request says who it is
for: `Authorization: Bearer SECRET` (`api.secret`) and `?user_id=@user:server`, or
`Authorization: Bearer openid:TOKEN` with a token that the user's homeserver gave them
(`POST /_matrix/client/v3/user/{userId}/openid/request_token`), and `?matrix_server_name=` when that is not the bridge's
own homeserver. The own homeserver must serve `openid` to the bridge (in Synapse: among the `resources` of the listener
at `homeserver.address`).

| request | body | answer |
|---|---|---|
| `GET /whoami` | | `user_id`, `level` |
| `GET /commands` | | `commands`: those the user may use, as below |
| `POST /commands/NAME` | `arguments` (object of texts), `room` (its id; the user is in it) | `text`, `data` |
| `GET /logins` | | `networks`: the ways to log in to each |
| `POST /logins/NETWORK` | `flow` | a step: `id`, `type` (`ask` with `fields`, `show`, `complete`), `text`, ... |
| `POST /logins/NETWORK/ID/submit` | `answers` (object of texts, by field) | the next step |
| `POST /logins/NETWORK/ID/wait` | | the next step, once the network has gone on |
| `DELETE /logins/NETWORK/ID` | | `cancelled` |

Errors are Matrix errors: 400 (`M_NOT_JSON`, `M_BAD_JSON`, `M_INVALID_PARAM`), 401 and 403 (who asks), 404 (no such
command), 409 `M_BAD_STATE` (refused, with words for the user), 413, 429 (too often), 503 (not now).

"""


def render_commands(commands: Iterable[Command]) -> str:
    """The page; `commands` in the order in which they are to be shown."""
    parts = [_HEAD]
    topic = ""
    for command in commands:
        if command.topic != topic:
            topic = command.topic
            parts.append(f"## {topic}\n\n| command | name in the API | for | does |\n|---|---|---|---|\n")
        mark = " \u2217" * command.private + " \u2020" * (command.asks is not None)
        usage = command.usage.replace("|", "\\|")
        parts.append(f"| `{usage}`{mark} | `{command.key}` | {command.level.name.lower()} | {command.help} |\n")
    return _spaced("".join(parts))


def _spaced(text: str) -> str:
    """A blank line before each heading."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("## ") and lines and lines[-1]:
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
