"""The commands that README and cluster.yaml show are commands that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from gansweep.cli.app import app

ROOT = Path(__file__).parents[2]
COMMAND = typer.main.get_command(app)


def shown(name: str) -> list[list[str]]:
    """Every `gansweep ...` that stands on lines of its own, as words; continued lines joined, comments left out."""
    text = re.sub(r"^# ?", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"\s*gansweep (?!sweep$)\w+ ", line)]


@pytest.mark.parametrize("words", shown("README.md") + shown("cluster.yaml"), ids=" ".join)
def test_a_shown_command_parses(words):
    context = COMMAND.make_context("gansweep", words)
    verb = COMMAND.get_command(context, words[0])
    assert verb is not None, words[0]
    verb.make_context(words[0], words[1:], parent=context, resilient_parsing=False)


@pytest.mark.parametrize("name", ["README.md", "cluster.yaml"])
def test_a_shown_submission_waits_for_the_workers_that_nothing_started_yet(name):
    (submission,) = (words for words in shown(name) if words[0] == "submit")
    assert {"--wait-for-nodes", "--concurrent"} <= set(submission)
