"""A registry in this process that misbehaves as told: `Fake(...)`, then `fake.faults`.

What pulling, pushing and lists of referrers need.  It listens at two ports: the second plays the storage that blobs are
redirected to, which refuses any request with credentials.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import http.server
import json
import socket
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CUT = 100_000
"""Where a body is cut off."""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Faults:
    """What goes wrong; each count is of requests for what it names, -1 means always."""

    auth: str = ""  # "bearer", "basic", "identity": who may pull; "" everyone
    user: str = ""  # user:password or refresh token, "" = anonymous is enough
    realm: str = ""  # where the challenge sends people, "" = here
    expire: int = 0  # tokens refused that were good before
    redirect: str = ""  # "", "storage", "loop", "nowhere"
    busy: int = 0  # answers with `busy_status`
    busy_status: int = 503
    retry_after: str = ""
    cut: int = 0  # blob bodies cut after CUT bytes
    corrupt: int = 0  # blobs with the last byte flipped
    lengthen: int = 0  # blobs with a byte more
    corrupt_manifest: int = 0
    ignore_range: bool = False
    wrong_range: int = 0  # Content-Range that is not what was asked
    refuse_range: int = 0  # 416
    encoding: str = ""  # Content-Encoding said though nothing is encoded
    really_gzip: bool = False  # manifests compressed by a proxy
    status: int = 0  # every answer for a manifest
    drop: int = 0  # connections closed without a word
    referrers: bool = False  # it has the referrers API
    no_referrers: int = 404  # what it answers who asks for it where it has none
    page: int = 100  # how many referrers it lists at a time
    next_host: str = ""  # where the next page is said to be, "" = here
    forget: int = 0  # blobs that are taken and not kept
    other: int = 0  # manifests of which something else is kept
    upload: str = ""  # where uploads are sent, "" = here
    lose: int = 0  # manifests put at a tag that somebody else puts another at right away


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    authorization: str | None
    range: str | None
    storage: bool
    host: str


class Fake:
    """The registry; `blobs` by digest, `manifests` by repository and tag or digest.  Use as a context manager."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.faults = Faults()
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.requests: list[Request] = []
        self.tokens: set[str] = set()
        self.pushed: list[str] = []
        self.lock = threading.Lock()
        self._servers = [self._server(storage, certificate) for storage in (False, True)]
        self.port, self.storage_port = (server.server_address[1] for server in self._servers)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _server(self, storage: bool, certificate: Path | None) -> http.server.ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"fake": self, "storage": storage})
        server = _Server(("127.0.0.1", 0), handler)
        if certificate and not storage:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return server

    def __enter__(self) -> Fake:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def count(self, name: str) -> bool:
        """Whether the fault called `name` happens now; counts it down."""
        with self.lock:
            left: int = getattr(self.faults, name)
            if left > 0:
                setattr(self.faults, name, left - 1)
            return left != 0

    def paths(self, part: str = "") -> list[str]:
        return [request.path for request in self.requests if part in request.path]

    # -- content -------------------------------------------------------------------------------------------------------

    def add_blob(self, data: bytes) -> str:
        self.blobs[sha256(data)] = data
        return sha256(data)

    def add_manifest(self, repository: str, tag: str, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
        raw = json.dumps(document).encode()
        for name in (tag, sha256(raw)):
            self.manifests[repository, name] = (media_type, raw)
        return {"mediaType": media_type, "digest": sha256(raw), "size": len(raw)}

    def add_image(
        self, repository: str, tag: str, layer: bytes, architecture: str = "amd64", *, docker: bool = False
    ) -> dict[str, Any]:
        """An image of one layer that counts as a gzip'd tar; its descriptor, with platform."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
        }
        text = json.dumps(config).encode()
        kinds = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
        document = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], "digest": self.add_blob(text), "size": len(text)},
            "layers": [{"mediaType": kinds[2], "digest": self.add_blob(layer), "size": len(layer)}],
        }
        descriptor = self.add_manifest(repository, tag, kinds[0], document)
        return {**descriptor, "platform": {"os": "linux", "architecture": architecture}}

    def add_index(self, repository: str, tag: str, entries: list[dict[str, Any]], *, docker: bool = False) -> str:
        media_type = DOCKER_INDEX if docker else OCI_INDEX
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
        return str(self.add_manifest(repository, tag, media_type, document)["digest"])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or does not like the certificate, is part of the game."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake
    storage: bool

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.note()
        if self.path.endswith("/blobs/uploads/"):
            return self.begin_upload()
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        faults = self.fake.faults
        if self.path != "/token" or form.get("grant_type") != ["refresh_token"]:
            return self.answer(400)
        if form.get("refresh_token") != [faults.user]:
            return self.answer(401, b'{"details":"no such token"}')
        return self.give_token(form["scope"][0])

    def do_GET(self) -> None:
        self.note()
        path = urllib.parse.urlsplit(self.path)
        if self.fake.count("drop"):
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if self.storage:
            return self.answer(400, b"credentials leaked") if self.headers["Authorization"] else self.blob()
        if path.path == "/token":
            return self.token(urllib.parse.parse_qs(path.query))
        if self.fake.count("busy"):
            extra = {"Retry_After": self.fake.faults.retry_after} if self.fake.faults.retry_after else {}
            return self.answer(self.fake.faults.busy_status, **extra)
        if not self.allowed():
            return self.challenge()
        if "/manifests/" in path.path:
            return self.manifest(path.path)
        if "/referrers/" in path.path:
            return self.list_referrers(path)
        return self.redirect() if self.fake.faults.redirect else self.blob()

    def do_HEAD(self) -> None:
        self.note()
        if not self.allowed():
            return self.challenge()
        body = self.fake.blobs.get(self.path.rpartition("/")[2])
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        return self.end_headers()

    def do_PUT(self) -> None:
        self.note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urllib.parse.urlsplit(self.path)
        if not self.allowed():
            return self.challenge()
        if "/manifests/" in path.path:
            return self.put_manifest(path.path, body)
        digest = urllib.parse.parse_qs(path.query)["digest"][0]
        if sha256(body) != digest:
            return self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        if not self.fake.count("forget"):
            self.fake.blobs[digest] = body
        self.fake.pushed.append(digest)
        return self.answer(201)

    def begin_upload(self) -> None:
        if self.fake.count("busy"):
            return self.answer(self.fake.faults.busy_status)
        if not self.allowed():
            return self.challenge()
        place = self.fake.faults.upload or self.path
        return self.answer(202, b"", Location=f"{place}one?state=kept")

    def put_manifest(self, path: str, body: bytes) -> None:
        repository, _, target = path.removeprefix("/v2/").partition("/manifests/")
        kept = body + b" " if self.fake.count("other") else body
        kind = self.headers["Content-Type"]
        for name in (target, sha256(body)):
            self.fake.manifests[repository, name] = (kind, kept)
        self.fake.pushed.append(target)
        if ":" not in target and self.fake.count("lose"):
            self.fake.manifests[repository, target] = self.fake.manifests[repository, "lost"]
        subject = (json.loads(body).get("subject") or {}).get("digest") if self.fake.faults.referrers else None
        return self.answer(201, b"", **({"OCI_Subject": subject} if subject else {}))

    def list_referrers(self, path: urllib.parse.SplitResult) -> None:
        """Every manifest of the repository that names the digest as its subject, a page at a time."""
        faults = self.fake.faults
        if not faults.referrers:
            return self.answer(faults.no_referrers, b"<html>")
        repository, _, digest = path.path.removeprefix("/v2/").partition("/referrers/")
        found = []
        for (where, name), (kind, raw) in sorted(self.fake.manifests.items()):
            document = json.loads(raw)
            if where == repository and ":" in name and (document.get("subject") or {}).get("digest") == digest:
                entry = {"mediaType": kind, "digest": name, "size": len(raw), "artifactType": document["artifactType"]}
                found.append({**entry, "annotations": document.get("annotations") or {}})
        start = int(urllib.parse.parse_qs(path.query).get("from", ["0"])[0])
        raw = json.dumps({"schemaVersion": 2, "manifests": found[start : start + faults.page]}).encode()
        more = {}
        if start + faults.page < len(found):
            more["Link"] = f'<{faults.next_host}{path.path}?from={start + faults.page}>; rel="next"'
        return self.answer(200, raw, Content_Type=OCI_INDEX, **more)

    def note(self) -> None:
        authorization, host = self.headers["Authorization"], self.headers["Host"]
        self.fake.requests.append(
            Request(self.command, self.path, authorization, self.headers["Range"], self.storage, host)
        )

    # -- who may -------------------------------------------------------------------------------------------------------

    def basic(self) -> str:
        return "Basic " + base64.b64encode(self.fake.faults.user.encode()).decode()

    def token(self, query: dict[str, list[str]]) -> None:
        faults = self.fake.faults
        if faults.user and self.headers["Authorization"] != self.basic():
            return self.answer(401, b'{"details":"incorrect username or password"}')
        return self.give_token(" ".join(query["scope"]))

    def give_token(self, scope: str) -> None:
        token = f"token-{len(self.fake.tokens)}-{scope}".replace(" ", "+")
        self.fake.tokens.add(token)
        self.answer(200, json.dumps({"access_token": token}).encode())

    def allowed(self) -> bool:
        shown, faults = self.headers["Authorization"] or "", self.fake.faults
        if faults.auth == "basic":
            return shown == self.basic()
        if faults.auth in ("bearer", "identity"):
            good = shown.removeprefix("Bearer ") in self.fake.tokens
            good = good and ("push" in shown or self.command == "GET")
            if good and self.fake.count("expire"):
                self.fake.tokens.clear()
                return False
            return good
        return True

    def challenge(self) -> None:
        if self.fake.faults.auth == "basic":
            return self.answer(401, WWW_Authenticate='Basic realm="here, there"')
        path = self.path.removeprefix("/v2/")
        for word in ("/manifests/", "/blobs/", "/referrers/"):
            path = path.partition(word)[0]
        realm = self.fake.faults.realm or f"http://{self.headers['Host']}/token"
        scope = f"repository:{path}:pull{'' if self.command == 'GET' else ',push'}"
        return self.answer(401, WWW_Authenticate=f'Bearer realm="{realm}",service="fake",scope="{scope}"')

    # -- what there is -------------------------------------------------------------------------------------------------

    def manifest(self, path: str) -> None:
        faults = self.fake.faults
        repository, _, target = path.removeprefix("/v2/").partition("/manifests/")
        if faults.status:
            return self.answer(faults.status, b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}')
        media_type, body = self.fake.manifests.get((repository, target), ("", b""))
        if not media_type:
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        digest = sha256(body)
        if self.fake.count("corrupt_manifest"):
            body = body.replace(b"2,", b"2 ,", 1)
        extra = {"Content_Encoding": "gzip"} if faults.really_gzip else {}
        body = gzip.compress(body) if faults.really_gzip else body
        return self.answer(200, body, Content_Type=media_type, Docker_Content_Digest=digest, **extra)

    def redirect(self) -> None:
        name, kind = self.path.rpartition("/")[2], self.fake.faults.redirect
        target = {
            "storage": f"http://localhost:{self.fake.storage_port}/store/{name}",
            "loop": self.path,
            "nowhere": "ftp://example.invalid/x",
        }[kind]
        self.answer(307, b"moved", Location=target)

    def blob(self) -> None:
        faults, body = self.fake.faults, self.fake.blobs.get(self.path.rpartition("/")[2])
        if body is None:
            return self.answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        if len(body) > CUT:
            if self.fake.count("corrupt"):
                body = body[:-1] + bytes([body[-1] ^ 1])
            if self.fake.count("lengthen"):
                body += b"!"
        asked, start, headers = self.headers["Range"], 0, {}
        if asked and self.fake.count("refuse_range"):
            return self.answer(416)
        if asked and not faults.ignore_range:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            shift = 1 if self.fake.count("wrong_range") else 0
            headers["Content-Range"] = f"bytes {start - shift}-{len(body) - 1}/{len(body)}"
        if faults.encoding:
            headers["Content-Encoding"] = faults.encoding
        self.send_response(206 if headers.get("Content-Range") else 200)
        for name, value in {**headers, "Content-Length": str(len(body) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if len(body) - start > CUT and self.fake.count("cut"):
            self.wfile.write(body[start : start + CUT])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        self.wfile.write(body[start:])
        return None


class Proxy:
    """An HTTP proxy that takes every request to one place, whatever host was asked for; counts what passed."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[str, str | None]] = []
        handler = type("Handler", (_ProxyHandler,), {"proxy": self, "port": port})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    port: int

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.proxy.asked.append((self.path, self.headers["Proxy-Authorization"]))
        with socket.create_connection(("127.0.0.1", self.port)) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(upstream, self.connection), daemon=True)
            back.start()
            _pump(self.connection, upstream)
            back.join(5)
        self.close_connection = True

    def do_GET(self) -> None:
        self.proxy.asked.append((self.path, self.headers["Proxy-Authorization"]))
        parts = urllib.parse.urlsplit(self.path)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-authorization"}
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        connection.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
