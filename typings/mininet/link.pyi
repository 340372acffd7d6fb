from typing import Any

from mininet.node import Node

class Intf:
    name: str
    ip: str | None
    prefixLen: str | int | None
    mac: str | None
    node: Node
    def __init__(self, name: str, node: Node | None = ..., **params: Any) -> None: ...
    def config(self, **params: Any) -> dict[str, Any]: ...

class Link:
    def __init__(self, node1: Node, node2: Node, **params: Any) -> None: ...
    @classmethod
    def makeIntfPair(cls, intfname1: str, intfname2: str, *args: Any, **params: Any) -> Any: ...
    def stop(self) -> None: ...
