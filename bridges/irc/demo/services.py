"""Accounts: logging in and out, and a small NickServ (IDENTIFY, LOGOUT, REGAIN)."""

from __future__ import annotations

from bridges.irc.demo.client import Client
from bridges.irc.demo.wire import split, upper
from bridges.irc.demo.world import World

NAME = "NickServ"


def log_in(world: World, client: Client, account: str) -> None:
    """Give the client an account; it and those who see it are told (900, IRCv3 account-notify)."""
    client.account = account
    world.numeric(client, 900, f"You are now logged in as {account}", client.source, account)
    _tell(world, client, account)


def log_out(world: World, client: Client) -> None:
    """Take the client's account away; it and those who see it are told (901)."""
    client.account = ""
    world.numeric(client, 901, "You are now logged out", client.source)
    _tell(world, client, "*")


def _tell(world: World, client: Client, account: str) -> None:
    if client.registered:
        note = world.by(client, f"ACCOUNT {account}")
        world.tell({*world.observers(client, "account-notify"), client}, note, "account-notify")


def is_service(world: World, target: str) -> bool:
    """Say whether a message is for NickServ, which is there when there are accounts."""
    return bool(world.options.accounts) and world.fold(target) == world.fold(NAME)


def nickserv(world: World, client: Client, text: str) -> None:
    """Answer IDENTIFY [account] password, LOGOUT, and REGAIN or GHOST nick [password]."""
    words = split(text)
    command = upper(words[0]) if words else ""
    if command == "IDENTIFY" and len(words) > 1:
        account = words[1] if len(words) > 2 else client.nick
        if world.options.accounts.get(account) == words[-1]:
            log_in(world, client, account)
            _say(world, client, f"You are now identified for {account}.")
        else:
            _say(world, client, f"Invalid password for {account}.")
    elif command == "LOGOUT":
        if client.account:
            log_out(world, client)
        _say(world, client, "You are now logged out.")
    elif command in ("GHOST", "REGAIN") and len(words) > 1:
        nick = words[1]
        holder = world.find(nick)
        password = words[2] if len(words) > 2 else None
        owns = client.account == nick or world.options.accounts.get(nick, "") == password
        if not owns:
            _say(world, client, f"Access denied for {nick}.")
            return
        if holder is not None and holder is not client:
            world.kill(holder, f"{command} command used by {client.nick}")
        _say(world, client, f"{nick} has been freed.")
    else:
        _say(world, client, "Unknown command.")


def _say(world: World, client: Client, text: str) -> None:
    client.send(world.message(f"{NAME}!{NAME}@services.{world.options.name}", f"NOTICE {client.nick} :{text}"))
