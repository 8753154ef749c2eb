"""Provenance signed with a key, read by securesystemslib and openssl; and what must not be in it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from tests.support.documents import check_provenance
from tests.support.layouts import Layout, layer

OPENSSL = ["openssl", "genpkey", "-out", "key.pem", "-algorithm"]
KINDS = {
    "ECDSA": [*OPENSSL, "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "Ed25519": [*OPENSSL, "ED25519"],
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    Layout(tmp_path / "layout").add("sign/web:1", [layer([("bin/web", b"web")])])
    (tmp_path / "m.yml").write_text("services:\n  - {name: web, image: sign/web:1}\n")
    return tmp_path


def openssl(here: Path, *words: str) -> None:
    subprocess.run(words, cwd=here, check=True, capture_output=True)


def build(here: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lkbuild", "build", "--cache", "cache", "--images", "layout", "--arch", "amd64"]
    return subprocess.run(
        [*command, *words, "m.yml"], cwd=here, capture_output=True, text=True, env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_signed(here: Path, kind: str) -> None:
    openssl(here, *KINDS[kind])
    said = build(here, "--key", "key.pem")
    assert (said.returncode, said.stderr) == (0, "")
    assert f"  {here}/m.provenance.sigstore.json" in said.stdout.splitlines()
    bundle = json.loads((here / "m.provenance.sigstore.json").read_text())
    openssl(here, "openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
    pem = (here / "public.pem").read_text()
    scheme, type_ = ("ed25519", "ed25519") if kind == "Ed25519" else ("ecdsa-sha2-nistp256", "ecdsa")
    public = pem if kind != "Ed25519" else base64.b64decode(pem.split("-----")[2])[-32:].hex()
    key = SSlibKey("", type_, scheme, {"public": public})
    signature = bundle["dsseEnvelope"]["signatures"][0]
    envelope = Envelope.from_dict({**bundle["dsseEnvelope"], "signatures": [{"keyid": "", **signature}]})
    assert envelope.verify([key], 1)
    assert envelope.payload == (here / "m.provenance.json").read_bytes()
    check_provenance(envelope.payload)


def test_signed_again_only_where_it_must_be(here: Path) -> None:
    openssl(here, *KINDS["ECDSA"])
    build(here, "--key", "key.pem")
    signed = here / "m.provenance.sigstore.json"
    first = signed.read_bytes()
    assert "nothing to do" in build(here, "--key", "key.pem").stdout
    signed.unlink()
    assert build(here, "--key", "key.pem").returncode == 0
    second = signed.read_bytes()
    assert second != first, "each ECDSA signature is another"
    (here / "m.provenance.json").unlink()
    assert build(here, "--key", "key.pem").returncode == 0
    assert signed.read_bytes() == second, "it is about the same statement"
    signed.write_bytes(second.replace(b'"sig":"M', b'"sig":"A'))
    assert build(here, "--key", "key.pem").returncode == 0
    assert b'"sig":"M' in signed.read_bytes()
    (here / "key.pem").rename(here / "old.pem")
    openssl(here, *KINDS["ECDSA"])
    assert build(here, "--key", "key.pem").returncode == 0
    hints = {json.loads(text)["verificationMaterial"]["publicKey"]["hint"] for text in (second, signed.read_bytes())}
    assert len(hints) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--key", "none.pem"), "none.pem"),
        (("--key", "m.yml"), "m.yml: is no private key in PEM form"),
        (("--key", "key.pem", "--no-provenance"), "provenance=no leaves that out"),
    ],
)
def test_keys_that_cannot_sign(here: Path, words: tuple[str, ...], message: str) -> None:
    said = build(here, *words)
    assert (said.returncode, message in said.stderr, "Traceback" in said.stderr) == (1, True, False), said.stderr
    assert not (here / "m.provenance.sigstore.json").exists()


def test_an_encrypted_key_and_that_it_gets_nowhere(here: Path) -> None:
    openssl(here, *KINDS["ECDSA"], "-aes-256-cbc", "-pass", "pass:secret")
    assert "LKBUILD_KEY_PASSWORD" in build(here, "--key", "key.pem").stderr
    assert build(here, "--key", "key.pem", LKBUILD_KEY_PASSWORD="secret").returncode == 0
    assert (here / "m.provenance.sigstore.json").exists()
    lines = [line for line in (here / "key.pem").read_bytes().splitlines() if b"-----" not in line]
    for path in here.rglob("*"):
        if path.is_file() and path.name != "key.pem":
            assert not any(line in path.read_bytes() for line in (*lines, b"PRIVATE KEY")), path
