"""Logins, challenges, options and proxies: the parsers around the registry client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.errors import UsageError
from lkbuild.sources.asking import asked_wait
from lkbuild.sources.auth import Challenge, parse_challenges
from lkbuild.sources.credentials import Credential, Credentials
from lkbuild.sources.options import RegistryOptions, registry_options
from lkbuild.sources.transport import Transport, proxy_for

HELPER = """#!/bin/sh
read server
case "$server" in
  good.example) echo '{"ServerURL":"x","Username":"bob","Secret":"pass"}' ;;
  https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"word"}' ;;
  token.example) echo '{"Username":"<token>","Secret":"refresh"}' ;;
  odd.example) echo 'not json' ;;
  empty.example) echo '{"Username":"","Secret":""}' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "docker-credential-fake"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def config(tmp_path: Path, document: object) -> Credentials:
    path = tmp_path / "config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return Credentials(path)


@pytest.mark.parametrize(
    ("registry", "credential", "said"),
    [
        ("good.example", Credential("bob", "pass"), "'bob' from docker-credential-fake"),
        ("docker.io", Credential("hub", "word"), "'hub' from docker-credential-fake"),
        ("token.example", Credential("<token>", "refresh", "identity"), "'<token>' from docker-credential-fake"),
        ("odd.example", None, "answer is not JSON"),
        ("empty.example", None, "holds no login"),
        ("none.example", None, "credentials not found in native keychain"),
    ],
)
@pytest.mark.usefixtures("helper")
def test_credential_helpers(tmp_path: Path, registry: str, credential: Credential | None, said: str) -> None:
    for document in (
        {"credsStore": "fake"},
        {"credHelpers": dict.fromkeys((registry, "https://index.docker.io/v1/"), "fake")},
    ):
        login = config(tmp_path, document).lookup(registry)
        assert login.credential == credential
        assert said in " ".join(login.tried)


@pytest.mark.parametrize(
    ("name", "said"),
    [("not-there", "not installed"), ("../../evil", "no name of a program"), ("", "no login for a.example")],
)
def test_helpers_that_cannot_be_asked_do_not_stop_us(tmp_path: Path, name: str, said: str) -> None:
    auths = {"b.example": {"username": "bob", "password": "x"}}
    credentials = config(tmp_path, {"credsStore": name, "auths": auths})
    assert said in " ".join(credentials.lookup("a.example").tried)
    assert credentials.lookup("b.example").credential == Credential("bob", "x")


@pytest.mark.parametrize(
    ("auths", "registry", "credential", "why"),
    [
        ({"https://index.docker.io/v1/": {"auth": "YTpi"}}, "docker.io", Credential("a", "b"), "docker login"),
        ({"docker.io": {"auth": "YTpi"}}, "docker.io", Credential("a", "b"), "what others write"),
        ({"https://registry-1.docker.io/v2/": {"auth": "YTpi"}}, "docker.io", Credential("a", "b"), "an alias"),
        ({"https://x.example/v1/": {"auth": "YTpi"}}, "x.example", Credential("a", "b"), "a URL of old"),
        ({"x.example:5000": {"auth": "YTpi"}}, "x.example", None, "another port is another registry"),
        ({"x.example": {"auth": "YTpiOmM="}}, "x.example", Credential("a", "b:c"), "a colon in the password"),
        ({"x.example": {"auth": "YTpiAAA="}}, "x.example", Credential("a", "b"), "padding of old clients"),
        ({"x.example": {"auth": "%%%"}}, "x.example", None, "no base64"),
        ({"x.example": {}}, "x.example", None, "what a helper leaves"),
        ({"x.example": "text"}, "x.example", None, "no object"),
        ({"x.example": {"auth": 5}}, "x.example", None, "no text"),
        ("text", "x.example", None, "auths is no object"),
    ],
)  # fmt: skip
def test_auths(tmp_path: Path, auths: object, registry: str, credential: Credential | None, why: str) -> None:
    assert config(tmp_path, {"auths": auths}).lookup(registry).credential == credential, why


def test_a_broken_config_is_told_only_where_it_matters(tmp_path: Path) -> None:
    for text, said in (("{", "cannot be read"), ("[]", "not a JSON object")):
        login = config(tmp_path, text).lookup("x.example")
        assert login.credential is None
        assert said in login.tried[0]
    assert Credentials(None).lookup("x").tried == ("no Docker configuration is known",)


def test_no_secret_shows() -> None:
    assert "hunter2" not in repr(Credential("bob", "hunter2"))


@pytest.mark.parametrize(
    ("header", "challenges", "why"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
         (Challenge("bearer", (("realm", "https://a/t"), ("service", "s"), ("scope", "repository:a/b:pull,push"))),),
         "a comma within quotes"),
        ('Basic realm="x", Bearer realm="y"',
         (Challenge("basic", (("realm", "x"),)), Challenge("bearer", (("realm", "y"),))), "two at once"),
        ("BEARER Realm=https://a", (Challenge("bearer", (("realm", "https://a"),)),), "no quotes, upper case"),
        (r'Basic realm="a \"b\""', (Challenge("basic", (("realm", 'a "b"'),)),), "quotes within quotes"),
        ("Negotiate", (Challenge("negotiate"),), "a scheme alone"),
        ("", (), "nothing"),
    ],
)  # fmt: skip
def test_challenges(header: str, challenges: tuple[Challenge, ...], why: str) -> None:
    assert parse_challenges(header) == challenges, why


@given(st.text())
def test_challenges_never_fail(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9 ]{1,5} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} [A-Z+0-9-]{1,6}"))
def test_retry_after_is_never_a_failure(text: str) -> None:
    assert asked_wait(text, 0.0) >= 0


@pytest.mark.parametrize(
    ("host", "no", "goes", "why"),
    [
        ("a.example", "", True, "nothing exempt"),
        ("a.example", "*", False, "everything exempt"),
        ("a.example", "example", False, "a domain"),
        ("a.example:5000", ".example", False, "with a dot before it"),
        ("a.example", "*.example", False, "as some write it"),
        ("ba.example", "a.example", True, "not just the end of a name"),
        ("a.example:5000", "a.example:5000", False, "with the port"),
        ("a.example:5001", "a.example:5000", True, "another port"),
        ("10.1.2.3:5000", "10.0.0.0/8", False, "a network, as Go reads it"),
        ("11.1.2.3", "10.0.0.0/8 x", True, "another network"),
        ("[fd00::1]:5000", "fd00::/8", False, "IPv6"),
        ("localhost:5000", "", False, "this machine never"),
        ("127.3.2.1", "", False, "this machine never"),
        ("[::1]:5000", "", False, "this machine never"),
    ],
)
def test_no_proxy(host: str, no: str, goes: bool, why: str) -> None:
    assert proxy_for("https", host, {"https": "http://p:1", "no": no}) == ("http://p:1" if goes else None), why


def test_all_proxy_stands_in() -> None:
    assert proxy_for("https", "a.example", {"http": "http://h", "all": "http://a"}) == "http://a"


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("ghcr.io", "https"), ("localhost", "http"), ("localhost:5000", "http"), ("127.0.0.1:5000", "http"),
        ("[::1]:5000", "http"), ("mine.example:5000", "http"), ("other.example:5000", "https"),
        ("all.example:1", "http"),
        ("127.0.0.1.evil.example", "https"), ("10.0.0.1:5000", "https"),
    ],
)  # fmt: skip
def test_which_hosts_are_plain_http(host: str, scheme: str) -> None:
    transport = Transport(RegistryOptions(insecure=("mine.example:5000", "all.example")))
    assert transport.scheme(host) == scheme


def test_options_from_an_environment() -> None:
    environ = {
        "HOME": "/home/bob",
        "LKBUILD_MIRRORS": "https://m.example/ https://n.example ghcr.io=https://m.example/ghcr/,http://o.example:80",
        "LKBUILD_INSECURE_REGISTRIES": "a:5000, b",
        "SSL_CERT_FILE": "/ca.pem",
        "HTTPS_PROXY": "proxy:3128",
        "no_proxy": "localhost",
    }
    assert registry_options(environ) == RegistryOptions(
        mirrors=(
            ("docker.io", ("https://m.example", "https://n.example")),
            ("ghcr.io", ("https://m.example/ghcr", "http://o.example:80")),
        ),
        insecure=("a:5000", "b"),
        ca_file=Path("/ca.pem"),
        docker_config=Path("/home/bob/.docker/config.json"),
        proxies=(("https", "http://proxy:3128"), ("no", "localhost")),
    )
    assert registry_options({}) == RegistryOptions()
    assert registry_options({"DOCKER_CONFIG": "/d"}).docker_config == Path("/d/config.json")


@pytest.mark.parametrize(
    "environ",
    [{"LKBUILD_MIRRORS": "mirror.example"}, {"LKBUILD_MIRRORS": "ghcr.io=ftp://x"}, {"https_proxy": "socks5://x:1"},
     {"http_proxy": "http://"}, {"http_proxy": "http://x:99999"}],
)  # fmt: skip
def test_options_that_are_wrong_are_named(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(environ))):
        registry_options(environ)
