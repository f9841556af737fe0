"""What the settings say of whose machines and whose slice it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from agent.cluster.settings.join import JoinSettings
from agent.config import RequestSettings
from agent.core.ownership import Ownership
from agent.parts import ownership_of


def ownership(request: RequestSettings, slice_is: str | None = None, **join: Any) -> Ownership:
    settings: Any = SimpleNamespace(
        request=request, join=JoinSettings(**join), cloudlab=SimpleNamespace(slice_is=slice_is)
    )
    return ownership_of(settings)


def test_by_default_the_names_of_the_helper_are_all_that_is_ours() -> None:
    assert ownership(RequestSettings()) == Ownership()


def test_names_are_given_and_refused_by_sets_of_nodes() -> None:
    given = ownership(RequestSettings(own=("cp-[3-5]", "web"), never=("es-1", "pc[1-2]")), "shared")
    assert given.own == {"cp-3", "cp-4", "cp-5", "web"}
    assert given.never == {"es-1", "pc1", "pc2"}
    assert given.slice_is == "shared"


def test_machines_that_slurm_asks_for_by_name_are_ours() -> None:
    cloud = {"mode": "cloud", "node_name": "client_id", "power_nodes": "burst-[1-2]"}
    given = ownership(RequestSettings(own=("web",)), **cloud)
    assert given.own == {"web"}
    assert given.given == {"burst-1", "burst-2"}


@pytest.mark.parametrize("setting", ["own", "never"])
@pytest.mark.parametrize("wrong", ["cp-[3-", "a b", "$(reboot)"])
def test_what_is_no_set_of_names_is_refused_by_name(setting: str, wrong: str) -> None:
    with pytest.raises(ValidationError, match=r"a name or a set of names such as cp-\[3-20\] is expected"):
        RequestSettings(**{setting: (wrong,)})  # type: ignore[arg-type]
