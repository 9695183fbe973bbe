"""Commands about logins, and the conversation of a login in the management room."""

from collections.abc import Mapping
from typing import Any

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, LoginId, NetworkId, RoomId, UserId
from bridge_core.api.login import AskUser, Complete, FieldKind, ShowAndWait
from bridge_core.api.network import Login
from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.dialogues import Dialogues
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.erasing import Erasing
from bridge_core.engine.logins import PATIENCE, Logins, Progress, checked_answer
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permission
from bridge_core.engine.status import Status
from bridge_core.observe.tasks import TaskOwner

TOPIC = "Logins"


class LoginCommands:
    """login, logout, logins, prefer."""

    def __init__(
        self,
        commands: Commands,
        dialogues: Dialogues,
        logins: Logins,
        networks: Networks,
        erasing: Erasing,
        status: Status,
        tasks: TaskOwner,
    ) -> None:
        self._dialogues = dialogues
        self._logins = logins
        self._networks = networks
        self._erasing = erasing
        self._status = status
        self._tasks = tasks
        user = Permission.USER
        commands.add(
            Command("login", "[NETWORK] [WAY]", "log in to a network", user, self._login, TOPIC, private=True),
            Command("logout", "NETWORK [LOGIN...]", "end a login", user, self._logout, TOPIC),
            Command("logins", "", "your logins", user, self._list, TOPIC, private=True),
            Command("prefer", "NETWORK LOGIN...", "let this login speak for you", user, self._prefer, TOPIC),
        )

    async def _login(self, call: Call) -> Answer:
        names = [network.id for network in self._networks if self._logins.flows(network.id)]
        if not call.get("network") and len(names) != 1:
            if not names:
                return Answer("No network here has logins.", {"networks": []})
            return Answer(f"Say where: login {' or '.join(names)}.", {"networks": names})
        progress = await self._logins.begin(
            call.sender, NetworkId(call.get("network") or names[0]), call.get("way").lower()
        )
        if call.room is None or call.event is None:  # a program goes on with it by itself
            return Answer("" if isinstance(progress.step, Complete) else progress.step.text, progress.data())
        return Answer(self._next(call.sender, call.room, progress), progress.data())

    def _next(self, user: UserId, room: RoomId, progress: Progress) -> str:
        """What to say about a step; the user's next message, or the network, leads to the one after."""
        step = progress.step
        if isinstance(step, Complete):
            self._dialogues.forget(user)
            return f"You are logged in to {progress.network} as {step.name}."
        if isinstance(step, ShowAndWait):
            self._dialogues.ask(user, self._not_asked, lambda: self._cancel(user, progress.id), PATIENCE)
            self._tasks.start(self._waited(user, room, progress), "login-wait")
            shown = f"{step.text}\n{step.code}" if step.code else step.text
            return f"{shown}\nI wait for the network. Say cancel to give up."
        return f"{step.text}\n{self._ask(user, room, progress, step, {})}"

    def _ask(self, user: UserId, room: RoomId, progress: Progress, step: AskUser, given: Mapping[str, str]) -> str:
        """Ask for the next field of a step that was not given yet."""
        asked = next(one for one in step.fields if one.id not in given)

        async def reply(event: Mapping[str, Any], text: str) -> Answer:
            note = ""
            if asked.kind is FieldKind.SECRET and not await self._erasing.erase(room, EventId(event["event_id"])):
                note = "I may not delete messages here: please delete what you just wrote.\n"
            try:
                answers = {**given, asked.id: checked_answer(asked, text)}
            except RejectedError as error:
                return Answer(f"{note}{error}\n{self._ask(user, room, progress, step, given)}")
            if any(one.id not in answers for one in step.fields):
                return Answer(note + self._ask(user, room, progress, step, answers))
            try:
                return Answer(
                    note + self._next(user, room, await self._logins.submit(user, progress.id, answers)),
                )
            except RejectedError as error:
                if self._logins.running(user) != progress:
                    return Answer(f"{note}That did not work: {error}")
                return Answer(f"{note}That did not work: {error}\n{self._ask(user, room, progress, step, {})}")

        self._dialogues.ask(user, reply, lambda: self._cancel(user, progress.id), PATIENCE)
        choices = f" ({', '.join(asked.choices)})" if asked.choices else ""
        return f"{asked.label}{choices}? Say cancel to give up."

    async def _not_asked(self, event: Mapping[str, Any], text: str) -> Answer:
        user = UserId(event["sender"])
        running = self._logins.running(user)
        if running is not None:
            self._dialogues.ask(user, self._not_asked, lambda: self._cancel(user, running.id), PATIENCE)
        return Answer("I still wait for the network. Say cancel to give up.")

    async def _cancel(self, user: UserId, login: str) -> None:
        await self._logins.cancel(user, login)

    async def _waited(self, user: UserId, room: RoomId, progress: Progress) -> None:
        try:
            text = self._next(user, room, await self._logins.wait(user, progress.id))
        except RejectedError as error:
            if self._logins.running(user) is None:
                self._dialogues.forget(user)
            text = f"The login to {progress.network} is over: {error}"
        await self._status.say(room, text)

    async def _logout(self, call: Call) -> Answer:
        network, login = self._mine(call)
        await self._logins.log_out(network.id, login.id)
        again = " You get another one when you speak there." if login.provided else ""
        return Answer(f"{login.name} is logged out of {network.id}.{again}", {"network": network.id, "login": login.id})

    async def _prefer(self, call: Call) -> Answer:
        network, login = self._mine(call)
        await network.prefer(call.sender, login.id)
        return Answer(
            f"{login.name} speaks for you on {network.id} from now on.", {"network": network.id, "login": login.id}
        )

    async def _list(self, call: Call) -> Answer:
        lines, data = [], []
        for network in self._networks:
            for number, login in enumerate(network.logins(call.sender)):
                state = network.states.get(login.id)
                how = f"{state.status.value} {state.reason}".strip() if state is not None else "not connected"
                marks = ", provided" * login.provided + ", speaks for you" * (not number)
                lines.append(f"{network.id}: {login.name} ({login.id}{marks}): {how}")
                data.append(
                    {
                        "network": network.id,
                        "login": login.id,
                        "name": login.name,
                        "provided": login.provided,
                        "preferred": not number,
                        "state": state.status.value if state is not None else None,
                    }
                )
        return Answer("\n".join(lines) or "You have no logins.", {"logins": data})

    def _mine(self, call: Call) -> tuple[Network, Login]:
        """The login that is meant: by id or name, or the only one there is. Raises RejectedError."""
        network = self._networks.get(NetworkId(call["network"]))
        if network is None:
            raise RejectedError("there is no such network")
        mine = network.logins(call.sender)
        wanted = call.get("login")
        found = [one for one in mine if one.id == LoginId(wanted)] or [one for one in mine if one.name == wanted]
        if not wanted and len(mine) == 1:
            return network, mine[0]
        if len(found) != 1:
            names = ", ".join(one.id for one in mine)
            raise RejectedError(f"say which: {names}" if names else f"you have no login on {network.id}")
        return network, found[0]
