"""Signatures end to end: made by us and read by others, and every attack we know with what it is answered.

The attacks are the table in docs/trust.md.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lkbuild.digest import Digest, canonical
from lkbuild.engine.events import nobody
from lkbuild.engine.prepare import prepare
from lkbuild.engine.signing import Trusted, sign_file, verify_image
from lkbuild.errors import LkbuildError
from lkbuild.oci.image import OCI_CONFIG, OCI_MANIFEST
from lkbuild.reference import Reference
from lkbuild.sources import Registry, RegistryOptions
from lkbuild.store import Result
from lkbuild.trust.bundle import Bundle, Envelope, file_bundle, image_bundle
from lkbuild.trust.policy import Identity, Policy
from lkbuild.trust.simple_signing import MEDIA_TYPE as CLASSIC
from lkbuild.trust.simple_signing import SIGNATURE, payload
from lkbuild.trust.statement import statement
from tests.fakes.sigstore import FakeSigstore
from tests.support.lab import Lab
from tests.support.servers import docker_daemon, docker_registry
from tests.support.signing import KINDS, envelope_bundle, load, new_key, openssl, text

SUPPORT = Path(__file__).parents[1] / "support"
PAGE = Path(__file__).parents[2] / "docs" / "trust.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("registry")
    with docker_registry(directory) as host:
        yield host, directory / "data"


@pytest.fixture
def lab(server: tuple[str, Path], tmp_path: Path) -> Lab:
    return Lab(server[0], tmp_path / "lab", server[1])


# -- builds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["classic", "bundle"])
def test_a_signed_image_is_verified_before_it_is_fetched(lab: Lab, form: str) -> None:
    lab.sign(form=form)
    assert lab.build().ran[:2] == (f"verify:{lab.reference}", f"pull:{lab.reference}")
    assert lab.build().ran == ()


def test_an_image_that_nobody_selects_is_not_verified(lab: Lab) -> None:
    spec = lab.spec("{image: [some/other], keys: [key.pub]}")
    built = lab.build(spec)
    assert f"verify:{lab.reference}" not in built.ran
    assert [line.partition("trust.image")[2] for line in built.said] == [
        ": no image of this spec is meant by 'some/other'"
    ]


@pytest.mark.parametrize("selector", ["image: ['{name}']", "image: ['{name}:1']", "org: ['{org}']"])
def test_each_selector_selects(lab: Lab, selector: str) -> None:
    words = selector.format(name=lab.name, org=lab.repository.partition("/")[0])
    with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
        lab.build(lab.spec(f"{{{words}, keys: [key.pub]}}"))


def test_of_an_index_the_index_is_verified(lab: Lab) -> None:
    index, _ = lab.push_index("1", (lab.name.encode(), b"two"))
    lab.digest = index
    lab.sign()
    assert f"verify:{lab.reference}" in lab.build().ran


def test_a_volume_that_keeps_an_image_whole_is_verified(lab: Lab) -> None:
    spec = lab.spec()
    volume = f"volumes:\n- {{name: v, image: '{lab.reference}', format: oci}}\n"
    spec.write_text(volume + spec.read_text().replace("init:\n", "init:\n").replace(f"init:\n- {lab.reference}\n", ""))
    with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
        lab.build(spec)
    lab.sign()
    assert f"verify:{lab.reference}" in lab.build(spec).ran


@pytest.mark.parametrize("place", ["init", "services", "volumes"])
def test_an_image_without_layers_is_verified_too(lab: Lab, place: str) -> None:
    """Nothing of it is fetched, and yet its config says what is run."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    config["config"] = {"Cmd": ["/app"]}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}
    document["config"] = lab.blob(json.dumps(config).encode(), OCI_CONFIG)
    lab.digest = Digest.of(lab.put("1", document, OCI_MANIFEST))
    entries = {
        "init": f"init: ['{lab.reference}']\n",
        "services": f"services: [{{name: app, image: '{lab.reference}'}}]\n",
        "volumes": f"volumes: [{{name: v, image: '{lab.reference}', format: oci}}]\n",
    }
    spec = lab.spec()
    spec.write_text(entries[place] + spec.read_text().partition("\n")[2].partition("\n")[2])
    with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
        lab.build(spec)
    lab.sign()
    assert f"verify:{lab.reference}" in lab.build(spec).ran


def test_a_locked_image_is_verified_all_the_same(lab: Lab) -> None:
    spec = lab.spec()
    lock = {"lkbuild-lock": 1, "images": {str(lab.reference): str(lab.digest)}, "debian": {}}
    spec.with_suffix(".lock").write_text(json.dumps(lock))
    with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
        lab.build(spec)
    lab.sign()
    assert f"verify:{lab.reference}@{lab.digest}" in lab.build(spec).ran


def test_what_is_cached_is_not_trusted_more_for_it(lab: Lab) -> None:
    """A cache filled without verification, and outputs on disk: the first build that must verify does."""
    lab.build(lab.spec(""))
    with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
        lab.build()
    lab.sign()
    assert lab.build().ran == (f"verify:{lab.reference}", "provenance:machine")


def test_another_policy_is_another_verification(lab: Lab) -> None:
    lab.sign()
    lab.build()
    spec = lab.spec(f"{{image: ['{lab.name}'], keys: [key.pub, stranger.pub]}}")
    assert lab.build(spec).ran == (f"verify:{lab.reference}",)
    spec = lab.spec(f"{{image: ['{lab.name}'], keys: [stranger.pub, key.pub]}}")
    assert lab.build(spec).ran == (), "the order of keys is nothing"
    spec = lab.spec(f"{{image: ['{lab.name}'], keys: [stranger.pub]}}")
    with pytest.raises(LkbuildError, match="it was not made with"):
        lab.build(spec)


def test_offline_what_was_verified_is_proved_again_from_what_was_kept(lab: Lab) -> None:
    lab.sign()
    lab.build()
    assert lab.build(pull="never").ran == ()
    for blob in (lab.directory / "cache" / "blobs" / "sha256").glob("??/*"):
        if b"dsseEnvelope" in blob.read_bytes():
            blob.unlink()
    with pytest.raises(LkbuildError, match="was never verified by what the spec says now, and this build is offline"):
        lab.build(pull="never")
    assert lab.build().ran == (f"verify:{lab.reference}",)


def test_ignoring_is_said_each_time_and_recorded(lab: Lab) -> None:
    spec = lab.spec(f"{{image: ['{lab.name}'], org: [acme]}}")
    for _ in range(2):
        (said,) = lab.build(spec, trust="ignore").said
        assert said.endswith(f"trust=ignore: signatures are NOT verified, though asked for: {lab.name}, all of acme")
    provenance = json.loads((lab.directory / "out" / "machine.provenance.json").read_text("utf-8"))
    assert provenance["predicate"]["buildDefinition"]["externalParameters"]["options"]["trust"] == "ignore"


def test_a_keyless_signer_is_named_and_compared_exactly(lab: Lab) -> None:
    sigstore, signer = FakeSigstore(), Identity("https://accounts.example", "release@acme.example")
    lab.bundle(sigstore.bundle(statement(lab.digest), signer))
    (lab.directory / "root.json").write_bytes(sigstore.root)
    named = "identities: [{{issuer: 'https://accounts.example', identity: '{who}'}}]"
    words = "{{image: ['{name}'], root: root.json, " + named + "}}"
    spec = lab.spec(words.format(name=lab.name, who="release@acme.example"))
    assert f"verify:{lab.reference}" in lab.build(spec).ran
    assert lab.build(spec, pull="never").ran == (), "proved again from what was kept"
    (lab.directory / "root.json").write_bytes(FakeSigstore().root)
    with pytest.raises(LkbuildError, match=r"not by release@acme\.example"):
        lab.build(spec)
    (lab.directory / "root.json").write_bytes(sigstore.root)
    spec = lab.spec(words.format(name=lab.name, who="release@acme.example.evil"))
    with pytest.raises(LkbuildError, match=r"not by release@acme\.example\.evil"):
        lab.build(spec)


@pytest.mark.docker
def test_of_an_image_in_the_docker_daemon_the_registrys_is_verified_and_used(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the daemon has is a copy that no signature is about, unless the registry has the same one."""
    with docker_daemon(tmp_path_factory.mktemp("d")) as host:  # its sockets' names must be short
        docker = ["docker", "--host", host]
        subprocess.run([*docker, "pull", "-q", str(lab.reference)], check=True)
        with pytest.raises(LkbuildError, match="is not signed by whom it must be"):
            lab.build(docker=True, docker_host=host)
        lab.sign()
        ran = lab.build(docker=True, docker_host=host).ran
        assert ran[:2] == (f"verify:{lab.reference}@{lab.digest}", f"pull:{lab.reference}@{lab.digest}")
        subprocess.run([*docker, "tag", str(lab.reference), f"{lab.host}/local/app:1"], check=True)
        spec = lab.spec("{org: [local], keys: [key.pub]}", image=f"{lab.host}/local/app:1")
        with pytest.raises(LkbuildError, match="was neither pulled from a registry nor pushed"):
            lab.build(spec, docker=True, docker_host=host)


def lkbuild(lab: Lab, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lkbuild", *words]
    environment = {**os.environ, "LKBUILD_CACHE": str(lab.directory / "cache"), **more}
    return subprocess.run(command, cwd=lab.directory, capture_output=True, text=True, env=environment, check=False)


def test_no_stamp_hides_a_verification_that_failed(lab: Lab) -> None:
    build = ("build", "--format", "tar", "--dir", "out", "machine.yml")
    lab.spec("")
    assert lkbuild(lab, *build).returncode == 0
    lab.spec()
    for _ in range(2):
        failed = lkbuild(lab, *build)
        assert failed.returncode == 1, failed
        assert "is not signed by whom it must be" in failed.stderr
    ignored = lkbuild(lab, *build, "-disable-content-trust")
    again = lkbuild(lab, *build, "--trust", "ignore")
    for done in (ignored, again):
        assert done.returncode == 0, done
        assert "trust=ignore: signatures are NOT verified" in done.stderr
    assert lkbuild(lab, *build, "-disable-content-trust=false").returncode == 1
    lab.sign()
    assert lkbuild(lab, *build).returncode == 0
    assert "nothing to do" in lkbuild(lab, *build).stdout
    (lab.directory / "key.pub").write_bytes((lab.directory / "stranger.pub").read_bytes())
    assert lkbuild(lab, *build).returncode == 1, "a key file is watched"


def test_a_task_alone_does_not_go_round_a_verification(lab: Lab) -> None:
    lab.spec("")
    assert lkbuild(lab, "build", "--format", "tar", "--dir", "out", "machine.yml").returncode == 0
    lab.spec()
    (lab.directory / "dodo.py").write_text("from lkbuild.dodo import *\n")
    doit = Path(sys.executable).with_name("doit")
    words = ("run", "--single", "build:machine:tar", "spec=machine.yml", "format=tar", "dir=elsewhere", "cache=cache")
    done = subprocess.run([doit, *words], cwd=lab.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert "is not written: not all is verified" in done.stderr
    assert not (lab.directory / "elsewhere" / "machine.tar").exists()


# -- read by others ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_reads_the_classic_form(lab: Lab, kind: str, tmp_path: Path) -> None:
    path = new_key(tmp_path / kind, kind)
    lab.sign(load(path), "classic")
    (found,) = json.loads(lab.get(f"sha256-{lab.digest.hex}.sig"))["layers"]
    signed = payload(lab.name, lab.digest)
    assert found["digest"] == str(Digest.of(signed))
    (tmp_path / "payload").write_bytes(signed)
    encoded = found["annotations"][SIGNATURE].encode()
    (tmp_path / "signature").write_bytes(openssl("base64", "-d", "-A", data=encoded))
    digest = () if kind == "ed25519" else ("-digest", "sha256")
    said = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", f"{path}.pub", "-rawin", *digest),
        *("-in", tmp_path / "payload", "-sigfile", tmp_path / "signature"),
    )
    assert b"Signature Verified Successfully" in said


def test_skopeo_copies_an_image_with_its_signature_and_we_verify_the_copy(lab: Lab, tmp_path: Path) -> None:
    """The copy lies at a mirror, in whose place the registry need not be reached."""
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo (Debian package skopeo)")
    lab.sign(form="classic")
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d" / "default.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
    (tmp_path / "mirror").mkdir()
    with docker_registry(tmp_path / "mirror") as mirror:
        skopeo = [
            "skopeo",
            "--insecure-policy",
            "--registries.d",
            tmp_path / "registries.d",
            "copy",
            "--src-tls-verify=false",
        ]
        target = f"docker://{mirror}/copies/{lab.repository}:1"
        subprocess.run([*skopeo, "--dest-tls-verify=false", f"docker://{lab.reference}", target], check=True)
        subprocess.run([*skopeo, f"docker://{lab.reference}", f"dir:{tmp_path / 'dir'}"], check=True)
        read = json.loads((tmp_path / "dir" / "signature-1").read_bytes().removeprefix(b"\0sigstore-json\n"))
        assert base64.b64decode(read["payload"]) == payload(lab.name, lab.digest)
        options = RegistryOptions(mirrors=((lab.host, (f"http://{mirror}/copies",)),))
        trusted = Trusted(Policy.of([lab.key.public]))
        assert mirror in str(Registry(options).names(lab.reference))
        verify_image(Registry(options), lab.reference, trusted)
        copy = Reference.parse(f"{mirror}/copies/{lab.repository}:1")
        with pytest.raises(LkbuildError, match=f"it is for the repository {lab.name}"):
            verify_image(Registry(RegistryOptions()), copy, trusted)


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where npm has put @sigstore/verify."""
    if not shutil.which("npm"):
        pytest.skip("needs npm (Debian packages nodejs and npm)")
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    directory = Path(kept) / "npm" if kept else tmp_path_factory.mktemp("npm")
    if not (directory / "node_modules" / "@sigstore" / "verify").is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        packages = ("@sigstore/verify@2.1.1", "@sigstore/bundle@3.1.0")
        command = ["npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "--ignore-scripts", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return directory / "node_modules"


def _asked(npm: Path, *files: Path) -> str:
    environment = {**os.environ, "NODE_PATH": str(npm)}
    command = ["node", SUPPORT / "verify_bundle.cjs", *files]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


NODE = [
    ("p256", "image", "accepted"),
    ("p256", "file", "accepted"),
    ("rsa", "image", "accepted"),
    ("rsa", "file", "accepted"),
    ("ed25519", "image", "accepted"),
    ("ed25519", "file", "accepted"),
    # It hashes with SHA-256 whatever the curve; the bundle of such a key is checked with openssl below.
    ("p384", "image", "refused: signature verification failed"),
]


@pytest.mark.network
@pytest.mark.parametrize(("kind", "what", "answer"), NODE, ids=[f"{r[0]}-{r[1]}" for r in NODE])
def test_sigstore_for_node_reads_the_bundle(
    npm: Path, lab: Lab, tmp_path: Path, kind: str, what: str, answer: str
) -> None:
    path = new_key(tmp_path / kind, kind)
    if what == "file":
        (tmp_path / "made").write_bytes(b"an output")
        (bundle,) = sign_file(tmp_path / "made", load(path), "bundle")
        files = [bundle, Path(f"{path}.pub"), tmp_path / "made"]
    else:
        lab.sign(load(path), "bundle")
        (entry,) = json.loads(lab.get(f"sha256-{lab.digest.hex}"))["manifests"]
        (tmp_path / "bundle").write_bytes(
            lab.stored(Digest.parse(json.loads(lab.get(entry["digest"]))["layers"][0]["digest"])).read_bytes()
        )
        files = [tmp_path / "bundle", Path(f"{path}.pub")]
    assert _asked(npm, *files) == answer
    assert _asked(npm, files[0], lab.directory / "stranger.pub", *files[2:]).startswith("refused: ")


def test_openssl_reads_the_bundle_of_a_p384_key(tmp_path: Path) -> None:
    """Over SHA-384, as sigstore's registry of algorithms has it for this curve."""
    path = new_key(tmp_path / "key", "p384")
    content = Bundle.parse(image_bundle(Digest.of(b"x"), load(path))).content
    assert isinstance(content, Envelope)
    (tmp_path / "signature").write_bytes(content.signature)
    words = ("dgst", "-sha384", "-verify", f"{path}.pub", "-signature", tmp_path / "signature")
    assert openssl(*words, data=content.signed) == b"Verified OK\n"


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
def test_openssl_reads_the_signature_of_a_file(kind: str, tmp_path: Path) -> None:
    path = new_key(tmp_path / "key", kind)
    (tmp_path / "made").write_bytes(b"an output" * 100_000)
    (beside,) = sign_file(tmp_path / "made", load(path), "classic")
    (tmp_path / "raw").write_bytes(openssl("base64", "-d", "-A", "-in", beside))
    words = ("dgst", "-sha256", "-verify", f"{path}.pub", "-signature", tmp_path / "raw", tmp_path / "made")
    assert openssl(*words) == b"Verified OK\n"


def test_files_are_signed_and_verified_on_the_command_line(lab: Lab) -> None:
    (lab.directory / "made.img").write_bytes(b"an output")
    assert lkbuild(lab, "sign", "--key", "key", "made.img").returncode == 0
    proxy = "http://127.0.0.1:9"  # where nobody listens, so that nobody is asked
    wrong = lkbuild(lab, "sign", "--key", "key", "build/nosuch", HTTPS_PROXY=proxy, https_proxy=proxy)
    assert (wrong.returncode, "there is no such file, so it was taken for an image's name" in wrong.stderr) == (1, True)
    good = lkbuild(lab, "verify", "--key", "key.pub", "made.img")
    assert (good.returncode, good.stdout.count("is signed by key sha256:")) == (0, 2)
    other = lkbuild(lab, "verify", "--key", "stranger.pub", "made.img")
    assert (other.returncode, "it was not made with the key; wanted key stranger.pub (sha256:" in other.stderr) == (
        1,
        True,
    )
    (lab.directory / "made.img").write_bytes(b"another output")
    changed = lkbuild(lab, "verify", "--key", "key.pub", "made.img")
    assert (changed.returncode, "is not signed as made.img.sig says" in changed.stderr) == (1, True)


def test_images_are_signed_and_verified_on_the_command_line(lab: Lab) -> None:
    signed = lkbuild(lab, "sign", "--key", "key", str(lab.reference))
    assert signed.returncode == 0, signed
    good = lkbuild(lab, "verify-image", "--key", "key.pub", str(lab.reference))
    assert (good.returncode, "is signed by key sha256:" in good.stdout) == (0, True)
    other = lkbuild(lab, "verify-image", "--key", "stranger.pub", str(lab.reference))
    assert other.returncode == 1
    assert other.stderr.count("it was not made with the key") == 2
    assert "is not signed by whom it must be: key stranger.pub (sha256:" in other.stderr
    assert lkbuild(lab, "verify-image", str(lab.reference)).returncode == 1


def test_a_passphrase_comes_from_the_environment(lab: Lab) -> None:
    (lab.directory / "sealed").write_bytes(
        openssl("pkcs8", "-topk8", "-in", lab.directory / "key", "-passout", "pass:open")
    )
    words = ("sign", "--key", "sealed", str(lab.reference))
    assert "nobody can be asked for the passphrase" in lkbuild(lab, *words).stderr
    wrong = lkbuild(lab, *words, LKBUILD_KEY_PASSWORD="shut")
    assert (wrong.returncode, "the passphrase is wrong" in wrong.stderr) == (1, True)
    assert lkbuild(lab, *words, LKBUILD_KEY_PASSWORD="open").returncode == 0
    assert "is signed" in lkbuild(lab, "verify-image", "--key", "key.pub", str(lab.reference)).stdout


def test_no_private_key_gets_anywhere(lab: Lab) -> None:
    """Not into the cache, the registry or what is said, even where it stands in the place of a public one."""
    secret = (lab.directory / "key").read_bytes().splitlines()[1]
    said = lkbuild(lab, "sign", "--key", "key", str(lab.reference), "--json")
    lab.spec(f"{{image: ['{lab.name}'], keys: [key]}}")
    said2 = lkbuild(lab, "build", "-v", "--format", "tar", "--dir", "out", "machine.yml")
    assert "holds a private key" in said2.stderr
    for text_ in (said.stdout, said.stderr, said2.stdout, said2.stderr):
        assert secret.decode() not in text_
    files = [p for p in (*lab.data.rglob("*"), *(lab.directory / "cache").rglob("*")) if p.is_file()]
    assert files
    assert not [path for path in files if secret in path.read_bytes()]


# -- attacks -----------------------------------------------------------------------------------------------------------


def _graft_classic(lab: Lab) -> None:
    other = lab.push("other", b"another app")
    lab.classic(payload(lab.name, other))


def _graft_bundle(lab: Lab) -> None:
    lab.bundle(image_bundle(lab.push("other", b"another app"), lab.key))


def _graft_referrer(lab: Lab) -> None:
    other = lab.push("other", b"another app")
    lab.bundle(image_bundle(other, lab.key), subject=other)


def _change_payload(lab: Lab) -> None:
    good = payload(lab.name, lab.digest)
    lab.classic(good.replace(b'"optional":null', b'"optional":{"by":"me"}'), lab.key.sign(good, classic=True))


def _attestation(lab: Lab) -> None:
    said = json.loads(statement(lab.digest)) | {"predicateType": "https://spdx.dev/Document"}
    lab.bundle(envelope_bundle(said, lab.key))


def _two_signatures(lab: Lab) -> None:
    bundle = envelope_bundle(json.loads(statement(lab.digest)), lab.key)
    bundle["dsseEnvelope"]["signatures"] *= 2
    lab.bundle(bundle)


def _keyless(lab: Lab) -> None:
    material = {"certificate": {"rawBytes": "AA=="}}
    lab.bundle(envelope_bundle(json.loads(statement(lab.digest)), lab.key, verificationMaterial=material))


def _huge_payload(lab: Lab) -> None:
    raw = payload(lab.name, lab.digest) + b" " * (1 << 20)
    lab.classic(raw)


def _huge_manifest(lab: Lab) -> None:
    lab.signature_manifest([], annotations={"x": "y" * (1 << 20)})


def _lying_size(lab: Lab) -> None:
    said = payload(lab.name, lab.digest)
    entry = lab.blob(said, CLASSIC) | {"annotations": {SIGNATURE: text(lab.key.sign(said, classic=True))}}
    lab.signature_manifest([entry | {"size": len(said) - 1}])


def _moved_tag(lab: Lab) -> None:
    lab.sign()
    lab.build()
    lab.digest = lab.push("1", b"an evil app")


def _one_platform(lab: Lab) -> None:
    index, image = lab.push_index("1", (lab.name.encode(), b"two"))
    lab.sign(reference=Reference.parse(f"{lab.name}@{image}"))
    lab.digest = index


def _damage(find: Callable[[Lab], Digest]) -> Callable[[Lab], None]:
    def attack(lab: Lab) -> None:
        lab.sign()
        path = lab.stored(find(lab))
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))

    return attack


def _damage_index(lab: Lab) -> None:
    lab.digest, _ = lab.push_index("1", (lab.name.encode(), b"two"))
    _damage(lambda lab: lab.digest)(lab)


def _forge_cache(lab: Lab) -> None:
    """Write into the cache that it was verified."""
    lab.sign()
    lab.build()
    lab.digest = lab.push("2", b"an evil app")
    prepared = prepare(lab.options(lab.spec(image=f"{lab.name}:2")), nobody, Registry(RegistryOptions()))
    store, session = prepared.session.place.store, prepared.session
    good = session.steps[f"verify:{lab.name}:2"].params
    by = f"key {lab.key.public.fingerprint}"
    bundle = image_bundle(lab.digest, lab.stranger)
    record = {"subject": good.subject, "by": by, "form": "bundle", "evidence": Digest.of(bundle), "signature": ""}
    forged = Result((("bundle", store.add(bundle)), ("record", store.add(canonical(record)))))
    key = session.key(f"verify:{lab.name}:2")
    assert key is not None
    store.record(key, forged)
    prepared.close()


def _layer_of(lab: Lab) -> Digest:
    return Digest.parse(json.loads(lab.get("1"))["layers"][0]["digest"])


ATTACKS: list[tuple[str, Callable[[Lab], None], str]] = [
    ("no signature at all", lambda lab: None, "there is no such tag"),
    ("signed, but with another key", lambda lab: lab.sign(lab.stranger), "it was not made with"),
    ("another image's signature put in its place", _graft_classic, "it signs another image"),
    ("another image's bundle put in its place", _graft_bundle, "it signs another image"),
    ("another image's bundle listed among its referrers", _graft_referrer, "its manifest refers to"),
    (
        "its own signature, made for another repository",
        lambda lab: lab.classic(payload(f"{lab.name}-evil", lab.digest)),
        "it is for the repository",
    ),
    (
        "its own signature, made for another tag",
        lambda lab: lab.classic(payload(f"{lab.name}:0", lab.digest)),
        "it is for the tag 0, wanted 1",
    ),
    ("a payload changed after it was signed", _change_payload, "it was not made with"),
    (
        "a payload of another type",
        lambda lab: lab.classic(payload(lab.name, lab.digest).replace(b"cosign", b"atomic")),
        "the payload is of type",
    ),
    ("an SBOM attested with the trusted key", _attestation, "it is an attestation of type"),
    ("an envelope with two signatures", _two_signatures, "its envelope has 2 signatures, wanted one"),
    (
        "a bundle that signs a file",
        lambda lab: lab.bundle(file_bundle(lab.digest, lab.key.sign(b"x"), lab.key.public)),
        "its bundle signs a file",
    ),
    (
        "a bundle of another version",
        lambda lab: lab.bundle({"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"}),
        "bundle: is of type",
    ),
    ("a bundle that is garbage", lambda lab: lab.bundle(b"\x00" * 100), "bundle is not JSON"),
    ("a keyless bundle, where keys are trusted", _keyless, "it is keyless, and trust.identities names nobody"),
    ("a payload of a megabyte", _huge_payload, "65536"),
    ("a manifest of signatures of a megabyte", _huge_manifest, "524288 is the most that is read"),
    ("a payload whose size is another than its manifest says", _lying_size, "has more than the"),
    ("the tag moved to another image after the first build", _moved_tag, "there is no such tag"),
    ("of an index, the image of one platform signed", _one_platform, "there is no such tag"),
    ("the manifest changed in the registry", _damage(lambda lab: lab.digest), "it answered 500"),
    ("the index changed in the registry", _damage_index, "it answered 500"),
    ("a layer changed in the registry", _damage(_layer_of), "want sha256:"),
]
"""What was tried, how, and what it is answered.  Every build here has an empty cache, or one that asks anew."""


@pytest.mark.parametrize(("what", "attack", "answer"), ATTACKS, ids=[row[0] for row in ATTACKS])
def test_attack(lab: Lab, what: str, attack: Callable[[Lab], None], answer: str) -> None:
    attack(lab)
    with pytest.raises(LkbuildError) as caught:
        lab.build(pull="always")
    print(f"{what}\n{caught.value}\n")
    assert answer in caught.value.message


LOCAL: list[tuple[str, Callable[[Lab], dict[str, Any]], str]] = []


def _local(what: str, answer: str) -> Callable[[Callable[[Lab], dict[str, Any]]], Callable[[Lab], dict[str, Any]]]:
    def note(attack: Callable[[Lab], dict[str, Any]]) -> Callable[[Lab], dict[str, Any]]:
        LOCAL.append((what, attack, answer))
        return attack

    return note


@_local("a verdict written into the cache by hand", "it was not made with")
def _forged(lab: Lab) -> dict[str, Any]:
    _forge_cache(lab)
    lab.bundle(image_bundle(lab.digest, lab.stranger))
    return {"spec": lab.spec(image=f"{lab.name}:2")}


@_local("selectors without keys", "asks for signatures to be verified, and nothing says by whom they must be")
def _no_keys(lab: Lab) -> dict[str, Any]:
    return {"spec": lab.spec(f"{{image: ['{lab.name}']}}")}


@_local("keys without selectors", "says who must have signed, but nothing says what")
def _no_selectors(lab: Lab) -> dict[str, Any]:
    return {"spec": lab.spec("{keys: [key.pub]}")}


@_local("a private key in the place of a public one", "holds a private key, and a public key is wanted")
def _private(lab: Lab) -> dict[str, Any]:
    return {"spec": lab.spec(f"{{image: ['{lab.name}'], keys: [key]}}")}


@_local("garbage in the place of a key", "is no key in PEM form")
def _garbage(lab: Lab) -> dict[str, Any]:
    (lab.directory / "bad.pub").write_bytes(b"\xff\x00")
    return {"spec": lab.spec(f"{{image: ['{lab.name}'], keys: [bad.pub]}}")}


@_local("a key file that is not there", "cannot be read: No such file or directory")
def _no_file(lab: Lab) -> dict[str, Any]:
    return {"spec": lab.spec(f"{{image: ['{lab.name}'], keys: [none.pub]}}")}


@_local("a lock file that names another image", "there is no such tag")
def _other_lock(lab: Lab) -> dict[str, Any]:
    lab.sign()
    spec = lab.spec()
    other = lab.push("other", f"the evil app of {lab.repository}".encode())
    lock = {"lkbuild-lock": 1, "images": {str(lab.reference): str(other)}, "debian": {}}
    spec.with_suffix(".lock").write_text(json.dumps(lock))
    return {"spec": spec}


@_local("an image that was never verified, offline", "was never verified by what the spec says now, and this build is")
def _offline(lab: Lab) -> dict[str, Any]:
    lab.sign()
    lab.build(lab.spec(""))
    return {"spec": lab.spec(), "pull": "never"}


@_local("an unsigned copy of a signed image in a layout", "no bundle is listed")
def _unsigned_layout(lab: Lab) -> dict[str, Any]:
    lab.sign()
    target = lab.directory / "layout"
    words = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"]
    subprocess.run([*words, f"docker://{lab.reference}", f"oci:{target}:{lab.reference}"], check=True)
    return {"spec": lab.spec(), "images": (target,)}


@pytest.mark.parametrize(("what", "attack", "answer"), LOCAL, ids=[row[0] for row in LOCAL])
def test_attack_at_home(lab: Lab, what: str, attack: Callable[[Lab], dict[str, Any]], answer: str) -> None:
    if "layout" in what and not shutil.which("skopeo"):
        pytest.skip("needs skopeo (Debian package skopeo)")
    options = attack(lab)
    with pytest.raises(LkbuildError) as caught:
        lab.build(**options)
    print(f"{what}\n{caught.value}\n")
    assert answer in caught.value.message


def test_the_page_has_every_attack_and_its_answer() -> None:
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.read_text().splitlines()}
    missing = [(what, answer) for what, _, answer in (*ATTACKS, *LOCAL) if (what, f"`{answer}`") not in rows]
    assert missing == []
