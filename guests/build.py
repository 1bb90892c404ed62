# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the rules that make every prebuilt ELF from its sources; `python guests/build.py --help`.

The prebuilts are committed beside their sources, so that nobody needs a cross compiler to run FetchSan or its tests.
Uses Debian's gcc for each target, or `zig cc` from PyPI's `ziglang` (freestanding programs only). A target's COMPILER file
says what the committed files were made with: only the same compiler and libc give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PROGRAMS", "Compiler", "Program", "Target", "build", "find_compiler"]

ROOT = Path(__file__).resolve().parent.parent

_COMMON = (
    # The paths in debug information are relative to the project, wherever it is built.
    "-g", f"-ffile-prefix-map={ROOT}=.", "-fno-asynchronous-unwind-tables", "-fno-stack-protector",
    "-Wall", "-Wextra", "-Wl,--build-id=none", "-Wl,-z,noexecstack",
)  # fmt: skip
_FREESTANDING = (
    "-O1", "-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie",
    "-Wl,-z,max-page-size=4096",
)  # fmt: skip
_APPLICATION = (
    # An OSv application is a shared object that exports main().
    "-O1", "-ffreestanding", "-nostdlib", "-shared", "-fPIC", "-fvisibility=hidden",
    "-Wl,-z,max-page-size=4096", "-Wl,--hash-style=both", "-Wl,-z,now",
)  # fmt: skip
_DYNAMIC = ("-O1", "-ffreestanding", "-nostdlib", "-Wl,-z,max-page-size=4096", "-Wl,--unresolved-symbols=ignore-all")
_HOSTED = ("-O2", "-static", "-s")
_LIBRARY_HOST = ("-O1", "-fPIE", "-pie", "-s", "-Wl,-z,max-page-size=4096")
_HOSTED_PIE = ("-O2", "-pie", "-fPIE", "-s")
_HOSTED_SHARED = ("-O2", "-shared", "-fPIC", "-s")


@dataclass(frozen=True, slots=True)
class Target:
    """An architecture: as the ELF header calls it, its compilers, its start-up code, the flags that only it needs.

    `compiler_file` (relative to the project) says what its committed programs were built with.
    """

    machine: str
    gcc: str
    zig: str
    compiler_file: str
    start: str
    freestanding: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """What to do without a compiler for it."""
        return f"no compiler for {self.zig.partition('-')[0]}: install {self.gcc}, or `pip install ziglang`; prebuilts are kept"


_AARCH64 = Target(
    "EM_AARCH64", "aarch64-linux-gnu-gcc", "aarch64-linux-musl", "guests/COMPILER", "guests/runtime/start.S",
    # They ask the C library which instructions there are.
    ("-mno-outline-atomics",),
)  # fmt: skip
_X64 = Target(
    "EM_X86_64", "x86_64-linux-gnu-gcc", "x86_64-linux-musl", "guests/x64/COMPILER", "guests/runtime/start_x64.S",
    # Calls in inline assembly push; indirect-branch tracking is on in Ubuntu's compiler and off in Debian's.
    ("-mno-red-zone", "-fcf-protection=none"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    """One prebuilt: where it goes, what it is made of (both relative to the project), how, for which target.

    `hosted`: it needs a libc. `text_apart`: its text shares no page with its headers and constants.
    """

    output: str
    sources: tuple[str, ...]
    flags: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    hosted: bool = False
    text_apart: bool = False
    target: Target = _AARCH64


def _freestanding(output: str, *sources: str, libraries: tuple[str, ...] = (), target: Target = _AARCH64) -> Program:
    paths = (target.start, "guests/runtime/memory.c", *sources)
    return Program(output, paths, (*_FREESTANDING, *target.freestanding), libraries, target=target)


def _application(name: str, number: int) -> Program:
    folder = "src/fetchsan/scenarios/guests"
    # Four pages of functions beside main()'s one.
    defines = (f'-DNAME="{name}"', f"-DAPPLICATION={number}", "-DWORK_COUNT=64", "-DWORK_STRIDE=256")
    flags = (*_APPLICATION, *defines, f"-Wl,-soname,{name}.so")
    return Program(f"{folder}/{name}.so", (f"{folder}/application.c", f"{folder}/work.S"), flags, text_apart=True)


def _hole(
    name: str, *sources: str, flags: tuple[str, ...] = (), text_apart: bool = True, target: Target = _AARCH64
) -> Program:
    """An application of the osv-holes scenario."""
    folder = "src/fetchsan/scenarios/guests"
    suffix = "-x64" if target is _X64 else ""
    flags = (*_APPLICATION, "-iquote", "guests/runtime", f'-DNAME="{name}"', f"-Wl,-soname,{name}.so", *flags)
    paths = tuple(f"{folder}/{source}" for source in sources)
    return Program(f"{folder}/{name}{suffix}.so", paths, flags, ("-lgcc",), text_apart=text_apart, target=target)


def _relocations(name: str, target: Target) -> Program:
    """An object whose symbols are all exported, so that it needs every kind of relocation."""
    flags = (*_APPLICATION, "-fvisibility=default", f"-Wl,-soname,{name}.so")
    return Program(f"guests/relocations/{name}.so", ("guests/relocations/relocations.c",), flags, target=target)


def _linked(target: Target, folder: str, name: str, *sources: str, flags: tuple[str, ...] = ()) -> Program:
    """An object of the linker's tests: real sonames, versions, every relocation that the linker makes."""
    where = f"guests/linker/{folder}"
    every = (*_DYNAMIC, f"-L{where}", *flags)
    return Program(f"{where}/{name}", tuple(f"guests/linker/{source}" for source in sources), every, target=target)


def _linker_programs(target: Target, folder: str, traditional: str) -> tuple[Program, ...]:
    shared, library = ("-shared", "-fPIC"), ("-Wl,--no-as-needed", "-l:library.so")
    return (
        _linked(
            target, folder, "library.so", "library.c",
            flags=(*shared, "-Wl,-soname,library.so", "-Wl,--version-script,guests/linker/library.map"),
        ),
        _linked(target, folder, "plugin.so", "plugin.c", flags=(*shared, "-Wl,-soname,plugin.so")),
        _linked(target, folder, "lazy.so", "program.c", flags=(*shared, *library, "-Wl,-z,lazy", "-Wl,--hash-style=sysv")),
        _linked(target, folder, "now.so", "program.c", flags=(*shared, *library, "-Wl,-z,now", traditional)),
        _linked(target, folder, "pie", "program.c", flags=("-pie", "-fPIE", "-Wl,-e,main", "-rdynamic", *library)),
        _linked(target, folder, "loads_plugin.so", "loads_plugin.c", flags=shared),
        _linked(target, folder, "closes.so", "closes.c", flags=shared),
        _linked(target, folder, "next.so", "next.c", flags=(*shared, *library)),
    )  # fmt: skip


_TAIL_LAYOUT = ("-Wl,-T,src/fetchsan/scenarios/guests/tail.ld", "-Wl,--no-warn-rwx-segments")


def _osv_test(name: str, folder: str, target: Target) -> Program:
    sources = (f"guests/osv/{name}.c", "guests/runtime/memory.c")
    flags = (*_APPLICATION, *target.freestanding, f"-Wl,-soname,{name}.so")
    return Program(f"{folder}/{name}.so", sources, flags, text_apart=True, target=target)


def _library_host(name: str, target: Target) -> Program:
    """The program that a machine's libraries are loaded into (Machine.load)."""
    folder = "src/fetchsan/libraries/host"
    flags = (*_LIBRARY_HOST, *(flag for flag in target.freestanding if flag.startswith("-fcf")))
    return Program(f"{folder}/{name}", (f"{folder}/host.c",), flags, hosted=True, target=target)


_VARIANTS = tuple(
    f"guests/maintenance/{name}"
    for name in (
        "variants.c", "sequences.c", "ranges.c", "stores.c", "mappings.c", "straight_line.c", "templates.S",
        "loops.c", "faults.c",
    )
)  # fmt: skip

PROGRAMS = (
    # libgcc has __clear_cache, the routine that GCC-built programs really use.
    _freestanding("guests/maintenance/variants", *_VARIANTS, libraries=("-lgcc",)),
    _freestanding(
        "guests/hostile/hostile",
        *(f"guests/hostile/{name}" for name in ("hostile.c", "syscalls.c", "code.c", "memory.c", "privileged.S")),
    ),
    Program("guests/hello/hello", ("guests/hello/hello.S",), (*_FREESTANDING, *_AARCH64.freestanding)),
    Program("guests/hello/hello-glibc", ("guests/hello/hello_glibc.c",), _HOSTED, hosted=True),
    Program("benchmarks/guests/cpu", ("benchmarks/guests/cpu.c",), _HOSTED, hosted=True),
    _freestanding("benchmarks/guests/rewriter", "benchmarks/guests/rewriter.c"),
    _freestanding("benchmarks/guests/touch", "benchmarks/guests/touch.c"),
    _freestanding("benchmarks/guests/touch-x64", "benchmarks/guests/touch.c", target=_X64),
    _freestanding(
        "guests/x64/variants",
        *(f"guests/x64/{name}" for name in ("variants.c", "stores.c", "self.c", "mappings.c", "rights.c", "templates.S")),
        target=_X64,
    ),
    _relocations("aarch64", _AARCH64),
    _relocations("x64", _X64),
    *_linker_programs(_AARCH64, "aarch64", "-mtls-dialect=trad"),
    *_linker_programs(_X64, "x64", "-mtls-dialect=gnu2"),
    # Binutils packs them for AArch64 since 2.41 only.
    _linked(_X64, "x64", "relr.so", "relr.c", flags=("-shared", "-fPIC", "-Wl,-z,pack-relative-relocs")),
    _library_host("host-aarch64", _AARCH64),
    _library_host("host-x64", _X64),
    Program("guests/linker/hosted/program", ("guests/linker/hosted/program.c",), _HOSTED_PIE, ("-lm",), hosted=True),
    Program(
        "guests/linker/hosted/program.so", ("guests/linker/hosted/program.c",), _HOSTED_SHARED, ("-lm",), hosted=True
    ),
    Program("guests/linker/hosted/plugin.so", ("guests/linker/hosted/plugin.c",), _HOSTED_SHARED, hosted=True),
    _application("tst-hello", 1),
    _application("tst-other", 2),
    _hole("tst-bss-tail", "bss_tail.c", "tail.S", flags=_TAIL_LAYOUT, text_apart=False),
    *(
        hole
        for target in (_AARCH64, _X64)
        for hole in (
            _hole("tst-mprotect", "mprotect.c", target=target),
            _hole("tst-textrel", "textrel.c", "relocated.S", flags=("-Wl,-z,notext",), target=target),
            _hole("tst-plugin", "plugin.S", target=target),
            _hole("tst-alias", "alias.c", target=target),
            _hole("tst-two-cpus", "two_cpus.c", "two_cpus_code.S", target=target),
        )
    ),
    *(
        _osv_test(name, *where)
        for name in ("tst-mmap", "tst-mmap-file", "tst-elf-permissions")
        for where in (("guests/osv", _AARCH64), ("guests/osv/x64", _X64))
    ),
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A cross compiler: its command, its flags for `text_apart`, what identifies it; `hosted`: it has a libc."""

    command: tuple[str, ...]
    text_apart: tuple[str, ...]
    identity: str
    hosted: bool


def find_compiler(target: Target, choice: str = "auto") -> Compiler | None:
    """The compiler for `target` that `choice` ("auto", "gcc" or "zig") names, or None if it is not installed."""
    gcc = shutil.which(target.gcc)
    if gcc and choice in ("auto", "gcc"):
        version = _output(gcc, "--version").splitlines()[0]
        linker = _output(_output(gcc, "-print-prog-name=ld"), "--version").splitlines()[0]
        libc = Path(_output(gcc, "-print-file-name=libc.a"))
        hosted = libc.is_absolute() and libc.exists()
        digest = hashlib.sha256(libc.read_bytes()).hexdigest()[:16] if hosted else "none"
        # LLVM's linker keeps text apart without being told.
        return Compiler((gcc,), ("-Wl,-z,separate-code",), f"{version}\n{linker}\nlibc.a sha256 {digest}\n", hosted)
    zig = shutil.which("python-zig") or shutil.which("zig")
    if zig and choice in ("auto", "zig"):
        return Compiler((zig, "cc", "-target", target.zig), (), f"zig {_output(zig, 'version')}\n", False)
    return None


def build(program: Program, compiler: Compiler, destination: Path) -> Path:
    """Build one program below `destination` and return its path. Raises CalledProcessError."""
    output = destination / program.output
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = (*_COMMON, *program.flags, *(compiler.text_apart if program.text_apart else ()))
    arguments = [*compiler.command, *flags, *program.sources, *program.libraries, "-o", str(output)]
    subprocess.run(arguments, cwd=ROOT, check=True)
    return output


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """The command line: build all programs, in place unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cc", choices=("auto", "gcc", "zig"), default="auto")
    parser.add_argument("--output", type=Path, default=ROOT, help="where to build (default: in place)")
    parser.add_argument("names", nargs="*", help="only the programs whose output ends so")
    options = parser.parse_args()
    compilers = {target: find_compiler(target, options.cc) for target in dict.fromkeys(row.target for row in PROGRAMS)}
    for target, compiler in compilers.items():
        if compiler is None:
            print(target.missing)
    for program in PROGRAMS:
        compiler = compilers[program.target]
        if compiler is None or (options.names and not program.output.endswith(tuple(options.names))):
            continue
        if program.hosted and not compiler.hosted:
            print(f"skipped {program.output}: this compiler has no static glibc (install libc6-dev-arm64-cross)")
            continue
        try:
            print(build(program, compiler, options.output).relative_to(options.output))
        except subprocess.CalledProcessError:
            print(f"{program.output} did not build", file=sys.stderr)
            return 1
    if options.output == ROOT and not options.names:
        for target, compiler in compilers.items():
            if compiler is not None:
                (ROOT / target.compiler_file).write_text(compiler.identity)
    return 0


if __name__ == "__main__":
    sys.exit(main())
