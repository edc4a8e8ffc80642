"""The table of minutes: every second of a run is in one part."""

from pathlib import Path

from tests.minutes import seconds_of, table

CASES = (
    ("tests.builds.test_build", "a", 60), ("tests.builds.test_build", "b", 30), ("tests.rtl.test_add", "c[1]", 45),
    ("tests.builds.test_build.TestAll", "d", 15),
)  # fmt: skip
CASE = """<testcase classname="{}" name="{}" time="1"><properties><property name="processor_s" value="{}"/></properties></testcase>"""
XML = f"<testsuites><testsuite>{''.join(CASE.format(*case) for case in CASES)}</testsuite></testsuites>"
MOST = 30
"""Modules of a folder."""


def test_minutes_are_summed_by_module_and_folder(tmp_path):
    (tmp_path / "tests.xml").write_text(XML)
    seconds = seconds_of(tmp_path / "tests.xml")
    assert seconds == {"tests.builds.test_build": 105, "tests.rtl.test_add": 45}
    assert table(seconds).splitlines()[2:] == [
        "| builds | 1.8 | `builds.test_build` 1.8 |", "| rtl | 0.8 | `rtl.test_add` 0.8 |", "| all | 2.5 | |",
    ]  # fmt: skip


def test_every_test_is_in_a_folder_and_none_is_a_heap():
    root = Path(__file__).parents[1]
    assert not list(root.glob("test_*.py"))
    heaps = {folder.name: count for folder in root.rglob("*") if folder.is_dir() and (count := len(list(folder.glob("*.py")))) > MOST}
    assert not heaps
