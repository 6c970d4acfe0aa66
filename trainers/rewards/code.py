"""Verifiable: does the completion's Python code pass the prompt's tests? Run in isolation (trainers/rl/sandbox.py).

The code has the standard library and nothing else: no network, not even to this machine; no files but the library's,
read-only, and an empty working folder of 16 MB in memory; no environment, no input, and output that is thrown away; one
process with at most 32 threads. When the time is up, or the tests are through, it is killed.

A test counts only if it was run to its end without an exception: the runner then gives back a random number that it was
handed with that test. So code that exits, crashes, hangs, prints or kills what it can reach gets nothing for the tests
that are left; tests are not in its process before its own statements have run; and Python's built-in names and tracing
are put back before each test.

What is not defended:

- Code and tests share an interpreter. A completion that is written against this runner, with a function that walks the
  frames of its caller up to that number or talks to the runner's channel, can claim a test; and a function can read the
  test that calls it, or return a value that says it equals everything.
- Beside its memory the code holds the 16 MB of files and what the kernel holds for them; the sandbox is the first that
  the kernel kills where memory runs out.
- Faults of the kernel. Whoever wants a wall against those runs the reward workers in virtual machines.
- How fast the machine is: code that needs about `run_s` passes or fails by what else is running.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from cluster.errors import ConfigValueError, DataError, ResourceError
from trainers.rewards import Sample
from trainers.rl import sandbox
from trainers.rl.config import RewardConfig

_BLOCK = re.compile(
    r"^ {0,3}```[ \t]*(?:python3?|py)\b[^\n]*\n(.*?)(?:^ {0,3}```|\Z)", re.DOTALL | re.MULTILINE | re.IGNORECASE
)
_KNOWN: set[str] = set()
"""Holds `ISOLATED` once code has run in isolation in this process."""


class Config(RewardConfig):
    """Keys of `{kind: code}`."""

    kind: Literal["code"] = "code"
    tests: str = "tests"
    """Field of the prompt's line that holds Python code, such as asserts, or a list of such, run one after the other
    in the names that the completion defines."""
    memory_mb: PositiveInt = Field(default=512, ge=64)
    """Address space of the code, MiB; Python itself takes some 30."""
    run_s: PositiveFloat = 5.0
    """Seconds for the code and all its tests, by the clock; and of CPU, rounded up."""
    partial: bool = False
    """The share of the list's tests that pass, instead of 1 for all of them; none after one that does not end."""

    @model_validator(mode="after")
    def _ends_in_time(self) -> Config:
        # Code that does not end is wrong, and gets 0; a score that does not end has failed, and is not trained on.
        if self.run_s >= self.timeout_s:
            raise ConfigValueError(
                "Code may run longer than its score may take.",
                got=f"run_s {self.run_s:g}, timeout_s {self.timeout_s:g}",
                expected="run_s below timeout_s, which has to cover the start of a process, too",
            )  # fmt: skip
        return self


def score(config: Config, sample: Sample) -> float:
    """1 if all tests pass, else 0; or the share that passes.

    Raises:
        DataError: the tests are no Python code.
        ResourceError: this machine does not allow the isolation; the code was not run.
        OSError: it allowed it before, and now there are too many processes, say.
        TimeoutError: the machine did not get to an answer within `timeout_s`.
    """
    tests = _tests_of(config, sample)
    passed = _passed(config, [_code_of(sample.completion), *tests])
    return passed / len(tests) if config.partial else float(passed == len(tests))


def _code_of(completion: str) -> str:
    """The last block of Python in a completion, also one that is not closed; the whole completion if there is none."""
    blocks: list[str] = _BLOCK.findall(completion)
    return blocks[-1] if blocks else completion


def _tests_of(config: Config, sample: Sample) -> list[str]:
    held: Any = sample.field(config.tests)
    tests = [held] if isinstance(held, str) else held
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise DataError(
            "A prompt's tests are none.", field=config.tests, got=repr(held)[:80],
            expected="Python code, or a list of it that is not empty",
        )  # fmt: skip
    for test in tests:
        try:
            compile(test, "<tests>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:  # ValueError: a null character
            raise DataError(
                "A prompt's tests are not Python.", field=config.tests, got=repr(test)[:80], expected=str(error)
            ) from None
    return tests


def _passed(config: Config, sources: list[str]) -> int:
    """How many of the sources after the first, the completion's code, were run without an exception."""
    if sys.platform != "linux":
        raise _no_isolation(f"a machine with {sys.platform}")
    # -I -S: nothing of the environment, the working folder or installed packages; the standard library stays.
    command = [sys.executable, "-I", "-S", str(Path(sandbox.__file__).resolve())]
    limits = [str(config.memory_mb), str(config.run_s), "each" if config.partial else "all"]
    process = subprocess.Popen(  # noqa: S603 - what is run are this interpreter and a file of ours
        [*command, *limits], cwd="/", env={}, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        # Only the launcher and the keeper hold this output, so there are two lines of it at most.
        output, _ = process.communicate(json.dumps(sources).encode(), config.timeout_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"no answer in {config.timeout_s:g} s from a sandbox that stops after {config.run_s:g} s"
        ) from None
    finally:
        if process.poll() is None:  # too late, or interrupted by the reward worker's own timer
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    isolated, _, passed = output.decode().partition("\n")
    if isolated != sandbox.ISOLATED:
        got = isolated or f"the sandbox ended with status {process.returncode}"
        if sandbox.ISOLATED in _KNOWN:  # what the machine allows it refused for a moment: one reward has failed
            raise OSError(f"a sandbox could not be made: {got}")
        raise _no_isolation(got)
    _KNOWN.add(isolated)
    return int(passed or 0)


def _no_isolation(got: str) -> ResourceError:
    return ResourceError(
        "Code cannot be run in isolation on this machine, so it is not run.", field="rewards: code", got=got,
        expected="Linux on x86_64 or aarch64 that lets this user make namespaces of network, processes and mounts",
        fix="as a user: set the sysctls user.max_user_namespaces above 0 and kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns as your distribution says; in a container: give it "
            "CAP_SYS_ADMIN, and profiles of seccomp and AppArmor that allow unshare and mount",
    )  # fmt: skip
