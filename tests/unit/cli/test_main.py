"""The command itself."""

import subprocess
import sys

import pytest

from bridge_core.cli import main as module
from bridge_core.cli.main import main


def test_help_is_light() -> None:
    """`--help` names the commands without importing the heavy libraries."""
    script = (
        "import sys\nfrom bridge_core.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as error:\n    assert error.code == 0\n"
        "heavy = {'aiohttp', 'sqlalchemy', 'pydantic', 'structlog', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stderr) == (0, "")
    assert "init" in result.stdout
    assert "check" in result.stdout


@pytest.mark.parametrize("name", sorted(module.COMMANDS))
def test_every_command_can_be_asked_for_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that is offered is there and explains itself."""
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])

    assert caught.value.code == 0
    assert name in capsys.readouterr().out


def test_unknown_commands_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt command ends with 2 and the list of commands."""
    with pytest.raises(SystemExit) as caught:
        main(["chekc"])

    assert caught.value.code == 2
    assert "chekc" in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("matrix-bridge 0.")


def test_expected_errors_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing configuration is one line and exit code 1, no traceback."""
    assert main(["check", "-c", "/nonexistent/config.yaml"]) == 1
    assert capsys.readouterr().err.strip() == "/nonexistent/config.yaml: cannot be read: No such file or directory."
