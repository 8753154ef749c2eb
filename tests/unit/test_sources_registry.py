"""The registry client against a registry that misbehaves."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.reference import Reference
from lkbuild.sources import Image, Images, Missing, Registry, RegistryOptions, not_found, search
from tests.fakes.registry import CUT, OCI_MANIFEST, Fake, Proxy, sha256

LAYER = random.Random(7).randbytes(3 * CUT + 17)
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


class Clock:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.waits: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


class Client:
    """A registry client with the fake behind it."""

    def __init__(self, fake: Fake, **options: object) -> None:
        self.clock = Clock()
        self.fake = fake
        self.source = Registry(RegistryOptions(**options), self.clock.pause, self.clock.now)  # type: ignore[arg-type]

    def reference(self, name: str = "conf/base:1", host: str | None = None) -> Reference:
        return Reference.parse(f"{host or self.fake.host}/{name}")

    def image(self, name: str = "conf/base:1", platform: Platform = AMD64) -> Image:
        answer = self.source.resolve(self.reference(name), platform)
        assert isinstance(answer, Image), answer
        return answer

    def fetch(self, into: Path, image: Image | None = None) -> bytes:
        image = image or self.image()
        self.source.fetch(image.reference, image.layers[0], into)
        return into.read_bytes()


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as server:
        server.add_image("conf/base", "1", LAYER)
        yield server


@pytest.fixture
def client(fake: Fake) -> Iterator[Client]:
    made = Client(fake)
    yield made
    made.source.close()


def test_an_image_is_resolved_and_its_layer_fetched(client: Client, tmp_path: Path) -> None:
    image = client.image()
    assert str(image.digest) == sha256(image.manifest)
    assert image.index is None
    assert image.platform == AMD64
    assert [str(layer.digest) for layer in image.layers] == [sha256(LAYER)] == [str(d) for d in image.diff_ids]
    assert Digest.of(image.config) == image.config_descriptor.digest
    assert image.source == f"registry {client.fake.host}"
    assert str(image.pinned) == f"{client.fake.host}/conf/base:1@{image.digest}"
    done: list[int] = []
    client.source.fetch(image.reference, image.layers[0], tmp_path / "x", lambda _, count: done.append(count))
    assert (tmp_path / "x").read_bytes() == LAYER
    assert done == sorted(done)
    assert done[-1] == len(LAYER)


def test_a_digest_is_asked_for_and_checked(client: Client) -> None:
    image = client.image()
    by_digest = client.image(f"conf/base@{image.digest}")
    assert (by_digest.manifest, by_digest.pinned) == (image.manifest, by_digest.reference)
    assert client.fake.paths(f"/manifests/{image.digest}")


@pytest.mark.parametrize("docker", [False, True])
def test_the_platform_is_chosen_from_an_index(client: Client, docker: bool) -> None:
    fake = client.fake
    unknown = {**fake.add_image("conf/multi", "att", b"att"), "platform": {"os": "unknown", "architecture": "unknown"}}
    arm = fake.add_image("conf/multi", "arm", b"arm", "arm64", docker=docker)
    amd = fake.add_image("conf/multi", "amd", b"amd", docker=docker)
    index = fake.add_index("conf/multi", "1", [unknown, arm, amd], docker=docker)
    image = client.image("conf/multi:1", ARM64)
    assert (str(image.digest), str(image.index), image.platform) == (arm["digest"], index, ARM64)
    assert str(image.pinned).endswith(f"@{index}")
    missing = client.source.resolve(client.reference("conf/multi:1"), Platform("linux", "s390x"))
    assert isinstance(missing, Missing)
    assert "linux/s390x" in missing.reason
    assert "linux/amd64, linux/arm64" in missing.reason


def test_a_nested_index_and_all_platforms(client: Client) -> None:
    fake = client.fake
    arm = fake.add_image("n/n", "arm", b"arm", "arm64")
    amd = fake.add_image("n/n", "amd", b"amd")
    inner = fake.add_index("n/n", "inner", [arm])
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": inner}
    entry["size"] = len(fake.manifests["n/n", "inner"][1])  # type: ignore[assignment]
    root = fake.add_index("n/n", "1", [amd, {**entry, "platform": {"os": "linux", "architecture": "arm64"}}])
    assert client.image("n/n:1", ARM64).platform == ARM64
    images = client.source.resolve_index(client.reference("n/n:1"))
    assert isinstance(images, Images)
    assert [str(document.digest) for document in images.documents] == [root, inner]
    assert str(images.root.digest) == root
    assert [image.platform for image in images.images] == [AMD64, ARM64]
    some = client.source.resolve_index(client.reference("n/n:1"), (ARM64,))
    assert isinstance(some, Images)
    assert [image.platform for image in some.images] == [ARM64]
    none = client.source.resolve_index(client.reference("n/n:1"), (Platform("linux", "riscv64"),))
    assert isinstance(none, Missing)


def test_resolve_index_of_a_single_image(client: Client) -> None:
    images = client.source.resolve_index(client.reference(), (AMD64,))
    assert isinstance(images, Images)
    assert (images.documents, images.root.digest) == ((), images.images[0].digest)
    assert isinstance(client.source.resolve_index(client.reference(), (ARM64,)), Missing)


def test_an_image_for_another_platform_is_not_taken(client: Client) -> None:
    missing = client.source.resolve(client.reference(), ARM64)
    assert isinstance(missing, Missing)
    assert missing.reason == "is an image for linux/amd64, not for linux/arm64"


def test_what_is_not_there_is_missing_and_the_error_names_every_place(client: Client) -> None:
    reference = client.reference("conf/none:1")
    found, looked = search([client.source], reference, AMD64)
    assert found is None
    error = not_found(reference, AMD64, (Missing("OCI layout ./x", "holds no image of this name"), *looked))
    assert str(reference) in error.message
    assert "OCI layout ./x: holds no image of this name" in error.message
    assert f"registry {client.fake.host}: has no such image (MANIFEST_UNKNOWN: manifest unknown)" in error.message
    assert error.hint
    assert "skopeo copy" in error.hint


# -- authentication ----------------------------------------------------------------------------------------------------


def write_config(path: Path, host: str, entry: str) -> Path:
    path.write_text(f'{{"auths": {{"{host}": {entry}}}}}')
    return path


def test_anonymous_bearer_token_and_its_renewal(client: Client, tmp_path: Path) -> None:
    client.fake.faults.auth = "bearer"
    image = client.image()
    assert client.fake.paths("/token") == ["/token?service=fake&scope=repository%3Aconf%2Fbase%3Apull"], (
        "one token serves manifest and config"
    )
    client.fake.faults.expire = 1
    assert client.fetch(tmp_path / "x", image) == LAYER
    assert len(client.fake.paths("/token")) == 2


@pytest.mark.parametrize(
    ("auth", "user", "entry", "why"),
    [
        ("bearer", "bob:s3:cret", '{"auth": "Ym9iOnMzOmNyZXQ="}', "the password may have a colon"),
        ("bearer", "bob:secret", '{"username": "bob", "password": "secret"}', "what others than docker write"),
        ("basic", "bob:secret", '{"auth": "Ym9iOnNlY3JldA=="}', "no token server"),
        ("identity", "refresh-me", '{"auth": "Ym9iOg==", "identitytoken": "refresh-me"}', "oauth2 refresh token"),
    ],
)
def test_logins(fake: Fake, tmp_path: Path, auth: str, user: str, entry: str, why: str) -> None:
    fake.faults.auth, fake.faults.user = auth, user
    client = Client(fake, docker_config=write_config(tmp_path / "config.json", fake.host, entry))
    assert client.fetch(tmp_path / "x") == LAYER, why


def test_a_registry_token_is_shown_as_it_is(fake: Fake, tmp_path: Path) -> None:
    fake.faults.auth = "bearer"
    fake.tokens.add("given")
    config = write_config(tmp_path / "config.json", fake.host, '{"registrytoken": "given"}')
    assert Client(fake, docker_config=config).fetch(tmp_path / "x") == LAYER
    assert not fake.paths("/token")


def test_denied_says_what_was_tried_and_what_to_do(fake: Fake, tmp_path: Path) -> None:
    fake.faults.auth, fake.faults.user = "bearer", "bob:right"
    with pytest.raises(ImageError) as caught:
        Client(fake, docker_config=tmp_path / "none.json").image()
    assert f"registry {fake.host}: access denied" in caught.value.message
    assert "401" in caught.value.message
    assert f"no login for {fake.host} in {tmp_path}/none.json" in caught.value.message
    assert f"docker login {fake.host}" in (caught.value.hint or "")
    config = write_config(tmp_path / "config.json", fake.host, '{"username": "bob", "password": "topsecret"}')
    with pytest.raises(ImageError, match=r"logged in as 'bob' from .*config\.json") as caught:
        Client(fake, docker_config=config).image()
    assert "topsecret" not in str(caught.value)


def test_forbidden_and_odd_answers(client: Client) -> None:
    client.fake.faults.status = 403
    with pytest.raises(ImageError, match=r"access denied: it answered 403 DENIED: requested access is denied"):
        client.image()
    client.fake.faults.status = 405
    with pytest.raises(ImageError, match=r"it answered 405"):
        client.image()
    assert client.clock.waits == []


def test_no_login_is_sent_to_a_token_server_by_plain_http(fake: Fake, tmp_path: Path) -> None:
    fake.faults.auth, fake.faults.realm = "bearer", "http://tokens.example/token"
    config = write_config(tmp_path / "config.json", fake.host, '{"username": "bob", "password": "x"}')
    with pytest.raises(ImageError, match="is plain http, to which no login is sent"):
        Client(fake, docker_config=config).image()


def test_credentials_do_not_follow_a_redirect_to_another_host(client: Client, tmp_path: Path) -> None:
    client.fake.faults.auth, client.fake.faults.redirect = "bearer", "storage"
    assert client.fetch(tmp_path / "x") == LAYER
    stored = [request for request in client.fake.requests if request.storage]
    assert stored
    assert not any(request.authorization for request in stored)


@pytest.mark.parametrize(("kind", "words"), [("loop", "redirects more than 8 times"), ("nowhere", "no http or https")])
def test_bad_redirects(client: Client, tmp_path: Path, kind: str, words: str) -> None:
    client.fake.faults.redirect = kind
    with pytest.raises(ImageError, match=words):
        client.fetch(tmp_path / "x")


# -- trouble on the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_registries_are_asked_again(client: Client, status: int) -> None:
    client.fake.faults.busy, client.fake.faults.busy_status = 2, status
    client.image()
    first, second = client.clock.waits
    assert 0.25 <= first <= 0.5 <= second <= 1.0


@pytest.mark.parametrize(
    ("said", "wait", "why"),
    [
        ("7", 7.0, "seconds"),
        ("Mon, 12 Jan 1970 13:46:55 GMT", 15.0, "a date, 15 s after the clock"),
        ("Mon, 12 Jan 1970 13:46:35 GMT", 0.5, "a date that is past: the usual wait"),
        ("99999", 120.0, "no more than the longest wait"),
        ("soon", 0.5, "nonsense: the usual wait"),
        ("-5", 0.5, "nonsense: the usual wait"),
    ],
)
def test_retry_after(client: Client, said: str, wait: float, why: str) -> None:
    client.fake.faults.busy, client.fake.faults.busy_status, client.fake.faults.retry_after = 1, 429, said
    client.image()
    (waited,) = client.clock.waits
    assert waited == pytest.approx(wait, abs=0.3), why


def test_a_registry_that_stays_busy_is_given_up(client: Client) -> None:
    client.fake.faults.busy, client.fake.faults.busy_status = -1, 429
    with pytest.raises(ImageError, match=r"it answered 429.*6 times in a row") as caught:
        client.image()
    assert len(client.clock.waits) == 5
    assert "docker login" in (caught.value.hint or "")


def test_dropped_connections_are_made_again(client: Client) -> None:
    client.fake.faults.drop = 2
    client.image()
    assert len(client.clock.waits) == 2


def test_a_cut_body_is_resumed_where_it_broke(client: Client, tmp_path: Path) -> None:
    image = client.image()
    client.fake.faults.cut = 3
    assert client.fetch(tmp_path / "x", image) == LAYER
    assert [r.range for r in client.fake.requests if "/blobs/" in r.path][1:] == [
        None, f"bytes={CUT}-", f"bytes={2 * CUT}-", f"bytes={3 * CUT}-",
    ]  # fmt: skip


def test_a_body_cut_more_often_than_there_are_attempts_gets_through_as_long_as_it_grows(
    fake: Fake, tmp_path: Path
) -> None:
    client = Client(fake, attempts=2)
    image = client.image()
    fake.faults.cut = 3
    assert client.fetch(tmp_path / "x", image) == LAYER


def test_a_download_is_resumed_in_the_next_run(fake: Fake, tmp_path: Path) -> None:
    first = Client(fake, attempts=1)
    image = first.image()
    fake.faults.cut = 1
    with pytest.raises(ImageError, match=r"connection to .* broke"):
        first.fetch(tmp_path / "x", image)
    assert (tmp_path / "x").read_bytes() == LAYER[:CUT]
    assert Client(fake).fetch(tmp_path / "x", image) == LAYER
    assert fake.requests[-1].range == f"bytes={CUT}-"


@pytest.mark.parametrize(
    ("part", "ranges", "why"),
    [
        (b"", [None], "nothing is there"),
        (LAYER, [], "all is there"),
        (LAYER + b"x", [None], "too long"),
        (b"?" * 1000, ["bytes=1000-", None], "spoilt: once more from the start"),
        (b"?" * len(LAYER), [None], "of the right size, but spoilt"),
    ],
)
def test_what_a_file_holds_already(client: Client, tmp_path: Path, part: bytes, ranges: list[str], why: str) -> None:
    image = client.image()
    (tmp_path / "x").write_bytes(part)
    client.fake.requests.clear()
    assert client.fetch(tmp_path / "x", image) == LAYER, why
    assert [request.range for request in client.fake.requests] == ranges


@pytest.mark.parametrize("fault", ["ignore_range", "wrong_range", "refuse_range"])
def test_servers_that_do_not_do_ranges_rightly(client: Client, tmp_path: Path, fault: str) -> None:
    image = client.image()
    client.fake.faults.cut = 1
    setattr(client.fake.faults, fault, 1)
    assert client.fetch(tmp_path / "x", image) == LAYER
    asked = [request.range for request in client.fake.requests if "/blobs/" in request.path][1:]
    again = [] if fault == "ignore_range" else [None]
    assert asked == [None, f"bytes={CUT}-", *again], "an answer that does not fit is not appended: from the start"


def test_a_server_that_ignores_ranges_and_cuts_is_given_up(client: Client, tmp_path: Path) -> None:
    image = client.image()
    client.fake.faults.cut, client.fake.faults.ignore_range = -1, True
    with pytest.raises(ImageError, match="times in a row"):
        client.fetch(tmp_path / "x", image)
    assert len(client.clock.waits) < 10


def test_wrong_bytes_are_fetched_once_more_then_refused(client: Client, tmp_path: Path) -> None:
    image = client.image()
    client.fake.faults.corrupt = 1
    assert client.fetch(tmp_path / "x", image) == LAYER
    client.fake.faults.corrupt = -1
    (tmp_path / "x").unlink()
    want = rf"fetching {image.layers[0].digest} of .*: got sha256:\w+, want {image.layers[0].digest} after {len(LAYER)}"
    with pytest.raises(ImageError, match=want):
        client.fetch(tmp_path / "x", image)
    assert (tmp_path / "x").read_bytes() == b"", "wrong bytes are not kept to be resumed"


def test_more_bytes_than_there_should_be_are_refused(client: Client, tmp_path: Path) -> None:
    image = client.image()
    client.fake.faults.lengthen = -1
    with pytest.raises(ImageError, match=f"has more than the {len(LAYER)} bytes it should have"):
        client.fetch(tmp_path / "x", image)


def test_a_manifest_of_the_wrong_digest_is_refused(client: Client) -> None:
    client.fake.faults.corrupt_manifest = 1
    client.image()
    client.fake.faults.corrupt_manifest = -1
    with pytest.raises(ImageError, match=r"asking for .*: got sha256:\w+, want sha256:\w+ after \d+ bytes"):
        client.image()


def test_a_manifest_that_is_too_large_is_refused(client: Client) -> None:
    client.fake.manifests["conf/base", "big"] = (OCI_MANIFEST, b"{" + b" " * (5 << 20))
    with pytest.raises(ImageError, match="4194304 is the most that is read"):
        client.image("conf/base:big")


def test_an_absurd_config_is_not_even_asked_for(client: Client) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(b"x"), "size": 1 << 40}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    client.fake.add_manifest("conf/base", "absurd", OCI_MANIFEST, document)
    with pytest.raises(ImageError, match="is the most that is read"):
        client.image("conf/base:absurd")
    assert not client.fake.paths("/blobs/")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_content_encoding_of_blobs_is_not_undone(client: Client, tmp_path: Path, encoding: str) -> None:
    client.fake.faults.encoding = encoding
    assert client.fetch(tmp_path / "x") == LAYER


def test_a_manifest_that_a_proxy_compressed_is_read(client: Client) -> None:
    client.fake.faults.really_gzip = True
    assert client.image().platform == AMD64


def test_a_layer_that_is_gone_is_an_error_that_names_it(client: Client, tmp_path: Path) -> None:
    image = client.image()
    del client.fake.blobs[sha256(LAYER)]
    with pytest.raises(ImageError, match="BLOB_UNKNOWN"):
        client.fetch(tmp_path / "x", image)


def test_a_file_that_cannot_be_written_is_not_tried_again(client: Client, tmp_path: Path) -> None:
    from lkbuild.errors import StoreError

    image = client.image()
    with pytest.raises(StoreError, match="writing"):
        client.fetch(tmp_path / "no" / "such", image)
    assert client.clock.waits == []


# -- other ways to a registry ------------------------------------------------------------------------------------------


def test_mirrors_come_first_and_the_registry_where_they_fail(fake: Fake, tmp_path: Path) -> None:
    with Fake() as mirror:
        urls = ("http://127.0.0.1:1", f"http://{mirror.host}/hub/proxy")
        client = Client(fake, mirrors=((fake.host, urls),))
        assert client.fetch(tmp_path / "x") == LAYER
        assert mirror.paths() == [path for path in mirror.paths() if path.startswith("/v2/hub/proxy/conf/base/")]
        assert client.clock.waits == [], "a dead mirror is passed at once"
        mirror.add_image("hub/proxy/conf/base", "1", LAYER)
        fake.requests.clear()
        assert client.fetch(tmp_path / "y") == LAYER
        assert not fake.requests
        mirror.faults.corrupt = -1
        assert client.fetch(tmp_path / "z") == LAYER, "a mirror that lies is passed"
        assert len(fake.requests) == 1
        with pytest.raises(ImageError, match="before that, mirror"):
            fake.faults.status, mirror.faults.status = 403, 403
            client.image()


def test_docker_hub_by_its_own_names(fake: Fake, tmp_path: Path) -> None:
    fake.add_image("library/nginx", "latest", LAYER)
    client = Client(fake, mirrors=(("docker.io", (f"http://{fake.host}",)),))
    answer = client.source.resolve(Reference.parse("nginx"), AMD64)
    assert isinstance(answer, Image)
    assert fake.requests[0].path == "/v2/library/nginx/manifests/latest"
    assert answer.source == "registry docker.io"


def test_a_host_that_cannot_be_reached_is_given_up_soon() -> None:
    clock = Clock()
    source = Registry(RegistryOptions(insecure=("no-such-host.invalid",)), clock.pause, clock.now)
    with pytest.raises(ImageError, match=r"the name no-such-host\.invalid cannot be resolved, 3 times") as caught:
        source.resolve(Reference.parse("no-such-host.invalid/a/b:1"), AMD64)
    assert caught.value.hint
    with pytest.raises(ImageError, match=r"cannot connect to 127\.0\.0\.1:1: Connection refused"):
        source.resolve(Reference.parse("127.0.0.1:1/a/b:1"), AMD64)


def test_http_proxy(fake: Fake, tmp_path: Path) -> None:
    with Proxy(fake.port) as proxy:
        url = proxy.url.replace("//", "//me:p%40ss@")
        client = Client(fake, insecure=("registry.test:5000",), proxies=(("http", url), ("no", "other.test")))
        answer = client.source.resolve(client.reference(host="registry.test:5000"), AMD64)
        assert isinstance(answer, Image)
        assert proxy.asked[0] == ("http://registry.test:5000/v2/conf/base/manifests/1", "Basic bWU6cEBzcw==")
        assert client.fetch(tmp_path / "x") == LAYER, "this machine itself is not asked through the proxy"
        assert not [asked for asked, _ in proxy.asked if "127.0.0.1" in asked]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of registry.test that signs itself, with its key; `ca.crt` beside it is it alone."""
    directory = tmp_path_factory.mktemp("certificate")
    # fmt: off
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", "/CN=registry.test", "-addext", "subjectAltName=DNS:registry.test",
         "-keyout", "key.pem", "-out", "ca.crt"],
        cwd=directory, check=True, capture_output=True,
    )
    # fmt: on
    both = directory / "both.pem"
    both.write_text((directory / "key.pem").read_text() + (directory / "ca.crt").read_text())
    return both


@pytest.fixture
def tls(certificate: Path) -> Iterator[Fake]:
    with Fake(certificate) as server:
        server.add_image("conf/base", "1", LAYER)
        yield server


def test_own_certificates_through_a_proxy(tls: Fake, certificate: Path, tmp_path: Path) -> None:
    docker_certs = tmp_path / "certs.d" / "registry.test:5000"
    docker_certs.mkdir(parents=True)
    (docker_certs / "ca.crt").write_bytes((certificate.parent / "ca.crt").read_bytes())
    with Proxy(tls.port) as proxy:
        proxies = (("https", proxy.url),)
        for options in ({"ca_file": certificate.parent / "ca.crt"}, {"certs_directory": tmp_path / "certs.d"}):
            client = Client(tls, proxies=proxies, **options)
            answer = client.source.resolve(client.reference(host="registry.test:5000"), AMD64)
            assert isinstance(answer, Image)
            client.source.close()
        assert proxy.asked[0][0] == "registry.test:5000"
        client = Client(tls, proxies=proxies)
        with pytest.raises(ImageError, match=r"certificate of registry\.test:5000 is not trusted") as caught:
            client.image_at = client.source.resolve(client.reference(host="registry.test:5000"), AMD64)  # type: ignore[attr-defined]
        assert "LKBUILD_CA_FILE" in (caught.value.hint or "")
        assert client.clock.waits == [], "trying again does not help"


def test_https_is_never_left_for_http(tls: Fake, certificate: Path, tmp_path: Path) -> None:
    tls.faults.redirect = "storage"
    with Proxy(tls.port) as proxy:
        client = Client(tls, proxies=(("https", proxy.url),), ca_file=certificate.parent / "ca.crt")
        with pytest.raises(ImageError, match="redirects from https to plain http"):
            client.source.resolve(client.reference(host="registry.test:5000"), AMD64)
    assert not [request for request in tls.requests if request.storage]


def test_plain_http_where_https_was_meant(fake: Fake) -> None:
    with Proxy(fake.port) as proxy:
        client = Client(fake, proxies=(("https", proxy.url),))
        with pytest.raises(ImageError, match=r"registry\.test:5000 does not speak https") as caught:
            client.source.resolve(client.reference(host="registry.test:5000"), AMD64)
    assert "LKBUILD_INSECURE_REGISTRIES=registry.test:5000" in (caught.value.hint or "")


def test_many_threads_log_in_once(fake: Fake, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    fake.faults.auth = "bearer"
    client = Client(fake)
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(lambda _: client.image(), range(16)))
        files = list(threads.map(lambda n: client.fetch(tmp_path / str(n), images[n]), range(8)))
    assert set(files) == {LAYER}
    assert len(fake.paths("/token")) == 1


def test_an_empty_blob(client: Client, tmp_path: Path) -> None:
    digest = client.fake.add_blob(b"")
    descriptor = Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.parse(digest), 0)
    client.source.fetch(client.reference(), descriptor, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b""
    client.image()
