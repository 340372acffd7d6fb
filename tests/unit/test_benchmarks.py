"""What benchmarks make of what they read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scripts.benchmarks import machine, mail, perf

SAMPLES = """\
mx7/mail-server
\tffffffff815e51e3 do_wp_page
\tffffffff821f51c6 exc_page_fault
\t           98aa2 malloc

mx8/mail-server
\t          12d068 _PyEval_EvalFrameDefault

mailbed-zygote
\tffffffff813620e2 handle_softirqs
\tffffffff821f51c6 exc_page_fault

bash
\tffffffff821f51c6 exc_page_fault

mailbed-zygote
\tffffffff81000000 copy_page_range
\tffffffff81000000 dup_mmap
\tffffffff81000000 kernel_clone
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mailbed-lab", "supervisor"),
        ("mailbed-zygote", "zygote"),
        ("mailbed-record", "recorder"),
        ("corp-msa/mail-s", "services"),
        ("python", "others"),
    ],
)
def test_a_process_is_known_by_its_name(name: str, kind: str) -> None:
    """Services are called HOST/ROLE, cut to what the kernel keeps of a name."""
    assert machine.kind_of(name) == kind


def test_work_is_what_the_innermost_known_function_does() -> None:
    """Each sample counts once, for whom it was taken; strangers' do not count."""
    each = round(1 / perf.FREQUENCY, 3)
    assert perf.work(SAMPLES.splitlines(keepends=True)) == {
        "services": {"copying and clearing pages": each, perf.REST: each},
        "zygote": {"timers and packets": each, "forking": each},
    }


@pytest.mark.parametrize("lines", [[], ["\n"], ["\tffffffff821f51c6 exc_page_fault\n"]])
def test_no_samples(lines: Sequence[str]) -> None:
    """Nothing seen is nothing done."""
    assert perf.work(lines) == {}


MESSAGE = ["8 fdatasync(3)  = 0", '7 sendto(9, "250 2.0.0 Ok: queued as A1\\r\\n", 28, 0) = 28']


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        ([], (0, 0, 0)),
        (MESSAGE * 2, (2, 2, 0)),
        (MESSAGE[::-1], (1, 1, 1)),
        ([*MESSAGE, MESSAGE[1]], (1, 2, 1)),
        (["8 <... fsync resumed>) = 0", MESSAGE[1]], (1, 1, 0)),
        (["8 fsync(3 <unfinished ...>", MESSAGE[1]], (0, 1, 1)),
        (["8 fsync(3) = -1 EIO (Input/output error)", MESSAGE[1]], (0, 1, 1)),
        (['7 write(9, "250 2.1.0 Ok\\r\\n", 14) = 14'], (0, 0, 0)),
    ],
)
def test_each_acknowledgement_needs_a_sync_that_has_ended(
    lines: Sequence[str], counts: tuple[int, int, int]
) -> None:
    """Syncs that ended, acknowledgements, and those of them with no sync since the one before."""
    assert mail.synced(lines) == counts


@pytest.mark.parametrize(("rate", "met"), [(400, True), (399, False)])
def test_mail_is_held_against_its_targets(rate: float, met: bool) -> None:
    """Rates are to be so many times the peer's; of accepting, those with 10 sessions alone are asked for."""
    results = {
        "accept": {"connect_1": {"mailbed": 1, "postfix": 100}},
        "relay": {"reuse_1": {"mailbed": rate, "postfix": 100}},
        "queue": {"mailbed": {"list_s": 0.5, "start_s": 1.0, "bytes_a_message": 800}},
    }
    assert mail.judge(results)["met"] is met


def test_what_no_server_can_beat_stands_beside_the_rates() -> None:
    """The rate without a server is shown, and is held against nothing."""
    results = {
        "relay": {"connect_1": {"mailbed": 800.0, "postfix": 200.0}},
        "straight": {"connect_1": {"smtp-sink": 2157.0}},
    }
    report = mail.judge(results) | {"runs": 1, "messages": 1, "file_system": "ext4", "load_before": 0.0}
    text = mail.table(report)
    assert report["met"]
    assert [line.split() for line in text.splitlines()[2:4]] == [
        ["relay,", "1", "sessions", "800", "200", "4.00", "at", "least", "4:", "reached"],
        ["smtp-sink", "alone,", "1", "sessions", "2,157"],
    ]
