"""What a machine, or a container on it, says of its memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.model_folders.system_memory import system_memory

GIB = 1 << 30


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": f"MemTotal: {32 * GIB // 1024} kB\nMemAvailable:   {20 * GIB // 1024} kB\n"}
V2 = "sys/fs/cgroup/"
V1 = "sys/fs/cgroup/memory/"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 20 * GIB),
        ({"proc/self/cgroup": "0::/\n", f"{V2}memory.max": "max\n", f"{V2}memory.current": "5\n"}, 20 * GIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{V2}a/memory.max": f"{8 * GIB}\n",
                f"{V2}a/memory.current": f"{5 * GIB}\n",
                f"{V2}a/memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
                f"{V2}a/b/memory.max": "max\n",
                f"{V2}a/b/memory.current": f"{GIB}\n",
            },
            5 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/of-the-host\n0::/\n",
                f"{V1}memory.limit_in_bytes": f"{4 * GIB}\n",
                f"{V1}memory.usage_in_bytes": f"{GIB}\n",
            },
            3 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                f"{V1}memory.limit_in_bytes": "9223372036854771712\n",
                f"{V1}memory.usage_in_bytes": f"{GIB}\n",
            },
            20 * GIB,
        ),
        ({"proc/self/cgroup": "damaged\n\n:\n"}, 20 * GIB),
    ],
)
def test_free_memory_minds_the_limits_of_containers(tmp_path: Path, files: dict[str, str], free: int) -> None:
    found = system_memory(machine(tmp_path, MEMINFO | files))
    assert found is not None and found.free == free <= found.total <= 32 * GIB


def test_half_the_memory_counts_as_free_where_only_its_size_is_known(tmp_path: Path) -> None:
    found = system_memory(tmp_path)
    assert found is not None and found.free == found.total // 2 > 0
