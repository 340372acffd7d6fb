"""One virtual machine for all tests of the kernel tier: it runs every experiment, the tests judge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.machine import Machine, MachineError

WITHIN_S = 200.0
"""How long the machine may take for all experiments; it takes some 50 s on two cores."""


class Findings:
    """What the experiments found."""

    def __init__(self, console: str) -> None:
        self.lines: dict[str, dict[str, Any]] = {}
        self.console = console

    def of(self, experiment: str) -> dict[str, Any]:
        """Return the facts of an experiment, or fail the test with its error."""
        line = self.lines.get(experiment)
        if line is None:
            pytest.fail(f"the machine ended before {experiment}; its console ends:\n{self.console}", False)
        if "error" in line:
            pytest.fail(f"{experiment} failed in the machine:\n{line['error']}\n{self.console}", False)
        facts: dict[str, Any] = line["facts"]
        return facts


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Findings:
    """Boot the machine, run every experiment and return what they found."""
    directory = tmp_path_factory.mktemp("machine")
    try:
        return _run(directory, say)
    except MachineError as error:
        pytest.fail(str(error), pytrace=False)


def _run(directory: Path, say: Callable[[str], None]) -> Findings:
    found = Findings("")
    with Machine(directory) as machine:
        say("a virtual machine boots")
        for line in machine.read(WITHIN_S):
            if "began" not in line:
                found.lines[line["name"]] = dict(line)
                say(f"{line['name']}: {'failed' if 'error' in line else 'done'} in {line['seconds']} s")
        found.console = machine.console()
    return found


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that shows a line of progress at once, also while output is captured."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def show(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            print(f"\n  kernel tier: {text}", end="", flush=True)

    return show
