"""Tests that share a build run in one worker: pytest-xdist marks them in their names."""

import pytest


@pytest.mark.xdist_group("small_build")
def test_a_group_of_tests_is_known_as_one(request):
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("only pytest -n N --dist loadgroup, as make test has it, makes groups")
    assert request.node.nodeid.endswith("@small_build")
