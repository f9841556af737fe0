"""Which version of slurmrestd's API is spoken, and what it can do."""

from typing import Any

import pytest

from agent.core.errors import SlurmError
from agent.slurm.rest.api import Deed, parse_api

OF_22_05 = {"nodes": ["get"], "jobs": ["get"], "job/{job_id}": ["get", "post", "delete"], "node/{n}": ["get"]}
OF_24_11 = {
    "nodes/": ["get", "post"],
    "jobs/": ["get"],
    "node/{node_name}": ["get", "post", "delete"],
    "job/{job_id}": ["get", "post", "delete"],
}
OF_26_05 = OF_24_11 | {"jobs/requeue": ["post"]}


def description(*versions: tuple[int, dict[str, list[str]]]) -> dict[str, Any]:
    paths: dict[str, Any] = {"/openapi": {"get": {}, "servers": [{"url": "/"}]}, "/slurmdb/v0.0.44/jobs": {}}
    for version, calls in versions:
        for path, methods in calls.items():
            paths[f"/slurm/v0.0.{version}/{path}"] = {method: {} for method in methods}
    return {"openapi": "3.0.3", "paths": paths}


@pytest.mark.parametrize(
    ("offered", "version", "jobs_version"),
    [
        ([38], 38, 38),
        ([36, 37, 38], 38, 38),
        ([40, 41, 42], 42, 42),
        ([42, 43, 44, 45], 45, 44),
        ([45], 45, 45),
        ([43, 44, 45, 46, 47], 45, 44),
        ([47, 46], 46, 46),
    ],
)
def test_the_newest_version_that_is_known_is_spoken(
    offered: list[int], version: int, jobs_version: int
) -> None:
    api = parse_api(description(*((v, OF_24_11) for v in offered)))
    assert (api.version, api.jobs_version, api.name) == (version, jobs_version, f"v0.0.{version}")


def test_versions_too_old_are_named_in_the_error() -> None:
    with pytest.raises(SlurmError, match=r"v0\.0\.38 or later.*offers v0\.0\.36, v0\.0\.37"):
        parse_api(description((36, OF_22_05), (37, OF_22_05)))


def test_a_version_without_nodes_and_jobs_cannot_serve() -> None:
    with pytest.raises(SlurmError, match=r"offers v0\.0\.48"):
        parse_api(description((48, {"machines": ["get"]})))


@pytest.mark.parametrize(
    "document", [{}, {"paths": []}, {"paths": {}}, {"paths": {"/slurm/v0.0.44/jobs": 7}}]
)
def test_what_is_no_description_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(SlurmError):
        parse_api(document)


def test_each_version_can_what_it_describes() -> None:
    oldest = parse_api(description((38, OF_22_05)))
    middle = parse_api(description((42, OF_24_11)))
    newest = parse_api(description((45, OF_26_05)))
    assert {d for d in Deed if oldest.can(d)} == {Deed.CANCEL, Deed.SIGNAL}
    assert {d for d in Deed if middle.can(d)} == {
        Deed.CANCEL, Deed.COMMENT, Deed.CHANGE_NODES, Deed.DELETE_NODES,
    }  # fmt: skip
    assert {d for d in Deed if newest.can(d)} - {d for d in Deed if middle.can(d)} == {Deed.REQUEUE}


def test_signals_need_the_flags_that_say_to_whom() -> None:
    document = description((42, OF_24_11))
    flags = {"name": "flags", "schema": {"enum": ["BATCH_JOB", "FULL_JOB"]}}
    document["paths"]["/slurm/v0.0.42/job/{job_id}"]["delete"] = {"parameters": [flags]}
    api = parse_api(document)
    assert api.can(Deed.SIGNAL)
    assert api.can(Deed.SIGNAL_PART)
