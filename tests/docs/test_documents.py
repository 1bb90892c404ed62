# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documents say is what the code does: the report in the README, options, JSON fields, statuses, links."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fetchsan import errors
from fetchsan.cli.main import fetchsan
from fetchsan.cli.options import OPTIONS, Option
from fetchsan.coherency import Kind
from fetchsan.findings.json_report import render_json
from fetchsan.settings import RunSettings
from fetchsan.sysroot import default_root
from findings.samples import FinishedRun, finding

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CLI = (DOCS / "cli.md").read_text()
VERBS = {name: verb for name, verb in fetchsan.commands.items() if name != "run"}


def block_after(command: str, text: str) -> str:
    """What a document shows as the output of `$ command`: the rest of its fenced block."""
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no output of {command!r}"
    return found[1]


def test_readme_shows_the_report_that_the_command_prints() -> None:
    command = "fetchsan run guests/maintenance/variants no-ic"
    done = subprocess.run(
        [sys.executable, "-m", "fetchsan", *command.split()[1:]],
        cwd=ROOT,
        env={},  # the environment lies on the guest's stack, so its size moves physical addresses
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.replace(f"{ROOT}/", "") == block_after(command, (ROOT / "README.md").read_text())
    assert (done.stdout, done.returncode) == ("new\n", RunSettings().error_exitcode)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_of_run_is_in_the_reference(option: Option) -> None:
    metavar = f" {option.metavar}".replace("|", r"\|") if option.metavar else ""
    short = f"`{option.short}`, " if option.short else ""
    row = next((line for line in CLI.splitlines() if line.startswith(f"| {short}`{option.flag}{metavar}` |")), None)
    assert row is not None
    assert not option.off or f"`--{option.off}`" in row


@pytest.mark.parametrize(
    "flag",
    [
        parameter.opts[-1]
        for verb in VERBS.values()
        for command in (verb, *getattr(verb, "commands", {}).values())
        for parameter in command.params
        if parameter.opts[-1].startswith("--")
    ],
)
def test_every_option_of_the_other_verbs_is_in_the_reference(flag: str) -> None:
    assert flag in CLI


def test_an_option_that_is_not_in_the_table_is_not_documented() -> None:
    known = {option.flag for option in OPTIONS} | {f"--{option.off}" for option in OPTIONS if option.off}
    section = CLI.partition("### `FETCHSAN_OPTIONS`")[0]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section)) <= known


def test_every_json_field_is_in_the_reference() -> None:
    report = json.loads(render_json(FinishedRun(findings=(finding(),))))
    (first,) = report["findings"]
    names = {*report, *first, *first["executed"], *(first["writer"] or {}), *(name for step in first["steps"] for name in step)}
    assert [name for name in sorted(names) if f"`{name}`" not in CLI and f'"{name}"' not in CLI] == []


def test_every_exit_status_is_in_the_reference() -> None:
    statuses = {getattr(errors, name).exit_status for name in errors.__all__} | {RunSettings().error_exitcode}
    assert [status for status in sorted(statuses) if f"| {status} |" not in CLI] == []


def test_every_kind_is_in_the_model() -> None:
    model = (DOCS / "coherency_model.md").read_text()
    assert [kind for kind in Kind if f"`{kind}`" not in model] == []


def test_every_setting_is_in_the_api_reference() -> None:
    text = (DOCS / "api.md").read_text()
    assert [name for name in RunSettings.__dataclass_fields__ if f"`{name}`" not in text] == []


@pytest.mark.parametrize("number", [1, 2], ids=["run", "load"])
def test_the_examples_of_the_api_give_what_they_say(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    if number == 2 and not (default_root() / "usr/lib/aarch64-linux-gnu/libpcre2-8.so.0").exists():
        pytest.skip("no libpcre2-8 in the sysroot: `fetchsan sysroot add libpcre2-8-0`")
    monkeypatch.chdir(ROOT)
    example = (DOCS / "api.md").read_text().split("```python\n")[number].partition("```")[0]
    names: dict[str, object] = {}
    wrong = []
    for line in filter(None, example.splitlines()):
        code, _, said = line.partition("  # ")
        if not said:
            exec(code, names)
        elif eval(code, names) != ast.literal_eval(said):
            wrong.append(line)
    assert wrong == []


def test_every_clause_that_code_cites_is_in_the_model() -> None:
    model = (DOCS / "coherency_model.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    cited = {int(number) for number in re.findall(r"\b(?:clause|rule) (\d+)", sources)}
    assert [number for number in sorted(cited) if not re.search(rf"^{number}\. \*\*", model, re.MULTILINE)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_source_files_exist(document: Path) -> None:
    named = re.findall(r"`((?:src|tests|docs|guests|benchmarks)/[\w./-]+)`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_table_of_page_operations_is_what_their_classes_say() -> None:
    from fetchsan.kernel.mmu import leaves, operations
    from fetchsan.kernel.mmu.operate import PageOperation

    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section(DOCS / "memory_manager.md", "Page operations"), re.MULTILINE)
    columns = ("allocate", "skip_empty", "once", "split", "page_sizes", "frees_tables")
    classes = {
        name: kind
        for module in (operations, leaves)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, PageOperation) and kind is not PageOperation
    }
    told = {name: tuple(cells.split(" | ")[:6]) for name, cells in rows}

    def cell(value: bool | int) -> str:
        return str(value) if not isinstance(value, bool) else "yes" if value else "no"

    assert told == {
        name: tuple(cell(getattr(kind, column)) for column in columns)
        for name, kind in classes.items()
    }


def section(document: Path, title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{document.name} has no {title!r}"
    return found[1]
