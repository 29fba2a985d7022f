"""Loop devices by ioctl. Owns their binary shapes (linux/loop.h) and nothing else.

Devices are configured to clear themselves when their last user closes them, so a killed server leaves none.
"""

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_GET_STATUS64 = 0x4C05
_STATUS_SIZE = 232
_FLAG_AUTOCLEAR = 4
_FLAG_DIRECT_IO = 16
_MAJOR = 7
_ATTEMPTS = 16
# struct loop_config: fd, block size, then loop_info64 with its flags at byte 52 and 64 reserved bytes at the end.
_CONFIG = struct.Struct("=II 3Q 2Q 4I 64s 64s 32s 2Q 8Q")


def attach(image: Path, *, direct_io: bool = True) -> int:
    """Bind `image` to a free loop device and return the device's descriptor; the device lives as long as the
    descriptor or a mount of it. Raises OSError.
    """
    image_fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            device = _open_free()
            try:
                _configure(device, image_fd, image.name, direct_io)
            except OSError as error:
                os.close(device)
                # Somebody else was quicker with the same free number.
                if error.errno == errno.EBUSY:
                    continue
                if direct_io and error.errno == errno.EINVAL:
                    direct_io = False
                    continue
                raise
            return device
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(image_fd)


def path_of(device: int) -> str:
    """Return the path by which a loop device's descriptor can be mounted."""
    return os.readlink(f"/proc/self/fd/{device}")


def _open_free() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)
    path = f"/dev/loop{number}"
    if not os.path.exists(path):  # a container's /dev does not follow the kernel
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _configure(device: int, image_fd: int, name: str, direct_io: bool) -> None:
    flags = _FLAG_AUTOCLEAR | (_FLAG_DIRECT_IO if direct_io else 0)
    config = _CONFIG.pack(
        image_fd, 4096, 0, 0, 0, 0, 0, 0, 0, 0, flags, name.encode()[:63], b"", b"", 0, 0, *([0] * 8)
    )
    fcntl.ioctl(device, _LOOP_CONFIGURE, bytearray(config))


def is_attached(image: Path) -> bool:
    """Tell whether some loop device of this host is bound to `image`. Asks by inode, since the path that a device
    shows is that of the mount namespace in which it was bound.
    """
    wanted = image.stat()
    for folder in Path("/sys/block").glob("loop*/loop"):
        try:
            device = os.open(f"/dev/{folder.parent.name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            status = bytearray(_STATUS_SIZE)
            fcntl.ioctl(device, _LOOP_GET_STATUS64, status)
        except OSError:
            continue
        finally:
            os.close(device)
        device_number, inode = struct.unpack_from("=QQ", status)
        if inode == wanted.st_ino and device_number == _encode_device(wanted.st_dev):
            return True
    return False


def _encode_device(number: int) -> int:
    major, minor = os.major(number), os.minor(number)
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
