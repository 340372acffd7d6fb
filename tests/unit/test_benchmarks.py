"""What benchmarks make of what they read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scripts.benchmarks import machine, perf

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
