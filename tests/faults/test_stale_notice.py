"""A revocation that a killed run left in the ledger does not speak for the machine's next time with us."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.said import Revocation


def notice(client_id: str, wait: int = 600) -> dict[str, object]:
    return {"nodelist": [{"node_id": "pc100", "client_id": client_id, "max_wait_time": wait}]}


class Recording(SimpleElasticSliceClientEndpoint):
    """Writes down what it is to clean up, and does not do it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        now = datetime.now(UTC)
        self.revocations["", "pc100"] = Revocation("pc100", "node-1", now + timedelta(minutes=5), now, now)

    def start_delete(self, nodelist) -> None:
        self.begun += [item["client_id"] for item in nodelist]


def test_a_machine_that_came_again_is_not_released_by_an_older_revocation() -> None:
    endpoint = Recording()
    endpoint.revocations["", "pc100"] = replace(endpoint.revocations["", "pc100"], releasable=True)
    endpoint.resume_deletes()
    assert endpoint.NotifyDeletePending(notice("node-7"))["value"] == 0, "it is not empty"
    assert endpoint.begun == ["node-7"], "and has to be emptied first"
    fresh = endpoint.revocations["", "pc100"]
    assert (fresh.client_id, fresh.releasable) == ("node-7", False)
    assert abs(fresh.noticed - fresh.last_notice) < timedelta(seconds=1)


def test_a_repeated_notice_for_the_same_machine_still_continues_the_older_one() -> None:
    endpoint = Recording()
    endpoint.resume_deletes()
    endpoint.end_delete(["pc100"])
    for client_id in ("node-1", ""):
        items = notice(client_id)["nodelist"]
        assert isinstance(items, list)
        if not client_id:
            del items[0]["client_id"]
        reply = endpoint.NotifyDeletePending({"nodelist": items})
        assert reply["value"] == [{**items[0], "max_wait_time": 0}]
    assert endpoint.begun == ["node-1"]
