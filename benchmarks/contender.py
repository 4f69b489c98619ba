"""A contender seen from outside: a process that is asked, waited for, and cut off if it hangs.

Comes in: requests. Goes out: answers, or why there is none. Next file: row.py.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Failure(Exception):
    """A contender ended, answered with an error, or took too long."""


class Contender:
    """A process that runs one contender, started when first asked and again after it ended."""

    def __init__(
        self,
        name: str,
        module: str = "",
        settings: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> None:
        self.name = name
        self.module = module or f"benchmarks.contender_{name}"
        self.settings = dict(settings or {})
        self.limit_s = limit_s
        self.process: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to one request. Raises: Failure; the next request starts a new process."""
        if self.process is None:
            self.process = self._started()
        process, limit_s = self.process, self.limit_s or limit_s
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise Failure("the process had ended before it was asked") from None
        ready, _, _ = select.select([process.stdout], [], [], limit_s)
        if not ready:
            self.close()
            raise Failure(f"no answer in {limit_s:.0f} s: cut off and started again")
        line = process.stdout.readline()
        if not line:
            self.close()
            raise Failure(f"the process ended with status {process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise Failure(answer["failure"])
        return answer

    def close(self) -> None:
        """End the process, and those that it started."""
        process, self.process = self.process, None
        if process is None:
            return
        with process:  # closes its pipes and waits
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **self.settings},
            start_new_session=True,  # so that what it starts can be ended with it
        )
