"""`is_shared`: whether other hosts may write below a path, so that what this host sees of it may be old."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")  # Linux only
SHARED = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "wekafs"}
)


def is_shared(path: Path) -> bool:
    """Return whether a path is on the file system of a network or cluster; False where that is not known."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    path, mounted_on, kind = path.resolve(), Path("/"), ""
    for line in lines:
        _, folder, mounted_kind = line.split(" ")[:3]
        mount_point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), folder))
        if path.is_relative_to(mount_point) and mount_point.is_relative_to(mounted_on):  # the last one hides others
            mounted_on, kind = mount_point, mounted_kind
    return kind.removeprefix("fuse.") in SHARED
