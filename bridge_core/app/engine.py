"""Builds the engine from its parts: both directions, their lanes, and what they share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bridge_core.api.errors import RateLimitedError, TransientError
from bridge_core.api.host import Blobs, Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.api.network import NetworkMeta
from bridge_core.app.backfill import add_backfill
from bridge_core.app.copies import add_copies
from bridge_core.app.members import Memberships
from bridge_core.app.outgoing import make_decrypting, make_outgoing
from bridge_core.app.rooms import RoomFeatures, RoomSettings
from bridge_core.content.limits import Limits
from bridge_core.engine import avatars
from bridge_core.engine.acts import Acts
from bridge_core.engine.avatars import Avatars
from bridge_core.engine.botwords import BotSpeech
from bridge_core.engine.commands import Commands, Dialogues
from bridge_core.engine.commands.expiry import ExpiryCommands
from bridge_core.engine.commands.general import GeneralCommands
from bridge_core.engine.commands.logins import LoginCommands
from bridge_core.engine.commands.offered import OfferedCommands
from bridge_core.engine.commands.puppets import PuppetCommands
from bridge_core.engine.confirmations import Confirmations
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.erasing import Erasing
from bridge_core.engine.expiry import TIMER_EVENT, Expiry
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.filling import BackfillOptions
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.incoming import Incoming
from bridge_core.engine.injection import Injection
from bridge_core.engine.intake import TransactionIntake
from bridge_core.engine.lanes import Lanes, LaneSettings
from bridge_core.engine.lastlook import LastLook
from bridge_core.engine.links import LinkLedger, Revocations
from bridge_core.engine.livesignals import RemoteSignals
from bridge_core.engine.logins import LoggedInOnly, Logins
from bridge_core.engine.looks import GhostLooks
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.media import MediaCarrier
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permissions
from bridge_core.engine.polls import Polls
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Direction, Journal
from bridge_core.engine.privacy import VISIBILITY
from bridge_core.engine.private import PrivateChats
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.readers import Readers
from bridge_core.engine.receipts import Receipts
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.relaynames import RelayNames
from bridge_core.engine.rendering import Rendering
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.rooms import RoomMaker, UnknownNetworkError
from bridge_core.engine.secrecy import ENCRYPTION
from bridge_core.engine.showing import Showing
from bridge_core.engine.signals import MatrixSignals
from bridge_core.engine.sources import Sources
from bridge_core.engine.status import Checkpoints, Status, StatusSettings
from bridge_core.engine.store_ports import PortalRow, Stores
from bridge_core.engine.takebacks import Takebacks
from bridge_core.engine.threads import Threads
from bridge_core.engine.timers import TimerChanges
from bridge_core.engine.translation import Translation, redacted_by, timestamp_of
from bridge_core.engine.wishes import Wishes
from bridge_core.engine.withdrawn import Withdrawn
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine reads of the configuration. Times are seconds, sizes bytes."""

    retry_window: float
    attempt_window: int
    prepared_batch: int
    reference_wait: float
    limits: Limits
    manual_puppets: bool = True
    rooms: RoomSettings = field(default_factory=RoomSettings)
    membership_rate: float = 10.0
    """Ghosts per second that come and go without having spoken."""
    presence: frozenset[NetworkId] = frozenset()
    status: StatusSettings = field(default_factory=StatusSettings)
    backfill: Mapping[NetworkId, BackfillOptions] = field(default_factory=dict)


class Engine:
    """The running engine. `start` takes up what the journal holds; `stop` begins nothing new."""

    def __init__(
        self,
        names: Names,
        journal: Journal,
        stores: Stores,
        revocations: Revocations,
        matrix: MatrixSide,
        networks: Networks,
        permissions: Permissions,
        blobs: Blobs,
        sources: Sources,
        clock: Clock,
        tasks: TaskOwner,
        metrics: Metrics,
        settings: EngineSettings,
        faults: FaultPoints,
        checkpoints: Sequence[Checkpoints] = (),
    ) -> None:
        limits = settings.limits
        self.names = names
        self.permissions = permissions
        self.portals = PortalIndex(stores.portals)
        wishes = Wishes(stores.wishes)
        self.ghosts = GhostPool(names, stores.ghosts, stores.memberships, wishes, matrix, self.portals.in_room, faults)
        small = replace(sources, limit=min(sources.limit, avatars.LARGEST))
        self.avatars = Avatars(matrix, MediaCarrier(matrix, blobs, small, faults))
        put_off = metrics.counter("profiles_put_off", "Ghosts whose profile was not looked after, since many waited.")
        person = networks.person
        self.ghosts.attach(GhostLooks(matrix, self.avatars, self.ghosts, person, clock, tasks, put_off, faults))
        self.members = Members(matrix, names, clock)
        self.networks = networks
        self.rooms = RoomMaker(
            names,
            self.portals,
            matrix,
            self._describe,
            faults,
            clock,
            tasks,
            lambda: self.to_network.wake(),
            settings.rooms.join_rules,
        )
        self.on_redaction: list[Callable[[RoomId], None]] = []
        """Told of each redaction in any room as soon as it is stored. Must not block."""
        self.on_visibility: list[Callable[[RoomId], None]] = []
        """Told as soon as it is stored that other people may read a room's history now. Must not block."""
        self.on_encryption: list[Callable[[Mapping[str, Any]], None]] = []
        """Told of each m.room.encryption as soon as it is stored, by anybody. Must not block."""
        self.on_own_member: list[Callable[[Mapping[str, Any]], None]] = []
        """Told of each membership of ours as soon as it is stored, whoever set it. Must not block: the hot path."""
        self.on_meeting: list[Callable[[], None]] = []
        """Told when the homeserver is met. Must not block."""
        self.confirmations = Confirmations()
        self.status = Status(journal, stores.kv, clock, tasks, settings.status, checkpoints)
        self.readers: Readers | None = None  # None where nothing is encrypted
        self._tasks = tasks
        self.showing = Showing(networks, self.portals, matrix, stores.kv, clock, tasks)
        self.rooms.begin_with(self.showing.beginning)
        self.links = LinkLedger(stores.kv, revocations, clock, networks.opening_files)
        self.gate = gate = Gate(self.portals)
        self.acts = acts = Acts()
        threads = Threads()
        self.puppets = DoublePuppets(
            names,
            networks,
            permissions,
            self.members,
            matrix,
            stores.kv,
            stores.users,
            self.status.say,
            clock,
            settings.manual_puppets,
        )
        self.expiry = Expiry(names, self.portals, stores.expiring, matrix, clock, tasks, faults)
        self.rooms.begin_with(self.expiry.beginning)
        self.on_meeting.append(self.expiry.start)
        self.withdrawn = Withdrawn(stores.kv, journal)
        self.rendering = rendering = Rendering(names, MediaCarrier(matrix, blobs, sources, faults), limits)
        takebacks = Takebacks(matrix, stores.messages, self.ghosts, self.members, gate)
        self.conversion = conversion = Conversion(
            names,
            self.portals,
            self.ghosts,
            stores.messages,
            self.rooms,
            matrix,
            rendering,
            gate,
            threads,
            self.expiry,
            self.puppets,
            takebacks,
        )
        self.last_look = LastLook(gate, self.portals)
        self.last_look.guard_rests(takebacks.against)
        self.incoming = incoming = Incoming(
            journal,
            matrix,
            self.ghosts,
            stores.messages,
            conversion,
            self.last_look,
            acts,
            threads,
            self.expiry,
            stores.kv,
            self.puppets,
            clock,
            faults,
        )
        BotSpeech(names, matrix, stores.kv, conversion)
        self.to_matrix = Lanes(
            Direction.TO_MATRIX,
            journal,
            incoming,
            clock,
            tasks,
            LaneSettings(batch=settings.prepared_batch, retry_window=settings.retry_window),
        )
        self.status.attach(self.to_matrix)
        private = PrivateChats(names, self.networks, self.portals, self.ghosts, self.rooms, matrix, gate, clock)
        self.dialogues = Dialogues(clock)
        erasing = Erasing(names, matrix)
        self.commands = commands = Commands(permissions, self.status, self.dialogues, erasing)
        GeneralCommands(commands, self.networks, self.portals)
        self.logins = Logins(networks, permissions, self.portals, stores.kv, clock, tasks, self._forget_chat)
        gate.add(LoggedInOnly(networks))
        OfferedCommands(commands, networks, self.portals, matrix)
        PuppetCommands(commands, self.puppets)
        LoginCommands(commands, self.dialogues, self.logins, networks, erasing, self.status, tasks)
        self.translation = Translation(
            names,
            self.ghosts,
            stores.messages,
            self.members,
            self.confirmations,
            threads,
            limits,
            settings.reference_wait,
        )
        Polls(self.translation, conversion, limits)
        self.room_events = RoomEvents(
            names,
            matrix,
            self.portals,
            self.ghosts,
            self.members,
            stores.users,
            permissions,
            commands,
            private,
            self.status,
            lambda event: self.translation.kind(event) is not None,
            lambda room, user: self.memberships.matrix.decides(room, user),
        )
        self._relay_names = RelayNames(matrix)
        relaying = Relaying(self._relay_names)
        self.decrypting = make_decrypting(self, journal, clock, tasks, metrics)
        outgoing = make_outgoing(self, journal, stores, matrix, relaying, limits, clock, tasks, faults)
        self.to_network = Lanes(
            Direction.TO_NETWORK,
            journal,
            outgoing,
            clock,
            tasks,
            LaneSettings(batch=settings.attempt_window, retry_window=settings.retry_window),
        )
        outgoing.attach(self.to_network)
        self.barred = add_copies(self, stores.messages, rendering, relaying, threads, matrix, clock)
        signals = metrics.counter(
            "signals", "Receipts, typing and presence.", ("network", "direction", "kind", "outcome")
        )
        self.signals = MatrixSignals(
            self.networks,
            self.portals,
            stores.messages,
            self.members,
            names,
            permissions,
            gate,
            tasks,
            signals,
            settings.presence,
        )
        self.live = RemoteSignals(self.portals, self.ghosts, gate, matrix, clock, tasks, signals, settings.presence)
        receipts = Receipts(
            names, self.portals, self.ghosts, stores.messages, gate, matrix, self.status, self.puppets, clock
        )
        receipts.add_to(conversion, acts)
        injection = Injection(journal, clock, lambda: self.to_matrix)
        self.room_features = RoomFeatures(
            names,
            stores,
            self.portals,
            networks,
            self.ghosts,
            self.rooms,
            matrix,
            self.avatars,
            acts,
            self.status,
            injection,
            self._describe,
            clock,
            tasks,
            gate,
            self.wake,
            settings.rooms,
            faults,
        )
        self.room_features.add_to(conversion, incoming, self.translation, self.room_events)
        self.room_features.add_commands(commands, private)
        self.room_features.descriptions.also(self.expiry.changed)
        timers = TimerChanges(self.portals, matrix, journal, injection, self._describe, lambda: self.to_network, clock)
        timers.add_to(self.translation)
        ExpiryCommands(commands, self.portals, matrix, timers)
        self.room_events.on(TIMER_EVENT, self.expiry.set_in)
        self.intake = TransactionIntake(
            journal,
            stores.transactions,
            self.to_network,
            self.to_matrix,
            self.portals,
            names,
            clock,
            metrics.counter("echoes", "Events of our own ghosts that came back and were dropped."),
            self._seen,
            self._seen_own,
            self.signals,
            self.puppets,
            self.withdrawn,
            tasks,
            faults,
        )
        self.room_events.missed = self.intake.take_missed
        self.memberships = Memberships(
            names,
            self.networks,
            self.portals,
            self.ghosts,
            self.members,
            self.rooms,
            matrix,
            wishes,
            gate,
            self.status,
            conversion,
            acts,
            clock,
            tasks,
            metrics,
            faults,
            settings.membership_rate,
            permissions,
            self.translation,
            self.room_events,
            stores.kv,
            commands,
            self.puppets,
        )
        self.room_features.descriptions.also(self.memberships.openness.changed)
        incoming.give_voice(self.memberships.openness.voiced)
        self.last_look.guard_audience(self.memberships.openness.read)
        self.backfill = add_backfill(self, journal, stores, clock, tasks, metrics, settings.backfill, faults)
        metrics.gauge("lanes_busy", "Lanes that have work.", lambda: self.to_matrix.busy() + self.to_network.busy())
        metrics.gauge("unconfirmed", "Messages handed over without proof yet.", lambda: len(self.confirmations))
        metrics.gauge("portals", "Portals.", lambda: len(self.portals))
        metrics.gauge(
            "rooms_not_looked_at",
            "Rooms of which it is not known yet who can read them, or whether another bridge is there.",
            self.room_features.survey.waiting,
        )

    async def _forget_chat(self, portal: PortalRow) -> None:
        """A private chat whose login was logged out: its room says so, and our users leave it."""
        unbridging = self.room_features.unbridging
        said = f"{portal.receiver} was logged out of {portal.network}: this chat is bridged no more."
        while not await self.portals.delete_without_rooms(portal):  # a room may come while others are left
            for room in self.portals.current(portal).rooms:
                await self.status.say(room, said)
                await unbridging.end(portal, room)
                await unbridging.leave(room)

    async def load(self) -> None:
        """Read what must be known before anything is handled."""
        await self.portals.load()
        await self.status.load()
        await self.withdrawn.load()
        await self.puppets.load()
        await self.room_features.doubles.load()
        await self.room_features.publicity.load()
        self.room_features.survey.load()

    def wake(self) -> None:
        """Let lanes try again that wait."""
        self.to_matrix.wake()
        self.to_network.wake()

    async def _describe(self, portal: PortalRow) -> tuple[NetworkMeta, ChatInfo | None, UserId | None]:
        network = self.networks.get(portal.network)
        if network is None:
            raise UnknownNetworkError(f"{portal.network} is not configured any more")
        info = await self._chat_info(network, portal)
        login = network.login_of(portal.receiver) if portal.receiver is not None else None
        return network.meta, info, login.user if login is not None else None

    def _seen_own(self, event: Mapping[str, Any]) -> None:
        """A ghost came, went, or has a new name, or made somebody go. Does not block: the hot path."""
        if event["type"] == "m.room.member" and isinstance(event.get("state_key"), str):
            self._member(event)
        else:
            self._seen_rule(event)

    def _seen(self, event: Mapping[str, Any]) -> None:
        """Membership and redactions count at once, however long the lane of their room has to wait."""
        if event["type"] == "m.room.member" and isinstance(event.get("state_key"), str):
            self._member(event)
        elif self._seen_rule(event):
            pass
        elif (redacted := redacted_by(event)) is not None:
            self._tasks.start(self.links.revoke(RoomId(event["room_id"]), redacted), "revoke-links")
            for told in self.on_redaction:
                told(RoomId(event["room_id"]))

    def _seen_rule(self, event: Mapping[str, Any]) -> bool:
        """Whether it says who may read in its room, whoever of us or others has set that: all who care are told."""
        kind = event["type"]
        if kind not in (VISIBILITY, ENCRYPTION):
            return False
        if event.get("state_key") == "":
            room = RoomId(event["room_id"])
            if kind == VISIBILITY:
                for told in self.on_visibility:
                    told(room)
            else:
                for learnt in self.on_encryption:
                    learnt(event)
        return True

    def _member(self, event: Mapping[str, Any]) -> None:
        room, user = RoomId(event["room_id"]), UserId(event["state_key"])
        if not self.names.is_ours(user):
            self.members.changed(room, user, event["content"], timestamp_of(event))
            self.barred.changed(room, user, event["content"])
            if self.readers is not None:
                self.readers.changed(room, user, event["content"])
        else:
            if self.readers is not None and (user == self.names.bot or not self.portals.in_room(room)):
                self.readers.forget(room)  # nobody of ours may have been there to see who comes and goes
            for told in self.on_own_member:
                told(event)
        self._relay_names.changed(room, user, event["content"])

    async def _chat_info(self, network: Network, portal: PortalRow) -> ChatInfo | None:
        """What the network knows of a chat. It is only for show: what cannot be learned keeps no room from being."""
        if network.main is None:
            return None
        try:
            return await network.main.chat_info(portal.chat)
        except (TransientError, RateLimitedError):
            if self.portals.is_making(portal):  # others wait for this room
                return None
            raise
        except Exception as error:
            log.warning("chat_not_described", network=portal.network, chat=portal.chat, error=str(error) or repr(error))
            return None

    def met(self) -> None:
        """The homeserver is there: begin with what works beside the lanes."""
        self.memberships.start()
        self.room_features.start()
        for begin in self.on_meeting:
            begin()

    def stop(self) -> None:
        """Begin nothing new; entries not handled yet are taken up at the next start."""
        self.memberships.stop()
        self.room_features.stop()
        self.signals.stop()
        self.showing.stop()
        self.backfill.stop()
        self.expiry.stop()
        self.decrypting.stop()
        self.to_matrix.stop()
        self.to_network.stop()
