# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of Debian's programs, for any architecture: command lines, and what they read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEBIAN", "Program"]

TEXT = b"".join(b"%d %d line-%d the quick brown fox\n" % (i, i * i % 1009, i * 37 % 101) for i in range(1, 400))
ARITHMETIC = b"scale=40\n4*a(1)\n2^200\ndefine f(n) { if (n < 2) return (1); return (n * f(n - 1)); }\nf(60)\nsqrt(2)\n"
PATTERNS = rb"""/(a+)+b$/jit
    aaaaaaaaab
/^(?<year>\d{4})-(\d\d)/jit,g
    2020-12-20
    20-12
/(\w)(?=\1)/jit,g
    aabbc
"""


@dataclass(frozen=True)
class Program:
    """What to run in a directory that holds programs/, and its stdin."""

    command: tuple[str, ...]
    stdin: bytes = b""

    @property
    def name(self) -> str:
        return self.command[0]


DEBIAN = {
    "busybox-sh": Program(("busybox", "sh", "applets.sh")),
    "busybox-sort": Program(("busybox", "sort", "-k2", "-n"), TEXT),
    "busybox-sha256sum": Program(("busybox", "sha256sum"), TEXT * 20),
    "busybox-awk": Program(("busybox", "awk", "{ s += $2 } END { print s, NR }"), TEXT),
    "busybox-sed": Program(("busybox", "sed", "-e", "s/\\(quick\\) \\(brown\\)/\\2 \\1/;3q"), TEXT),
    "busybox-gzip": Program(("busybox", "gzip", "-c"), TEXT * 20),
    "busybox-tr": Program(("busybox", "tr", "a-z", "A-Z"), TEXT),
    "busybox-od": Program(("busybox", "od", "-tx1"), TEXT[:500]),
    "busybox-diff": Program(("busybox", "diff", "traces.lua", "objects.lua")),
    "busybox-ls": Program(("busybox", "ls", "-1s", ".")),
    "busybox-false": Program(("busybox", "false")),
    "luajit-traces": Program(("luajit", "traces.lua")),
    "luajit-objects": Program(("luajit", "objects.lua")),
    "luajit-ffi": Program(("luajit", "ffi.lua")),
    "luajit-small-cache": Program(("luajit", "-Omaxmcode=64,sizemcode=32", "traces.lua")),
    "luajit-eager": Program(("luajit", "-Ohotloop=2,hotexit=2", "objects.lua")),
    "luajit-flush": Program(
        ("luajit", "-e", "for k=1,20 do local s=0 for i=1,200 do s=s+i%k end print(s) jit.flush() end")
    ),
    "luajit-error": Program(("luajit", "-e", "os.exit(7)")),
    "lua-traces": Program(("lua5.4", "traces.lua")),
    "lua-objects": Program(("lua5.4", "objects.lua")),
    "sqlite3": Program(("sqlite3", "-batch", ":memory:", ".read queries.sql")),
    "gawk": Program(("gawk", "-f", "sums.awk"), TEXT),
    "bc": Program(("bc", "-l"), ARITHMETIC),
    "grep-P": Program(("grep", "-nP", r"(?<=line-)(\d)\1\b.*fox$"), TEXT),
    "grep-P-only": Program(("grep", "-oP", r"\b(\w)\w*\1\b"), TEXT),
    "pcre2test": Program(("pcre2test", "-q", "-jit"), PATTERNS),
}
