# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs many `fetchsan run` command lines, each in a process of its own with hard limits, without starting Python for each.

`python runner.py < JSON list of command lines`: one JSON object a line for each, in order. A child of fork(2) calls the same
main() that the command does; what kills it, hangs or eats memory is its own end only.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from typing import Any

from fetchsan.api import Machine
from fetchsan.cli.main import main
from fetchsan.machine.native import callbacks

__all__ = ["run_one"]

SECONDS = 60
ADDRESS_SPACE = 6 << 30  # of which the engine reserves half, mostly for nothing


def run_one(arguments: list[str]) -> dict[str, Any]:
    """Status as a shell calls it, stdout's end and stderr's, and the greatest resident size in KiB."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            with open(os.devnull, "rb") as null:
                os.dup2(null.fileno(), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(SECONDS)
            status = main(arguments)
            sys.stderr.flush()
            os._exit(status)
        _, ended, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(ended)
        return {
            "status": 128 - code if code < 0 else code,
            "stdout": _end_of(stdout),
            "stderr": _end_of(stderr),
            "resident": usage.ru_maxrss,
        }


def _end_of(file: Any) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 10_000))
    return str(file.read().decode("utf-8", "replace"))


if __name__ == "__main__":
    callbacks()  # made once, for all children
    assert Machine is not None  # imported above, for the same reason
    for command in json.load(sys.stdin):
        print(json.dumps(run_one(command)), flush=True)
