"""Tarballs that a machine unpacks when it boots: a URL, or a URL and where it is unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

INSTALL_PATH = "/"
"""Where a tarball is unpacked that names no place: the one that every CM knows."""
MAX_TARBALLS = 1024
"""Characters that the server has for all tarballs of a machine."""
TARBALL_URL = re.compile(r"[-\w./+:~]+", re.ASCII)
"""What ``GeniCMV2 AddNodes`` takes."""
_PATH = re.compile(r"/[-\w./+~]*", re.ASCII)


@dataclass(frozen=True)
class Tarball:
    """What is fetched, and where it is unpacked."""

    url: str
    path: str = INSTALL_PATH

    @property
    def argument(self) -> str | list[str]:
        """What stands for it in ``GeniCMV2 AddNodes``: older CMs know URLs only, and unpack at ``/``."""
        return self.url if self.path == INSTALL_PATH else [self.url, self.path]


def read_tarballs(items: Iterable[object]) -> tuple[Tarball, ...]:
    """Read tarballs: each a URL, or a pair of URL and absolute path.

    Raises:
        ValueError: one is something else, has a character that the server refuses, or they take more room
            together than it has.
    """
    found = tuple(_read(item) for item in items)
    # The server keeps them in one column, as ``path URL;path URL`` (GeniXML.pm).
    if (total := len(";".join(f"{each.path} {each.url}" for each in found))) > MAX_TARBALLS:
        raise ValueError(f"the URLs take {total} characters together, at most {MAX_TARBALLS} fit")
    return found


def _read(item: object) -> Tarball:
    match item:
        case str(url):
            found = Tarball(url)
        case [str(url), str(path)]:
            found = Tarball(url, path)
        case _:
            raise ValueError(f"a URL or a pair of URL and path is expected, not {item!r}")
    if not TARBALL_URL.fullmatch(found.url):
        raise ValueError(f"{found.url!r} has a character that a tarball's URL may not have (such as ? = % &)")
    if not _PATH.fullmatch(found.path):
        raise ValueError(f"{found.path!r} is not an absolute path of letters, digits and - _ . + ~")
    return found
