"""The bot's commands, and logins, as an HTTP API: `/_matrix_bridge/v1/...` on the appservice's listener.

What a user may do is asked anew at each call, by the same rules as in a management room.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from bridge_core.api.errors import RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.engine.commands import Command, Commands, NotAllowedError, Surety, UnknownCommandError, UsageError
from bridge_core.engine.logins import Logins
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.matrix.answers import answer, read_body, refusal
from bridge_core.matrix.callers import Callers, RefusedError

__all__ = ["Provisioning"]

_BASE: Final = "/_matrix_bridge/v1"
_LIMIT: Final = 64 * 1024

Handler = Callable[[web.Request, UserId], Awaitable[Any]]
IsMember = Callable[[RoomId, UserId], Awaitable[bool]]

_Text = Annotated[str, StringConstraints(max_length=4096)]
_Room = Annotated[str, StringConstraints(max_length=255, pattern=r"^![\x21-\x7e]+$")]


class _Body(BaseModel):
    """What is in a request: unknown keys are mistakes, and are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class _CommandBody(_Body):
    arguments: dict[_Text, _Text] = {}
    room: _Room | None = None


class _LoginBody(_Body):
    flow: _Text = ""


class _AnswersBody(_Body):
    answers: dict[_Text, _Text]


class Provisioning:
    """Serves the API. `is_member` tells whether a user is in a room, as the bot sees it; it raises when unknown."""

    def __init__(
        self,
        callers: Callers,
        commands: Commands,
        logins: Logins,
        networks: Networks,
        permissions: Permissions,
        is_member: IsMember,
    ) -> None:
        self._callers = callers
        self._commands = commands
        self._logins = logins
        self._networks = networks
        self._permissions = permissions
        self._is_member = is_member

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application that answers in Matrix' form."""
        routes: list[tuple[str, str, Handler, Permission]] = [
            ("GET", "/whoami", self._whoami, Permission.RELAY),
            ("GET", "/commands", self._describe, Permission.RELAY),
            ("POST", "/commands/{name}", self._command, Permission.RELAY),
            ("GET", "/logins", self._flows, Permission.USER),
            ("POST", "/logins/{network}", self._begin, Permission.USER),
            ("POST", "/logins/{network}/{id}/submit", self._submit, Permission.USER),
            ("POST", "/logins/{network}/{id}/wait", self._wait, Permission.USER),
            ("DELETE", "/logins/{network}/{id}", self._cancel, Permission.USER),
        ]
        for method, path, handler, level in routes:
            app.router.add_route(method, _BASE + path, self._called(handler, level))

    def _called(self, handler: Handler, level: Permission) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def checked(request: web.Request) -> web.StreamResponse:
            try:
                user = await self._callers.caller(request)
                if self._permissions.of(user) < level:
                    raise NotAllowedError("you may not do this on this bridge")
                return answer(await handler(request, user))
            except RefusedError as error:
                return refusal(error.status, error.errcode, str(error))
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False, include_context=False)[0]
                where = ".".join(str(part)[:40] for part in first["loc"])
                return refusal(400, "M_BAD_JSON", f"{where}: {first['msg']}")
            except UnknownCommandError as error:
                return refusal(404, "M_NOT_FOUND", str(error))
            except UsageError as error:
                return refusal(400, "M_INVALID_PARAM", str(error))
            except NotAllowedError as error:
                return refusal(403, "M_FORBIDDEN", str(error))
            except (TransientError, RateLimitedError):
                raise
            except RejectedError as error:
                return refusal(409, "M_BAD_STATE", str(error))

        return checked

    async def _whoami(self, request: web.Request, user: UserId) -> Any:
        return {"user_id": user, "level": self._permissions.of(user).name.lower()}

    async def _describe(self, request: web.Request, user: UserId) -> Any:
        return {"commands": [described(command) for command in self._commands.usable(self._permissions.of(user))]}

    async def _command(self, request: web.Request, user: UserId) -> Any:
        body = _CommandBody.model_validate(await _json(request))
        room = RoomId(body.room) if body.room is not None else None
        if room is not None and not await self._is_member(room, user):
            raise NotAllowedError("you are not in that room, or the bot is not")
        surety = Surety.SURE if self._callers.by_secret(request) else Surety.SAID
        found = await self._commands.call(user, request.match_info["name"], body.arguments, room, surety)
        return {"text": found.text, "data": dict(found.data)}

    async def _flows(self, request: web.Request, user: UserId) -> Any:
        return {
            "networks": {
                network.id: [
                    {"id": flow.id, "name": flow.name, "description": flow.description}
                    for flow in self._logins.flows(network.id)
                ]
                for network in self._networks
            }
        }

    async def _begin(self, request: web.Request, user: UserId) -> Any:
        body = _LoginBody.model_validate(await _json(request))
        return (await self._logins.begin(user, NetworkId(request.match_info["network"]), body.flow)).data()

    async def _submit(self, request: web.Request, user: UserId) -> Any:
        body = _AnswersBody.model_validate(await _json(request))
        return (await self._logins.submit(user, request.match_info["id"], body.answers)).data()

    async def _wait(self, request: web.Request, user: UserId) -> Any:
        await _json(request)
        return (await self._logins.wait(user, request.match_info["id"])).data()

    async def _cancel(self, request: web.Request, user: UserId) -> Any:
        return {"cancelled": await self._logins.cancel(user, request.match_info["id"])}


def described(command: Command) -> Mapping[str, Any]:
    """A command as data."""
    return {
        "name": command.key,
        "usage": command.usage,
        "help": command.help,
        "topic": command.topic,
        "level": command.level.name.lower(),
        "arguments": [
            {"name": one.key, "optional": one.optional, "rest": one.rest, "secret": one.key in command.secret}
            for one in command.parsed()
        ],
    }


async def _json(request: web.Request) -> Any:
    body = await read_body(request, _LIMIT)
    try:
        return orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        raise RefusedError(400, "M_NOT_JSON", "the body is not JSON") from None
