"""Packing a tree of files: what it costs while it is written."""

import os
import tempfile
import tracemalloc
from pathlib import Path

from runyard.runtimes.isolation.packing import pack


def test_pack_of_many_files_remembers_none(tmp_path: Path) -> None:
    for folder in range(6):
        (tmp_path / "out" / str(folder)).mkdir(parents=True)
        for name in range(250):
            (tmp_path / "out" / str(folder) / str(name)).touch()
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with tempfile.TemporaryFile() as target:
        tracemalloc.start()
        try:
            assert pack(root, ["/out"], target, 1 << 20) == []
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            os.close(root)
    assert most < 200_000
