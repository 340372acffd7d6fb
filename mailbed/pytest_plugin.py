"""Labs for tests: pytest loads this by itself wherever Mailbed is installed.

    @pytest.mark.topology("minimal", seed=7, implementations={"a-root": "nsd"})
    def test_delivery(lab):
        sent = lab.send("Subject: hello\\n\\nHello\\n", sender="alice@example.com", to="bob@example.org")
        assert sent.wait()["bob@example.org"].state == "delivered"

    lab           one lab for one test; the topology is that of its `topology` mark, or `minimal`
    lab_factory   as many as a test wants: lab_factory("minimal", name="one")
    shared_lab    one lab for all tests of a module that only look; the mark is the module's (`pytestmark`)

The mark takes what mailbed.Lab takes. Run directories lie in pytest's temporary directories, and a lab is
taken down whatever becomes of the test. When a test fails, its report says where the run directory is and
what the lab's own processes had to say. Nothing of a lab is imported before a fixture is used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mailbed.lab import Lab
    from topologies.plan import Plan

DEFAULT_TOPOLOGY = "minimal"
_numbers = itertools.count(1)
LOG_LINES = 20
"""How much of lab.log the report of a failed test shows."""


class LabFactory:
    """Makes labs, and takes them all down at the end."""

    def __init__(self, directory: Path) -> None:
        """Run directories are made below `directory`."""
        self._directory = directory
        self.labs: list[Lab] = []

    def __call__(self, topology: str | Plan = DEFAULT_TOPOLOGY, *, up: bool = True, **options: Any) -> Lab:
        """Return a lab, running unless `up` is false; `options` are those of Lab. Raises: MailbedError."""
        from mailbed.lab import Lab

        options.setdefault("out", self._directory / f"lab-{len(self.labs) + 1}")
        # A name that tells whose it is, and that nobody types by mistake while the tests run.
        options.setdefault("name", f"pytest-{os.getpid()}-{next(_numbers)}")
        lab = Lab(topology, **options)
        # Before it is up: if it does not get there, its run directory is what one wants to see.
        self.labs.append(lab)
        if up:
            lab.up()
        return lab

    def marked(self, mark: pytest.Mark | None) -> Lab:
        """Return the running lab that a `topology` mark asks for."""
        return self(*mark.args, **mark.kwargs) if mark is not None else self()

    def close(self) -> None:
        """Return when every lab is down, the last first. Raises what the first `down` to fail raised."""
        errors: list[Exception] = []
        for lab in reversed(self.labs):
            try:
                lab.__exit__()
            except Exception as error:
                # The others must not be left running because of this one.
                errors.append(error)
        if errors:
            raise errors[0]


_FACTORY = pytest.StashKey[LabFactory]()


@pytest.fixture
def lab_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LabFactory]:
    """A function that starts labs, which are taken down after the test: lab_factory("minimal", seed=2)."""
    yield from _factory(request, tmp_path)


@pytest.fixture
def lab(request: pytest.FixtureRequest, lab_factory: LabFactory) -> Lab:
    """A running lab for this test alone, of the topology that its mark names."""
    return lab_factory.marked(request.node.get_closest_marker("topology"))


@pytest.fixture(scope="module")
def shared_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab for all tests of a module, of the topology that the module's mark names: look only."""
    for factory in _factory(request, tmp_path_factory.mktemp("shared")):
        yield factory.marked(request.node.get_closest_marker("topology"))


def _factory(request: pytest.FixtureRequest, directory: Path) -> Iterator[LabFactory]:
    factory = request.node.stash[_FACTORY] = LabFactory(directory)
    try:
        yield factory
    finally:
        factory.close()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, so that --strict-markers allows it."""
    config.addinivalue_line("markers", "topology(name, **options): the lab that the fixture starts")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test where its labs' run directories are, and the end of their logs."""
    report = yield
    if report.failed:
        # The item's own labs and those that it shares with its module.
        factories = [node.stash[_FACTORY] for node in item.listchain() if _FACTORY in node.stash]
        for lab in (lab for factory in factories for lab in factory.labs):
            report.sections.extend(_section(lab))
    return report


def _section(lab: Lab) -> Iterator[tuple[str, str]]:
    from mailbed.errors import LabError

    try:
        run = lab.run
    except LabError:
        return
    yield f"Lab of {lab.plan.name}", "\n".join([f"run directory: {run}", *_tail(run / "lab.log")])


def _tail(log: Path) -> list[str]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-LOG_LINES:] or ["lab.log is empty"]
