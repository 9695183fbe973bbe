"""`python -m registration generate | check | show`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from registration.generate import Wanted, generate, render, write_private
from registration.model import Registration, RegistrationError, load
from registration.namespaces import TemplateError
from registration.review import Level, compare, review


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m registration", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_generate(commands.add_parser("generate", help="write a registration, keeping existing tokens"))
    check = commands.add_parser("check", help="find mistakes, and overlaps between several registrations")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.add_argument("--domain", help="name of the homeserver, such as example.org")
    show = commands.add_parser("show", help="print a registration without its tokens")
    show.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        if options.command == "generate":
            return _generate(options)
        return _check(options) if options.command == "check" else _show(options.file)
    except (RegistrationError, TemplateError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, default=Path("registration.yaml"), metavar="FILE")
    parser.add_argument("--domain", required=True, help="name of the homeserver, such as example.org")
    parser.add_argument("--url", help="where the homeserver reaches the bridge; none: it sends nothing")
    parser.add_argument("--network", action="append", required=True, metavar="NAME", help="may be repeated")
    parser.add_argument("--id", default="matrix-bridge")
    parser.add_argument("--bot", default="bridgebot", metavar="LOCALPART")
    parser.add_argument("--user-template", default="_{network}_{id}")
    parser.add_argument("--alias-template", default="_{network}_{id}")
    parser.add_argument("--no-ephemeral", action="store_true", help="no typing and receipts")
    parser.add_argument("--encryption", action="store_true", help="add what end-to-bridge encryption needs")


def _generate(options: argparse.Namespace) -> int:
    path: Path = options.output
    existing = load(path) if path.exists() else None
    wanted = Wanted(
        id=options.id,
        url=options.url,
        domain=options.domain,
        bot=options.bot,
        networks=options.network,
        user_template=options.user_template,
        alias_template=options.alias_template,
        ephemeral=not options.no_ephemeral,
        encryption=options.encryption,
    )
    write_private(path, render(generate(wanted, existing)))
    print(f"{path}: {'updated, tokens kept' if existing else 'written'}")
    return 0


def _check(options: argparse.Namespace) -> int:
    loaded: dict[str, Registration] = {}
    failed = False
    for path in options.files:
        try:
            loaded[str(path)] = load(path)
        except RegistrationError as error:
            print(error)
            failed = True
    findings = [found for name, one in loaded.items() for found in review(name, one, options.domain)] + compare(loaded)
    for finding in findings:
        print(finding)
    failed = failed or any(finding.level is Level.ERROR for finding in findings)
    if not failed and not findings:
        print(f"{len(loaded)} checked, nothing to report")
    return int(failed)


def _show(path: Path) -> int:
    hidden = {"as_token": "(hidden)", "hs_token": "(hidden)"}
    print(render(load(path).model_copy(update=hidden)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
