# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of `fetchsan run` and FETCHSAN_OPTIONS, each by what it changes in a real run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from programs import DATA, elf

from e2e.command import GUESTS, fetchsan, report

VARIANTS = GUESTS / "maintenance/variants"
HELLO = GUESTS / "hello/hello"
HOSTILE = GUESTS / "hostile/hostile"

FINDING_FIELDS = {
    "kind": str, "pe": int, "thread": int, "pc": str, "physical": str, "line": str, "stale": str, "current": str,
    "stale_text": str, "current_text": str, "executed": dict, "writer": dict, "count": int, "prefetch_only": bool,
    "latent": bool, "steps": list,
}  # fmt: skip
END = "MOV X0, #0\nMOV X8, #94\nSVC #0"
STEPS = ["dc-clean", "dsb-after-clean", "ic-invalidate", "dsb-after-invalidate", "isb"]


def program(directory: Path, source: str) -> Path:
    path = directory / "program"
    path.write_bytes(elf(source))
    path.chmod(0o755)
    return path


def opening(path: str, flags: int) -> str:
    """A program that opens `path` beneath its working directory and exits with 0, or the errno."""
    stores = [f"MOV X1, #{byte}\nADD X2, X9, #{at}\nSTRB W1, [X2]" for at, byte in enumerate(os.fsencode(path))]
    return "\n".join(
        [
            f"MOV X9, #0\nMOVK X9, #{DATA >> 16}, LSL 16",
            *stores,
            "MOV X1, #0\nSUB X0, X1, #100",  # AT_FDCWD
            f"MOV X1, X9\nMOV X2, #{flags}\nMOV X3, #438\nMOV X8, #56\nSVC #0",
            "ADD X0, X0, #40\nMOV X8, #94\nSVC #0",
        ]
    )


def opened(status: int) -> int:
    """What `opening` returned: a descriptor, or a negative errno."""
    return status - 40


# JSON ---------------------------------------------------------------------------------------------------------------


def test_json_has_every_field_of_the_format(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "none")
    found = report(tmp_path / "report.json")
    (finding,) = found["findings"]
    assert found | {"findings": [], "statistics": {}} == {
        "version": 1,
        "program": [str(VARIANTS), "none"],
        "cpu": "cortex-a72",
        "mode": "check",
        "kernel_sync": "linux",
        "seed": 0,
        "exit_status": 66,
        "guest": {"exit": 0},
        "findings": [],
        "statistics": {},
        "writer_note": None,
    }
    assert {name: type(value) for name, value in finding.items()} == FINDING_FIELDS


def test_json_writes_words_as_disassemblers_do(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "none")
    (finding,) = report(tmp_path / "report.json")["findings"]
    assert (finding["stale"], finding["stale_text"]) == ("0x52800020", "mov w0, #1")
    assert (finding["current"], finding["current_text"]) == ("0x52800040", "mov w0, #2")
    assert all(re.fullmatch(r"0x[0-9a-f]+", finding[name]) for name in ("pc", "physical", "line"))


def test_json_has_the_ledger_in_order(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "no-ic")
    (finding,) = report(tmp_path / "report.json")["findings"]
    assert [step["step"] for step in finding["steps"]] == STEPS
    assert [step["state"] for step in finding["steps"]][:3] == ["done", "done", "missing"]


def test_json_names_the_writer(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "none")
    (finding,) = report(tmp_path / "report.json")["findings"]
    assert (finding["writer"]["agent"], finding["writer"]["object"]) == ("guest", str(VARIANTS))


def test_json_of_a_death(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", HOSTILE, "privileged", "0")
    assert report(tmp_path / "report.json")["guest"] == {"signal": 4, "esr": "0x02000000"}


def test_json_of_a_clean_run(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", HELLO)
    found = report(tmp_path / "report.json")
    assert (found["exit_status"], found["guest"], found["findings"]) == (0, {"exit": 0}, [])


def test_the_process_id_in_a_files_name(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.%p.json", HELLO)
    (written,) = tmp_path.iterdir()
    assert re.fullmatch(r"report\.\d+\.json", written.name)


# The text report ----------------------------------------------------------------------------------------------------


def test_the_report_has_the_sanitizers_shape() -> None:
    outcome = fetchsan("run", VARIANTS, "none")
    assert outcome.lines[0] == "WARNING: FetchSan: missing-dc-clean (pe 0, thread 1)"
    assert sum(line.startswith("SUMMARY: FetchSan: missing-dc-clean ") for line in outcome.lines) == 1
    assert outcome.lines[-1] == "FetchSan: 1 finding (1 line); exit status 66, seed 0"


def test_a_clean_run_says_nothing() -> None:
    outcome = fetchsan("run", HELLO)
    assert (outcome.stdout, outcome.stderr) == (b"hello\n", "")


def test_no_colour_and_no_wide_lines_when_piped() -> None:
    outcome = fetchsan("run", VARIANTS, "none")
    assert "\x1b" not in outcome.stderr
    unwrapped = ("    #", "SUMMARY", "WARNING")
    assert all(len(line) <= 80 for line in outcome.lines if not line.startswith(unwrapped))


def test_log_file_takes_the_report(tmp_path: Path) -> None:
    outcome = fetchsan("run", "--log-file", tmp_path / "log", VARIANTS, "none")
    assert (outcome.status, outcome.stderr) == (66, "")
    assert "SUMMARY: FetchSan: missing-dc-clean" in (tmp_path / "log").read_text()


def test_halt_on_error_stops_before_the_stale_result_is_printed() -> None:
    assert fetchsan("run", "--halt-on-error", VARIANTS, "none").stdout == b""


# FETCHSAN_OPTIONS ---------------------------------------------------------------------------------------------------


def test_options_from_the_environment() -> None:
    outcome = fetchsan("run", VARIANTS, "none", env={"FETCHSAN_OPTIONS": "mode=stale:cpu=cortex-a53"})
    assert (outcome.status, outcome.stdout) == (0, b"old\n")


def test_the_command_line_wins() -> None:
    outcome = fetchsan("run", "--mode", "coherent", VARIANTS, "none", env={"FETCHSAN_OPTIONS": "mode=stale"})
    assert outcome.stdout == b"new\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("modee=stale", "did you mean mode"),
        ("mode", "'mode' is not key=value"),
        ("halt-on-error=maybe", "'maybe' is not 0 or 1"),
        ('json="/tmp/x', "the quote is not closed"),
        ("seed=soon", "'soon' is not a whole number"),
    ],
)
def test_a_wrong_key_is_one_line(value: str, said: str) -> None:
    outcome = fetchsan("run", HELLO, env={"FETCHSAN_OPTIONS": value})
    assert outcome.status == 2
    assert len(outcome.lines) == 1
    assert said in outcome.stderr


def test_help_from_the_environment_runs_nothing() -> None:
    outcome = fetchsan("run", HELLO, env={"FETCHSAN_OPTIONS": "help=1"})
    assert outcome.status == 0
    assert outcome.stdout.startswith(b"FETCHSAN_OPTIONS=")


def test_a_typo_names_the_option_that_was_meant() -> None:
    outcome = fetchsan("run", "--halt-on-eror", HELLO)
    assert outcome.status == 2
    assert "--halt-on-error" in outcome.stderr


def test_options_after_the_program_are_its_own() -> None:
    assert fetchsan("run", VARIANTS, "--list").stdout.startswith(b"correct\n")


# What the guest sees ------------------------------------------------------------------------------------------------


def strings(directory: Path, *options: str, **variables: str) -> set[bytes]:
    """Arguments and environment as the guest finds them: it prints its stack from SP up."""
    path = program(directory, "ADD X1, SP, #0\nMOV X0, #1\nMOV X2, #65535\nMOV X8, #64\nSVC #0\n" + END)
    outcome = fetchsan("run", *options, path, env=variables)
    assert outcome.status == 0
    return set(outcome.stdout.split(b"\0"))


def test_the_hosts_environment_is_inherited(tmp_path: Path) -> None:
    assert b"FROM_HOST=1" in strings(tmp_path, FROM_HOST="1")


def test_a_variable_is_set_over_the_hosts(tmp_path: Path) -> None:
    found = strings(tmp_path, "-E", "FROM_HOST=2", "-E", "OWN=x=y", FROM_HOST="1")
    assert {b"FROM_HOST=2", b"OWN=x=y"} <= found
    assert b"FROM_HOST=1" not in found


def test_a_clean_environment_has_only_what_was_set(tmp_path: Path) -> None:
    found = strings(tmp_path, "--clean-env", "-E", "OWN=1", FROM_HOST="1")
    assert {text for text in found if b"=" in text and text.partition(b"=")[0].replace(b"_", b"").isalnum()} == {b"OWN=1"}


def test_a_granted_directory_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "granted").mkdir()
    (tmp_path / "work").mkdir()
    path = program(tmp_path / "work", opening("/g/new", os.O_CREAT | os.O_WRONLY))
    outcome = fetchsan("run", "--dir", f"{tmp_path / 'granted'}:/g", path, cwd=tmp_path / "work")
    assert opened(outcome.status) == 3
    assert (tmp_path / "granted/new").exists()


def test_a_directory_granted_read_only_cannot(tmp_path: Path) -> None:
    (tmp_path / "granted").mkdir()
    (tmp_path / "work").mkdir()
    path = program(tmp_path / "work", opening("/g/new", os.O_CREAT | os.O_WRONLY))
    outcome = fetchsan("run", "--dir", f"{tmp_path / 'granted'}:/g:ro", path, cwd=tmp_path / "work")
    assert opened(outcome.status) == -30  # EROFS
    assert not (tmp_path / "granted/new").exists()


def test_what_was_not_granted_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    (tmp_path / "work").mkdir()
    path = program(tmp_path / "work", opening("../secret", os.O_RDONLY))
    outcome = fetchsan("run", path, cwd=tmp_path / "work")
    assert opened(outcome.status) == -2  # ENOENT


def test_tmp_is_private(tmp_path: Path) -> None:
    name = f"/tmp/fetchsan-test-{os.getpid()}"
    outcome = fetchsan("run", program(tmp_path, opening(name, os.O_CREAT | os.O_WRONLY)), cwd=tmp_path)
    assert opened(outcome.status) == 3
    assert not Path(name).exists()


# strace, maps, unknown calls ----------------------------------------------------------------------------------------


def test_strace_prints_calls_as_strace_does() -> None:
    outcome = fetchsan("run", "--strace", HELLO)
    assert outcome.lines == ['1000 write(1,"hello\\n",6) = 6', "1000 exit_group(0) = ?"]


def test_dump_maps_prints_linux_rows() -> None:
    outcome = fetchsan("run", "--dump-maps", HELLO)
    row = re.compile(r"[0-9a-f]{8,16}-[0-9a-f]{8,16} [r-][w-][x-][ps] [0-9a-f]{8} [0-9a-f]{2}:[0-9a-f]{2} \d+ *(\S.*)?")
    assert all(row.fullmatch(line) for line in outcome.lines)
    assert [line.split()[-1] for line in outcome.lines] == [str(HELLO), "[vdso]", "[stack]"]


def test_an_unknown_system_call_is_named_once(tmp_path: Path) -> None:
    path = program(tmp_path, "MOV X8, #600\nSVC #0\nSVC #0\nMOV X8, #600\nSVC #0\n" + END)
    outcome = fetchsan("run", path)
    assert outcome.status == 0
    assert outcome.lines == ["fetchsan: unsupported system call #600 (number 600): returning ENOSYS; please report it"]


# Determinism --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["0", "7"])
def test_two_runs_with_one_seed_are_the_same(tmp_path: Path, seed: str) -> None:
    runs = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        outcome = fetchsan("run", "--strace", "--dump-maps", "--seed", seed, "--json", path, VARIANTS, "range-too-short")
        found = report(path)
        del found["statistics"]["seconds"]  # the host's time, the only thing that is not the guest's
        runs.append((outcome.stdout, outcome.stderr, found))
    assert runs[0] == runs[1]


def test_another_seed_moves_addresses(tmp_path: Path) -> None:
    maps = [fetchsan("run", "--dump-maps", "--seed", seed, HELLO).lines for seed in ("1", "2")]
    assert maps[0] != maps[1]


@pytest.mark.parametrize(("cpu", "kind"), [("cortex-a72", "missing-dc-clean"), ("neoverse-n1-coherent", None)])
def test_the_cpu_decides_what_is_owed(tmp_path: Path, cpu: str, kind: str | None) -> None:
    fetchsan("run", "--cpu", cpu, "--json", tmp_path / "report.json", VARIANTS, "dsb-isb")
    assert [finding["kind"] for finding in report(tmp_path / "report.json")["findings"]] == ([kind] if kind else [])
