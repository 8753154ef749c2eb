"""Control group limits (runtime-spec config-linux.md#control-groups), written in the order of its Go structures."""

from __future__ import annotations

from lkbuild.oci.field import Document, given
from lkbuild.spec.model import (
    BlockIO,
    Cpu,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    Resources,
    ThrottleDevice,
    WeightDevice,
)


def resources(limits: Resources | None, more_devices: tuple[DeviceRule, ...]) -> Document:
    """`limits` as JSON, with `more_devices` after its own device rules; never None, for LinuxKit always writes it."""
    limits = limits or Resources()
    pids = None if limits.pids is None else {"limit": limits.pids.limit or 0}
    return given(
        {
            "devices": [_device_rule(rule) for rule in (*(limits.devices or ()), *more_devices)],
            "memory": limits.memory and _memory(limits.memory),
            "cpu": limits.cpu and _cpu(limits.cpu),
            "pids": pids,
            "blockIO": limits.block_io and _block_io(limits.block_io),
            "hugepageLimits": [_hugepage_limit(limit) for limit in limits.hugepage_limits or ()],
            "network": limits.network and _network(limits.network),
        }
    )


def _device_rule(rule: DeviceRule) -> Document:
    return given(
        {
            "allow": rule.allow or False,
            "type": rule.type,
            "major": rule.major,
            "minor": rule.minor,
            "access": rule.access,
        }
    )


def _memory(memory: Memory) -> Document:
    return given(
        {
            "limit": memory.limit,
            "reservation": memory.reservation,
            "swap": memory.swap,
            "kernel": memory.kernel,
            "kernelTCP": memory.kernel_tcp,
            "swappiness": memory.swappiness,
            "disableOOMKiller": memory.disable_oom_killer,
        }
    )


def _cpu(cpu: Cpu) -> Document:
    return given(
        {
            "shares": cpu.shares,
            "quota": cpu.quota,
            "period": cpu.period,
            "realtimeRuntime": cpu.realtime_runtime,
            "realtimePeriod": cpu.realtime_period,
            "cpus": cpu.cpus,
            "mems": cpu.mems,
        }
    )


def _block_io(block_io: BlockIO) -> Document:
    return given(
        {
            "weight": block_io.weight,
            "leafWeight": block_io.leaf_weight,
            "weightDevice": [_weight(device) for device in block_io.weight_device or ()],
            "throttleReadBpsDevice": _throttles(block_io.throttle_read_bps_device),
            "throttleWriteBpsDevice": _throttles(block_io.throttle_write_bps_device),
            "throttleReadIOPSDevice": _throttles(block_io.throttle_read_iops_device),
            "throttleWriteIOPSDevice": _throttles(block_io.throttle_write_iops_device),
        }
    )


def _weight(device: WeightDevice) -> Document:
    return given(
        {
            "major": device.major or 0,
            "minor": device.minor or 0,
            "weight": device.weight,
            "leafWeight": device.leaf_weight,
        }
    )


def _throttles(devices: tuple[ThrottleDevice, ...] | None) -> list[Document]:
    return [{"major": d.major or 0, "minor": d.minor or 0, "rate": d.rate or 0} for d in devices or ()]


def _hugepage_limit(limit: HugepageLimit) -> Document:
    return {"pageSize": _page_size(limit.page_size or ""), "limit": limit.limit or 0}


def _page_size(text: str) -> str:
    """A page size as the kernel's files name it, `2MB`; a plain number, which LinuxKit's schema wants, is bytes."""
    if not text.isdecimal():
        return text
    size = int(text)
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return text


def _network(network: Network) -> Document:
    priorities = [{"name": p.name or "", "priority": p.priority or 0} for p in network.priorities or ()]
    return given({"classID": network.class_id, "priorities": priorities})
