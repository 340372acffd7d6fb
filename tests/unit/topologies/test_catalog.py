"""Plans by reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.topologies.plans import small
from topologies import catalog, planfile
from topologies.errors import PlanError, UnknownTopology

PYTHON = """\
from topologies.plan import Host, Link, Network, Plan

def build():
    return Plan(
        name="mine",
        networks=[Network(name="lan", subnet="198.18.1.0/24")],
        hosts=[Host(name="a", fqdn="a.org"), Host(name="b", fqdn="b.org")],
        links=[Link(a="a", b="lan"), Link(a="b", b="lan")],
    )
"""


TAKES = "it takes DOMAINS=N, mail domains, 1 to 5000"


def test_the_built_in_ones_are_listed() -> None:
    """Each entry has a name, a title and the number of its hosts, and loads under its name."""
    entries = catalog.entries()
    assert [entry.name for entry in entries] == list(catalog.BUILT_IN)
    for entry in entries:
        plan = catalog.load(entry.name)
        assert (plan.title, len(plan.hosts)) == (entry.title, entry.hosts)
        assert entry.title
        assert plan.name == (entry.name if not entry.parameters else "internet-10")


@pytest.mark.parametrize("reference", ["internet:DOMAINS=3", "internet:domains = 3"])
def test_a_reference_may_set_parameters(reference: str) -> None:
    """What stands behind the colon sets a parameter, in either case; the plan's name fits a directory."""
    plan = catalog.load(reference)
    assert plan.name == "internet-3"
    assert len(plan.domains) == 3


def test_a_plan_file_is_read(tmp_path: Path) -> None:
    """A reference that ends in .toml is a plan file."""
    path = tmp_path / "mine.toml"
    path.write_text(planfile.dumps(small()), encoding="utf-8")
    assert catalog.load(str(path)) == small()


def test_a_python_file_builds_a_plan(tmp_path: Path) -> None:
    """A reference that ends in .py is run; lists do as well as tuples, and the plan has a file of its own."""
    path = tmp_path / "mine.py"
    path.write_text(PYTHON, encoding="utf-8")
    plan = catalog.load(str(path))
    assert [host.name for host in plan.hosts] == ["a", "b"]
    assert planfile.loads(planfile.dumps(plan)) == plan


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("minimall", "there is no topology 'minimall'; there are minimal"),
        ("", "there is no topology ''"),
        ("nowhere.toml", "nowhere.toml: No such file or directory"),
        ("nowhere.py", "nowhere.py: No such file or directory"),
        ("internett:DOMAINS=3", "there is no topology 'internett:DOMAINS=3'; there are minimal"),
        ("minimal:DOMAINS=3", "minimal takes no parameters: write minimal without ':DOMAINS=3'"),
        ("minimal:", "minimal takes no parameters: write minimal without ':'"),
        ("internet:SITES=3", f"internet has no parameter 'SITES=3'; {TAKES}"),
        ("internet:DOMAINS", f"internet has no parameter 'DOMAINS'; {TAKES}"),
        ("internet:", f"internet has no parameter ''; {TAKES}"),
        ("internet:DOMAINS=3,", f"internet has no parameter ''; {TAKES}"),
        ("internet:DOMAINS=3,DOMAINS=4", "internet: DOMAINS is given twice"),
        *(
            (
                f"internet:DOMAINS={text}",
                f"internet: DOMAINS is {text!r}: it is a whole number from 1 to 5000",
            )
            for text in ("", "x", "0", "-1", "1.5", "5001", "1e3", "٣", "9" * 5000)
        ),
    ],
)
def test_what_is_not_there_is_told(
    reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference to nothing is one line that says what there is."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownTopology) as caught:
        catalog.load(reference)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "mistake"),
    [
        pytest.param("x.toml", b"\xff\xfe", "not UTF-8 text", id="no text"),
        pytest.param("x.toml", b"name = ", "not TOML", id="no TOML"),
        pytest.param("x.toml", b'name = "x"\nswitch = "hub"', "switch 'hub'", id="a plan with a mistake"),
        pytest.param("x.py", b"", "it has no function build()", id="an empty file"),
        pytest.param("x.py", b"build = 5", "it has no function build()", id="no function"),
        pytest.param("x.py", b"def build(): pass", "it has no function build()", id="no plan"),
        pytest.param("x.py", b"def build(:", "SyntaxError", id="no Python"),
        pytest.param("x.py", b"1/0", "ZeroDivisionError: division by zero", id="an error"),
        pytest.param("x.py", b"raise SystemExit(3)", "SystemExit: 3", id="an exit"),
        pytest.param(
            "x.py",
            b"from topologies.plan import *\nbuild = lambda: Plan(name='x', hosts=(Host(name='a', fqdn=5),))",
            "hosts[0].fqdn: expected a text, got 5",
            id="a field of the wrong type",
        ),
        pytest.param(
            "x.py",
            b"from topologies.plan import *\nbuild = lambda: Plan(name='x', links=(Link(a='a', b='b'),))",
            "link a - b: there is no host a",
            id="a Python plan with a mistake",
        ),
    ],
)
def test_a_users_mistakes_are_told(name: str, text: bytes, mistake: str, tmp_path: Path) -> None:
    """Whatever is wrong with a file of the user's is a mistake in a plan, told in one line."""
    path = tmp_path / name
    path.write_bytes(text)
    with pytest.raises(PlanError) as caught:
        catalog.load(str(path))
    assert any(mistake in told for told in caught.value.mistakes), caught.value.mistakes
    assert "\n" not in str(caught.value)


def test_the_built_in_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the working directory cannot stand in for a built-in plan."""
    (tmp_path / "minimal").write_text("name = 'other'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(catalog.load("minimal").hosts) == 10
