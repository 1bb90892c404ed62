# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns how the OSv personality's C library is made: all of musl's libc.a as one shared object, with glue in place of ld.so.

    python guests/libc/build.py [LIBC_A]

LIBC_A is Debian's musl-dev:arm64's (1.2.3-1), whose objects are position-independent; `fetchsan sysroot add musl-dev` fetches
it. The result is committed, so that nobody needs either.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = "src/fetchsan/kernel/osv/libc/aarch64.so"
_GCC = "aarch64-linux-gnu-gcc"
_LIBC = "usr/lib/aarch64-linux-musl/libc.a"
_FLAGS = (
    "-O2", "-fPIC", "-ffreestanding", "-fno-stack-protector", "-Wall", "-nostdlib", "-shared", "-s",
    "-Wl,-soname,libc.so", "-Wl,--hash-style=gnu", "-Wl,-z,max-page-size=4096", "-Wl,-z,separate-code", "-Wl,-z,now",
    "-Wl,--build-id=none",
    # As musl itself: its functions call each other directly; its variables may be copied into a program.
    "-Wl,-Bsymbolic-functions",
    # __tls_get_addr is the glue's.
    "-Wl,--allow-multiple-definition",
)  # fmt: skip
_SOURCES = ("guests/libc/glue.c", "guests/libc/glibc_names.c", "guests/libc/glue.S")


def main(arguments: list[str]) -> int:
    """Build it, where there are a compiler and a libc.a."""
    places = [Path(argument) for argument in arguments] or [Path("/") / _LIBC, Path.home() / ".cache/fetchsan/sysroot" / _LIBC]
    archive = next((place for place in places if place.is_file()), None)
    if archive is None or shutil.which(_GCC) is None:
        print(f"kept {OUTPUT}: it takes {_GCC} and musl's libc.a (fetchsan sysroot add musl-dev)")
        return 0
    libraries = ("-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive", "-lgcc")
    subprocess.run([_GCC, *_FLAGS, *_SOURCES, *libraries, "-o", OUTPUT], cwd=ROOT, check=True)
    print(OUTPUT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
