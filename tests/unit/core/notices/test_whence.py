"""At which CM a machine is that a call names, where CMs call their machines alike."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import SliverNode
from agent.core.notices.whence import called_by, caller, cm_of
from agent.core.said import Revocation, Taken

A = "urn:publicid:IDN+a.example.net+authority+cm"
B = "urn:publicid:IDN+b.example.net+authority+cm"
CMS = (A, B)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SA = "urn:publicid:IDN+example.net+authority+sa"
PC1_AT_A, PC1_AT_B = SliverNode("es-1", "pc1", A, "s1"), SliverNode("es-2", "pc1", B, "s2")
PC2_AT_B = SliverNode("es-3", "pc2", B, "s3")
ALL = (PC1_AT_A, PC1_AT_B, PC2_AT_B)


@pytest.mark.parametrize(
    ("node_id", "client_id", "source", "expected"),
    [
        ("pc1", "es-2", "", B),
        ("pc1", "es-2", A, B),
        ("pc1", "", B, B),
        ("pc1", "es-9", A, A),
        ("pc1", "", "", ""),
        ("pc1", "", SA, ""),
        ("pc2", "", "", B),
        ("pc2", "es-9", "", ""),
        ("pc2", "", A, A),
        ("pc9", "es-9", "", ""),
        ("pc9", "", B, B),
        ("pc9", "", "urn:publicid:IDN+B.Example.Net+node+pc9", B),
        ("pc9", "", "no urn", ""),
    ],
)
def test_both_names_tell_first_then_who_speaks_then_the_node_id_alone(node_id, client_id, source, expected):
    assert cm_of(node_id, client_id, source, cms=CMS, machines=ALL) == expected


def test_of_one_that_is_in_no_manifest_any_more_what_was_said_before_tells():
    said = [Taken("pc9", "", NOW, B), Taken("pc8", "", NOW)]
    assert cm_of("pc9", "", "", cms=CMS, machines=ALL, said=said) == B
    assert cm_of("pc8", "", "", cms=CMS, machines=ALL, said=said) == ""


def test_a_machine_whose_twin_is_in_no_manifest_any_more_is_not_taken_for_it():
    said = [Revocation("pc1", "es-1", NOW, NOW, NOW, cm=A)]
    assert cm_of("pc1", "es-2", "", cms=CMS, machines=[PC1_AT_A], said=said) == ""
    assert cm_of("pc1", "es-1", "", cms=CMS, machines=[], said=said) == A


def test_where_one_cm_alone_is_in_use_it_is_at_that_one():
    assert cm_of("pc1", "es-9", SA, cms=[A], machines=[PC1_AT_A]) == A
    assert cm_of("pc9", "", "", cms=[A], machines=[]) == A


@given(st.permutations(ALL), st.sampled_from(["pc1", "pc2"]), st.sampled_from(["", "es-1", "es-3"]))
def test_the_order_of_manifests_does_not_matter(machines, node_id, client_id):
    assert cm_of(node_id, client_id, "", cms=CMS, machines=machines) == cm_of(
        node_id, client_id, "", cms=CMS, machines=ALL
    )


def test_the_caller_is_known_while_its_call_is_answered():
    with called_by(A):
        assert caller() == A
    assert caller() == ""
