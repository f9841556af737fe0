"""Which machine of a request later ones are like, and what they cannot have of it."""

from __future__ import annotations

import pytest

from agent.core.errors import ConfigError
from agent.core.request.document import DocumentNode, Execute, RequestDocument
from agent.core.request.likeness import choose_like, doubts_of_choice, losses, refusals, strangers
from agent.core.request.tarballs import Tarball

HEAD = DocumentNode("ctl", image="urn:head")
WORKERS = tuple(DocumentNode(f"cp-{n}", image="urn:worker", cm=f"urn:cm{n}") for n in range(1, 9))
STORE = DocumentNode("store", kind="emulab-blockstore", is_machine=False)


def document(*nodes):
    return RequestDocument("", nodes, frozenset())


def test_the_first_machine_is_the_one_unless_another_is_named():
    site = document(STORE, HEAD, *WORKERS)
    assert choose_like(site) == HEAD
    assert choose_like(site, "cp-2") == WORKERS[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cp-99", "did you mean 'cp-"),
        ("ct", r"not 'ct'; did you mean 'ctl'\?"),
        ("zzz", "a machine of the request is expected, not 'zzz': ctl, cp-1"),
        ("store", "'store' is no machine, but of sliver_type 'emulab-blockstore'"),
    ],
)
def test_one_that_the_request_lacks_is_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        choose_like(document(HEAD, STORE, *WORKERS), name)


def test_machines_that_differ_are_told_and_names_and_cms_are_no_difference():
    assert [*doubts_of_choice(document(*WORKERS, STORE), WORKERS[0])] == []
    assert [*doubts_of_choice(document(HEAD, *WORKERS[:1]), HEAD)] == [
        "added machines are like ctl, the first one, and cp-1 differs from it"
    ]
    [five] = doubts_of_choice(document(HEAD, *WORKERS[:5]), HEAD)
    assert five.endswith("cp-4, cp-5 differ from it")
    [many] = doubts_of_choice(document(HEAD, *WORKERS), HEAD)
    assert many.endswith("cp-5, 3 more differ from it")


def test_what_add_nodes_cannot_give_is_told():
    node = DocumentNode(
        "nfs",
        installs=(Tarball("https://a.example.net/a.tgz"), Tarball("https://a.example.net/b.tgz", "/opt")),
        blockstores=("/nfs", "/data"),
        lans=("lan-0",),
        cables=("cable", "wire"),
    )
    assert [*losses(node)] == [
        "nfs: older CMs add no machine that unpacks https://a.example.net/b.tgz at /opt",
        "nfs: added machines do not have its block store /nfs, /data",
        "nfs: added machines are not on its link cable, wire, which is no LAN",
    ]
    assert [*losses(HEAD)] == []


def test_what_a_cm_will_refuse_is_told():
    shells = ("sh", "bash", "csh", "tcsh", "/bin/sh", "/bin/bash", "/bin/csh", "/bin/tcsh")
    executes = tuple(Execute("x", shell) for shell in shells)
    fine = DocumentNode("a", installs=(Tarball("https://a/b.tgz"),), executes=executes)
    bad = DocumentNode("b.c", installs=(Tarball("https://a/b?c=d"),), executes=(Execute("x", "/bin/zsh"),))
    assert [*refusals([fine])] == []
    *others, shell = refusals([bad])
    assert [told.partition(" ")[0] for told in others] == ["'b.c':", "b.c:"]
    assert shell == "b.c: a CM knows the shells bash, csh, sh, tcsh, not '/bin/zsh'"


def test_nodes_that_are_no_machines_are_named():
    assert [*strangers(document(HEAD, STORE))] == [
        "store (emulab-blockstore) is no machine: it is neither counted nor joined"
    ]
