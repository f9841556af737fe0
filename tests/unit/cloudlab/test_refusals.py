"""The words of servers of 2016, 2021 and 2025, as they write them."""

import pytest

from agent.cloudlab.refusals import fault_of, refusal_of, shortages
from agent.core import errors
from agent.core.obstacles import RenewalObstacle

RESERVED = (
    "*** Resource reservation violation: 5 nodes of type d430 requested, but only 4 available because of"
    " existing resource reservations to other projects."
)


def told(code: int, words: str) -> errors.CloudlabError:
    return refusal_of(code, words)(words)


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (16, "Slice is marked for termination", errors.EndingError),
        (16, "Slice is already marked for termination, be patient", errors.EndingError),
        (2, "Slice is marked for termination", errors.EndingError),
        (23, "Over disk quota, please clean up", errors.QuotaError),
        (29, "Error 29", errors.InsufficientNodesError),
        (30, "Error 30", errors.InsufficientNodesError),
        (7, "Slice is locked down", errors.LockedDownError),
        (7, "Refusing to terminate a paniced experiment", errors.ShutDownError),
        (2, "Slice has been shutdown", errors.ShutDownError),
        (5, "Internal Error: …", errors.CloudlabError),
        (35, "Server timed out or could not be reached", errors.CloudlabError),
        (1, "Malformed image URN: urn:x+image+y", errors.ImageError),
        (1, "Not allowed to use restricted image urn:x+image+y", errors.ImageError),
        (2, "Could not setup images:...", errors.ImageError),
        (1, "This image is deprecated, please use UBUNTU22", errors.ImageError),
        (1, "Invalid client id for node: X", errors.BadArgumentsError),
        (7, "expiration increment", errors.RefusedError),
    ],
)
def test_the_words_of_a_newer_server_are_known(
    code: int, words: str, expected: type[errors.CloudlabError]
) -> None:
    assert type(told(code, words)) is expected


@pytest.mark.parametrize(
    ("words", "obstacle"),
    [
        (
            (
                "Extension refused by reservation system: Insufficient free nodes at Mon May  5 18:00:00 2031"
                " (2 more needed)."
            ),
            RenewalObstacle.RESERVED,
        ),
        (
            "Extension refused by reservation system: Could not extend because of a prereserve",
            RenewalObstacle.PRERESERVE,
        ),
        ("you are not allowed to renew cause it was idle for too long", RenewalObstacle.IDLE),
        ("expiration increment is greater then local slice setting: 5", RenewalObstacle.LIMIT),
        ("expiration is greater then local slice setting: 2031-05-04", RenewalObstacle.LIMIT),
        (
            "expiration increment is greater then the maximum number (7200) of minutes",
            RenewalObstacle.MAXIMUM,
        ),
        ("such a short life for a sliver?", RenewalObstacle.SHORT),
    ],
)
def test_each_obstacle_to_a_renewal_is_told_apart_with_what_a_person_can_do(
    words: str, obstacle: RenewalObstacle
) -> None:
    error = told(7, words)
    assert isinstance(error, errors.RenewalRefusedError)
    assert error.obstacle is obstacle
    assert error.mend == obstacle.mend != ""


def test_a_renewal_tells_when_the_site_runs_short_by_how_many_and_its_longest_lease() -> None:
    short = told(
        7,
        "Extension refused by reservation system: Insufficient free nodes at Mon May  5 18:00:00 2031"
        " (2 more needed).",
    )
    assert isinstance(short, errors.RenewalRefusedError)
    assert (short.short_at, short.short_by) == ("Mon May  5 18:00:00 2031", 2)
    longest = told(7, "expiration increment is greater then the maximum number (7200) of minutes")
    assert isinstance(longest, errors.RenewalRefusedError)
    assert longest.longest == 7200 * 60


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (RESERVED, errors.Shortage("d430", 5, 4, reserved=True)),
        (
            "*** 5 nodes of type d430 requested, but only 3 available nodes of type d430 found",
            errors.Shortage("d430", 5, 3),
        ),
        (
            "*** 5 nodes of type d430 requested, but only 3 suitable nodes of type d430 found",
            errors.Shortage("d430", 5, 3),
        ),
        (
            "*** No suitable physical nodes of type d820.v1+x found (2 requested)",
            errors.Shortage("d820.v1+x", 2, 0),
        ),
        (
            "*** 5 nodes of type d430 requested, but you are only allowed to use 2",
            errors.Shortage("d430", 5, 2, limited=True),
        ),
        (
            "*** No available physical nodes of type m510 found (2 requested)",
            errors.Shortage("m510", 2, 0),
        ),
    ],
)
def test_what_the_mapper_would_give_is_read(words: str, expected: errors.Shortage) -> None:
    assert shortages(words) == (expected,)
    error = told(26, f"Could not map to resources\n{words}\n*** Failed")
    assert isinstance(error, errors.InsufficientNodesError)
    assert error.shortages == (expected,)
    assert not error.never


def test_a_refusal_may_name_several_types_and_what_can_never_be() -> None:
    error = told(26, f"{RESERVED}\n*** No available physical nodes of type m510 found (2 requested)")
    assert isinstance(error, errors.InsufficientNodesError)
    assert [each.hardware_type for each in error.shortages] == ["d430", "m510"]
    for words in (
        "Your topology cannot be instantiated on this cluster. It will always result in failure!",
        "Note that your topology cannot be instantiated on this cluster",
    ):
        never = told(28, words)
        assert isinstance(never, errors.InsufficientNodesError)
        assert never.never


def test_a_mappers_lines_may_be_broken_anywhere() -> None:
    error = told(
        26,
        "Could not map to resources\n*** Resource reservation violation: 5 nodes of type d430\n"
        "    requested, but only\n    4 available because of existing resource reservations to\n"
        "    other projects or users.\n\nNote that your topology cannot be instantiated on\nthis cluster.",
    )
    assert isinstance(error, errors.InsufficientNodesError)
    assert error.shortages == (errors.Shortage("d430", 5, 4, reserved=True),)
    assert error.never


def test_a_rule_of_the_site_comes_before_what_can_never_be() -> None:
    error = told(
        26,
        "Could not map to resources: Precheck failure\n\nNote that your topology cannot be instantiated on"
        " this cluster.\n  *** 5 nodes of type d430 requested, but you are only allowed to use 2\n",
    )
    assert isinstance(error, errors.InsufficientNodesError)
    assert error.shortages == (errors.Shortage("d430", 5, 2, limited=True),)
    assert not error.never


@pytest.mark.parametrize(
    "owners",
    ["", ": take v2", ": it is not available any more", ": you should already have\nmoved; expired at noon"],
)
def test_a_deprecated_image_is_named_whatever_its_owner_says_of_it(owners: str) -> None:
    error = told(
        1,
        f"Image labproj/worker-os is deprecated and no longer available to use{owners}. Please choose a"
        " different image!",
    )
    assert isinstance(error, errors.ImageError)
    assert error.image == "labproj/worker-os"


@pytest.mark.parametrize(
    "words",
    [
        "No version 3 exists for urn:x+image+p:o",
        "No such version number: urn:x+image+p:o",
        "Not allowed to use version numbers on urn:x+image+p:o",
        "Improper use of version number on imported system image: urn:x+image+p:o",
        "Invalid disk image url: urn:x+image+p:o",
    ],
)
def test_an_image_that_cannot_be_looked_up_is_named(words: str) -> None:
    error = told(1, words)
    assert isinstance(error, errors.ImageError)
    assert error.image == "urn:x+image+p:o"


def test_a_machines_name_makes_no_image_of_a_refusal() -> None:
    assert type(told(1, "Already have deprecated-image in the topology!")) is errors.AlreadyExistsError


@pytest.mark.parametrize(
    "words",
    [
        (
            "*** Resource reservation violation: Node pc5 (d430) requested, but is not available because it"
            " is already allocated to another experiment in this project.\n"
        ),
        (
            "*** Resource reservation violation: Node pc5 (d430) requested, but is not available because"
            " of existing resource reservations to other projects.\n"
        ),
        "*** Fixed physical node: pc5 not available.\n*** Some fixed nodes failed to map",
        (
            "*** Resource reservation violation: Node pc5 requested, but is not available because of existing"
            " resource reservations to other projects"
        ),
    ],
)
def test_the_machine_that_cannot_be_had_is_named(words: str) -> None:
    error = told(28, words)
    assert isinstance(error, errors.InsufficientNodesError)
    assert error.node_id == "pc5"


@pytest.mark.parametrize(
    "words",
    [
        "urn:publicid:IDN+example.net+node+pc5 ([Node: pc5]) is not available",
        "urn:publicid:IDN+example.net+node+pc5 (pc5) is not available",
        "URN ([Node: pc5]) is not available",
    ],
)
def test_a_machine_that_is_not_ours_any_more_is_read_in_both_generations_words(words: str) -> None:
    error = told(2, words)
    assert isinstance(error, errors.UnreservedError)
    assert error.node_id == "pc5"


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (3, "Your account has been frozen!", errors.AccountError),
        (3, "Your account is no longer active!", errors.AccountError),
        (-32500, "Your account is no longer active!", errors.AccountError),
        (7, "Not accepting connections from anyone we do not know", errors.AccountError),
        (7, "Not a valid local user. Who are you really?", errors.AccountError),
        (503, "Server temporarily offline; please try again later", errors.UnreachableError),
        (14, "slice is busy; try again later", errors.BusyError),
        (-32400, "Internal Error executing AddNodes:\nUse of uninitialized value", errors.CloudlabError),
        (-32601, "no such method X", errors.CloudlabError),
        (None, "", errors.CloudlabError),
    ],
)
def test_a_faults_number_means_what_a_replys_code_does_where_it_is_positive(
    code: int | None, words: str, expected: type[errors.CloudlabError]
) -> None:
    assert type(fault_of(code, words)(words)) is expected
