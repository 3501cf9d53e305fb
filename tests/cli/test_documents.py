"""The documents agree with the code: commands parse, links lead somewhere, names exist, checks are the same."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

import gansweep
from gansweep.cli.app import app
from gansweep.scoring.statistics.proportions import strictest_factor
from gansweep.search.confirmed_answer import about

ROOT = Path(__file__).parents[2]
COMMAND = typer.main.get_command(app)
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob(".github/*.md"),
    )
)
GUIDES = [name for name in DOCUMENTS if name not in {"CHANGELOG.md", "docs/log.md", "docs/results.md"}]
"""What describes the code as it is; the others also tell of earlier revisions."""
WITH_COMMANDS = [*GUIDES, "cluster.yaml", "deploy/gcp.yaml", "deploy/on-premises.yaml"]
README_WORDS = 900


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def shown(name: str) -> list[list[str]]:
    """Every `gansweep ...` that stands on lines of its own, as words; continued lines joined, comments left out."""
    text = re.sub(r"^# ?", "", text_of(name), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"\s*gansweep (?!sweep$)[\w-]+ ", line)]


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(name), flags=re.MULTILINE | re.DOTALL)


def anchors(name: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text_of(name), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options() -> set[str]:
    """Every option of every command; help is added as a command is run."""
    groups = [command for command in COMMAND.commands.values() if hasattr(command, "commands")]
    commands = [*COMMAND.commands.values(), *(inner for group in groups for inner in group.commands.values())]
    return {"--help"} | {
        option
        for command in (COMMAND, *commands)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def augmentation_gains() -> list[float]:
    """What classical augmentation gained in accuracy, in points, by the tables of the results."""
    rows = re.findall(
        r"^\| real, (classical augmentation|not augmented) \| ([\d.]+)", text_of("docs/results.md"), re.MULTILINE
    )
    gains = []
    augmented = 0.0
    for arm, accuracy in rows:
        if arm == "not augmented":
            gains.append(augmented - float(accuracy))
        augmented = float(accuracy)
    return gains


@pytest.mark.parametrize("name", ["README.md", "docs/numbers.md", "docs/results.md"])
def test_what_augmentation_brings_is_what_the_tables_say(name):
    gains = [gain for gain in augmentation_gains() if gain > 0]
    found = f"{min(gains):.0f} to {max(gains):.0f} points"
    assert re.search(rf"lassical augmentation (brought the detector|brings) {found}", text_of(name))


OPEN = re.compile(
    r"\((\d+)[^()|]*; \d\) \|.*\| ([-+][\d.]+) \(([-+][\d.]+) to ([-+][\d.]+)\) no evidence "
    r"\| (about \d+|more than \d+) \|$",
    re.MULTILINE,
)


def test_open_verdicts_say_how_many_patients_would_settle_them():
    table = text_of("docs/results.md").split("## The seeds' question, set by set")[1].split("\n## ")[0]
    # Each row names its number of test patients. The second of the phantom heads has that of the first.
    table = table.replace("| the same |", "| the same (200; 5) |")
    rows = OPEN.findall(table)
    assert len(rows) == table.count(") no evidence")
    for patients, *numbers, said in rows:
        difference, low, high = map(float, numbers)
        detectable = (high - low) / 2 * (1 + 0.84 / 1.96)
        arms = {about(int(patients) * (detectable * strictest_factor(n) / difference) ** 2) for n in (3, 4)}
        assert said in arms, difference


@pytest.mark.parametrize("words", [words for name in WITH_COMMANDS for words in shown(name)], ids=" ".join)
def test_a_shown_command_parses(words):
    context = COMMAND.make_context("gansweep", words)
    command = COMMAND.get_command(context, words[0])
    assert command is not None, words[0]
    inner = command.make_context(words[0], words[1:], parent=context, resilient_parsing=False)
    if hasattr(command, "commands"):
        name, verb, rest = command.resolve_command(inner, [*inner._protected_args, *inner.args])
        verb.make_context(name, rest, parent=inner)


@pytest.mark.parametrize("name", ["README.md", "docs/cluster.md", "cluster.yaml"])
def test_a_shown_submission_waits_for_the_workers_that_nothing_started_yet(name):
    (submission,) = (words for words in shown(name) if words[0] == "submit")
    assert {"--wait-for-nodes", "--concurrent"} <= set(submission)


@pytest.mark.parametrize("name", ["README.md", *(name for name in GUIDES if name.startswith("docs/"))])
def test_a_named_option_exists(name):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text_of(name)))
    of_ray = {"--working-dir"}  # of `ray job submit`
    assert named <= options() | of_ray


def test_the_how_to_on_own_scans_names_every_option_of_ingest():
    command = COMMAND.commands["ingest"]
    words = {word for parameter in command.params for word in parameter.opts if word.startswith("--")}
    named = set(re.findall(r"--[a-z][\w-]*", (ROOT / "docs/data.md").read_text()))
    assert words - named - {"--help"} == set()


def test_readme_is_short():
    assert len(text_of("README.md").split()) <= README_WORDS


def test_readme_says_how_to_call_gansweep():
    assert ".venv/bin/activate" in text_of("README.md")
    assert ".venv/bin/gansweep" in text_of("README.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if target.startswith(("https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (ROOT / name).parent / file if file else ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), target


def test_every_document_is_linked():
    """README leads to every page of docs/, directly or through another page."""
    linked = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        name = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", text_of(name)):
            found = str(((ROOT / name).parent / target).resolve().relative_to(ROOT))
            if found not in linked and (ROOT / found).is_file():
                linked.add(found)
                waiting.append(found)
    assert {name for name in DOCUMENTS if name.startswith("docs/")} <= linked


@pytest.mark.parametrize("name", GUIDES)
def test_named_files_and_modules_exist(name):
    text = text_of(name)
    for path in re.findall(r"`((?:platform|trainables|search_spaces|tests|benchmarks|examples|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists() != (path == "platform/__init__.py"), path  # which must not exist
    for room in re.findall(r"`(?:(?:search|training|store|report|cohort|scoring)/[\w/]+\.py)`", text):
        assert (ROOT / "platform" / "gansweep" / room.strip("`")).is_file(), room
    for dotted in re.findall(r"`((?:gansweep|trainables)(?:\.[A-Za-z_]\w*)+)`", text):
        assert resolves(dotted), dotted


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("name", GUIDES)
def test_python_imports_what_there_is(name):
    for block in blocks(name, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "gansweep":
                assert {alias.name for alias in node.names} <= set(gansweep.__all__)


def test_the_changelog_names_new_modules_that_exist():
    table = text_of("CHANGELOG.md").partition("| Old module | New module |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    for old, new in rows:
        modules = re.findall(r"`([\w.]+)`", new)
        if "same name" in new:
            (package,) = modules
            modules = [f"{package}{module}" for module in re.findall(r"`([\w.]+)`", old)[1:]]
        for module in modules:
            assert module_file(module), module


def module_file(module: str) -> bool:
    for source in ("platform", "."):
        path = ROOT / source / module.replace(".", "/")
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return True
    return False


def test_architecture_names_every_room():
    rooms = {path.stem for path in (ROOT / "platform" / "gansweep").glob("*") if not path.name.startswith("__")}
    text = text_of("docs/architecture.md")
    assert {room for room in rooms - {"py"} if not re.search(rf"\b{re.escape(room)}\b", text)} <= {"py.typed"}
    families = {path.name for path in (ROOT / "trainables").iterdir() if (path / "__init__.py").is_file()}
    assert {room for room in families if f"`{room}`" not in text} == set()


def test_architecture_draws_the_layers_that_are_enforced():
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["gansweep"])
    drawn = re.findall(r'\w+\["([^"]+)"\]', blocks("docs/architecture.md", "mermaid")[0].partition("direction TB")[2])
    assert drawn == layers


def test_hooks_run_the_checks_of_make_check():
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", text_of("Makefile"), flags=re.MULTILINE)
    assert recipe is not None
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == checks
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False, "the checks look at the whole tree"


def test_the_workflow_runs_what_continuous_integration_runs():
    workflow = yaml.safe_load(text_of(".github/workflows/ci.yml"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert job["runs-on"] == "ubuntu-latest"
    (python,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert python["python-version"] == "3.11"
    assert (ROOT / python["cache-dependency-path"]).is_file()
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_templates_parse(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == gansweep.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["title"]
    assert citation["message"]
    assert citation["authors"]


@pytest.mark.parametrize("name", GUIDES)
def test_shown_python_compiles(name):
    for block in blocks(name, "python"):
        compile(block, name, "exec")


def test_shown_modules_of_gansweep_have_what_is_imported():
    for name in GUIDES:
        for block in blocks(name, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gansweep."):
                    module = importlib.import_module(node.module)
                    assert {alias.name for alias in node.names} <= set(dir(module)), (name, node.module)


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path):
    """`make docs`: every page, the commands' help, the library's docstrings; and nothing from a network."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "tutorial.html", "commands.html", "reference.html", "scores.html"} <= pages
    commands = (tmp_path / "site" / "commands.html").read_text()
    assert all(f'id="gansweep-{name}"' in commands for name in COMMAND.commands)
    for name in pages:
        text = (tmp_path / "site" / name).read_text()
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(https?:[^"]+)"', text)
        fetched += re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="(https?:[^"]+)"', text)
        assert fetched == [], name


def test_every_page_is_in_the_navigation():
    nav = str(yaml.safe_load(text_of("mkdocs.yml"))["nav"])
    assert [name for name in DOCUMENTS if name.startswith("docs/") and Path(name).name not in nav] == []
