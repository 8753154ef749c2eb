"""Limits, devices and id mappings: the parts of a container's configuration that the runtime-spec names as they are."""

from __future__ import annotations

from lkbuild.frozen import frozen
from lkbuild.spec.fields import given
from lkbuild.spec.names import PageSize


@frozen
class IdMapping:
    """One user or group id mapping (runtime-spec config-linux.md, user namespace mappings)."""

    host_id: int | None = given("first id on the host", "hostID")
    container_id: int | None = given("first id in the container", "containerID")
    size: int | None = given("how many ids are mapped")


@frozen
class Mount:
    """A mount (runtime-spec config.md#mounts)."""

    destination: str | None = given("where in the container; from the type where that tells")
    type: str | None = given("file system type; from the source's name where that tells, tmpfs at /dev")
    source: str | None = given("what is mounted; for type bind a path, or a volume's name")
    options: tuple[str, ...] | None = given("mount options")
    uid_mappings: tuple[IdMapping, ...] | None = given("user ids of an id-mapped mount", "uidmappings")
    gid_mappings: tuple[IdMapping, ...] | None = given("group ids of an id-mapped mount", "gidmappings")


@frozen
class Device:
    """A device node and its cgroup rule; `path: all` is a rule only."""

    path: str | None = given("path of the node, or all")
    type: str | None = given("c (character), b (block), u or p (fifo); a (any) with path all")
    major: int | None = given("major number")
    minor: int | None = given("minor number")
    mode: str | None = given("octal mode of the node, in quotes, for example '0660'")


@frozen
class DeviceRule:
    """`resources.devices[]` (runtime-spec config-linux.md#allowed-device-list)."""

    allow: bool | None = given("whether access is allowed")
    type: str | None = given("a (any), c (character) or b (block)")
    major: int | None = given("major number; any where not given")
    minor: int | None = given("minor number; any where not given")
    access: str | None = given("letters of r (read), w (write), m (make nodes)")


@frozen
class Memory:
    """`resources.memory`, bytes."""

    limit: int | None = given("memory limit in bytes")
    reservation: int | None = given("soft limit in bytes")
    swap: int | None = given("limit of memory and swap together, in bytes")
    kernel: int | None = given("kernel memory limit in bytes")
    kernel_tcp: int | None = given("kernel TCP memory limit in bytes", "kernelTCP")
    swappiness: int | None = given("0 to 100")
    disable_oom_killer: bool | None = given("keep the out-of-memory killer away", "disableOOMKiller")


@frozen
class Cpu:
    """`resources.cpu`, times in microseconds."""

    shares: int | None = given("relative share of CPU time")
    quota: int | None = given("CPU time per period, in microseconds")
    period: int | None = given("length of a period, in microseconds")
    realtime_runtime: int | None = given("realtime CPU time per period, in microseconds", "realtimeRuntime")
    realtime_period: int | None = given("length of a realtime period, in microseconds", "realtimePeriod")
    cpus: str | None = given("CPUs to use, for example '0-3'")
    mems: str | None = given("memory nodes to use, for example '0'")


@frozen
class Pids:
    """`resources.pids`."""

    limit: int | None = given("greatest number of processes")


@frozen
class WeightDevice:
    """`resources.blockio.weightDevice[]`."""

    major: int | None = given("major number")
    minor: int | None = given("minor number")
    weight: int | None = given("10 to 1000")
    leaf_weight: int | None = given("10 to 1000, against child groups", "leafWeight")


@frozen
class ThrottleDevice:
    """`resources.blockio.throttle…Device[]`; rate in bytes or operations per second."""

    major: int | None = given("major number")
    minor: int | None = given("minor number")
    rate: int | None = given("bytes or operations per second")


@frozen
class BlockIO:
    """`resources.blockio`."""

    weight: int | None = given("10 to 1000")
    leaf_weight: int | None = given("10 to 1000, against child groups", "leafWeight")
    weight_device: tuple[WeightDevice, ...] | None = given("weights of devices", "weightDevice")
    throttle_read_bps_device: tuple[ThrottleDevice, ...] | None = given(
        "limits of reading, bytes per second", "throttleReadBpsDevice"
    )
    throttle_write_bps_device: tuple[ThrottleDevice, ...] | None = given(
        "limits of writing, bytes per second", "throttleWriteBpsDevice"
    )
    throttle_read_iops_device: tuple[ThrottleDevice, ...] | None = given(
        "limits of reading, operations per second", "throttleReadIOPSDevice"
    )
    throttle_write_iops_device: tuple[ThrottleDevice, ...] | None = given(
        "limits of writing, operations per second", "throttleWriteIOPSDevice"
    )


@frozen
class HugepageLimit:
    """`resources.hugepageLimits[]`."""

    page_size: PageSize | None = given("size of a page: bytes, or text such as 2MB", "pageSize")
    limit: int | None = given("limit in bytes")


@frozen
class InterfacePriority:
    """`resources.network.priorities[]`."""

    name: str | None = given("interface name")
    priority: int | None = given("priority of its traffic")


@frozen
class Network:
    """`resources.network`."""

    class_id: int | None = given("class of the container's packets", "classID")
    priorities: tuple[InterfacePriority, ...] | None = given("priorities of interfaces")


@frozen
class Resources:
    """Control group limits (runtime-spec config-linux.md#control-groups)."""

    devices: tuple[DeviceRule, ...] | None = given("device rules, in order")
    memory: Memory | None = given("memory limits")
    cpu: Cpu | None = given("CPU limits")
    pids: Pids | None = given("limit of processes")
    block_io: BlockIO | None = given("block I/O limits", "blockio")
    hugepage_limits: tuple[HugepageLimit, ...] | None = given("huge page limits", "hugepageLimits")
    network: Network | None = given("network limits")
