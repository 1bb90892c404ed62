# SPDX-License-Identifier: GPL-2.0-or-later
"""The links of update-alternatives, read from scripts that are never run."""

from __future__ import annotations

import os
from pathlib import Path

from fetchsan.sysroot._alternatives import Alternative, link_alternatives, parse_postinst
from fetchsan.sysroot._unpack import make_merged_usr

GAWK = """\
#!/bin/sh
set -e
if [ "$1" = "configure" ]; then
    update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/gawk 10 \\
      --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/gawk.1.gz \\
      --slave /usr/bin/nawk nawk /usr/bin/gawk
fi
"""


def root_with(tmp_path: Path, *programs: str) -> Path:
    make_merged_usr(tmp_path / "root", ("bin", "lib", "sbin"))
    for program in programs:
        (tmp_path / "root/usr/bin" / program).write_text(program)
    return tmp_path / "root"


def script(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / f"{name}.postinst"
    path.write_text(text)
    return path


def install(name: str, priority: int) -> str:
    return f"update-alternatives --install /usr/bin/awk awk /usr/bin/{name} {priority}\n"


def test_an_install_is_read_with_its_slaves() -> None:
    man = ("/usr/share/man/man1/awk.1.gz", "awk.1.gz", "/usr/share/man/man1/gawk.1.gz")
    nawk = ("/usr/bin/nawk", "nawk", "/usr/bin/gawk")
    assert parse_postinst(GAWK) == [Alternative("/usr/bin/awk", "awk", "/usr/bin/gawk", 10, (man, nawk))]


def test_calls_with_shell_variables_are_left_out() -> None:
    assert parse_postinst('update-alternatives --install "/usr/bin/$x" x /usr/bin/y 1\n') == []


def test_other_actions_and_unfinished_quotes_are_left_out() -> None:
    assert parse_postinst("update-alternatives --remove awk /usr/bin/gawk\nupdate-alternatives --install 'a\n") == []


def test_the_rest_of_a_shell_line_is_not_taken_for_arguments() -> None:
    assert parse_postinst(install("gawk", 3).strip() + " || true; echo --slave a b c\n")[0].slaves == ()


def test_the_link_and_its_slave_lead_to_the_program(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk")
    link_alternatives(root, [script(tmp_path, "gawk", GAWK)], ["awk"])
    assert [(root / "bin" / name).resolve() for name in ("awk", "nawk")] == [(root / "usr/bin/gawk").resolve()] * 2


def test_links_pass_through_etc_alternatives(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk")
    link_alternatives(root, [script(tmp_path, "gawk", GAWK)], ["awk"])
    assert os.readlink(root / "etc/alternatives/awk") == "../../usr/bin/gawk"


def test_a_slave_without_its_file_is_not_linked(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk")
    link_alternatives(root, [script(tmp_path, "gawk", GAWK)], ["awk"])
    assert not os.path.lexists(root / "usr/share/man/man1/awk.1.gz")


def test_the_highest_priority_wins_whatever_the_order(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk", "mawk")
    scripts = [script(tmp_path, "gawk", install("gawk", 10)), script(tmp_path, "mawk", install("mawk", 5))]
    link_alternatives(root, scripts, ["awk"])
    assert (root / "usr/bin/awk").read_text() == "gawk"


def test_a_program_that_is_not_there_is_no_candidate(tmp_path: Path) -> None:
    root = root_with(tmp_path, "mawk")
    scripts = [script(tmp_path, "gawk", install("gawk", 10)), script(tmp_path, "mawk", install("mawk", 5))]
    link_alternatives(root, scripts, ["awk"])
    assert (root / "usr/bin/awk").read_text() == "mawk"


def test_a_real_file_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk", "awk")
    link_alternatives(root, [script(tmp_path, "gawk", GAWK)], ["awk"])
    assert not (root / "usr/bin/awk").is_symlink()


def test_names_not_asked_for_stay_as_they_are(tmp_path: Path) -> None:
    root = root_with(tmp_path, "gawk")
    link_alternatives(root, [script(tmp_path, "gawk", GAWK)], ["pager"])
    assert not os.path.lexists(root / "usr/bin/awk")


def test_a_link_through_the_merged_bin_is_relative_to_where_it_is(tmp_path: Path) -> None:
    root = root_with(tmp_path, "tool")
    call = "update-alternatives --install /bin/t t /bin/tool 1\n"
    link_alternatives(root, [script(tmp_path, "tool", call)], ["t"])
    assert (root / "usr/bin/t").read_text() == "tool"
