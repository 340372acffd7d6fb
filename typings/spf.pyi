# What services.filters uses of pyspf 2.0.
MAX_VOID_LOOKUPS: int

class TempError(Exception):
    def __init__(self, msg: str, mech: str | None = None, ext: object = None) -> None: ...

class PermError(Exception):
    def __init__(self, msg: str, mech: str | None = None, ext: object = None) -> None: ...

class query:  # noqa: N801
    cache: dict[tuple[str, str], list[object]]
    void_lookups: int
    l: str
    o: str
    d: str
    def __init__(self, i: str, s: str, h: str, local: str | None = None, receiver: str | None = None) -> None: ...
    def set_default_explanation(self, exp: str) -> None: ...
    def check(self, spf: str | None = None) -> tuple[str, int, str]: ...
