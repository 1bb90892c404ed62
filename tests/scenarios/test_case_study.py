# SPDX-License-Identifier: GPL-2.0-or-later
"""The case studies show what the command really prints. `python tests/scenarios/test_case_study.py` renews them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from fetchsan.cli.main import main

CASE_STUDIES = sorted((Path(__file__).resolve().parents[2] / "docs/case_studies").glob("*.md"))
_BLOCK = re.compile(r"(<!-- generated: fetchsan (?P<command>[^>]*?) -->\n)(?P<shown>.*?)(<!-- end of generated -->)", re.DOTALL)


def output(command: str) -> str:
    """What `fetchsan COMMAND` prints into a pipe, as a fenced block. The scenario prints no times."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(command.split()) == 0
    return f"```text\n$ fetchsan {command}\n{printed.getvalue()}```\n"


def renewed(text: str) -> str:
    """The document with every generated block as it would be now."""
    return _BLOCK.sub(lambda block: block[1] + output(block["command"]) + block[4], text)


@pytest.mark.parametrize("document", CASE_STUDIES, ids=lambda path: path.stem)
def test_a_case_study_shows_what_the_command_prints(document: Path) -> None:
    text = document.read_text()
    assert len(_BLOCK.findall(text)) == 1
    assert renewed(text) == text


if __name__ == "__main__":
    for document in CASE_STUDIES:
        document.write_text(renewed(document.read_text()))
