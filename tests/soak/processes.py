"""The processes of one ``up``, by what they are, and the memory that they take."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

Kinds = dict[str, list[psutil.Process]]
GONE = (psutil.Error, OSError)
# Leaves are the workers, the monitor and the pusher of a cluster.
CLUSTER = ("main", "sentinel", "leaf")


class Processes:
    """Finds them by their data directory, whatever became of their parents."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._servers: set[int] = set()
        self._shared: set[str] = set()

    def all(self) -> Kinds:
        """Return the living ones by kind: up, guard, web master, poll main, ..."""
        found: Kinds = defaultdict(list)
        for process in psutil.process_iter():
            with suppress(*GONE), process.oneshot():
                if kind := self._kind(process):
                    found[kind].append(process)
        return found

    def of(self, kind: str) -> list[psutil.Process]:
        """Return the living ones of one kind."""
        return self.all().get(kind, [])

    def left(self) -> list[str]:
        """Return the shared memory that is left of the servers that were seen."""
        files = [name for name in self._shared if Path(name).exists()]
        _, *segments = Path("/proc/sysvipc/shm").read_text().splitlines()
        made_by = {words[1]: int(words[4]) for words in map(str.split, segments)}
        return files + [s for s, pid in made_by.items() if pid in self._servers]

    def _kind(self, process: psutil.Process) -> str:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        words = process.cmdline()
        if process.name() == "postgres":
            return self._kind_of_postgres(process, words)
        if process.environ().get("DVSYNC_DATA") != str(self._data):
            return ""
        if "qcluster" in words:
            return self._kind_in_cluster(process)
        if "gunicorn" in words:
            return f"web {'master' if _leads(process) else 'worker'}"
        line = " ".join(words)
        names = {"supervisor_guard": "guard", "embedded_keeper": "keeper"}
        names |= {"manage.py growexport": "demo", "manage.py up": "up"}
        return next((kind for name, kind in names.items() if name in line), "other")

    def _kind_of_postgres(self, process: psutil.Process, words: list[str]) -> str:
        # It has lost its environment; it works in its data directory.
        if self._data not in Path(process.cwd()).parents:
            return ""
        if "-D" in words:
            self._servers.add(process.pid)
            self._shared |= _shared_memory(process)
            return "postgres main"
        return f"postgres {'session' if ' dvsync dvsync ' in words[0] else 'own'}"

    def _kind_in_cluster(self, process: psutil.Process) -> str:
        queue = process.environ().get("Q_CLUSTER_NAME", "")
        if _leads(process):
            return f"{queue} main"
        parent = process.parent()
        sentinel = parent is not None and _leads(parent)
        return f"{queue} {'sentinel' if sentinel else 'leaf'}"


def _leads(process: psutil.Process) -> bool:
    """Say whether it is the first process of its session."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[3]) == process.pid


def memory(kinds: Kinds) -> dict[str, float]:
    """Return the MB of each part, shared pages divided by those that share them.

    ``largest`` is the largest worker, monitor or pusher.
    """
    total: dict[str, float] = defaultdict(float)
    for kind, processes in kinds.items():
        for process in processes:
            with suppress(OSError, TypeError):
                text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
                size = int(found[1]) / 1024  # type: ignore[index]
                total[kind.split()[0]] += size
                if kind.endswith("leaf"):
                    total["largest"] = max(total["largest"], size)
    return dict(total)


def _shared_memory(process: psutil.Process) -> set[str]:
    with suppress(OSError):
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        return set(re.findall(r"/dev/shm/PostgreSQL\.\d+", maps))  # noqa: S108
    return set()
