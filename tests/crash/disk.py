"""A disk whose power can fail: ext4 on a loop device, shut down by the kernel without writing what it still holds."""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
NO_LOG_FLUSH = struct.pack("I", 2)
RELEASE_TIMEOUT_S = 20
TOOLS = ("mkfs.ext4", "mount", "umount", "losetup", "unshare")


def why_not() -> str | None:
    """What is missing here to simulate a power loss; None if nothing is."""
    if os.geteuid() != 0:
        return "a power loss can be simulated by root only"
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        return f"a power loss needs {', '.join(missing)}"
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode:
        return "there is no free loop device"
    if "ext4" not in Path("/proc/filesystems").read_text().split():
        return "the kernel has no ext4"
    return None


class PowerDisk:
    """An ext4 file system in a file, mounted at ``path``. `fail` is the power loss, `repair` the next boot."""

    def __init__(self, directory: Path, size: int) -> None:
        self.path = directory / "disk"
        self._image = directory.resolve() / "disk.img"
        self._boot_id = directory / "boot_id"
        self._boots = 0
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", self._image)
        self.mount()

    @property
    def command(self) -> tuple[str, ...]:
        """Runs a program so that it believes this disk's boots to be the machine's."""
        script = f'mount --bind {self._boot_id} /proc/sys/kernel/random/boot_id && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, "sh")

    def mount(self) -> None:
        """Boot: the file system replays its journal; a loop device comes with the mount and goes with it."""
        self._boots += 1
        self._boot_id.write_text(f"boot-{self._boots}\n")
        _run("mount", "-o", "loop", self._image, self.path)

    def fail(self) -> None:
        """The power is gone: what was not flushed will never reach the disk.

        The kernel takes some milliseconds for it, in which a flush that had begun may be told as done and is lost. So
        only what was told before the call counts; from its end on every flush fails.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def repair(self) -> None:
        """What comes after a power loss. Nobody may have a file open."""
        _run("umount", self.path)
        # The namespace of a killed server may keep the dead file system for a moment; a mount would find that again.
        deadline = time.monotonic() + RELEASE_TIMEOUT_S
        while self._is_attached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"something still holds the file system in {self._image}")
            time.sleep(0.005)
        self.mount()

    def _is_attached(self) -> bool:
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):
                if path.read_text().strip() == str(self._image):
                    return True
        return False

    def remove(self) -> None:
        """Unmount, whatever state it is in."""
        if self.path.is_mount():
            _run("umount", "--lazy", self.path)  # lazy: also when somebody still has a file open
        self._image.unlink(missing_ok=True)


@contextmanager
def power_disk(directory: Path, size: int) -> Iterator[PowerDisk]:
    """A disk for as long as the context is open; afterwards neither mount nor loop device is left."""
    disk = PowerDisk(directory, size)
    try:
        yield disk
    finally:
        disk.remove()


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")
