import pytest

from pipeline.files import shared_mounts
from pipeline.files.shared_mounts import is_shared

TABLE = r"""
server:/home {0}/home nfs4 rw 0 0
/dev/sdb1 {0}/home/scratch ext4 rw 0 0
10.0.0.1@tcp:/lustre {0}/my\040data lustre rw 0 0
gluster:/v {0}/volume fuse.glusterfs rw 0 0
overlay {0}/over overlay rw 0 0
//server/share {0}/over cifs rw 0 0
/dev/sda1 / ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("", False),
        ("home", True),
        ("home/user/store", True),
        ("home/scratch/store", False),
        ("homes/store", False),
        ("my data/store", True),
        ("volume/store", True),
        ("over/store", True),
    ],
)
def test_the_innermost_mount_decides(tmp_path, monkeypatch, folder, expected):
    mounts = tmp_path / "mounts"
    mounts.write_text(TABLE.strip().format(str(tmp_path).replace(" ", r"\040")))
    monkeypatch.setattr(shared_mounts, "MOUNTS", mounts)
    assert is_shared(tmp_path / folder) == expected
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / folder)
    assert is_shared(shared_mounts.Path("link")) == expected


def test_without_a_table_of_mounts_a_path_counts_as_local(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_mounts, "MOUNTS", tmp_path / "none")
    assert not is_shared(tmp_path)
