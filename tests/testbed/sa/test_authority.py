"""The slice authority (protogeni.md §2, §5)."""

from __future__ import annotations

import re
import xmlrpc.client
from datetime import UTC, datetime, timedelta

import pytest

from testbed.cloudlab.documents.credentials import Issuer, Subject


def expiry(credential):
    found = re.search(r"<expires>(.*?)</expires>", credential)
    return datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def stamp(clock, **later):
    return (clock.now() + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_self_credential_is_cached_until_its_last_second(ada, clock):
    """§2.2: 24 hours, the same string, even with a urn."""
    first = ada.self_credential()
    assert timedelta(hours=23, minutes=59) < expiry(first) - clock.now() <= timedelta(hours=24)
    assert "<target_urn>urn:publicid:IDN+example.net+authority+sa</target_urn>" in first
    assert ada.sa("GetCredential", {"urn": "urn:publicid:IDN+example.net+slice+x"})["value"] == first
    clock.offset = timedelta(hours=24, seconds=1)
    assert ada.self_credential() != first


def test_an_expired_credential_is_code_1_and_says_so(ada, clock):
    """§2."""
    old = ada.self_credential()
    clock.offset = timedelta(hours=25)
    answer = ada.sa("GetKeys", {"credential": old})
    assert answer["code"] == 1
    assert re.search(r"invalid credential \(expired at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)", answer["output"])


def test_slice_credentials_track_the_slice(ada, clock):
    """§2.2, §2.4, §2.5: 6 hours by default; a new one after renewal; the old one stays good."""
    ada.register()
    assert timedelta(hours=5, minutes=59) < expiry(ada.credential) - clock.now() <= timedelta(hours=6)
    ask = {"credential": ada.self_credential(), "urn": ada.slice_urn}
    assert ada.sa("GetCredential", ask)["value"] == ada.credential
    until = stamp(clock, days=3)
    renewed = ada.sa("RenewSlice", {"credential": ada.credential, "expiration": until})["value"]
    assert expiry(renewed) == datetime.fromisoformat(until)
    assert ada.sa("GetCredential", ask)["value"] == renewed
    again = ada.sa("RenewSlice", {"credential": ada.credential, "expiration": until})
    assert again["code"] == 0


@pytest.mark.parametrize(
    ("credentials", "code", "words"),
    [
        ("text", 1, "Credentials should be a array not a singleton"),
        ([], 1, "You did not supply any credentials!"),
        (["<x/>"], 1, "invalid credential"),
        (["not xml"], 1, "invalid credential"),
    ],
)
def test_bad_credentials_are_refused(eva, credentials, code, words):
    """§2."""
    answer = eva.sa("GetKeys", {"credentials": credentials})
    assert (answer["code"], words in answer["output"]) == (code, True), answer


def test_no_credential_is_code_1(eva):
    """§2."""
    assert eva.sa("GetKeys", {})["code"] == 1


def test_a_changed_credential_is_refused(eva):
    """§2: the signature is checked."""
    forged = eva.self_credential().replace("user+ada", "user+bob")
    assert "invalid credential" in eva.sa("GetKeys", {"credential": forged})["output"]


def test_a_credential_signed_by_a_user_is_refused(cloudlab, ada, clock):
    """§2."""
    me = cloudlab.identities.users["ada"]
    owner = Subject("urn:publicid:IDN+example.net+user+ada", me.certificate_base64)
    target = Subject("urn:publicid:IDN+example.net+authority+sa", me.certificate_base64)
    forged = Issuer(me).issue(owner, target, clock.now() + timedelta(hours=1))
    answer = ada.sa("GetKeys", {"credential": forged})
    assert (answer["code"], answer["output"]) == (3, "Cannot find root certificate for credential signer")


def test_another_users_credential_is_code_3(cloudlab, ada, foreign):
    """§2: one bad credential in the list fails the call."""
    theirs = foreign(cloudlab, "bob").self_credential()
    assert ada.sa("GetKeys", {"credential": theirs})["output"] == "This is not your credential"
    assert ada.sa("GetKeys", {"credentials": [ada.self_credential(), theirs]})["code"] == 3


def test_a_slice_credential_is_no_self_credential(eva):
    """§2."""
    eva.register()
    answer = eva.sa("GetKeys", {"credential": eva.credential})
    assert (answer["code"], answer["output"]) == (3, "This credential is for another target!")


def test_only_the_creator_and_those_bound_get_the_credential(cloudlab, ada, foreign):
    """§2.2, §2.8."""
    ada.register()
    bob = foreign(cloudlab, "bob")
    ask = {"credential": bob.self_credential(), "urn": ada.slice_urn}
    assert bob.sa("GetCredential", ask)["output"] == "Not your slice!"
    bind = {"credential": ada.credential, "urn": "urn:publicid:IDN+example.net+user+bob"}
    assert ada.sa("BindToSlice", bind)["value"] == 0
    assert "user+bob</owner_urn>" in bob.sa("GetCredential", ask)["value"]
    assert ada.sa("BindToSlice", {**bind, "urn": "urn:publicid:IDN+example.net+user+eve"})["code"] == 12


@pytest.mark.parametrize(
    ("urn", "code"),
    [
        ("nonsense", 1),
        ("urn:publicid:IDN+example.net+slice+none", 12),
        ("urn:publicid:IDN+example.net+image+x:y", 13),
        ("urn:publicid:IDN+example.net+project+labproj", 0),
    ],
)
def test_get_credential_wants_a_slice_or_a_project(eva, urn, code):
    """§2.2."""
    assert eva.sa("GetCredential", {"credential": eva.self_credential(), "urn": urn})["code"] == code


@pytest.mark.parametrize("name", ["a", "under_score", "do.t", "-ab", "ab-", "x" * 20])
def test_slice_names_have_2_to_19_letters_digits_and_hyphens(eva, name):
    """§2.4."""
    params = {"credential": eva.self_credential(), "urn": f"urn:publicid:IDN+example.net+slice+{name}"}
    answer = eva.sa("Register", params)
    assert (answer["code"], "not a valid slice name" in answer["output"]) == (1, True), answer


def test_a_name_is_taken_in_all_projects(eva):
    """§2.4: unique by domain and name."""
    eva.register("one", project="labproj")
    params = {"credential": eva.self_credential(), "urn": "urn:publicid:IDN+example.net+slice+one"}
    answer = eva.sa("Register", params)
    assert (answer["code"], "already a registered slice" in answer["output"]) == (2, True)


def test_a_project_makes_urns_of_its_own(eva):
    """§1.1, §2.4: by hrn, and by a URN of the domain."""
    for number, named in enumerate(
        [{"hrn": "s0", "type": "Slice"}, {"urn": "urn:publicid:IDN+example.net+slice+s1"}]
    ):
        params = {"credential": eva.self_credential(), **named}
        made = eva.sa("Register", params, project="labproj")["value"]
        assert f"<target_urn>urn:publicid:IDN+example.net:labproj+slice+s{number}</target_urn>" in made


def test_a_slice_of_a_project_is_not_made_at_the_top(eva):
    """§2.4."""
    params = {"credential": eva.self_credential(), "urn": "urn:publicid:IDN+example.net:labproj+slice+one"}
    answer = eva.sa("Register", params)
    assert (answer["code"], "Authority mismatch" in answer["output"]) == (1, True)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"minutes": 4}, "such a short life for a slice"),
        ({"days": 91}, "maximum"),
        ({"hours": 5}, "Cannot shorten"),
    ],
)
def test_renewal_has_a_floor_a_cap_and_never_shortens(eva, clock, later, words):
    """§2.5, §5."""
    eva.register()
    answer = eva.sa("RenewSlice", {"credential": eva.credential, "expiration": stamp(clock, **later)})
    assert (answer["code"], words in answer["output"]) == (2, True), answer


@pytest.mark.parametrize("params", [{}, {"expiration": "tomorrow"}, {"expiration": 1935770400}])
def test_renewal_without_a_date_is_fault_32600(eva, params):
    """§2.5."""
    eva.register()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        eva.sa("RenewSlice", {"credential": eva.credential, **params})
    assert caught.value.faultCode == -32600


def test_a_self_credential_renews_nothing(eva, clock):
    """§2.5."""
    params = {"credential": eva.self_credential(), "expiration": stamp(clock, days=1)}
    assert eva.sa("RenewSlice", params)["output"] == "Unknown slice for this credential"


def test_resolve_tells_the_slice_and_the_user(cloudlab, ada):
    """§2.3: no expiry; component_managers are filled by a daemon."""
    ada.register()
    ask = {"credential": ada.self_credential(), "urn": ada.slice_urn}
    value = ada.sa("Resolve", ask)["value"]
    assert (value["urn"], value["component_managers"]) == (ada.slice_urn, [])
    assert "expires" not in value
    ada.create()
    cms = [cloudlab.cms[0].urn]
    cloudlab.journal.wait_for(lambda: ada.sa("Resolve", ask)["value"]["component_managers"] == cms)
    user = ada.sa("Resolve", {"credential": ada.self_credential(), "hrn": "ada", "type": "User"})["value"]
    assert user["slices"] == [ada.slice_urn]
    assert user["pubkeys"][0]["key"].startswith("ssh-ed25519 ")
    assert ada.sa("GetVersion")["code"] == 0
    ((sub, url),) = user["subauthorities"].items()
    assert sub == "urn:publicid:IDN+example.net:labproj+authority+sa"
    assert ada.raw(url, "GetVersion")["code"] == 0


def test_keys_come_in_two_forms(shared, eva):
    """§2.6: plain, and as CreateSliver takes them."""
    public = shared.bed_file().ssh_key.with_suffix(".pub").read_text().strip()
    plain = [{"type": "ssh", "key": public}]
    assert eva.sa("GetKeys", {"credential": eva.self_credential()})["value"] == plain
    assert eva.sa("GetKeys", {"credential": eva.self_credential(), "version": 2})["value"] == [
        {"urn": "urn:publicid:IDN+example.net+user+ada", "login": "ada", "keys": plain}
    ]


def test_a_live_slice_cannot_be_removed_and_an_expired_one_goes_by_itself(cloudlab, ada, clock):
    """§2.7."""
    ada.register()
    ask = {"credential": ada.self_credential(), "urn": ada.slice_urn}
    assert ada.sa("Remove", ask)["output"] == "Slice has not expired"
    clock.offset = timedelta(hours=7)
    cloudlab.journal.wait_for(lambda: ada.sa("Resolve", ask)["code"] == 12)


def test_a_fraction_of_a_second_corrupts_the_stored_expiry_at_the_sa(clock, ada):
    """§5: the credential that comes back has long run out."""
    ada.register()
    when = (clock.now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.25Z")
    answer = ada.sa("RenewSlice", {"credential": ada.credential, "expiration": when})
    assert "<expires>1970-01-01T00:00:00Z</expires>" in answer["value"]
