"""What is asked of Cloudlab: whether the request can be had, and what a CM will not do of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.check.finding import Finding, fine, look, warning
from agent.config import RequestSettings, Settings
from agent.core.request.document_helper import DocumentHelper
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.parts import helper_of

_SUBJECT = "request"


def check_request(
    settings: Settings, tell: Callable[[SimpleElasticSliceHelper], object] = lambda _: None
) -> Iterator[Finding]:
    """Make the request as the daemon does, and run the profile script for that where there is one.

    Args:
        settings: all of agent.conf.
        tell: is given the helper, where there can be one.
    """
    return look(_SUBJECT, lambda: _look(settings, tell), _mend(settings.request))


def _look(settings: Settings, tell: Callable[[SimpleElasticSliceHelper], object]) -> Iterator[Finding]:
    helper = helper_of(settings, None)
    tell(helper)
    if not isinstance(helper, DocumentHelper):
        yield fine(_SUBJECT, "as [request] says")
        return
    count = len(helper.machines)
    seen = (
        f"{helper.machines[0]} alone" if count == 1 else f"{count} machines, {helper.machines[0]} the first"
    )
    yield fine(_SUBJECT, f"{helper.source}: {seen}; added machines are like {helper.like}")
    for doubt in helper.doubts:
        yield warning(_SUBJECT, doubt, "name the one that they are to be like as [request] like")
    for remark in helper.remarks:
        yield warning(_SUBJECT, remark, f"change {helper.source} where that matters")
    helper.check_added()


def _mend(request: RequestSettings) -> str:
    if not request.profile_script:
        return "see [request]"
    script = Path(request.profile_script)
    # Its own words tell more than one sentence can.
    command = shlex.join((request.profile_python, script.name))
    return f"see [request], or run it by hand: cd {shlex.quote(str(script.parent))} && {command}"
