"""Rows of encryption as rows of statements, with what is secret sealed."""

from __future__ import annotations

from hashlib import blake2b

from bridge_core.crypto import ports
from bridge_core.store.seal import Seal
from bridge_core.store.work import Row


class CryptoRows:
    """Seals and opens. Does not block."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def open(self, value: bytes, kind: str, *names: str) -> bytes:
        """Undo the sealing of a row's value. Raises UnreadableError."""
        return self._seal.open_named(_place(kind, names), bytes(value))

    def _sealed(self, value: bytes, kind: str, *names: str) -> bytes:
        return self._seal.named(_place(kind, names), value)

    def statements(self, row: ports.Row) -> tuple[Row, ...]:
        """What a row does, as statements by name with their values, in order."""
        match row:
            case ports.AccountRow(ports.Owner(user, device), value):
                return (("account_put", user, device, self._sealed(value, "account", user, device)),)
            case ports.KeysWanted(ports.Owner(user, device), wanted):
                return (("account_wanted", user, device, int(wanted)),)
            case ports.OlmSessionRow(ports.Owner(user, device), peer, session, value, created_at, used_at):
                sealed = self._sealed(value, "olm", user, device, peer, session)
                return (("olm_put", user, device, peer, session, sealed, created_at, used_at),)
            case ports.OlmSessionGone(ports.Owner(user, device), peer, session):
                return (("olm_gone", user, device, peer, session),)
            case ports.OutboundRow(ports.Owner(user, device), room, value):
                return (("outbound_put", user, device, room, self._sealed(value, "outbound", user, device, room)),)
            case ports.ToDeviceRow(number, digest, value, at):
                return (("to_device_put", number, digest, self._sealed(value, "to_device", str(number)), at),)
            case ports.ToDeviceDone(number):
                return (("to_device_done", number),)
            case ports.SecretRow(name, secret):
                if secret is None:
                    return (("secret_gone", name),)
                return (("secret_put", name, self._sealed(secret, "secret", name)),)
            case ports.RoomRow(room, value):
                return (("crypto_room_put", room, self._sealed(value, "room", room)),)
            case ports.TrackedRow() | ports.Outdated():
                return self._of_user(row)
            case _:
                return self._of_session(row)

    def _of_user(self, row: ports.TrackedRow | ports.Outdated) -> tuple[Row, ...]:
        match row:
            case ports.TrackedRow(user, value, queried, outdated):
                return (("tracked_put", user, self._sealed(value, "tracked", user), queried, outdated),)
            case ports.Outdated(user, mark):
                return (("tracked_outdated", user, mark),)

    def _of_session(
        self,
        row: ports.SharesRow
        | ports.InboundRow
        | ports.InboundUsed
        | ports.InboundSaved
        | ports.IndexRow
        | ports.WithheldRow
        | ports.RequestRow
        | ports.RequestGone,
    ) -> tuple[Row, ...]:
        match row:
            case ports.SharesRow(room, session, part, value, at):
                sealed = self._sealed(value, "shares", room, session, str(part))
                return (("shares_put", room, session, part, sealed, at),)
            case ports.InboundRow(room, session, key, sender, value, received_at, used_at):
                sealed = self._sealed(value, "inbound", room, session, key, sender)
                return (("inbound_put", room, session, key, sender, sealed, received_at, used_at, 0),)
            case ports.InboundUsed(room, session, key, at):
                return (("inbound_used", room, session, key, at),)
            case ports.InboundSaved(room, session, key, received_at, generation):
                return (("inbound_saved", room, session, key, received_at, generation),)
            case ports.IndexRow(room, session, key, index, event, ts):
                return (("position_put", inbound_digest(room, session, key), index, event, ts),)
            case ports.WithheldRow(room, session, sender, code, at):
                return (("withheld_put", room, session, sender, code, at),)
            case ports.RequestRow(request, room, session, value, at):
                return (("request_put", request, room, session, self._sealed(value, "request", request), at),)
            case ports.RequestGone(request):
                return (("request_gone", request),)


def inbound_digest(room: str, session: str, sender_key: str) -> bytes:
    """What stands for an inbound session in its used indexes: 16 bytes."""
    name = "\0".join((room, session, sender_key)).encode(errors="surrogatepass")
    return blake2b(name, digest_size=16, person=b"mxbridge-inbound").digest()


def floor_position(index: int) -> int:
    """The position under which the highest used index of a swept session stays: below 0. Undone by itself."""
    return -1 - index


def _place(kind: str, names: tuple[str, ...]) -> str:
    return "\0".join(("crypto", kind, *names))
