"""One server with several modules: which dispatcher answers a path."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cryptography import x509

from testbed.cloudlab.wire.dispatch import Dispatcher
from testbed.cloudlab.wire.https import Reply

_MODULE = re.compile(r"/protogeni/xmlrpc/(?P<module>[\w-]+)", re.ASCII)


class Modules:
    """Answers as the module of the path does; as the main one where there is no such module."""

    def __init__(self, main: Dispatcher, others: Mapping[str, Dispatcher]) -> None:
        self._main = main
        self._others = others

    def is_reachable(self) -> bool:
        """Tell whether a connection that is made now comes to stand."""
        return self._main.is_reachable()

    def answer(self, path: str, body: bytes, certificate: x509.Certificate) -> Reply | None:
        """Answer one POST; None to close the connection without a reply."""
        match = _MODULE.match(path)
        dispatcher = self._others.get(match["module"] if match else "", self._main)
        return dispatcher.answer(path, body, certificate)
