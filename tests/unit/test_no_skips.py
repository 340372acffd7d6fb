"""The option --no-skips: what a run with skipped tests comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.conftest

SUITE = """
    import pytest

    def test_that_runs():
        pass

    @pytest.mark.skip(reason="no water")
    def test_to_swim():
        pass

    @pytest.mark.xfail(reason="is not there yet")
    def test_to_come():
        raise AssertionError
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(Path(tests.conftest.__file__).read_text(encoding="utf-8"))
    pytester.makepyfile(test_winter=SUITE)
    return pytester


@pytest.mark.parametrize(
    ("allowed", "status"),
    [
        pytest.param("", pytest.ExitCode.TESTS_FAILED, id="nothing is allowed"),
        pytest.param("no wine # in the car\n", pytest.ExitCode.TESTS_FAILED, id="another reason"),
        pytest.param("no water # in winter\n", pytest.ExitCode.OK, id="the reason"),
        pytest.param("# comment\n\ntest_winter.py::test_to # in winter\n", pytest.ExitCode.OK, id="the test"),
        pytest.param("no water\n", pytest.ExitCode.USAGE_ERROR, id="without a why"),
    ],
)
def test_a_skip_that_is_not_allowed_fails_the_run(
    suite: pytest.Pytester, allowed: str, status: pytest.ExitCode
) -> None:
    """The run fails unless the file names the skipped test or its reason; what is to fail is no skip."""
    suite.makefile(".txt", allowed=allowed)
    assert suite.runpytest("--no-skips", "allowed.txt").ret == status


def test_a_skipped_module_counts(suite: pytest.Pytester) -> None:
    """A module that is skipped while it is collected is named, too."""
    suite.makepyfile(test_module="import pytest\npytest.importorskip('no_such_module')\n")
    suite.makefile(".txt", allowed="no water # in winter\n")
    result = suite.runpytest("--no-skips", "allowed.txt")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_module.py: could not import 'no_such_module'*"])


def test_without_the_option_skips_are_allowed(suite: pytest.Pytester) -> None:
    """Who does not ask for it gets pytest's own behaviour."""
    assert suite.runpytest().ret == pytest.ExitCode.OK


def test_an_unreadable_list_is_a_usage_error(suite: pytest.Pytester) -> None:
    """A list that is not there would allow nothing, or everything: neither is what was meant."""
    assert suite.runpytest("--no-skips", "nowhere.txt").ret == pytest.ExitCode.USAGE_ERROR
