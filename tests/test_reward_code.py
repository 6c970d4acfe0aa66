"""The reward of code that passes tests: what is right, what is wrong, and what foreign code must not be able to do."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.errors import DataError, ResourceError
from tests.conftest import REPOSITORY
from trainers.rewards import Sample
from trainers.rewards.code import Config, score
from trainers.rl import sandbox
from trainers.rl.judging import RewardActor

RIGHT = "def add(a, b):\n    return a + b\n"
TESTS = ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"]
SHORT_S = 1.0
"""For code that does not end."""
SLACK_S = 8.0
"""How much later, on a busy machine, an answer may come."""
CAP_SYS_ADMIN, CAP_SETFCAP, PR_CAPBSET_DROP = 21, 31, 24


def _namespaces() -> bool:
    """Whether this machine lets us make namespaces, asked without the code under test."""
    flags = "-nmpfi" if os.geteuid() == 0 else "-Unmpfi"
    program = shutil.which("unshare")
    return program is not None and subprocess.run([program, flags, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _namespaces(), reason="no namespaces for this user on this machine")


def run(completion: str, tests: Any = TESTS, **keys: Any) -> float:
    config = Config(**{"timeout_s": keys.get("run_s", 5.0) + 30, **keys})
    return score(config, Sample("", completion, [], 0, True, {"tests": tests}))


def holds(statements: str, **keys: Any) -> bool:
    """Whether statements of the code under test run through, asserts and all."""
    return run(statements, "pass", **keys) == 1


@pytest.fixture
def clock() -> Callable[[], float]:
    start = time.monotonic()
    return lambda: time.monotonic() - start


# Right and wrong


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (RIGHT, 1),
        (f"Here it is:\n```python\n{RIGHT}```\nIt adds.", 1),
        (f"```python\nraise ValueError\n```\nBetter:\n```python\n{RIGHT}```", 1),
        (f"```python\n{RIGHT}```\nNot:\n```python\nadd = None\n```", 0),
        (f"```Py\n{RIGHT}", 1),
        (f"Output:\n```text\n1\n```\n```python title=x\n{RIGHT}```\n```text\n2\n```", 1),
        ("def add(a, b):\n    return a - b\n", 0),
        ("def add(a, b):\n    return (a + b\n", 0),
        (f"Here it is:\n{RIGHT}", 0),
        ("", 0),
        (f"{RIGHT}raise ValueError", 0),
        (f"{RIGHT}\udc80\0", 0),
        (f"{RIGHT}if __name__ == '__main__':\n    raise SystemExit", 1),
        ("from __future__ import annotations\n" + RIGHT, 1),
    ],
)  # fmt: skip
def test_the_last_block_is_run_with_the_tests(completion: str, expected: float) -> None:
    assert run(completion) == expected


def test_tests_are_a_text_or_a_list() -> None:
    assert run(RIGHT, "def check(f):\n    assert f(2, 2) == 4\n\ncheck(add)") == 1
    assert run(RIGHT, ["seen = add(2, 2)", "assert seen == 4"]) == 1
    assert run(RIGHT, "import unittest.mock, json, decimal, asyncio, ctypes, ssl\nassert add(1, 1) == 2") == 1


def test_partial_is_the_share_that_passes() -> None:
    tests = ["assert add(1, 2) == 3", "assert add(1, 2) == 4", "assert add(0, 0) == 0", "import nothing_like_it"]
    assert run(RIGHT, tests) == 0
    assert run(RIGHT, tests, partial=True) == 0.5
    assert run(RIGHT, TESTS, partial=True) == 1
    assert run("add = None", tests, partial=True) == 0
    assert run("raise ValueError", tests, partial=True) == 0
    ending = "def add(a, b):\n    import os\n    return 3 if a else os._exit(0)"
    assert run(ending, tests, partial=True) == 0.25


def test_a_name_of_a_python_function_may_be_defined_anew() -> None:
    assert run("def sum(a, b):\n    return a - b", "assert sum(3, 1) == 2") == 1


def test_dataclasses_and_pickles_find_their_module() -> None:
    assert holds(
        "from __future__ import annotations\nimport dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int = 1\n"
        "assert pickle.loads(pickle.dumps(Point(2))) == Point(2)"
    )


def test_threads_of_a_solution_work() -> None:
    assert holds(
        "import concurrent.futures\n"
        "with concurrent.futures.ThreadPoolExecutor(2) as pool:\n    assert list(pool.map(abs, [-1, -2])) == [1, 2]",
        run_s=20,
    )


@pytest.mark.parametrize(
    "tests", [None, 1, "", " ", [], [""], [1], {"a": 1}, "assert (", ["pass", "return 1"], "assert '\0'"]
)
def test_tests_that_are_none_are_the_datas_fault(tests: Any) -> None:
    with pytest.raises(DataError):
        run(RIGHT, tests)


def test_a_prompt_without_tests_is_the_datas_fault() -> None:
    with pytest.raises(DataError, match="lacks a field"):
        score(Config(tests="other"), Sample("", RIGHT, [], 0, True, {"tests": "pass"}))


@pytest.mark.parametrize("keys", [{"run_s": 10.0}, {"run_s": 5.0, "timeout_s": 5.0}, {"memory_mb": 8}, {"run_s": 0}])
def test_limits_that_cannot_hold_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"run_s|memory_mb|Code may run longer"):
        Config(**keys)


# Time


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(1000)",
        "import signal\nfor one in set(signal.Signals) - {9, 19}: signal.signal(one, signal.SIG_IGN)\nwhile True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
        "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\nwhile True: pass",
    ],
)  # fmt: skip
def test_code_that_does_not_end_is_stopped(code: str, clock: Callable[[], float]) -> None:
    assert run(code, run_s=SHORT_S) == 0
    assert clock() < SHORT_S + SLACK_S


def test_a_function_that_does_not_end_is_stopped(clock: Callable[[], float]) -> None:
    assert run("def add(a, b):\n    while True: pass", run_s=SHORT_S) == 0
    assert clock() < SHORT_S + SLACK_S


def _marked(seconds: float) -> list[psutil.Process]:
    """The sandbox's processes, all of which have its `run_s` as an argument."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-2:-1] == [str(seconds)] and str(sandbox.__file__) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    "start",
    ["os.fork()", "subprocess.run(['/bin/true'])", "os.posix_spawn('/bin/true', ['true'], {})", "pty.fork()"],
)
def test_no_process_can_be_started_and_threads_can(start: str) -> None:
    assert holds(f"import os, subprocess, pty\ntry: {start}\nexcept OSError: pass\nelse: raise ValueError('started')")
    assert holds("import threading\nfound = []\none = threading.Thread(target=found.append, args=(1,))\none.start()\n"
                 "one.join()\nassert found == [1]")  # fmt: skip


def test_a_bomb_of_forks_or_threads_is_bounded(clock: Callable[[], float]) -> None:
    forks = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    threads = (
        "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "    except RuntimeError: time.sleep(0.01)"
    )
    for bomb in (forks, threads):
        assert run(bomb, run_s=SHORT_S + 0.5) == 0
    assert clock() < 2 * (SHORT_S + SLACK_S)
    assert not _marked(SHORT_S + 0.5)


def test_the_reward_workers_timer_leaves_nothing_behind() -> None:
    # What the timer of trainers/rl/judging.py does, where the sandbox's own clock is later.
    config = Config(run_s=7.75, timeout_s=8)
    object.__setattr__(config, "timeout_s", 1.0)
    judged = RewardActor([config], {}).judge(
        [Sample("", "while True: pass", [], 0, True, {"tests": "pass"}), Sample("", "", [], 0, True, {"tests": "pass"})]
    )
    assert judged.rewards[0]["code"] != judged.rewards[0]["code"]
    assert "no answer in 1 s" in judged.reasons["code"]
    assert judged.rewards[1]["code"] == 1
    assert not _marked(7.75)


def test_a_sandbox_dies_with_its_caller() -> None:
    command = [sys.executable, "-I", "-S", str(sandbox.__file__), "512", "33.25", "all"]
    caller = os.fork()
    if caller == 0:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        process.stdin.write(b'["import time\\ntime.sleep(1000)", "pass"]')  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
        time.sleep(1000)
    try:
        for _ in range(100):
            time.sleep(0.1)
            if len(_marked(33.25)) == 3:
                break
        assert len(_marked(33.25)) == 3
    finally:
        os.kill(caller, signal.SIGKILL)
        os.waitpid(caller, 0)
    for _ in range(100):
        if not _marked(33.25):
            return
        time.sleep(0.1)
    pytest.fail("the sandbox outlived its caller")


# Memory, files, output


@pytest.mark.parametrize(
    "bomb", ["held = bytearray(1 << 40)", "held = [0]\nwhile True: held += held", "x = 'a'\nwhile True: x += x"]
)
def test_a_memory_bomb_is_bounded(bomb: str) -> None:
    assert run(RIGHT + bomb) == 0


def test_the_memory_limit_is_the_one_of_the_config() -> None:
    assert run(RIGHT + "import json, decimal, random, collections, re", memory_mb=64) == 1
    assert holds("held = bytearray(200 << 20)")
    assert not holds("held = bytearray(200 << 20)", memory_mb=128)


@pytest.mark.parametrize("name", ["x", "/tmp/x", "/dev/shm/x"])
def test_huge_files_are_not_written(name: str) -> None:
    writes = f"with open({name!r}, 'wb') as file:\n    for _ in range(64): file.write(bytes(1 << 20))"
    assert not holds(writes)
    assert not holds("for number in range(64):\n    with open(str(number), 'wb') as file: file.write(bytes(1 << 20))")


def test_the_working_folder_is_empty_writable_and_gone_afterwards() -> None:
    code = (
        "import os, tempfile\nassert os.listdir() == []\n"
        "with open('left_by_reward_code', 'w') as file: file.write('x')\n"
        "with open('/tmp/left_by_reward_code', 'w') as file: file.write('x')\n"
        "with tempfile.NamedTemporaryFile() as file: file.write(b'x')\nassert os.getcwd() == '/tmp/solution'"
    )
    assert holds(code)
    assert holds(code)
    for folder in ("/tmp", "/tmp/solution", "."):
        assert not Path(folder, "left_by_reward_code").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'1\\n' * 32768)",
        "while True: print('isolated\\n2' * 10000)",
    ],
)  # fmt: skip
def test_huge_output_is_thrown_away(code: str) -> None:
    before = psutil.Process().memory_info().rss
    assert run(code, run_s=SHORT_S) == 0
    assert psutil.Process().memory_info().rss - before < 50 << 20


def test_output_of_a_right_solution_does_not_count_against_it() -> None:
    assert run(RIGHT + "import sys\nprint('x' * (4 << 20)); print('y' * (4 << 20), file=sys.stderr)") == 1


# Isolation


def test_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        connect = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"
        assert not holds(connect)
        for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"):
            ask = f"socket.socket(socket.{family}, socket.SOCK_DGRAM)"
            code = f"import socket\ntry: {ask}\nexcept PermissionError: pass\nelse: raise ValueError"
            assert holds(code), family
    assert holds("import socket\none, other = socket.socketpair()\none.send(b'x')\nassert other.recv(1) == b'x'")
    assert holds("import asyncio\nasync def one(): return 1\nassert asyncio.run(one()) == 1")


def test_no_memory_beside_the_limit() -> None:
    """Shared memory that is not attached, and files in memory, count against no limit of the process."""
    assert holds("import os\ntry: os.memfd_create('x')\nexcept PermissionError: pass\nelse: raise ValueError")
    shared = "ctypes.CDLL(None, use_errno=True).shmget(0, 1 << 20, 0o1600)"
    assert holds(f"import ctypes, errno\nassert {shared} == -1\nassert ctypes.get_errno() == errno.EPERM")


def test_no_sockets_in_files(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as hidden:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        hidden.bind("\0raysmith-test-reward-code")
        hidden.listen()
        for address in (str(tmp_path / "socket"), "\0raysmith-test-reward-code"):
            socket.socket(socket.AF_UNIX).connect(address)
            assert not holds(f"import socket\nsocket.socket(socket.AF_UNIX).connect({address!r})")


def test_the_code_is_in_namespaces_of_its_own_and_nobody() -> None:
    thread = threading.Thread(target=run, args=("import time\ntime.sleep(1000)",), kwargs={"run_s": 3.5})
    thread.start()
    try:
        for _ in range(100):
            time.sleep(0.02)
            if len(found := _marked(3.5)) == 3:
                break
        runner = max(found, key=lambda process: len(process.parents()))
        time.sleep(0.3)  # it has given up its rights
        for kind in ("net", "pid", "mnt", "ipc", "uts"):
            assert Path(f"/proc/{runner.pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink(), kind
        status = Path(f"/proc/{runner.pid}/status").read_text()
        told = {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}
        assert told["NoNewPrivs"] == "1" and told["Seccomp"] == "2"
        assert int(told["CapPrm"], 16) == int(told["CapEff"], 16) == 0
        assert len(Path(f"/proc/{runner.pid}/net/dev").read_text().splitlines()) == 3  # a heading and a dead lo
        if os.geteuid() == 0:
            assert runner.uids().real >= 65534 and told["Groups"] == ""
    finally:
        thread.join()


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSMITH_SECRET", "hidden")
    assert holds("import os\nassert 'RAYSMITH_SECRET' not in os.environ and b'RAYSMITH_SECRET' not in os.environb")
    # LC_CTYPE is Python's own doing, where there is no locale.
    assert holds("import os\nassert set(os.environ) <= {'LC_CTYPE'}")
    assert holds(
        "import ctypes\nget = ctypes.CDLL(None).getenv\nget.restype = ctypes.c_char_p\n"
        "assert get(b'RAYSMITH_SECRET') is None"
    )


def test_files_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    paths = [str(tmp_path / "secret"), "/etc/passwd", "/proc/self/environ", "/proc/1/environ", __file__, "/bin/sh"]
    for path in paths:
        assert holds(f"import os\nassert not os.path.exists({path!r})"), path
        assert not holds(f"open({path!r})"), path
    # What is there is read-only.
    assert holds("import os\ntry: open(os.__file__, 'a')\nexcept OSError: pass\nelse: raise ValueError")


def test_input_is_at_its_end() -> None:
    assert holds("try: input()\nexcept EOFError: pass\nelse: raise ValueError")


def test_rights_do_not_come_back() -> None:
    libc = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    for flag in (0x10000000, 0x40000000, 0x20000, 0x10020000):
        assert holds(f"{libc}assert libc.unshare({flag}) == -1"), hex(flag)
    assert holds(f"{libc}assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1")
    assert holds("import os\ntry: os.chroot('/tmp')\nexcept PermissionError: pass\nelse: raise ValueError")
    assert holds("import os\ntry: os.setuid(0)\nexcept OSError: pass\nelse: raise ValueError")
    assert holds(
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nexcept (OSError, ValueError): pass\n"
        "else: raise ValueError"
    )


# Claims


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal\nos.kill(0, signal.SIGKILL)",
        "import os, signal\nos.kill(-1, signal.SIGKILL)",
        "import os, signal\nfor one in signal.Signals:\n    try: os.kill(1, one)\n    except OSError: pass",
        "import ctypes\nctypes.string_at(0)",
        "print('isolated'); print(2); print(1.0, flush=True)",
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'isolated\\n2\\n')\n    except OSError: pass",
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'\\1' * 48)\n    except OSError: pass",
        "import os\nos.closerange(0, 64)",
        "import builtins\nbuiltins.AssertionError = type('Never', (BaseException,), {})",
        "import builtins\nbuiltins.exec = builtins.compile = lambda *_, **__: None",
        "import builtins\nbuiltins.BaseException = ValueError\nBaseException = ValueError",
        "import builtins, os\nbuiltins.exec = lambda *_: None\nos.read = os.write = lambda *_: b'x' * 16",
        "AssertionError = exec = compile = None",
        "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit",
        "import sys\nsys.excepthook = lambda *_: None",
        # A tracer that would jump over the assert, to the last line of what is run.
        "import sys\ndef skip(frame, event, _):\n    if event == 'line' and frame.f_lineno == 1: frame.f_lineno = 2\n"
        "    return skip\nsys.settrace(skip)",
        "import os\nif os.fork(): os._exit(0)",
        "import sys\nsys.modules['__main__'] = sys.modules['os'] = None",
    ],
)  # fmt: skip
def test_wrong_code_gets_nothing_however_it_ends(code: str) -> None:
    tests = ["assert add(1, 2) == 3\nassert True", *TESTS]
    assert run("def add(a, b):\n    return None\n" + code, tests, run_s=SHORT_S * 2) == 0
    assert run(code, run_s=SHORT_S * 2, partial=True) == 0


@pytest.mark.parametrize("end", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_a_function_that_ends_the_process_gets_nothing(end: str) -> None:
    assert run(f"def add(a, b):\n    {end}") == 0


def test_builtin_names_are_put_back_before_each_test() -> None:
    code = (
        "import builtins\nbuiltins.abs = lambda _: 0\n"
        "def add(a, b):\n    builtins.len = lambda _: 0\n    return a + b\n"
    )
    assert run(code, ["assert abs(add(1, 2)) == 3", "assert len([1]) == 1"]) == 1


def test_tests_are_not_in_the_process_before_the_code_has_run() -> None:
    code = (
        "import gc, sys\n"
        "def found():\n"
        "    word = ''.join(['hidden_', 'until', '_later'])\n"
        "    frame, held = sys._getframe(1), []\n"
        "    while frame:\n"
        "        held += map(repr, frame.f_locals.values())\n"
        "        frame = frame.f_back\n"
        "    return [text for text in held + list(map(repr, gc.get_objects())) if word in text]\n"
        "assert not found()"
    )
    assert run(code, "hidden_until_later = 1\nassert found()") == 1  # what is not defended: then, they are


def test_the_runner_is_not_the_codes_main_module() -> None:
    assert holds("import __main__\nassert __main__.__name__ == 'solution' and not hasattr(__main__, 'main')")


# Machines that do not allow it


def _in_a_fork(dropped: list[int], ask: Callable[[], str]) -> str:
    """An answer from a process whose children lack capabilities."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for capability in dropped:
                if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                    raise OSError(f"capability {capability}")
            os.write(writable, ask().encode())
        except BaseException as error:
            os.write(writable, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as answer:
        told = answer.read().decode()
    os.waitpid(child, 0)
    return told


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away that only root has")
def test_without_rights_code_is_not_run() -> None:
    run(RIGHT)
    told = _in_a_fork([CAP_SYS_ADMIN, CAP_SETFCAP], lambda: str(run(RIGHT)))
    assert told.startswith("OSError: a sandbox could not be made"), "it ran before: this reward alone has failed"
    in_a_new_process = (
        "from tests import test_reward_code as here\n"
        "rights = [here.CAP_SYS_ADMIN, here.CAP_SETFCAP]\n"
        "print(here._in_a_fork(rights, lambda: str(here.run(here.RIGHT))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", in_a_new_process], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    told = done.stdout
    assert told.startswith("ResourceError: Code cannot be run in isolation")
    for part in ("field:", "got:", "expected:", "fix:", "not permitted"):
        assert part in told


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away that only root has")
def test_users_namespaces_do_where_root_lacks_rights() -> None:
    """As for everyone who is not root."""

    def ask() -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connect = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)"
            reached = holds(connect)
        return repr({
            "right": run(RIGHT),
            "nobody": holds("import os\nassert os.getuid() == 65534"),
            "reached": reached,
            "killed": holds("import os\nos.kill(-1, 9)\nos.kill(0, 9)"),
            "changed": holds("import os\nopen(os.__file__, 'a')"),
            "read": holds(f"open({__file__!r})"),
            "nested": holds("import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0"),
            "bomb": run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", run_s=SHORT_S),
        })  # fmt: skip

    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("no namespaces of users")
    assert _in_a_fork([CAP_SYS_ADMIN], ask) == repr({
        "right": 1.0, "nobody": True, "reached": False, "killed": False, "changed": False, "read": False,
        "nested": False, "bomb": 0.0,
    })  # fmt: skip


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ResourceError, match="darwin"):
        run(RIGHT)
