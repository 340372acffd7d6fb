"""What the owner does before there is a sandbox: names, and reasons why there can be none."""

from __future__ import annotations

import os

import pytest

from mailbed import sandbox
from mailbed.errors import NameInUse, UsageError


@pytest.mark.parametrize(
    ("settings", "said", "told"),
    [
        pytest.param(
            {"kernel.apparmor_restrict_unprivileged_userns": "1"},
            "unshare: write failed /proc/self/uid_map: Operation not permitted",
            "(kernel.apparmor_restrict_unprivileged_userns = 1): "
            "run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run mailbed as root",
            id="Ubuntu's AppArmor",
        ),
        pytest.param(
            {"kernel.unprivileged_userns_clone": "0"},
            "unshare: unshare failed: Operation not permitted",
            "(kernel.unprivileged_userns_clone = 0): "
            "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run mailbed as root",
            id="Debian's old setting",
        ),
        pytest.param(
            {"user.max_user_namespaces": "0"},
            "unshare: unshare failed: No space left on device",
            "(user.max_user_namespaces = 0): run `sudo sysctl -w user.max_user_namespaces=15000`",
            id="no user namespaces left",
        ),
        pytest.param(
            {"user.max_net_namespaces": "0"},
            "",
            "(user.max_net_namespaces = 0)",
            id="no network namespaces left",
        ),
        pytest.param(
            {
                "kernel.apparmor_restrict_unprivileged_userns": "0",
                "kernel.unprivileged_userns_clone": "1",
                "user.max_user_namespaces": "15000",
            },
            "unshare: seccomp says no",
            "the kernel refuses a sandbox (unshare: seccomp says no): run mailbed as root, or see `mailbed",
            id="something else",
        ),
        pytest.param({}, "", "the kernel refuses a sandbox (unshare failed)", id="nothing was said"),
    ],
)
def test_a_refusal_names_the_setting(settings: dict[str, str], said: str, told: str) -> None:
    """One line says which setting forbids a sandbox, how to change it, or to use root."""
    line = sandbox.diagnose(said, settings.get)
    assert told in line
    assert "root" in line
    assert "\n" not in line


def test_settings_are_read_from_the_kernel() -> None:
    """A setting that the kernel has is read as sysctl does; one that it has not is None."""
    assert sandbox.read_setting("kernel.ostype") == "Linux"
    assert sandbox.read_setting("kernel.no_such_setting") is None


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a b", "a\n", "ä", "x" * 65, "a\0b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """A lab's name is letters, digits, dots and hyphens."""
    with pytest.raises(UsageError, match="is no name for a lab"):
        sandbox.listen(name)


def test_a_name_is_taken_once() -> None:
    """A name in use is refused with what to do about it; it is free again the moment the lab is gone."""
    name = f"test-name-{os.getpid()}"
    assert name not in sandbox.running()
    with sandbox.listen(name):
        assert name in sandbox.running()
        with pytest.raises(NameInUse, match=f"mailbed down --lab {name}"):
            sandbox.listen(name)
    assert name not in sandbox.running()
    sandbox.listen(name).close()


def test_users_do_not_share_names() -> None:
    """The address of a control socket holds the user's id."""
    assert sandbox.address("x", 5) == "\0mailbed/5/x"
    assert sandbox.address("x") == f"\0mailbed/{os.getuid()}/x"


@pytest.mark.parametrize(
    ("uid_map", "expected"),
    [
        pytest.param("         0          0 4294967295\n", True, id="the machine itself"),
        pytest.param("      1000       1000          1\n", False, id="one user in a namespace"),
        pytest.param("0 1000 1\n1 100000 65536\n", False, id="a rootless container"),
    ],
)
def test_subordinate_users(uid_map: str, expected: bool) -> None:
    """Subordinate ids are mapped only where /etc/subuid speaks of the ids that we see."""
    assert sandbox.all_users_mapped(uid_map) is expected
