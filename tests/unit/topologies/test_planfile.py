"""Plans as TOML."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.unit.topologies.plans import BUILT_IN, plans, small
from topologies import planfile
from topologies.errors import PlanError
from topologies.plan import Plan


@given(plans())
def test_a_plan_survives_its_file(plan: Plan) -> None:
    """Whatever a plan holds, its file loads back to an equal plan, and writing that gives the same file."""
    text = planfile.dumps(plan)
    assert planfile.loads(text) == plan
    assert planfile.dumps(planfile.loads(text)) == text


@pytest.mark.parametrize("plan", [*BUILT_IN, small()], ids=lambda plan: plan.name)
def test_the_plans_in_use_survive_too(plan: Plan) -> None:
    """The built-in plans load back to equal ones."""
    assert planfile.loads(planfile.dumps(plan)) == plan


def test_defaults_are_left_out() -> None:
    """People read the file: it says what is so, not what is not so."""
    text = planfile.dumps(small())
    assert "false" not in text
    assert "built-in" not in text
    assert 'kind = "mail-server"' in text


HOST = 'name = "x"\n[[hosts]]\nname = "a"\nfqdn = "a.org"\n'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param("name = ", "not TOML", id="no TOML"),
        pytest.param("", "name is missing", id="an empty file"),
        pytest.param(
            'name = "x"\ntitel = "y"', "titel: there is no such key; there are name, title", id="a key"
        ),
        pytest.param("name = 5", "name: expected a text, got 5", id="a number for a text"),
        pytest.param(
            'name = "x"\nrequire = "netem"', "require: expected a list, got 'netem'", id="a text for a list"
        ),
        pytest.param(
            'name = "x"\nrequire = [1]', "require[0]: expected a text, got 1", id="a list of the wrong thing"
        ),
        pytest.param(
            'name = "x"\nhosts = [1]', "hosts[0]: expected a table, got 1", id="a number for a table"
        ),
        pytest.param('name = "x"\n[[hosts]]\nname = "a"', "hosts[0].fqdn is missing", id="a missing key"),
        pytest.param(
            HOST + "router = 1", "hosts[0].router: expected true or false, got 1", id="a number for a truth"
        ),
        pytest.param(
            'name = "x"\n[[zones]]\norigin = "."\nttl = true',
            "zones[0].ttl: expected a whole number, got True",
            id="a truth for a number",
        ),
        pytest.param(
            'name = "x"\n[[links]]\na = "a"\nb = "b"\nrate_mbit = "1"',
            "links[0].rate_mbit: expected a number, got '1'",
            id="a text for a number",
        ),
        pytest.param(
            HOST + "roles = [{}]", "hosts[0].roles[0].kind: None is no role", id="a role without a kind"
        ),
        pytest.param(
            HOST + 'roles = [{kind = "mta"}]',
            "hosts[0].roles[0].kind: 'mta' is no role; there are name-server, resolver",
            id="an unknown role",
        ),
        pytest.param(HOST + 'roles = [{kind = ["mta"]}]', "is no role", id="a list for a kind"),
        pytest.param(HOST + 'roles = ["resolver"]', "expected a table with a kind", id="a role as a text"),
        pytest.param(
            HOST + 'roles = [{kind = "name-server", primary = "."}]',
            "hosts[0].roles[0].primary: expected a list, got '.'",
            id="deep inside",
        ),
        pytest.param(
            HOST + 'roles = [{kind = "command", name = "x", command = ["x"], files = {a = 1}}]',
            "hosts[0].roles[0].files: expected a table of texts",
            id="files that are no texts",
        ),
        pytest.param(
            HOST
            + 'roles = [{kind = "mail-server", routes = [{domain = "*", via = ["x"], weights = {a = "1"}}]}]',
            "hosts[0].roles[0].routes[0].weights: expected a table of whole numbers",
            id="weights that are no numbers",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, mistake: str) -> None:
    """What cannot be a plan is refused with the place in the file, and what was expected there."""
    with pytest.raises(PlanError) as caught:
        planfile.loads(text, name="my.toml")
    assert any(mistake in told for told in caught.value.mistakes), caught.value.mistakes
    assert str(caught.value).startswith("my.toml: 1 mistake: ")


def test_every_mistake_is_told() -> None:
    """Several mistakes are told at once."""
    with pytest.raises(PlanError) as caught:
        planfile.loads('name = 1\nswitch = 2\n[[hosts]]\nname = "a"\nrouter = "yes"\n')
    assert len(caught.value.mistakes) == 4
    assert "4 mistakes" in str(caught.value)


def test_whole_numbers_are_numbers() -> None:
    """`rate_mbit = 100` is as good as `100.0`."""
    plan = planfile.loads('name = "x"\n[[links]]\na = "a"\nb = "b"\nrate_mbit = 100\n')
    assert plan.links[0].rate_mbit == 100.0
