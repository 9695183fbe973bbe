"""The page of commands is what the commands say."""

from pathlib import Path

from bridge_core.app.reference import render_reference

PAGE = Path(__file__).parents[2] / "docs/reference/commands.md"


def test_the_page_of_commands_is_current() -> None:
    """After a change of commands: python -m bridge_core.app.reference > docs/reference/commands.md"""
    assert PAGE.read_text(encoding="utf-8") == render_reference(), (
        "run: .venv/bin/python -m bridge_core.app.reference > docs/reference/commands.md"
    )
