"""Enhanced status codes (RFC 3463): every reply that the mail service makes has a sound one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import services.smtp
from services.smtp.errors import LookupFailed
from services.smtp.mx import RoutingError
from services.smtp.replies import Reply

ROOT = Path(services.smtp.__file__).parent
MODULES = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in ("__init__", "__main__"))

# Subject and detail of the registered ones (RFC 5248): www.iana.org/assignments/smtp-enhanced-status-codes
REGISTERED = {
    "0": "0",
    "1": "0 1 2 3 4 5 6 7 8 9 10",
    "2": "0 1 2 3 4",
    "3": "0 1 2 3 4 5 6",
    "4": "0 1 2 3 4 5 6 7 8",
    "5": "0 1 2 3 4 5 6",
    "6": "0 1 2 3 4 5 6 7 8 9 10",
    "7": "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
}
_REPLY = re.compile(r"([245]\d\d)[ -]([^ ]+) .*")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sound(code: str, enhanced: str) -> bool:
    """Whether a reply's code is of one class with its enhanced code, and that is a registered one."""
    kind, subject, detail = enhanced.split(".")
    return code[0] == kind and detail in REGISTERED.get(subject, "").split()


def constants(tree: ast.Module) -> Iterator[str]:
    """Every string of a module that is no docstring."""
    documented = (node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    docstrings = {ast.get_docstring(node, clean=False) for node in documented}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


def replies(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each reply that a module makes: its code and its enhanced code, empty if that is no literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reply":
            code, enhanced = (arg.value if isinstance(arg, ast.Constant) else "" for arg in node.args[:2])
            if code:
                yield str(code), str(enhanced)
    for text in constants(tree):
        if found := _REPLY.match(text):
            yield found[1], found[2]


@pytest.mark.parametrize("module", MODULES)
def test_replies_of_the_service(module: str) -> None:
    """Each reply that stands in a module has a registered code of its own class."""
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    unsound = [reply for reply in replies(tree) if reply[1] and not sound(*reply)]
    assert not unsound
    # What is chosen at run time stands somewhere as it is.
    chosen = [text for text in constants(tree) if _ENHANCED.fullmatch(text)]
    assert [text for text in chosen if not sound(text, text)] == []


def test_the_table_has_something_to_look_at() -> None:
    """The modules are read as they are meant to be: a good many replies are found in them."""
    trees = [ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8")) for module in MODULES]
    assert len([reply for tree in trees for reply in replies(tree)]) > 30


def kinds(error: type[Exception]) -> list[type[Exception]]:
    return [error, *(kind for below in error.__subclasses__() for kind in kinds(below))]


@pytest.mark.parametrize(
    ("error", "code"), [*((kind, "550") for kind in kinds(RoutingError)), (LookupFailed, "451")]
)
def test_errors_that_become_replies(error: type[RoutingError | LookupFailed], code: str) -> None:
    """What keeps a message from being routed has a code, permanent or not as the error is."""
    assert sound(code, error.enhanced_code)


@pytest.mark.parametrize(
    "code", [211, 220, 250, 251, 299, 421, 432, 450, 452, 455, 499, 500, 521, 534, 550, 551, 556, 599]
)
def test_replies_without_a_code(code: int) -> None:
    """A report's status has the reply's class, whatever code another server gave it, or none."""
    assert all(sound(str(code), Reply(code, said, "x").status) for said in ("", "4.1.1", "5.1.1"))
