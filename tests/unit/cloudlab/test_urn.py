import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cloudlab.urn import (
    Urn,
    check_client_id,
    check_node_id,
    check_slice_name,
    check_urn,
    same_urn,
)

IDN = "urn:publicid:IDN+"
domains = st.from_regex(r"[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9}){0,2}(:[A-Za-z0-9-]{1,9}){0,2}", fullmatch=True)
ids = st.text("abcXYZ019-!$()*,./:;=@_?+'#%", min_size=1, max_size=20)


@given(domains, st.sampled_from(["slice", "node", "image", "interface"]), ids)
def test_a_urn_survives_writing_and_reading(authority: str, kind: str, name: str) -> None:
    urn = Urn(authority, kind, name)
    assert Urn.parse(str(urn)) == urn


@given(st.text(max_size=60))
def test_any_text_is_a_urn_or_a_value_error(text: str) -> None:
    for candidate in (text, IDN + text):
        try:
            Urn.parse(candidate)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("example.net+image+labproj:os", "example.net+image+labproj//os"),
        ("example.net+interface+pc7:eth1", "example.net+interface+pc7//eth1"),
        ("example.net+interface+pc7:eth1", "EXAMPLE.net+interface+pc7%2F%2feth1"),
        ("a.b+x+a%3Ab%3ac", "a.b+x+a%3ab%3Ac"),
        ("a.b+x+a;b", "a.b+x+a%3A%3Ab"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert Urn.parse(IDN + one) == Urn.parse(IDN + other)
    assert same_urn(IDN + one, "URN:PublicID:IDN+" + other)


def test_the_case_of_a_name_matters_and_that_of_a_domain_does_not() -> None:
    assert not same_urn(IDN + "a.b+slice+S", IDN + "a.b+slice+s")
    assert same_urn(IDN + "A.b:Proj+slice+s", IDN + "a.b:proj+slice+s")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pc7",
        "urn:publicid:idn+a.b+node+pc7",
        IDN + "a.b+node",
        IDN + "a.b+node+",
        IDN + "a_b!+node+pc7",
        IDN + "a.b+node+pc 7",
        IDN + "a.b+node+a+b",
        IDN + "a.b+node+pc7\n",
        IDN + "a.b:p:g:x+node+pc7",
        IDN + "a.b+node+pcé",
    ],
)
def test_what_is_no_urn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URN|cannot be a part"):
        Urn.parse(text)


def test_what_is_no_urn_equals_only_itself() -> None:
    assert same_urn("x", "x")
    assert not same_urn("x", IDN + "a.b+node+x")


def test_a_urn_of_another_type_is_refused() -> None:
    assert check_urn(IDN + "a.b+authority+cm", "authority")
    with pytest.raises(ValueError, match="of type node, not authority"):
        check_urn(IDN + "a.b+node+cm", "authority")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_client_id, ["a", "node-1", "N_2", "x" * 32], ["", "x" * 33, "a.b", "a b", "a;b", "a\n", "é"]),
        (
            check_node_id,
            ["pc7", "ms0101", "c220g1-030602", "a.b"],
            ["", "-a", "a/b", "a\n", "$(x)", "x" * 65],
        ),
        (check_slice_name, ["ab", "my-slice", "x" * 19], ["a", "x" * 20, "-a", "a-", "a_b", "a.b", "ab\n"]),
    ],
)
def test_names_are_held_to_their_pattern(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    assert [check(name) for name in good] == good
    for name in bad:
        with pytest.raises(ValueError, match="is not a"):
            check(name)
