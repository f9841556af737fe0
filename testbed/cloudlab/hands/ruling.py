"""Limits, quota, images and leases of a site, as its administrators set them (protogeni-2021.md §3, §7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from testbed.cloudlab.cm.rules import ClusterUse, ImageFault
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError

if TYPE_CHECKING:
    from testbed.cloudlab.engine import Engine

IMAGE_FAULTS: tuple[ImageFault, ...] = get_args(ImageFault)
CLUSTER_USES: tuple[ClusterUse, ...] = get_args(ClusterUse)
_LONGEST = 3650 * 86400.0


class RuleSteering:
    """Sets the rules of one CM while it runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {
            "image": self._image,
            "limit": self._limit,
            "most-nodes": self._most_nodes,
            "quota": self._quota,
            "lifetime": self._lifetime,
            "renew-limit": self._renew_limit,
            "cluster": self._cluster,
        }

    def image(self, at: str, image: str, fault: str, words: str = "") -> None:
        """Say why an image, as PROJECT:OS, cannot be used any more; "" that it can again.

        While it cannot, a slice with a machine that runs it can neither grow nor shrink.

        Args:
            at: domain or URN of the CM.
            image: PROJECT:OS.
            fault: one of ``IMAGE_FAULTS``, or "".
            words: what the owner of a deprecated image says.

        Raises:
            SteeringError: no such CM, image or fault.
        """
        rules = self._places.site(at).cm.rules
        images = self._places.site(at).cm.site.images
        if image not in images:
            raise SteeringError(f"there is no image {image!r}; there are {', '.join(images)}")
        found = next((known for known in IMAGE_FAULTS if known == fault), None)
        if found is None and fault:
            raise SteeringError(f"an image is {', '.join(IMAGE_FAULTS)}, not {fault!r}")
        with self._engine.mutex:
            rules.images.pop(image, None)
            if found is not None:
                rules.images[image] = (found, words)
            self._engine.journal.note(f"the image {image} at {at} is {fault or 'in order'}")

    def limit(self, at: str, kind: str, most: int | None) -> None:
        """Let a slice use so many machines of a type or class at most; None: any number.

        Raises:
            SteeringError: no such CM, or a number below 0.
        """
        cm = self._places.site(at).cm
        with self._engine.mutex:
            cm.rules.limits.pop(kind, None)
            if most is not None:
                cm.rules.limits[kind] = _natural("most", most)
            self._engine.journal.note(f"{at} lets a slice use {_number(most)} {kind}")

    def most_nodes(self, at: str, most: int | None) -> None:
        """Let a slice have so many nodes at most; None: any number.

        Raises:
            SteeringError: no such CM, or a number below 0.
        """
        cm = self._places.site(at).cm
        with self._engine.mutex:
            cm.rules.most_nodes = None if most is None else _natural("most", most)
            self._engine.journal.note(f"{at} lets a slice have {_number(most)} nodes")

    def quota(self, at: str, *, exceeded: bool) -> None:
        """Let the disk quota be exceeded: no experiment is made then (code 23).

        Raises:
            SteeringError: no such CM.
        """
        cm = self._places.site(at).cm
        with self._engine.mutex:
            cm.rules.over_quota = exceeded
            self._engine.journal.note(f"the disk quota at {at} is {'' if exceeded else 'not '}exceeded")

    def lifetime(self, at: str, seconds: float) -> None:
        """Set how far ahead of now the CM lets a sliver end; leases that were granted stay.

        Raises:
            SteeringError: no such CM, or no sensible number of seconds.
        """
        cm = self._places.site(at).cm
        with self._engine.mutex:
            cm.rules.max_sliver_lifetime = _span(seconds)
            self._engine.journal.note(f"{at} lets slivers live for {seconds:g} s")

    def renew_limit(self, name: str, at: str, seconds: float | None, *, until: bool = False) -> None:
        """Limit the renewals of one slice at a CM to so many real seconds ahead.

        Args:
            name: name or URN of the slice.
            at: domain or URN of the CM.
            seconds: how far ahead of the time of the renewal; 0: it was idle for too long, and is renewed no
                more. None: no limit of its own.
            until: how far ahead of now instead, whenever the renewal is.

        Raises:
            SteeringError: no such CM or slice, or no sensible number of seconds.
        """
        site = self._places.site(at)
        with self._engine.mutex:
            record = self._places.slice_at(name, site)
            record.renew_limit = record.expiration_max = None
            span = None if seconds is None else _span(seconds)
            if span is not None and until:
                record.expiration_max = (site.cm.around.clock.now() + span).replace(microsecond=0)
            else:
                record.renew_limit = span
            told = "no limit of its own" if seconds is None else f"a limit of {seconds:g} s"
            self._engine.journal.note(f"renewals of {record.name} at {at} have {told}")

    def cluster(self, at: str, use: str) -> None:
        """Say whether the CM's module ``cluster`` admits users: one of ``CLUSTER_USES``.

        Raises:
            SteeringError: no such CM, or something else.
        """
        cm = self._places.site(at).cm
        found = next((known for known in CLUSTER_USES if known == use), None)
        if found is None:
            raise SteeringError(f"cluster is for {', '.join(CLUSTER_USES)}, not {use!r}")
        with self._engine.mutex:
            cm.rules.cluster = found
            self._engine.journal.note(f"the module cluster at {at} is {use}")

    # --- commands

    def _image(self, command: Mapping[str, Any]) -> None:
        self.image(*(arguments.text(command, key) for key in ("at", "image", "fault", "words")))

    def _limit(self, command: Mapping[str, Any]) -> None:
        self.limit(arguments.text(command, "at"), arguments.text(command, "type"), _whole(command, "most"))

    def _most_nodes(self, command: Mapping[str, Any]) -> None:
        self.most_nodes(arguments.text(command, "at"), _whole(command, "most"))

    def _quota(self, command: Mapping[str, Any]) -> None:
        self.quota(arguments.text(command, "at"), exceeded=arguments.switch(command, "exceeded"))

    def _lifetime(self, command: Mapping[str, Any]) -> None:
        self.lifetime(arguments.text(command, "at"), arguments.number(command, "seconds"))

    def _renew_limit(self, command: Mapping[str, Any]) -> None:
        seconds = None if command.get("seconds") is None else arguments.number(command, "seconds")
        name, at = arguments.text(command, "slice"), arguments.text(command, "at")
        self.renew_limit(name, at, seconds, until=arguments.switch(command, "until"))

    def _cluster(self, command: Mapping[str, Any]) -> None:
        self.cluster(arguments.text(command, "at"), arguments.text(command, "use"))


def _whole(command: Mapping[str, Any], key: str) -> int | None:
    return None if command.get(key) is None else arguments.whole(command, key)


def _natural(name: str, value: int) -> int:
    if value < 0:
        raise SteeringError(f"{name} must not be below 0, as {value} is")
    return value


def _span(seconds: float) -> timedelta:
    if not (math.isfinite(seconds) and 0 <= seconds <= _LONGEST):
        raise SteeringError(f"seconds must be a number from 0 to {_LONGEST:g}, not {seconds}")
    return timedelta(seconds=seconds)


def _number(most: int | None) -> str:
    return "any number of" if most is None else f"at most {most}"
