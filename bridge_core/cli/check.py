"""`matrix-bridge check`: everything that is wrong, each with what to do about it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path

from bridge_core.api.errors import BridgeError
from bridge_core.api.network import Connector
from bridge_core.api.optional import Advises, NamesUsers, Rehearses
from bridge_core.app.networks import load_networks
from bridge_core.cli.checks.database import check_database
from bridge_core.cli.checks.files import check_private, check_registration
from bridge_core.cli.checks.report import Report
from bridge_core.config.adapters import adapter_models, installed_types
from bridge_core.config.load import LoadedConfig, load_config
from bridge_core.config.policy import Permission
from bridge_core.config.problems import ConfigError


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """The flags."""
    add = subparser.add_argument
    add("-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    add("--other", type=Path, action="append", default=[], metavar="FILE", help="another bridge's registration")
    add("--offline", action="store_true", help="look at files only: no homeserver, no database, no network")


def run(options: argparse.Namespace) -> int:
    """Print every finding; 1 when one of them is an error."""
    report = Report()
    loaded = load_config(options.config)  # ConfigError is printed by main, with all its problems
    report.ok(f"{options.config} is well-formed")
    check_private(options.config, report)
    connectors = _networks(loaded, report)
    registration = check_registration(loaded, options.other, report)
    asks = registration is None or bool(registration.msc3202 and registration.ephemeral)
    if not options.offline:
        check_database(loaded, report)
        _homeserver(loaded, report, asks=asks)
        _rehearse(connectors, report)
    for line in report.lines():
        print(line)
    return int(report.errors > 0)


def _networks(loaded: LoadedConfig, report: Report) -> Mapping[str, Connector]:
    types = {str(section.get("type")) for section in loaded.config.networks.values()}
    models, broken = adapter_models(types)
    connectors: Mapping[str, Connector] = {}
    for kind, reason in broken.items():
        report.error(f"adapter {kind}", reason, "Install the adapter again.")
    try:
        loaded.validate_networks(models, installed_types())
        if not broken:
            # What `run` does first: the networks look at their portals' names.
            connectors = load_networks(loaded, {})[1]
            for name, connector in connectors.items():
                for advice in connector.advise() if isinstance(connector, Advises) else ():
                    say = report.error if advice.grave else report.warning
                    say(f"networks.{name}", advice.what, advice.advice)
                _users(name, connector, loaded, report)
    except ConfigError as error:
        for problem in error.problems:
            if not any(kind in problem.text for kind in broken):
                report.error("networks", str(problem), "Correct the key.")
    else:
        report.ok(f"{len(loaded.config.networks)} networks are well-formed")
    return connectors


def _users(name: str, connector: Connector, loaded: LoadedConfig, report: Report) -> None:
    """Matrix users that a network's settings name, who may do nothing by `permissions`."""
    named = connector.named() if isinstance(connector, NamesUsers) else {}
    rules = loaded.config.rules()
    for user, key in named.items():
        if rules.of(user) is Permission.BLOCKED:
            report.warning(
                f"networks.{name}.{key}",
                f"{user} has no permission: they are not invited, and what they write is not sent",
                "Give them `relay` or more in `permissions`, or take them out.",
            )


def _rehearse(connectors: Mapping[str, Connector], report: Report) -> None:
    """Let networks try their servers, which they do without the bridge."""
    able = {name: connector for name, connector in connectors.items() if isinstance(connector, Rehearses)}

    async def rehearse() -> None:
        for name, connector in able.items():
            where = f"networks.{name}"
            try:
                wrong = await connector.wrong()
            except BridgeError as error:
                report.error(where, str(error), "Correct it.")
                continue
            for one in wrong:
                report.error(where, one.what, one.advice)
            if not wrong:
                report.ok(f"the servers of {where} let the bridge in")

    asyncio.run(rehearse())


def _homeserver(loaded: LoadedConfig, report: Report, *, asks: bool) -> None:
    from bridge_core.cli.checks.homeserver import run_check  # aiohttp takes 0.2 s to import

    try:
        tokens: tuple[str, str] | None = loaded.tokens()
    except ConfigError:
        tokens = None  # said by the check of the registration
    run_check(loaded, tokens, report, asks=asks)
