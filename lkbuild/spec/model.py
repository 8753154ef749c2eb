"""What a spec says, as frozen values.

Each field's YAML key is the field's name, or the `key` of its metadata where Python's spelling differs.  The decoder
(`spec.decode`) and the JSON Schema (`spec.schema`) both read these classes, so a field is written down once.
`None` means "not given", which is not the same as empty: an entry's empty list beats the image label's list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.spec.fields import Pairs, Written, about, given, key, unwritten
from lkbuild.spec.names import (
    Bind,
    Capability,
    ContainerName,
    FileMode,
    FilePath,
    ImageName,
    KernelBinary,
    KernelTar,
    KeyPath,
    NonEmpty,
    NumericOrName,
    OptionalImage,
    PackageDir,
    Rlimit,
    Size,
    SourcePath,
    Tmpfs,
    VolumeName,
)
from lkbuild.spec.resources import (
    BlockIO,
    Cpu,
    Device,
    DeviceRule,
    HugepageLimit,
    IdMapping,
    InterfacePriority,
    Memory,
    Mount,
    Network,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

__all__ = [
    "BindNamespaces", "BlockIO", "Budget", "Container", "ContainerConfig", "Cpu", "Device", "DeviceRule", "File",
    "HugepageLimit", "IdMapping", "ImageName", "Interface", "InterfacePriority", "Kernel", "Memory", "Mount", "Network",
    "NumericOrName", "OriginMap", "Output", "PackageDir", "Pairs", "Path", "Pids", "Resources", "Runtime", "Signer",
    "Spec", "ThrottleDevice", "Trust", "Volume", "WeightDevice", "key",
]  # fmt: skip

Path = tuple[str | int, ...]
"""The way to a value in a document: keys as YAML spells them, and numbers in lists."""
OriginMap = Mapping[Path, Origin]


def _no_origins() -> OriginMap:
    return {}


@frozen
class Interface:
    """A network interface made for or moved into a container before it starts."""

    name: str | None = given("interface name")
    add: str | None = given("type of an interface to make, for example veth")
    peer: str | None = given("name of the other end of a veth pair")
    create_in_root: bool | None = given("make it in the root namespace, then move it", "createInRoot")


@frozen
class BindNamespaces:
    """Paths to which a container's namespaces are bound."""

    cgroup: str | None = given("where the cgroup namespace is bound")
    ipc: str | None = given("where the ipc namespace is bound")
    mnt: str | None = given("where the mount namespace is bound")
    net: str | None = given("where the network namespace is bound")
    pid: str | None = given("where the pid namespace is bound")
    user: str | None = given("where the user namespace is bound")
    uts: str | None = given("where the uts namespace is bound")


@frozen
class Runtime:
    """What init does around a container: written to `runtime.json`."""

    cgroups: tuple[str, ...] | None = given("control groups to make")
    mounts: tuple[Mount, ...] | None = given("mounts made in the root before the container starts")
    mkdir: tuple[str, ...] | None = given("directories to make")
    interfaces: tuple[Interface, ...] | None = given("network interfaces to make or move")
    bind_ns: BindNamespaces | None = given("where namespaces are bound", "bindNS")
    namespace: str | None = given("containerd namespace")


@frozen
class ContainerConfig:
    """Everything an entry of onboot, onshutdown or services, or the label `org.mobyproject.config`, may say."""

    capabilities: tuple[Capability, ...] | None = given("capabilities, or all or none alone")
    capabilities_add: tuple[Capability, ...] | None = given("capabilities added to the label's", "capabilities.add")
    ambient: tuple[Capability, ...] | None = given("ambient capabilities")
    mounts: tuple[Mount, ...] | None = given("mounts")
    binds: tuple[Bind, ...] | None = given("bind mounts, SOURCE:DESTINATION[:OPTIONS]; a SOURCE without / is a volume")
    binds_add: tuple[Bind, ...] | None = given("bind mounts added to the label's", "binds.add")
    devices: tuple[Device, ...] | None = given("device nodes and rules")
    tmpfs: tuple[Tmpfs, ...] | None = given("tmpfs mounts, DESTINATION[:OPTIONS]")
    command: tuple[str, ...] | None = given("the command, entrypoint and arguments in one")
    env: tuple[str, ...] | None = given("environment, NAME=VALUE")
    cwd: str | None = given("working directory")
    net: str | None = given("network namespace: host, new, none or a path")
    pid: str | None = given("pid namespace: host, new or a path")
    ipc: str | None = given("ipc namespace: host, new or a path")
    uts: str | None = given("uts namespace: host, new or a path")
    userns: str | None = given("user namespace: host, new or a path")
    hostname: str | None = given("host name; needs a uts namespace of its own")
    readonly: bool | None = given("root file system cannot be written to")
    masked_paths: tuple[str, ...] | None = given("paths hidden from the container", "maskedPaths")
    readonly_paths: tuple[str, ...] | None = given("paths the container cannot write to", "readonlyPaths")
    uid: NumericOrName | None = given("user id, or the name of a container whose uid is meant")
    gid: NumericOrName | None = given("group id, or the name of a container whose uid is meant")
    additional_gids: tuple[NumericOrName, ...] | None = given("further group ids or names", "additionalGids")
    no_new_privileges: bool | None = given("processes cannot gain privileges", "noNewPrivileges")
    oom_score_adj: int | None = given("-1000 (never killed) to 1000", "oomScoreAdj")
    rootfs_propagation: str | None = given("mount propagation of the root file system", "rootfsPropagation")
    cgroups_path: str | None = given("path of the control group", "cgroupsPath")
    resources: Resources | None = given("control group limits")
    sysctl: Pairs | None = given("kernel parameters of the container's namespaces")
    rlimits: tuple[Rlimit, ...] | None = given("resource limits, NAME,SOFT,HARD; unlimited is a limit")
    uid_mappings: tuple[IdMapping, ...] | None = given("user ids of the user namespace", "uidMappings")
    gid_mappings: tuple[IdMapping, ...] | None = given("group ids of the user namespace", "gidMappings")
    annotations: Pairs | None = given("annotations of the runtime configuration")
    runtime: Runtime | None = given("what is done around the container")


@frozen
class Container:
    """One entry of onboot, onshutdown or services."""

    name: ContainerName = field(metadata=about("name; services have each their own"))
    image: ImageName = field(metadata=about("image reference, or @pkg:./dir for a package directory"))
    config: ContainerConfig = field(metadata={"inline": True})


@frozen
class Kernel:
    """The kernel section.  `tar` is None where no tar is wanted (`none` or empty in YAML)."""

    image: ImageName = field(metadata=about("kernel image: reference, or @pkg:./dir for a package directory"))
    cmdline: str = given("kernel command line", default="")
    binary: KernelBinary = given("file of the image that is the kernel", default="kernel")
    tar: KernelTar = given("file of the image unpacked at the root; none for no file", default="kernel.tar")
    ucode: NonEmpty = given("file of the image that holds CPU microcode, a cpio archive")


@frozen
class File:
    """An entry of `files`: exactly one of directory, symlink, contents, source and metadata is set.

    `path` is relative to the root, without `.`, `..` or empty parts.  `source` is an absolute path of the host.
    `mode` is None where the spec gives none: 0600 for files, 0700 for directories.
    """

    path: FilePath = field(metadata=about("path in the root file system"))
    directory: bool = given("make a directory", default=False)
    symlink: NonEmpty = given("make a symbolic link to this")
    contents: str | None = given("the file's contents")
    source: SourcePath = given("file with the contents, relative to the spec; ~/ is the home directory")
    metadata: Literal["yaml", "json"] | None = given("the contents are the spec itself, in this form")
    optional: bool = given("leave the file out where its source is missing", default=False)
    mode: FileMode = given("octal mode, in quotes; 0600, for directories 0700, where not given")
    uid: NumericOrName = given("user id, or the name of a container whose uid is meant", default=0)
    gid: NumericOrName = given("group id, or the name of a container whose uid is meant", default=0)


@frozen
class Volume:
    """An entry of `volumes`."""

    name: VolumeName = field(metadata=about("name, of a-z, 0-9, _ and -"))
    image: OptionalImage = given("image the volume is filled from; blank where not given")
    readonly: bool = given("containers may bind it with ro only", default=False)
    format: Literal["oci", "filesystem"] = given("what the volume holds: files or the image", default="filesystem")
    platforms: tuple[str, ...] | None = given("platforms kept in an OCI layout, for example linux/amd64; all without")


@frozen
class Signer:
    """A keyless signer, compared exactly."""

    issuer: str = field(metadata=about("who vouches, for example https://token.actions.githubusercontent.com"))
    identity: str = field(metadata=about("an e-mail address, or the URL of a workflow"))


@frozen
class Trust:
    """The trust section: which images must be signed, and by whom."""

    image: tuple[str, ...] = given("images that must be signed; one without a tag means any of its tags", default=())
    org: tuple[str, ...] = given("organisations whose images must be signed, for example library", default=())
    keys: tuple[KeyPath, ...] = given("files with the public keys (PEM) of which one must have signed", default=())
    identities: tuple[Signer, ...] = given("keyless signers of whom one must have signed", default=())
    root: SourcePath = given("file with the trusted root of another sigstore than the public one")


@frozen
class Budget:
    """What the machine may weigh: bytes, None for no limit.  It enters no image; more is an error."""

    image: Size = given("the most an output's files may have together, such as 64M")
    memory: Size = given("the most memory its initrd may need to be unpacked, such as 512M")


@frozen
class Output:
    """An entry of `outputs`."""

    format: str = field(metadata=about("name of an output format, for example iso-bios"))


def _format(output: Output, origin: Origin) -> str:
    return output.format


OutputName = Annotated[str, Written(Output, _format)]


@frozen
class Spec:
    """A whole spec, merged from one or more files.

    `origins` tells where each thing stands, by its path in YAML's spelling: ("services", 0, "binds.add", 1).
    `written` is the machine's part of the spec in full, canonical JSON: what `spec.metadata` writes out.
    """

    name: str = field(metadata={"key": None})
    kernel: Kernel | None = given("the kernel")
    init: tuple[ImageName, ...] = given("images unpacked at the root, in order", default=())
    volumes: tuple[Volume, ...] = given("volumes that containers share", default=())
    onboot: tuple[Container, ...] = given("containers run one after the other at boot", default=())
    onshutdown: tuple[Container, ...] = given("containers run one after the other at shutdown", default=())
    services: tuple[Container, ...] = given("containers that run all the time", default=())
    files: tuple[File, ...] = given("files put into the root file system, last of all", default=())
    trust: Trust = given("what must be verified", default=Trust())
    outputs: tuple[OutputName, ...] = given("what to build when the command line does not say", default=())
    budget: Budget = given("what the machine may weigh; lkbuild's own, LinuxKit does not know it", default=Budget())
    origins: OriginMap = field(default_factory=_no_origins, compare=False, repr=False, metadata={"key": None})
    written: str = unwritten("{}")

    def origin(self, *path: str | int) -> Origin:
        """Where `path` stands, or its nearest parent that stands somewhere."""
        for end in range(len(path), -1, -1):
            found = self.origins.get(path[:end])
            if found:
                return found
        return Origin(self.name)
