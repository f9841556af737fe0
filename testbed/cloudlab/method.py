"""What a method of the SA or of a CM is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from testbed.cloudlab.answer import malformed


@dataclass(frozen=True)
class Request:
    """One call of a method."""

    caller: str
    """URN in the client's certificate."""
    params: Mapping[str, object] = field(default_factory=dict)
    """The one struct that every method takes; its values as ``xmlrpc.decode_call`` gives them."""
    project: str = ""
    """Project of the sub-authority that was called; "" for the authority itself."""

    def text(self, name: str) -> str:
        """Return an argument that has to be text; "" when it is absent.

        Raises:
            RefusalError: code 1, it is a struct, a list or an object.
        """
        value = self.params.get(name, "")
        if not isinstance(value, str):
            raise malformed(f"{name} is not a string")
        return value

    def require(self, *names: str) -> None:
        """Refuse with code 1 unless all these arguments are there."""
        if any(name not in self.params for name in names):
            raise malformed("Missing arguments")


Method = Callable[[Request], object]
"""A method: returns the value, or raises RefusalError, FaultError or RaisedError."""
