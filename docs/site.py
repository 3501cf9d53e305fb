"""Hooks of mkdocs: the page of all commands, and files from outside `docs/` that its pages link to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINKED = ("CONTRIBUTING.md", "CHANGELOG.md", "cluster.yaml", "examples/*.py", "deploy/*.*", "deploy/kuberay/*")
_WIDTH = 100


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what the pages link to, and the page of commands."""
    for pattern in LINKED:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns links between `docs/` and the folder above it into links within the site."""
    if page.file.generated_by is None:
        return markdown.replace("](../", "](")
    return markdown.replace("](docs/", "](")


def commands() -> str:
    """Every command's help, as the terminal shows it."""
    import typer

    from gansweep.cli.app import app

    group = typer.main.get_command(app)
    parts = ["# Commands", "What `gansweep COMMAND --help` shows."]
    parts += _helps(group, typer.Context(group, info_name="gansweep", terminal_width=_WIDTH))
    return "\n\n".join(parts) + "\n"


def _helps(group: Any, context: Any) -> list[str]:
    import typer

    parts = []
    for name, command in group.commands.items():
        own = typer.Context(command, info_name=name, parent=context, terminal_width=_WIDTH)
        parts.append(f"## {own.command_path}")
        if hasattr(command, "commands"):
            parts += [command.help, *_helps(command, own)]
        else:
            parts.append(f"```text\n{command.get_help(own).strip()}\n```")
    return parts
