"""What holds for every test: no test is skipped in silence, and Ctrl-C reaches what it starts.

`--no-skips FILE` makes the run fail when a test was skipped that the file does not name. Each line is the
beginning of a test's node id, or of the reason that the skip gives, and says why that is all right:

    tests/kernel/ # needs a kernel with netem and Open vSwitch
    needs root # run by `scripts/test` once as each user
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C reaches what the tests start, even where a shell that started them has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Skips:
    """Looks for skips that nothing allows."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """`allowed` are beginnings of node ids or of reasons."""
        self._allowed = tuple(allowed)
        self.others: list[str] = []

    def saw(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # What is expected to fail is reported as skipped, too.
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = _reason(report.longrepr)
        if not (report.nodeid.startswith(self._allowed) or reason.startswith(self._allowed)):
            self.others.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.saw(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.saw(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.others and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.others:
            terminalreporter.section("skipped, and not allowed to be")
            for line in self.others:
                terminalreporter.line(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", metavar="FILE", type=Path, help="fail if a test is skipped that FILE does not name"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("no_skips")
    if path is not None:
        config.pluginmanager.register(Skips(read_allowed(path)), "no-skips")


def read_allowed(path: Path) -> list[str]:
    """Return what the file allows. Raises: pytest.UsageError for a line without a reason."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise pytest.UsageError(f"--no-skips: {path}: {error.strerror}") from None
    allowed: list[str] = []
    for number, line in enumerate(lines, start=1):
        beginning, mark, why = (part.strip() for part in line.partition("# "))
        if beginning and not (mark and why):
            raise pytest.UsageError(f"{path}:{number}: say why: {beginning} # …")
        if beginning:
            allowed.append(beginning)
    return allowed


def _reason(longrepr: object) -> str:
    """Return the reason that a skip gives: `(file, line, "Skipped: reason")`."""
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
