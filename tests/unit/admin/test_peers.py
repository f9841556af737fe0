"""Who may call the local API, and for what."""

import grp
import os

import pytest

from agent.admin.peers import Peer, Permission, Permissions
from agent.admin.settings import AdminSettings
from tests.unit.admin.conftest import NOBODY

STRANGER = Peer(NOBODY.pw_uid, NOBODY.pw_gid)
THEIR_GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name


@pytest.mark.parametrize(
    ("settings", "reads", "acts"),
    [
        ({}, True, False),
        ({"readers": ("daemon",)}, False, False),
        ({"readers": ("nobody",)}, True, False),
        ({"reader_groups": ("daemon",)}, False, False),
        ({"reader_groups": (THEIR_GROUP,)}, True, False),
        ({"operators": ("nobody",)}, True, True),
        ({"readers": ("daemon",), "operators": ("nobody",)}, True, True),
        ({"readers": ("daemon",), "operator_groups": (THEIR_GROUP,)}, True, True),
    ],
)
def test_who_may_read_and_who_may_act_goes_by_user_and_group(settings, reads: bool, acts: bool) -> None:
    permissions = Permissions(AdminSettings(**settings))
    assert permissions.allow(STRANGER, Permission.READ) is reads
    assert permissions.allow(STRANGER, Permission.ACT) is acts
    assert permissions.allow(STRANGER, Permission.ANYBODY)


def test_root_and_the_daemons_own_user_always_may() -> None:
    permissions = Permissions(AdminSettings(readers=("nobody",), operators=("nobody",)))
    for uid in (0, os.getuid()):
        assert permissions.allow(Peer(uid, 0), Permission.READ)
        assert permissions.allow(Peer(uid, 0), Permission.ACT)


def test_a_user_of_no_name_is_known_by_the_number() -> None:
    peer = Peer(987654321, 987654321)
    assert peer.name == "uid 987654321"
    assert peer.groups() == {987654321}
