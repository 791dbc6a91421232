"""A store's URL says which store it is, to the last character, or is refused."""

from pathlib import Path

import pytest

from callwright.errors import InvalidInput, without_secrets
from callwright.store import Store
from callwright.store.url import StoreURL, located


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("s3://b/team%231", "b", "/team#1"),
        ("s3://b/team%3Fx=1", "b", "/team?x=1"),
        ("s3://b/my team", "b", "/my team"),
        ("gs://b/my%20team", "b", "/my team"),
        ("az://b/100%", "b", "/100%"),
        ("az://b/100%25", "b", "/100%"),
        ("s3://b/a+b", "b", "/a+b"),
        ("s3://b/\u00fc/%C3%BC", "b", "/\u00fc/\u00fc"),
        ("S3://Bucket_1.x/y ", "Bucket_1.x", "/y "),
        ("gs://b", "b", ""),
        ("file:///my%20folder%231", "", "/my folder#1"),
        ("file://localhost/a", "localhost", "/a"),
    ],
)
def test_names_are_kept_and_decoded(url: str, host: str, path: str) -> None:
    found = StoreURL.read(url)
    assert (found.host, found.path) == (host, path)
    assert StoreURL.read(str(found)) == found


@pytest.mark.parametrize("scheme", ["s3://b", "gs://b", "az://b", "file://", "memory://"])
@pytest.mark.parametrize("rest", ["/team#1", "/team?x=1", "/team#", "/a\tb", "/a\nb", "/team%00"])
def test_what_would_be_dropped_is_refused(scheme: str, rest: str) -> None:
    with pytest.raises(InvalidInput, match=r"opening the store: got .* expected names"):
        Store.open(scheme + rest)


@pytest.mark.parametrize(
    "url",
    [
        "s3://b:9000/x", "s3://b#1/x", "s3:///x", "gs://b%20c/x", "az://b c/x", "s3://b/a/../x", "s3://b/%2e%2e/x",
        "s3://b/a/./x", "s3://b/%ff", "s3:b/x", "s3:/b/x", "s4://b/x", "b/x", "", " s3://b/x",
        "file://host/x", "file:x",
    ],
)  # fmt: skip
def test_what_is_no_stores_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="opening the store: got"):
        Store.open(url)


def test_a_user_is_refused_and_a_password_not_shown() -> None:
    with pytest.raises(InvalidInput, match="got a user in s3://…@b") as error:
        Store.open("s3://key:secret@b/x")
    assert "secret" not in str(error.value)


def test_any_folder_is_found_by_its_own_url(tmp_path: Path) -> None:
    for name in ("a b", "team#1", "team?1", "100%", "%41", "\u00fc", "\udcff", "a\nb"):
        Store.open((tmp_path / name).as_uri()).put_bytes("k", name.encode(errors="surrogateescape"))
        assert (tmp_path / name / "k").read_bytes() == name.encode(errors="surrogateescape")


def test_prefixes_that_differ_in_a_sign_are_two_stores(s3: str) -> None:
    from buckets import BUCKET

    urls = [f"s3://{BUCKET}/team{sign}" for sign in ("", "%231", "%232", "%3Fx", "%20x", "%2520x")]
    for url in urls:
        Store.open(url).put_bytes("k", url.encode())
    assert [Store.open(url).get_bytes("k").decode() for url in urls] == urls


@pytest.mark.parametrize(
    ("url", "folder", "key"),
    [
        ("s3://b/c/my%20corpus.jsonl", "s3://b/c", "my corpus.jsonl"),
        ("file:///c/100%25.jsonl", "file:///c", "100%.jsonl"),
        ("gs://b/a.jsonl", "gs://b", "a.jsonl"),
    ],
)
def test_an_object_is_located_by_its_decoded_name(url: str, folder: str, key: str) -> None:
    assert located(url) == (folder, key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://key:pa'ss@bucket/x", "s3://…@bucket/x"),
        ('s3://key:pa"s s@bucket/x', "s3://…@bucket/x"),
        ("at s3://key:pa ss@bucket/x", "at s3://…@bucket/x"),
        ("postgres://u:p<a>ss@h/db", "postgres://…@h/db"),
        ("s3://k%3Asecret%40b/x", "s3://…@b/x"),
        ("s3://key:secret%40b/x", "s3://key:…"),
        ("a?u=s3%3a%2f%2fkey%3asecret%40b c", "a?u=s3:… c"),
        ("http%253A%252F%252Fk%253Asecret%2540h", "http:…"),
        ("https://h/x?sig=se'cr\"et", "https://h/x?…"),
        ("('s3://k:secret@b','s3://k2:secret@c')", "('s3://…@b','s3://…@c')"),
        ("got 'https://h/x?sig=secret'; expected y", "got 'https://h/x?…'; expected y"),
        ("https://h:8080 mail bob@x.com", "https://h:8080 mail bob@x.com"),
        ("https://host: reading failed; see s3://b/c, 'file:///d e'", None),
    ],
)
def test_a_secret_in_a_url_is_hidden_whatever_it_is_written_with(text: str, said: str | None) -> None:
    assert without_secrets(text) == (said or text)
