"""esagent(1) is made from the commands."""

from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from agent.cli import app
from agent.cli.manual import write

ROOT = Path(__file__).parents[3]


def test_the_page_that_is_published_is_what_the_code_says() -> None:
    page = ROOT / "docs/man/esagent.1"
    assert page.read_text() == write(get_command(app)), (
        "write it anew: .venv/bin/esagent man > docs/man/esagent.1"
    )


def test_the_command_prints_the_page_of_the_whole_command_line() -> None:
    assert CliRunner().invoke(app, ["man"]).output == write(get_command(app))
