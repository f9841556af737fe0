"""Which addresses added machines are given in the LANs of a slice, and what is said where there is none."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import ConfigError
from agent.core.model import Lan, LanPort
from agent.core.request.lans import addresses_of, free_addresses, require_lans, with_addresses

CM = "urn:cm"
MASK = "255.255.255.0"


def lan(*addresses: str, name: str = "lan-0", netmask: str = MASK) -> Lan:
    return Lan(name, tuple(LanPort(name, address, netmask) for address in addresses))


def give(lans, *machines, taken=None):
    """Return what machines with these items of ``lans`` get."""
    args = {f"n{number}": {"lans": list(items)} for number, items in enumerate(machines)}
    return [fields["lans"] for fields in with_addresses(CM, args, lans, taken or {}).values()]


def struct(address: str, name: str = "lan-0", netmask: str = MASK) -> dict[str, str]:
    return {"name": name, "address": address, "netmask": netmask}


def test_where_the_manifest_tells_masks_each_machine_gets_an_address_that_nobody_has():
    there = [lan("10.10.1.1", "10.10.1.3")]
    assert give(there, ["lan-0"], ["lan-0"]) == [[struct("10.10.1.2")], [struct("10.10.1.4")]]


def test_where_the_manifest_tells_no_mask_an_address_beside_those_of_the_members_is_given():
    assert give([lan("10.10.1.1", netmask="")], ["lan-0"]) == [[struct("10.10.1.2")]]
    assert free_addresses(lan("10.10.1.1", netmask="")) is None, "the CM may choose another"
    full = lan(*(f"10.10.1.{n}" for n in range(1, 255)), netmask="")
    assert give([full], ["lan-0"]) == [["lan-0"]]


def test_where_no_member_has_an_address_the_cm_is_given_the_name():
    assert give([lan("", netmask="")], ["lan-0"]) == [["lan-0"]]
    assert give([lan()], ["lan-0"]) == [["lan-0"]]


def test_one_member_that_tells_its_mask_is_enough():
    silent, half = LanPort("lan-0"), LanPort("lan-0", "", MASK)
    mixed = Lan("lan-0", (silent, half, LanPort("lan-0", "10.1.0.1", "255.255.0.0")))
    assert give([mixed], ["lan-0"]) == [[struct("10.1.0.2", netmask="255.255.0.0")]]
    assert free_addresses(mixed) == 2**16 - 3


def test_each_lan_has_addresses_of_its_own():
    there = [lan("10.10.1.1"), lan("10.10.2.1", name="lan-1")]
    assert give(there, ["lan-0", "lan-1"]) == [[struct("10.10.1.2"), struct("10.10.2.2", "lan-1")]]


def test_an_address_that_a_helper_chose_stays_and_is_given_to_no_other():
    chosen = struct("10.10.1.2")
    assert give([lan("10.10.1.1")], ["lan-0"], [chosen]) == [[struct("10.10.1.3")], [chosen]]
    assert give([lan()], [chosen]) == [[chosen]]


def test_a_dict_with_a_name_alone_is_as_the_name():
    assert give([lan("10.10.1.1")], [{"name": "lan-0"}]) == [[struct("10.10.1.2")]]


def test_addresses_of_machines_that_may_still_come_are_not_given():
    assert give([lan("10.10.1.1")], ["lan-0"], taken={"lan-0": ["10.10.1.2"]}) == [[struct("10.10.1.3")]]


def test_machines_without_lans_and_their_other_fields_are_as_they_were():
    args = {"a": {"node": "pc1"}, "b": {"lans": [], "startup": "true"}}
    assert with_addresses(CM, args, [], {}) == args


def test_a_lan_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError) as refusal:
        give([lan(name="a"), lan(name="b")], ["lan-9"])
    assert str(refusal.value) == (
        "LAN 'lan-9' is not in the slice at urn:cm; expected one that is there, which are: a, b."
        " A CM takes a LAN away once a single machine is left in it: when that is given back too, the next"
        " sliver has the LAN again"
    )
    with pytest.raises(ConfigError, match="which are: none"):
        require_lans(CM, ["lan-9"], [])
    assert require_lans(CM, ["a"], [lan(name="a")]) is None


def test_the_room_is_that_of_the_lan_with_the_least():
    there = [lan("10.0.0.1", netmask="255.255.255.248"), lan("10.1.0.1", name="b"), lan(name="c")]
    assert require_lans(CM, ["lan-0", "b", "c"], there) == 5
    assert require_lans(CM, ["b"], there, 253) == 253
    assert require_lans(CM, [], there) is None
    with pytest.raises(
        ConfigError, match=r"LAN 'lan-0' at urn:cm has too few free addresses in 10.0.0.0/29: 5"
    ):
        require_lans(CM, ["b", "lan-0"], there, 6)


def test_a_full_lan_is_told():
    full = lan("10.0.0.1", "10.0.0.2", netmask="255.255.255.252")
    words = "LAN 'lan-0' at urn:cm has too few free addresses in 10.0.0.0/30: 0"
    for act in (lambda: give([full], ["lan-0"]), lambda: require_lans(CM, ["lan-0"], [full])):
        with pytest.raises(ConfigError) as refusal:
            act()
        assert str(refusal.value) == words
    almost = lan("10.0.0.1", netmask="255.255.255.252")
    require_lans(CM, ["lan-0"], [almost])
    with pytest.raises(ConfigError, match="too few free addresses"):
        give([almost], ["lan-0"], ["lan-0"])


def test_an_address_for_a_cm_that_takes_none_is_refused():
    with pytest.raises(ConfigError) as refusal:
        give([lan("10.10.1.1", netmask="")], [struct("10.10.1.2")])
    assert str(refusal.value) == (
        "LAN 'lan-0' at urn:cm: expected its name alone, not 10.10.1.2: the CM chooses the address"
    )


def test_the_addresses_that_were_asked_for_are_told():
    assert addresses_of({"lans": ["a", struct("10.0.0.1", "b"), {"name": "c"}]}) == {"b": "10.0.0.1"}
    assert addresses_of({}) == {}


@pytest.mark.parametrize(
    ("netmask", "free"),
    [("255.255.255.0", 253), ("255.255.255.252", 1), ("255.255.255.254", 1), ("255.255.255.255", 0)],
)
def test_the_free_addresses_are_those_between_the_networks_own_and_the_broadcast(netmask, free):
    assert free_addresses(lan("10.0.0.1", netmask=netmask)) == free
    assert free_addresses(lan("10.0.0.1", netmask="")) is None
    assert free_addresses(lan("10.0.0.1", "172.16.0.9", netmask="255.255.255.0")) == 252 + 1


@given(
    prefix=st.integers(20, 30),
    hosts=st.sets(st.integers(1, 60), min_size=1, max_size=20),
    count=st.integers(1, 12),
)
def test_every_address_given_is_free_usable_and_given_once(prefix, hosts, count):
    network = IPv4Network(f"10.20.0.0/{prefix}")
    usable = network.num_addresses - 2
    there = {str(network.network_address + 1 + host % usable) for host in hosts}
    members = lan(*sorted(there), netmask=str(network.netmask))
    free = free_addresses(members)
    assert free == usable - len(there)
    if free < count:
        with pytest.raises(ConfigError):
            give([members], *[["lan-0"]] * count)
        return
    addresses = [items[0]["address"] for items in give([members], *[["lan-0"]] * count)]
    assert len({*addresses} | there) == count + len(there)
    for address in map(IPv4Address, addresses):
        assert address in network
        assert address not in {network.network_address, network.broadcast_address}
