"""The table of minutes: every second of a run is in one part."""

from pathlib import Path

from tests.minutes import OTHERS, part_of, seconds_of, table

XML = """<testsuites><testsuite>
<testcase classname="tests.test_build" name="a" time="60"/><testcase classname="tests.test_build" name="b" time="30"/>
<testcase classname="tests.rtl.test_add" name="c[1]" time="45"/><testcase classname="tests.test_build.TestAll" name="d" time="15"/>
</testsuite></testsuites>"""


def test_minutes_are_summed_by_module_and_part(tmp_path):
    (tmp_path / "tests.xml").write_text(XML)
    seconds = seconds_of(tmp_path / "tests.xml")
    assert seconds == {"tests.test_build": 105, "tests.rtl.test_add": 45}
    assert table(seconds).splitlines()[2:] == [
        "| whole builds | 1.8 | `test_build` 1.8 |", "| units of RTL | 0.8 | `rtl.test_add` 0.8 |", "| all | 2.5 | |",
    ]


def test_most_modules_have_a_part():
    modules = [".".join(path.with_suffix("").parts) for path in Path("tests").rglob("test_*.py")]
    others = [module for module in modules if part_of(module) == OTHERS]
    assert len(others) < len(modules) / 10, others
