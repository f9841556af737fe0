"""Remembers what CMs refuse until a person acts, and tells each once, with what can be done."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping

from agent.core.desk import Desk
from agent.core.errors import CloudlabError, ImageError
from agent.core.events import EventKind, OfCm
from agent.core.impasse import Cause, Impasse, cause_of
from agent.core.model import Sliver
from agent.core.request.images import images_of

_NEVER = "choose another type, image or CM; it is asked again once settings change"


def mend_of(error: CloudlabError, sliver: Sliver | None) -> str:
    """Say what a person can do; for an image, which machines run it too.

    Args:
        error: the refusal.
        sliver: what the CM holds for us; None for nothing.
    """
    mend = error.mend
    if not isinstance(error, ImageError):
        return mend
    running: dict[str, list[str]] = {}
    images = images_of(sliver.manifest) if sliver else {}
    for node in sliver.nodes if sliver else ():
        running.setdefault(images.get(node.client_id, ""), []).append(node.client_id)
    meant = [image for image in running if error.image and _is_same(image, error.image)]
    if error.image and not meant and "" not in running:
        return f"no machine of the sliver runs {error.image}: see [request] image; or {mend}"
    # Which image the default is a manifest does not tell.
    suspects = meant or ([""] if error.image else sorted(running))
    said = [f"{image or 'the default image'}: {', '.join(running[image])}" for image in suspects]
    told = "; ".join(said)
    return f"{mend}; machines by image: {told}" if told else mend


def _is_same(name: str, image: str) -> bool:
    """Tell whether a refusal means an image: it may leave the URN's beginning or the version out.

    Project and image are parted by a colon, slashes, or in a deprecated image's refusal one slash
    (``Image DeprecatedMessage``).
    """
    (where, parts), (meant_where, meant) = _parts(name), _parts(image)
    return bool(name) and parts[:2] == meant[:2] and (where == meant_where or not where or not meant_where)


def _parts(image: str) -> tuple[str, list[str]]:
    """Return the authority of an image, "" for none, and its project, name and version: in lower case."""
    authority, sign, name = image.lower().rpartition("+image+")
    return authority, re.split(r":|/+", name) if sign or "://" not in name else [name]


class Impasses:
    """Remembers them, and tells each once. Thread-safe.

    Args:
        desk: the manager's.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Cause, str], Impasse] = {}

    def refused(self, cm: str, error: CloudlabError, sliver: Sliver | None) -> Impasse | None:
        """Take note of a refusal; return None for one that may pass by itself."""
        cause = cause_of(error)
        if cause is None:
            return None
        about = error.image if isinstance(error, ImageError) else ""
        mend = mend_of(error, sliver)
        return self._add(Impasse(cm, cause, about, f"{error}; {mend}" if mend else str(error)))

    def never(self, cm: str, kind: str, error: CloudlabError) -> None:
        """Take note that a CM could not give a machine of a type even if it were empty."""
        words = f"no more machines{f' of type {kind}' if kind else ''} are asked for: {error}; {_NEVER}"
        self._add(Impasse(cm, Cause.NEVER, kind, words))

    def _add(self, impasse: Impasse) -> Impasse:
        key = (impasse.cm, impasse.cause, impasse.about)
        with self._lock:
            is_new = key not in self._known
            self._known[key] = impasse
        # That a sliver is being deleted is told already, as an event of its own.
        if is_new and impasse.cause is not Cause.ENDING:
            self._desk.tell(EventKind.HINDERED, impasse.cm, impasse.words, OfCm(impasse.cm))
        return impasse

    def over(self, cm: str, *causes: Cause) -> None:
        """Take note that a CM does again what it refused for these causes."""
        with self._lock:
            ended = [key for key in self._known if key[0] == cm and key[1] in causes]
            for key in ended:
                del self._known[key]
        for _, cause, about in ended:
            what = f"{cause} ({about})" if about else cause
            self._desk.tell(EventKind.HINDERED, cm, f"over: {what} hinders nothing any more", OfCm(cm))

    def forget(self) -> None:
        """Forget what settings may have mended."""
        with self._lock:
            self._known = {key: known for key, known in self._known.items() if key[1] is not Cause.NEVER}

    def known(self) -> tuple[Impasse, ...]:
        """Return what a person has to act on."""
        with self._lock:
            return tuple(self._known.values())

    def by_cause(self, cms: Iterable[str]) -> Mapping[tuple[str, str], bool]:
        """Tell for each CM and cause whether it hinders."""
        known = {(each.cm, each.cause) for each in self.known()}
        return {(cm, cause.value): (cm, cause) in known for cm in cms for cause in Cause}
