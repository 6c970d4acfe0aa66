"""Runs foreign Python code with no network, no files but Python's own, and bounds on time and memory. Linux only.

A script of the standard library alone, started as `python -I -S sandbox.py MEMORY_MB RUN_S all|each`. Its stdin is a
JSON list of sources: the code, then its tests. Its stdout is one line, `isolated` or what could not be set up, and, if
all went as it should, a second one: how many tests passed. Without isolation nothing is run.

    caller ── launcher      makes the namespaces and the small file tree, and waits
                └─ keeper       process 1 of its namespace: holds tests and tokens, keeps the time
                     └─ runner      the code and its tests, without privileges

The kernel kills every process of a namespace when its process 1 ends, whatever groups and sessions they moved to and
whatever signals they ignore; and each of the three dies with its parent. The file tree is memory of the namespace and
goes with it.

It is a program, and not a `preexec_fn`, since callers have threads (Ray's), and Python code between fork and exec of a
process with threads can wait forever for a lock that a thread held.
"""

from __future__ import annotations

import builtins
import ctypes
import json
import math
import os
import platform
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

# Numbers of the kernel's interface; Python 3.11 has none of them.
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_FILTER = 1, 38, 22, 2
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    1, 2, 4, 8, 32, 0x1000, 0x4000, 0x40000,
)  # fmt: skip
_CAPABILITY_VERSION = 0x20080522

# Machine → its number in seccomp, and of the system calls socket and clone; then those that are forbidden:
# io_uring_setup, memfd_secret, keyctl, shmget, memfd_create and, where there are, fork and vfork.
_MACHINES = {
    "x86_64": (0xC000003E, 41, 56, 425, 447, 250, 29, 319, 57, 58),
    "aarch64": (0xC00000B7, 198, 220, 425, 447, 219, 194, 279),
}
_CLONE3, _CLONE_THREAD, _NO_SUCH_CALL = 435, 0x10000, 38

_NOBODY = 65534
_FIRST_UID = 1 << 30
_FILES_MB = 16
"""All that the code may write."""
_THREADS = 32
"""Threads of the code, which is one process and can start none."""
_TOKEN = 16
"""Bytes that a runner gets with a source and gives back once it has run to its end."""
_FAILED = bytes(_TOKEN)
ISOLATED = "isolated"

_ROOT = "/proc"  # where the small tree is mounted: a folder that every Linux has, and that holds none of Python's files
_WORK = "tmp/solution"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def _system(name: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library.

    Raises:
        OSError: what it says, with its name.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*(ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _separate() -> bool:
    """Go into namespaces of one's own: network, processes, mounts, shared memory.

    Returns:
        whether this is root outside of them, too; else a namespace of users gives the rights for what follows.
    """
    wanted = _NEWNET | _NEWPID | _NEWNS | _NEWIPC | _NEWUTS
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        # Root in a container is often not allowed to, but may make a namespace of users like everyone.
        with suppress(PermissionError):
            _system("unshare", wanted)
            return True
    _system("unshare", _NEWUSER | wanted)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {group} 1", encoding="ascii")
    return False


def _enter_small_tree() -> None:
    """Make a file tree of Python's library, read-only, and an empty working folder in memory the only one there is.

    So sockets in files, which no namespace of networks covers (Ray's, Docker's), are out of reach, as are data, tests,
    checkpoints and `/proc`.
    """
    _system("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"size={_FILES_MB}m,nr_inodes=4096,mode=755".encode()
    _system("mount", b"tmpfs", _ROOT.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, options)
    own = [str(Path(prefix, name)) for prefix in (sys.base_prefix, sys.base_exec_prefix) for name in ("lib", "lib64")]
    wanted = dict.fromkeys((*_LIBRARIES, *own, *sys.path))
    for source in sorted(wanted):
        _show(Path(source), read_only=True)
    for source in _DEVICES:
        _show(Path(source), read_only=False)
    for name in ("tmp", "dev/shm", _WORK):
        folder = Path(_ROOT, name)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    os.chdir(_ROOT)
    _system("chroot", b".")
    os.chdir(_WORK)


def _show(source: Path, *, read_only: bool) -> None:
    """Have a file, a folder or a link to one appear in the small tree, if there is such a thing."""
    target = Path(_ROOT + str(source))
    if not source.exists() or target.exists():  # a part of a folder that is there already
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and str(source.resolve()) in _LIBRARIES:  # /lib → usr/lib
        target.symlink_to(source.readlink())
        return
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    _system("mount", bytes(source), bytes(target), None, _MS_BIND | _MS_REC, None)
    if read_only:
        kept = os.statvfs(target).f_flag & _MS_NOEXEC  # may not be taken away in a namespace of users
        flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | kept
        _system("mount", None, bytes(target), None, flags, None)


def _filter_system_calls() -> None:
    """Forbid new processes, sockets but those between processes, and what goes around that.

    Threads are made by the same call as processes and told apart by a flag; `clone3`, whose flags a filter cannot see,
    is made to look as if the kernel did not know it, and libraries then use the other. Bounding the number of processes
    is not enough: a loop that forks keeps the kernel's own locks busy, and with them the whole machine.
    Network namespaces do not hold virtual machines' sockets to their host (AF_VSOCK); io_uring makes sockets without
    the call that is watched here; keys of the session are shared across namespaces; shared memory that is not attached
    and files in memory count against no limit of the process.
    """
    known = _MACHINES.get(platform.machine())
    if known is None:
        raise OSError(f"filter of system calls: unknown machine {platform.machine()}, known {', '.join(_MACHINES)}")
    machine, call_socket, call_clone, *forbidden = known
    load, equal, at_least, has_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    deny, kill, allow = 0x00050000 | 1, 0x80000000, 0x7FFF0000  # deny: EPERM
    steps = [
        (load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, kill),  # other machines' calls have other numbers
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (answer, 0, 0, kill),  # as have those of x32
    ]  # fmt: skip
    for number in forbidden:
        steps += [(equal, 0, 1, number), (answer, 0, 0, deny)]
    steps += [
        (equal, 0, 1, _CLONE3), (answer, 0, 0, 0x00050000 | _NO_SUCH_CALL),
        (equal, 0, 4, call_clone), (load, 0, 0, 16), (has_bit, 0, 1, _CLONE_THREAD), (answer, 0, 0, allow),
        (answer, 0, 0, deny),
        (equal, 1, 0, call_socket), (answer, 0, 0, allow),
        (load, 0, 0, 16), (equal, 1, 0, socket.AF_UNIX), (answer, 0, 0, deny), (answer, 0, 0, allow),
    ]  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    described = struct.pack("@HP", len(steps), ctypes.addressof(program))
    _system("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _system("prctl", _PR_SET_SECCOMP, _SECCOMP_FILTER, described, 0, 0)


def _give_up_rights(*, root: bool, identity: int, memory_mb: int, run_s: float) -> None:
    """Limits that cannot be raised again, a user who owns nothing, no capabilities, few system calls."""
    os.setsid()
    seconds = math.ceil(run_s)
    limits = (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _FILES_MB << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, _THREADS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    )
    for kind, most in limits:
        held = resource.getrlimit(kind)[1]
        bound = most if held == resource.RLIM_INFINITY else min(most, held)
        resource.setrlimit(kind, (bound, bound))
    if root:
        # Processes are counted by user: with one user for all, a fork bomb in one sandbox would starve the others.
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        try:
            os.setresuid(identity, identity, identity)
        except OSError:  # a container that has but 65536 users
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _system("capset", struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24))
    _filter_system_calls()
    with Path(os.__file__).open("rb") as library:  # a library that only root can read would fail every completion
        library.read(1)


def _run_sources(channel: int) -> NoReturn:
    """The runner: execute what comes, in one namespace, and give back the token of what raises nothing.

    What it needs is held in local names, since the code may replace everything that others can reach.
    """
    read, write, own_id, leave = os.read, os.write, os.getpid, os._exit
    execute, translate, untrace, unprofile = exec, compile, sys.settrace, sys.setprofile
    unpack, join, error, failed = struct.unpack, b"".join, BaseException, _FAILED
    restore, original, me = vars(builtins).update, dict(vars(builtins)), os.getpid()
    smaller, size, token_size = min, len, _TOKEN

    def receive(wanted: int) -> bytes:
        parts = []
        while wanted > 0:
            part = read(channel, smaller(wanted, 1 << 16))
            if not part:
                leave(1)
            parts.append(part)
            wanted -= size(part)
        return join(parts)

    # Not as the main module: what stands under `if __name__ == "__main__"` is no part of an answer.
    module = ModuleType("solution")
    sys.modules["solution"] = sys.modules["__main__"] = module
    sys.argv = [""]
    while True:
        token = receive(token_size)
        source = receive(unpack("=Q", receive(8))[0])
        untrace(None)
        unprofile(None)
        restore(original)
        try:
            execute(translate(source, "<code>", "exec", dont_inherit=True), module.__dict__)
        except error:
            token = failed
        if own_id() != me:  # a fork that came back from the code
            leave(1)
        write(channel, token)


def _start_runner(*, root: bool, identity: int, memory_mb: int, run_s: float) -> socket.socket | None:
    """Fork the runner; None, with the reason written, where its rights cannot be taken away."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        try:
            ours.close()
            _give_up_rights(root=root, identity=identity, memory_mb=memory_mb, run_s=run_s)
            nothing, channel = os.open(os.devnull, os.O_RDWR), 3
            os.write(theirs.fileno(), _FAILED)
            # Whatever is printed is thrown away: nothing to hold, and nothing to be mistaken for a result.
            for number in range(3):
                os.dup2(nothing, number)
            os.dup2(theirs.fileno(), channel, inheritable=False)
            os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
            _run_sources(channel)
        except Exception as error:
            _say(f"{type(error).__name__}: {error}")
        finally:
            os._exit(1)
    theirs.close()
    return ours if ours.recv(_TOKEN) == _FAILED else None


def _count_passes(runner: socket.socket, sources: list[str], run_s: float, *, stop: bool) -> int:
    """The keeper: hand out one source after the other, and count the tests (all but the first) that were run."""
    deadline = time.monotonic() + run_s
    passed = 0
    for number, source in enumerate(sources):
        token, text = os.urandom(_TOKEN), source.encode("utf-8", "surrogatepass")
        answer = b""
        try:
            runner.settimeout(max(0.0, deadline - time.monotonic()))
            runner.sendall(token + struct.pack("=Q", len(text)) + text)
            while len(answer) < _TOKEN:
                runner.settimeout(max(0.0, deadline - time.monotonic()))
                part = runner.recv(_TOKEN - len(answer))
                if not part:
                    return passed
                answer += part
        except OSError:  # too late, or the runner has ended
            return passed
        if answer == token:
            passed += number > 0
        elif stop or number == 0:
            return passed
    return passed


def _say(line: str) -> None:
    os.write(1, line.replace("\n", " ").encode() + b"\n")


def _die_with_parent() -> None:
    # Should it be dead already, then the job is cut off, or the keeper's clock ends it.
    _system("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _reported(step: Callable[[], None]) -> NoReturn:
    """Do it, say what the system refused, and end, whatever happens."""
    try:
        step()
    except Exception as error:
        _say(f"{type(error).__name__}: {error}")
        os._exit(1)
    finally:
        os._exit(0)


def main(memory_mb: int, run_s: float, *, stop: bool) -> NoReturn:
    """Be the launcher, and then the keeper.

    Args:
        memory_mb: address space of each process of the code.
        run_s: seconds for code and tests together, by the clock; and of CPU, for each process, rounded up.
        stop: at the first test that fails.
    """

    def keep(*, root: bool, identity: int) -> None:
        _die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as process 1, deaf to signals from within that it has no use for
        # The runner is forked off before there is anything to know: no test is in its memory until the code has run.
        runner = _start_runner(root=root, identity=identity, memory_mb=memory_mb, run_s=run_s)
        if runner is None:
            return
        _say(ISOLATED)
        sources = json.loads(sys.stdin.buffer.read())
        _say(str(_count_passes(runner, sources, run_s, stop=stop)))

    def launch() -> None:
        _die_with_parent()
        os.umask(0o022)
        with suppress(OSError):  # where memory runs out, this is to die first
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        identity = _FIRST_UID + os.getpid()
        root = _separate()
        _enter_small_tree()
        keeper = os.fork()
        if keeper == 0:
            _reported(lambda: keep(root=root, identity=identity))
        os.waitpid(keeper, 0)

    _reported(launch)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), stop=sys.argv[3] == "all")
