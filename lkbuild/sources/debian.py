"""The door to Debian packages: the host's own apt, asked in a private state directory, as any user.

apt decides which versions satisfy what is wanted, by the host's sources, keys, preferences, proxies and credentials
(apt-get(8), apt.conf(5)).  Nothing is installed and nothing of the host's state is read or written: apt sees an empty
machine.  Files are brought by apt's own helper, so that whatever apt can reach can be reached here.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from lkbuild.archive.deb import fields
from lkbuild.digest import Digest, identity
from lkbuild.errors import ImageError, ToolError
from lkbuild.packages.build_file import DEBIAN_NAMES
from lkbuild.packages.closure import Listed, closure, parse_uri_line
from lkbuild.packages.debian import Deb, DebianRequest

HELPER = "/usr/lib/apt/apt-helper"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~:-]*")
_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate")
# Hooks of the host's configuration are for the host's own state; of the indexes only the lists of packages are wanted.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages"; flatMetaKey "Packages";
  ShortDescription "Packages"; Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  flatDescription "$(RELEASE) Packages"; Optional "0";
};
APT::Sandbox::User "";
APT::Install-Recommends "0";
APT::Install-Suggests "0";
Acquire::Retries "3";
Debug::NoLocking "1";
"""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do."""


class Apt:
    """The host's apt over the private directory `state`.  `options` are apt options laid over the host's.

    Processes and threads may share a directory: one asks at a time.
    """

    def __init__(self, state: Path, options: tuple[tuple[str, str], ...] = (), program: str = "apt-get") -> None:
        self._state = state.absolute()
        self._options = options
        self._program = program
        self._renewed: set[str] = set()

    def resolve(
        self, request: DebianRequest, renew: bool = False, say: Callable[[str], None] = lambda text: None
    ) -> tuple[Deb, ...]:
        """The packages `request` asks for and all they depend on, without those it leaves out; sorted by name.

        The lists of packages are fetched where there are none yet, where the host's sources changed, and on `renew`,
        for an architecture once in the life of this object: `say` is told, for it takes some seconds.
        ToolError where there is no apt; ImageError where apt cannot satisfy the request, in apt's own words.
        """
        if not request.packages:
            return ()
        directory = self._state / request.architecture
        with _locked(directory):
            arguments = self._arguments(directory, request.architecture)
            stale = renew and request.architecture not in self._renewed
            if stale or not self._is_current(directory, arguments):
                say(f"fetching the lists of Debian packages for {request.architecture}")
                self._update(directory, arguments)
                self._renewed.add(request.architecture)
            listed = self._listed(arguments, request)
            stanzas = self._stanzas(arguments, listed)
        return closure(request, listed, stanzas)

    def address(self, deb: Deb, architecture: str, say: Callable[[str], None] = lambda text: None) -> str:
        """Where the host's sources have this version of a package; ImageError, in apt's words, where they have not."""
        if not _NAME.fullmatch(deb.name) or not _VERSION.fullmatch(deb.version):
            raise ImageError(f"{deb.name!r:.100} {deb.version!r:.100} is no Debian package's name and version")
        directory = self._state / architecture
        with _locked(directory):
            arguments = self._arguments(directory, architecture)
            if not self._is_current(directory, arguments):
                say(f"fetching the lists of Debian packages for {architecture}")
                self._update(directory, arguments)
            command = [*arguments, "-q", "--print-uris", "download", "--", f"{deb.name}={deb.version}"]
            text = self._run(self._program, command)
        found = [parse_uri_line(line).uri for line in text.splitlines() if line.startswith("'")]
        if not found:
            raise ImageError(f"apt knows no {deb.name} {deb.version}")
        return found[0]

    def _arguments(self, directory: Path, architecture: str) -> list[str]:
        """Options every call has; the directories apt wants are made."""
        archives, lists = directory / "cache" / "archives" / "partial", directory / "lists" / "partial"
        for wanted in (archives, lists):
            wanted.mkdir(parents=True, exist_ok=True)
        _keep(directory / "status", "")
        _keep(directory / "apt.conf", _CONFIG)
        name = DEBIAN_NAMES.get(architecture, architecture)
        settings = (
            ("Dir::State", str(directory)),
            ("Dir::State::lists", str(lists.parent)),
            ("Dir::State::status", str(directory / "status")),
            ("Dir::State::extended_states", str(directory / "extended_states")),
            ("Dir::Cache", str(directory / "cache")),
            ("Dir::Cache::archives", str(archives.parent)),
            # Docker's Debian images switch these off; with them a request takes a tenth of the time.
            ("Dir::Cache::pkgcache", "pkgcache.bin"),
            ("Dir::Cache::srcpkgcache", "srcpkgcache.bin"),
            ("APT::Architecture", name),
            ("APT::Architectures", name),
            *self._options,
        )
        return [
            "-c",
            str(directory / "apt.conf"),
            *(part for key, value in settings for part in ("-o", f"{key}={value}")),
        ]

    def _is_current(self, directory: Path, arguments: list[str]) -> bool:
        mark = directory / "updated"
        return mark.is_file() and mark.read_text(encoding="utf-8") == self._configuration(arguments)

    def _configuration(self, arguments: list[str]) -> str:
        """A text that changes with the host's sources: which lists there are to fetch follows from them alone."""
        shell = self._run(
            "apt-config", [*arguments, "shell", "F", "Dir::Etc::sourcelist/f", "D", "Dir::Etc::sourceparts/d"]
        )
        named = dict(re.findall(r"^(F|D)='(.*)'$", shell, re.MULTILINE))
        sources = [Path(named["F"])] if named.get("F") else []
        if named.get("D") and Path(named["D"]).is_dir():
            sources += [p for p in Path(named["D"]).iterdir() if p.suffix in (".list", ".sources")]
        texts = tuple((str(p), p.read_bytes()) for p in sorted(sources) if p.is_file())
        return str(identity((texts, tuple(arguments), _CONFIG)))

    def _update(self, directory: Path, arguments: list[str]) -> None:
        mark = directory / "updated"
        mark.unlink(missing_ok=True)
        try:
            self._run(self._program, [*arguments, "-qq", "-o", "APT::Update::Error-Mode=any", "update"])
        except ImageError as error:
            raise ImageError(
                f"the lists of Debian packages could not be fetched:\n{error.message}",
                "is a mirror of /etc/apt/sources.list reachable from here? `sudo apt-get update` would say the same",
            ) from error
        mark.write_text(self._configuration(arguments), encoding="utf-8")

    def _listed(self, arguments: list[str], request: DebianRequest) -> tuple[Listed, ...]:
        """What apt would fetch to install the request on an empty machine."""
        command = [*arguments, "-q", "-y", "--print-uris", "--no-install-recommends", "install", "--"]
        try:
            text = self._run(self._program, [*command, *request.packages])
        except ImageError as error:
            raise self._refused(arguments, request, error) from error
        return tuple(parse_uri_line(line) for line in text.splitlines() if line.startswith("'"))

    def _refused(self, arguments: list[str], request: DebianRequest, error: ImageError) -> ImageError:
        wanted = " ".join(request.packages)
        unknown = next((a or b for a, b in _UNKNOWN.findall(error.message)), None)
        hint = "`doit update` fetches the lists of packages anew; which suites are known, /etc/apt/sources.list says"
        if unknown:
            names = self._run("apt-cache", [*arguments, "pkgnames", unknown[:2]]).split()
            close = get_close_matches(unknown, names, 3, 0.7)
            hint = f"did you mean {' or '.join(close)}?" if close else hint
            architecture = DEBIAN_NAMES.get(request.architecture, request.architecture)
            # A repository without suites has one list for all, which apt gives no architecture.
            lists = self._run(self._program, [*arguments, "indextargets", "--format", "$(ARCHITECTURE)"]).split()
            if not {architecture, "$(ARCHITECTURE)"}.intersection(lists):
                hint = _NONE.format(architecture)
        return ImageError(f"apt cannot install {wanted} for {request.architecture}:\n{error.message}", hint)

    def _stanzas(self, arguments: list[str], listed: tuple[Listed, ...]) -> dict[str, Mapping[str, str]]:
        """The records of the packages in the signed lists, by the URI of each."""
        if not listed:
            return {}
        wanted = [f"{item.name}={item.version}" for item in listed]
        text = self._run("apt-cache", [*arguments, "show", *wanted])
        by_name: dict[tuple[str, str], list[Mapping[str, str]]] = {}
        for part in text.split("\n\n"):
            stanza = fields(part.encode())
            by_name.setdefault((stanza.get("package", ""), stanza.get("version", "")), []).append(stanza)
        found: dict[str, Mapping[str, str]] = {}
        for item in listed:
            place = unquote(item.uri)
            for stanza in by_name.get((item.name, item.version), ()):
                if place.endswith("/" + stanza.get("filename", "\0").removeprefix("./")) and "sha256" in stanza:
                    found[item.uri] = stanza
            if item.uri not in found:
                raise ImageError(
                    f"the lists of packages have no SHA256 for {place}", "its repository is too old, or broken"
                )
        return found

    def _run(self, program: str, arguments: list[str]) -> str:
        """What a program of apt's prints; ImageError with its complaints where it fails."""
        found = shutil.which(program)
        if not found:
            raise ToolError(
                f"{program} is missing: Debian packages are found by the host's apt",
                "build on Debian or Ubuntu, or in a container of theirs, or lock the packages' versions there first",
            )
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run([found, *arguments], capture_output=True, env=environment, stdin=subprocess.DEVNULL)
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            unmet = text.partition("The following packages have unmet dependencies:\n")[2]
            said = (unmet + done.stderr.decode("utf-8", "replace")).strip()
            raise ImageError(said or f"{program} failed with exit code {done.returncode}")
        return text


def _keep(path: Path, text: str) -> None:
    """See that `path` holds `text`; apt reads its lists anew (a second or two) if the file is but touched."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, encoding="utf-8")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One at a time in `directory`; the lock goes with the process that holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(uri: str, size: int, digest: Digest, into: Path, progress: Progress) -> None:
    """Write the file at `uri` to `into`, size in bytes and digest checked; ImageError where it cannot be had like that.

    After an error there is nothing at `into`.
    """
    scheme, _, place = uri.partition(":")
    progress(0, size)
    into.unlink(missing_ok=True)
    try:
        if scheme in ("file", "copy"):
            shutil.copyfile(unquote(place.removeprefix("//")), into)
        else:
            _download(uri, digest, into)
        if (got := into.stat().st_size) != size:
            raise ImageError(f"{uri}: got {got} bytes, wanted {size}", _CHANGED)
        if (found := Digest.of_file(into)) != digest:
            raise ImageError(f"{uri}: got {found}, wanted {digest}", _CHANGED)
    except OSError as error:
        into.unlink(missing_ok=True)
        raise ImageError(f"cannot fetch {uri}: {error.strerror or error}", _GONE) from error
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    progress(size, size)


_CHANGED = "the mirror's copy is damaged, or a proxy put something else in its place"
_NONE = (
    "the host's sources have no packages for {0}: has /etc/apt an [arch=...] or `Architectures:` without {0}, or does"
    " the mirror not have them (Ubuntu's are at ports.ubuntu.com)? or lock the packages where they are known"
)
_GONE = "mirrors drop old versions: `doit update` finds the present ones"


def _download(uri: str, digest: Digest, into: Path) -> None:
    """Through apt's helper: the only client that knows apt's proxies, credentials, certificates and mirror lists."""
    if not Path(HELPER).is_file():
        raise ToolError(f"{HELPER} is missing: Debian packages are fetched by the host's apt", "install apt")
    scratch = Path(f"{into}.apt")
    settings = (
        ("APT::Sandbox::User", ""), ("Acquire::Retries", "3"), ("Debug::NoLocking", "1"),
        ("Dir::State", str(scratch)), ("Dir::Cache", str(scratch)),
    )  # fmt: skip
    command = [HELPER, "-qq", *(part for key, value in settings for part in ("-o", f"{key}={value}"))]
    try:
        done = subprocess.run(
            [*command, "download-file", uri, str(into), f"SHA256:{digest.hex}"],
            capture_output=True, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        Path(f"{into}.FAILED").unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode or not into.is_file():
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise ImageError(f"cannot fetch {uri}:\n{said}", _GONE)
