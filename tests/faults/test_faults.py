"""Some faults of the environment, and that a broken promise is seen."""

import os
import subprocess
import time

import psutil
import pytest

from tests.faults.faults import FAULTS, QUICK, check
from tests.faults.place import MARK, NotHeld, Place, Ran
from tests.sampling import spread

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("faults") / "place", synth=False)


@pytest.mark.parametrize("name", spread(QUICK, 8, first=4))
def test_a_fault_leaves_no_wrong_result_no_traceback_and_no_damage(place, name):
    [fault] = [f for f in FAULTS if f.name == name]
    check(fault, place, seed=1)


@pytest.mark.parametrize("ran, text", [
    (Ran(3, "", "finn-vitprune: defect in finn-vitprune: KeyError"), "exit code 3"),
    (Ran(0, "", "Traceback (most recent call last)"), "traceback"),
    (Ran(2, "", "finn-vitprune: one\ntwo"), "not one line"),
    (Ran(2, "", ""), "not one line"),
])  # fmt: skip
def test_a_command_that_ends_in_another_way_is_seen(ran, text):
    with pytest.raises(NotHeld, match=text):
        ran.check([0, 2])


def test_lasting_damage_is_seen(place):
    place.fresh(built=True, compiled=True)
    place.compare()
    place.check_whole()
    path = place.build / "verification_output/rtl_logits.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (place.build / "more").touch()
    with pytest.raises(NotHeld, match=r"2 files differ .*'more', 'verification_output/rtl_logits.npy'"):
        place.compare()
    (place.build / "report/lowering.json").write_text('{"half')
    with pytest.raises(NotHeld, match="report/lowering.json is half-written"):
        place.check_whole()
    process = subprocess.Popen(["sleep", "600"], env=os.environ | {MARK: str(place.root)})
    try:
        while MARK not in psutil.Process(process.pid).environ():  # none yet in the middle of exec, where Popen returns
            time.sleep(0.01)
        with pytest.raises(NotHeld, match=r"processes are left: \['sleep'\]"):
            place.check_alone()
        assert process.wait(5)
    finally:
        process.kill()
