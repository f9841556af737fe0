"""Where a test bed goes on a machine, and what it takes for its own."""

from __future__ import annotations

import pwd
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.instance import INDICES, free_subnet, usable_directory
from testbed.machines import accounts
from testbed.registry import BedError, Instance


def instance(index: int) -> Instance:
    return Instance(
        id="0f",
        index=index,
        subnet=f"10.222.{index}.0/24",
        directory="/tmp/bed",
        owner_pid=1,
        owner_start=1,
    )


@given(index=st.sampled_from(INDICES), number=st.integers(2, 254))
def test_interface_names_fit_and_belong_to_one_instance_only(index: int, number: int) -> None:
    bed = instance(index)
    for name in (bed.bridge, bed.link_of(number), bed.lan_of(number), bed.card_of(number, 9)):
        assert len(name) <= 15
        assert [other for other in INDICES if instance(other).owns_link(name)] == [index]


def test_interfaces_of_others_are_not_ours() -> None:
    assert not any(
        instance(1).owns_link(name) for name in ("lo", "eth0", "esb12", "esb12m3", "esbx", "br-esb1")
    )


def test_ports_of_instances_do_not_overlap_and_are_never_chosen_for_outgoing_connections() -> None:
    ports = [port for index in INDICES for port in instance(index).ports]
    assert len(ports) == len(set(ports))
    assert min(ports) > 1024
    assert max(ports) < 32768


@given(
    index=st.sampled_from(INDICES),
    taken=st.lists(
        st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "0.0.0.0/1"])
    ),
)
def test_the_chosen_subnet_overlaps_nothing_in_use(index: int, taken: list[str]) -> None:
    networks = [IPv4Network(network) for network in taken]
    chosen = free_subnet(index, networks)
    assert chosen is None or not any(IPv4Network(chosen).overlaps(network) for network in networks)


def test_without_any_free_subnet_there_is_none() -> None:
    assert free_subnet(3, [IPv4Network("0.0.0.0/0")]) is None


@pytest.mark.parametrize(
    "path", ["/run/bed", "/var/spool/bed", "/tmp/with space", "/tmp/100%", "/tmp/" + "x" * 100]
)
def test_a_directory_that_slurm_or_a_machine_cannot_use_is_refused(path: str) -> None:
    with pytest.raises(BedError, match=r"directory|path"):
        usable_directory(Path(path))


def test_the_accounts_of_a_machine_have_no_password_and_its_users_are_root() -> None:
    host = [pwd.struct_passwd(("root", "x", 0, 0, "root", "/root", "/bin/sh"))]
    host.append(pwd.struct_passwd(("munge", "x", 102, 105, "", "/nonexistent", "/usr/sbin/nologin")))
    passwd, shadow = accounts(host, ["ada", "root"], Path("/bed/home"))
    assert passwd.splitlines() == [
        "root:x:0:0::/bed/home:/bin/bash",
        "ada:x:0:0::/bed/home:/bin/bash",
        "munge:x:102:105::/nonexistent:/usr/sbin/nologin",
    ]
    assert [line.split(":")[:2] for line in shadow.splitlines()] == [
        ["root", "*"],
        ["ada", "*"],
        ["munge", "*"],
    ]
