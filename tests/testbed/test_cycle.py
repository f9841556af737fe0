"""A foreign client goes through the whole life of a slice, at a site of each generation."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES

V3 = "{http://www.geni.net/resources/rspec/3}"


def names(manifest):
    return [node.get("client_id") for node in ET.fromstring(manifest).iter(f"{V3}node")]


@pytest.mark.parametrize("generation", [2016, 2021])
def test_a_foreign_client_creates_adds_deletes_renews_and_gives_back(start, foreign, generation):
    """§2, §3: credential, slice, sliver, status, AddNodes, DeleteNodes, renewal, DeleteSlice."""
    cloudlab = start(sites=[dataclasses.replace(site, generation=generation) for site in DEFAULT_SITES])
    ada = foreign(cloudlab)
    keys = ada.sa("GetKeys", {"credential": ada.self_credential(), "version": 2})["value"]
    ada.register()
    sliver_credential, manifest = ada.create(keys=keys)
    assert names(manifest) == ["node-1"]
    assert "urn:publicid:IDN+cluster.example.net+sliver+" in sliver_credential
    assert [node["rawstate"] for node in ada.ready()["details"].values()] == ["ISUP"]

    manifest = ada.unlocked("AddNodes", nodes={"n-2": {}, "n-3": {"node": "pc105"}})["value"]
    assert names(manifest) == ["node-1", "n-2", "n-3"]
    ada.ready()
    assert {m.node_id for m in cloudlab.machines() if m.slice_urn == ada.slice_urn} == {
        "pc100",
        "pc101",
        "pc105",
    }

    until = (datetime.now(UTC) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ada.credential = ada.sa("RenewSlice", {"credential": ada.credential, "expiration": until})["value"]
    assert ada.unlocked("RenewSlice", valid_until=until)["value"] == until.replace("Z", " GMT")
    assert all(after > before for before, after in cloudlab.expiry_moves().values())

    manifest = ada.unlocked("DeleteNodes", nodes=["n-2"])["value"]
    assert names(manifest) == ["node-1", "n-3"]

    assert ada.unlocked("DeleteSlice")["value"] == 0
    resolve = {"credentials": [ada.credential], "urn": ada.slice_urn}
    cloudlab.journal.wait_for(lambda: ada.cm("Resolve", resolve)["code"] == 12)
    assert not [m for m in cloudlab.machines() if m.slice_urn]
    assert {held.cause for held in cloudlab.journal.held()} == {"DeleteNodes", "DeleteSlice"}
    cloudlab.journal.wait_for(lambda: all(m.available for m in cloudlab.machines()))
