"""Tarballs are URLs, or pairs of URL and path."""

import pytest

from agent.core.request.tarballs import Tarball, read_tarballs

A, B = "https://f.example.net/a.tgz", "https://f.example.net/b.tgz"


def test_a_tarball_is_a_url_or_a_pair_of_url_and_path():
    assert read_tarballs([A, [B, "/opt/b"], (A, "/")]) == (Tarball(A), Tarball(B, "/opt/b"), Tarball(A))


def test_a_cm_that_knows_urls_only_is_sent_pairs_only_where_there_is_no_other_way():
    assert [t.argument for t in read_tarballs([A, [A, "/"], [B, "/opt"]])] == [A, A, [B, "/opt"]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "a URL or a pair of URL and path is expected, not 7"),
        ([A], "a pair"),
        ([A, "/", "/"], "a pair"),
        ([A, None], "a pair"),
        ("https://f/a?b", "has a character"),
        ("", "has a character"),
        ([A, "opt"], "'opt' is not an absolute path"),
        ([A, "/my opt"], "is not an absolute path"),
        ([A, "/a;b"], "is not an absolute path"),
        ([A, "/a'b"], "is not an absolute path"),
    ],
)
def test_what_the_server_would_misread_is_refused(item, message):
    with pytest.raises(ValueError, match=message):
        read_tarballs([item])


def test_paths_count_for_the_room_that_the_server_has():
    url = "https://f/" + "a" * 900
    assert read_tarballs([[url, "/" + "b" * 112]])
    with pytest.raises(ValueError, match="take 1025 characters together, at most 1024 fit"):
        read_tarballs([[url, "/" + "b" * 113]])


def test_so_does_what_stands_between_them():
    urls = ["https://f/" + "a" * 498] * 2
    assert read_tarballs([urls[0], urls[1] + "aaa"])
    with pytest.raises(ValueError, match="take 1025 characters together"):
        read_tarballs([urls[0], urls[1] + "aaaa"])
