"""The fixtures for people's own tests: tried in a pytest of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mailbed import sandbox
from tests.lab.residue import until


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", *options)


def left_running(pytester: pytest.Pytester) -> list[str]:
    """The labs that the tests said they had and that still run."""
    names = (pytester.path / "names").read_text().split()
    assert names
    return [name for name in names if name in sandbox.running()]


@pytest.fixture(autouse=True)
def note(pytester: pytest.Pytester) -> None:
    """A function for the tests under test: it notes a lab's name, so that one can see whether it is gone."""
    pytester.makeconftest(
        "import pytest\n"
        "@pytest.fixture\n"
        "def note():\n"
        "    def note(lab):\n"
        "        with open('names', 'a') as file:\n"
        "            print(lab.name, file=file)\n"
        "        return lab\n"
        "    return note\n"
    )


def test_a_lab_for_a_test(pytester: pytest.Pytester) -> None:
    """`lab` runs `minimal`, or what the mark says with all its options, in the test's own directory."""
    pytester.makepyfile(
        """
        import pytest

        def test_default(lab, note, tmp_path):
            assert note(lab).plan.name == "minimal"
            assert lab.run.parent == tmp_path
            assert lab.exec("alice", "hostname").stdout == "alice\\n"

        @pytest.mark.topology("minimal", seed=7, implementations={"a-root": "nsd"}, time_scale=60)
        def test_marked(lab, note):
            assert (note(lab).seed, lab.time_scale) == (7, 60)
            assert lab.plan.host("a-root").roles[0].implementation == "nsd"
        """
    )
    run(pytester).assert_outcomes(passed=2)
    assert left_running(pytester) == []


def test_several_labs(pytester: pytest.Pytester) -> None:
    """`lab_factory` makes any number, running or not; all of them are taken down."""
    pytester.makepyfile(
        """
        def test_two(lab_factory, note):
            one, two = note(lab_factory()), note(lab_factory("minimal", seed=2))
            assert one.name != two.name
            lab_factory(up=False)
            one.down()
        """
    )
    run(pytester).assert_outcomes(passed=1)
    assert left_running(pytester) == []


def test_a_lab_for_a_module(pytester: pytest.Pytester) -> None:
    """`shared_lab` is one for all tests of a module, of the topology that the module's mark names."""
    text = """
        import pytest

        pytestmark = pytest.mark.topology("minimal", seed=5)
        names = set()

        def test_one(shared_lab, note):
            names.add(note(shared_lab).name)

        def test_two(shared_lab):
            names.add(shared_lab.name)
            assert len(names) == 1
            assert shared_lab.seed == 5
        """
    pytester.makepyfile(test_first=text, test_second=text)
    run(pytester).assert_outcomes(passed=4)
    first, second = (pytester.path / "names").read_text().split()
    assert first != second
    assert left_running(pytester) == []


@pytest.mark.parametrize("fixture", ["lab", "shared_lab"])
def test_a_failed_test_shows_its_lab(pytester: pytest.Pytester, fixture: str) -> None:
    """The report says where the run directory is and how the lab's log ends; the lab is gone all the same."""
    pytester.makepyfile(
        f"""
        def test_wrong({fixture}, note):
            note({fixture})
            with open({fixture}.run / "lab.log", "a") as log:
                for number in range(30):
                    print("line", number, file=log)
            assert not "right"
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Lab of minimal*", "run directory: */lab-1", "line 10", "line 29"])
    result.stdout.no_fnmatch_line("line 9")
    (directory,) = (line.split()[-1] for line in result.outlines if line.startswith("run directory: "))
    assert Path(directory, "run.json").exists()
    assert left_running(pytester) == []


def test_a_lab_that_does_not_start(pytester: pytest.Pytester) -> None:
    """A test whose lab does not start is an error that shows the same."""
    pytester.makepyfile(
        """
        import pytest
        from topologies.plan import *

        plan = Plan(
            name="pair",
            networks=(Network(name="lan", subnet="198.18.1.0/24"),),
            hosts=(Host(name="a", fqdn="a.example.org", roles=(Command(name="x", command=("nope",)),)),),
            links=(Link(a="a", b="lan"),),
        )

        @pytest.mark.topology(plan)
        def test_it(lab):
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*StartFailed: a/x*nope is not installed*", "*Lab of pair*", "run directory: *"]
    )


def test_a_passed_test_shows_nothing(pytester: pytest.Pytester) -> None:
    """Nobody wants to read about labs that did what they should."""
    pytester.makepyfile("def test_right(lab): pass")
    result = run(pytester, "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*run directory*")


def test_who_uses_no_lab_pays_for_none(pytester: pytest.Pytester) -> None:
    """Without a fixture of ours nothing of a lab is imported."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert "mailbed.pytest_plugin" in sys.modules
            assert "mailbed.lab" not in sys.modules
            assert not loaded & {"topologies", "services", "captures", "scapy", "mininet", "cryptography"}
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_a_test_that_is_killed_leaves_no_lab(pytester: pytest.Pytester) -> None:
    """pytest itself may die: its labs end with it."""
    pytester.makepyfile(
        """
        import os, signal

        def test_die(lab, note):
            note(lab)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    assert result.ret == -9
    until(lambda: left_running(pytester) == [] or None)
