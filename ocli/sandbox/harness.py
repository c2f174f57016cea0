"""Runs one program and its tests in a fresh interpreter, to which this text is handed; nothing of ocli is imported here.

On stdin comes a job, marshalled; what was stdout gets the job's token once every test has passed, and nothing else counts as
passing. Standard library only, and little of it: each import is paid for each program.

Program and tests share an interpreter, as in every harness of this kind, because tests may ask for anything Python has. What
keeps the program from passing by itself:

- The token is held by the C stack alone: no frame, no module and no object that Python lists leads to it.
- The tests are compiled before the program runs. They see builtins and modules as these were before, not as the program
  patched them, and refuse an answer that brings a comparison of its own.
- Whoever searches the interpreter (``gc.get_objects``, frames, ctypes, /proc) is ended by an audit hook, which cannot be removed.
- The process is confined by rlimits and, on Linux, by seccomp (no process, socket or signal) and Landlock (no file but
  Python's own to read, and none but those in its own folder to write).
"""

from __future__ import annotations

import builtins
import marshal
import os
import resource
import struct
import sys
from types import FunctionType, MethodDescriptorType, ModuleType, WrapperDescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Mapping
    from functools import partial
    from typing import Any
else:  # the same from C, 12 of the 25 ms of a program sooner
    from _collections import deque
    from _functools import partial

globals()["__builtins__"] = dict(vars(builtins))  # what follows keeps these, whatever a program puts in their place

FAILED, SYNTAX, MEMORY = 1, 3, 4
"""Exit codes. That of a program that passed is 0, beside the token."""

PROGRAM, TESTS = "program.py", "tests.py"
HUNTS = ("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys.settrace", "sys.setprofile")
FORKS = (
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.spawn", "os.system", "subprocess.Popen", "os.kill", "os.killpg",
)  # fmt: skip
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
COMPARED = ("collections", "decimal", "_pydecimal", "datetime", "_pydatetime", "enum", "fractions", "numbers", "pathlib", "uuid")
COMPARING = (
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__bool__", "__sub__", "__rsub__", "__abs__", "__float__",
)  # fmt: skip


def steps() -> Iterator[partial[Any]]:
    """Read the job, confine the process, and return what is left to do; the last but one step writes the token."""
    job = marshal.loads(sys.stdin.buffer.read())
    told = os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:] = [path for path in sys.path if path] + job["paths"]
    sys.argv[:] = [PROGRAM]
    tests = compile(job["tests"], TESTS, "exec", dont_inherit=True)
    kept = {name: _copied(name) for name in job["modules"]}
    scope = {"__name__": "tests", "__builtins__": _builtins(kept)}
    solution = ModuleType("solution")
    solution.__file__ = PROGRAM
    sys.modules["solution"] = sys.modules["__main__"] = solution
    confine(job)
    sys.addaudithook(_Watch())
    program = _compiled(job["program"])
    return iter(
        [
            partial(exec, program, solution.__dict__),
            partial(_prepare, scope, solution.__dict__, kept, job["entry"]),
            partial(exec, tests, scope),
            partial(os.write, told, job["token"]),
            partial(os._exit, 0),
        ]
    )


def _compiled(program: str) -> Any:
    try:
        return compile(program, PROGRAM, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        sys.stderr.flush()
        os._exit(SYNTAX)


def _copied(name: str) -> ModuleType:
    """Return a copy of a module, which stays as it is whatever a program does to the module."""
    copy = ModuleType(name)
    copy.__dict__.update(__import__(name, fromlist=["*"]).__dict__)
    return copy


def _builtins(kept: Mapping[str, ModuleType]) -> dict[str, Any]:
    """Return the builtins as they are now, with an import that finds the copies of modules."""

    def find(name: str, *where: Any, import_: Callable[..., Any] = builtins.__import__) -> Any:
        return kept[name] if name in kept else import_(name, *where)

    return {**builtins.__dict__, "__import__": find}


def _prepare(scope: dict[str, Any], solution: dict[str, Any], kept: Mapping[str, ModuleType], entry: list[str]) -> None:
    """Let the tests see what the program made, but for what would change the meaning of the tests' own words."""
    own = scope["__builtins__"]
    seen = {name: value for name, value in solution.items() if name in entry or not (name in own or name in kept)}
    # Of several names that the tests call, a class is what they make arguments with.
    judged = [name for name in entry if callable(seen.get(name)) and (len(entry) == 1 or not isinstance(seen[name], type))]
    wrapped = {name: _judged(seen[name]) for name in judged}
    scope.update({**seen, **{name: module for name, module in kept.items() if name not in entry}, **wrapped}, __builtins__=own)


def _judged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with its answers looked at: one that compares itself, and so may equal anything, is an error."""

    def call(*arguments: Any, **named: Any) -> Any:
        answer = function(*arguments, **named)
        if not _plain(answer, 3):
            raise TypeError("the answer brings a comparison of its own")
        return answer

    return call


def _plain(value: Any, depth: int) -> bool:
    """Say whether a value is compared by Python's own code or the standard library's, and so is what it holds."""
    kind = type(value)
    if kind in (int, str, float, bool, type(None)):
        return True
    if kind in (list, tuple, set, frozenset, dict, deque) and depth:
        inside = [*value.keys(), *value.values()] if kind is dict else value
        return all(_plain(one, depth - 1) for one in inside)
    for name in COMPARING:
        maker = next((base.__dict__[name] for base in type.__dict__["__mro__"].__get__(kind) if name in base.__dict__), None)
        if type(maker) is FunctionType:
            if not _known(maker.__globals__):
                return False
        elif type(maker) not in (type(None), WrapperDescriptorType, MethodDescriptorType):
            return False  # something callable that is put there
    return True


def _known(scope: dict[str, Any]) -> bool:
    """Say whether a function is of one of the modules whose values are compared by Python code of their own."""
    name = scope.get("__name__")
    module = sys.modules.get(name) if type(name) is str and name in COMPARED else None
    return module is not None and module.__dict__ is scope


class _Watch:
    """An audit hook: refuses new processes and signals, and ends a program that searches the interpreter."""

    def __init__(self) -> None:
        self._frame, self._write, self._exit = sys._getframe, os.write, os._exit
        self._looking = False  # what the hook itself does is audited too

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._looking:
            return
        self._looking = True
        try:
            if event in FORKS:
                raise PermissionError(f"{event} is not allowed here")
            if self._hunts(event, arguments):
                self._write(2, f"ended: the program searches the interpreter that tests it ({event})\n".encode())
                self._exit(FAILED)
        finally:
            self._looking = False

    def _hunts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        # Nothing here may call what a program made: what that does would not be seen.
        if event == "sys._getframe" or (event == "object.__getattr__" and arguments[1] in FRAMES):
            name = dict.get(self._frame(2).f_globals, "__name__")
            return type(name) is not str or name in ("solution", "inspect")
        if event in ("open", "os.chdir", "os.symlink", "os.link"):
            path = arguments[0]
            return (isinstance(path, str) and str.startswith(path, "/proc")) or (
                isinstance(path, bytes) and bytes.startswith(path, b"/proc")
            )
        return event in HUNTS or (event.startswith(("ctypes.", "sys.monitoring")) and event != "ctypes.dlopen")


def confine(job: Mapping[str, Any]) -> None:
    """Limit memory (MiB), seconds of computing, files; on Linux also forbid processes, sockets and other people's files."""
    memory, seconds = job["memory"] << 20, int(job["timeout"]) + 1
    limits = {
        "AS": (memory, memory),
        "CPU": (seconds, seconds + 1),
        "FSIZE": (16 << 20, 16 << 20),
        "NOFILE": (64, 64),
        "CORE": (0, 0),
    }
    if not (job["locks"] and sys.platform == "linux" and _lock(job["readable"])):
        limits["NPROC"] = (0, 0)  # counts all processes of the user; does not hold for root
    for name, limit in limits.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
        most = [bound if hard == resource.RLIM_INFINITY else min(bound, hard) for bound in limit]
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most[0], most[1]))
        except (OSError, ValueError):
            continue  # macOS has no limit of memory


# System calls, by machine: x86_64, aarch64. What opens, signals or looks into another process, or reaches a network.
CALLS = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "socket": (41, 198), "connect": (42, 203), "tkill": (200, 130), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "bpf": (321, 280),
    "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217), "setsid": (112, 157),
}  # fmt: skip
SELF_ONLY = {"kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
CLONE, CLONE3, THREAD = (56, 220), (435, 435), 0x10000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Which column of the calls, and what the kernel calls the machine."""

LOAD, EQUAL, BITS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL, REFUSE, MISSING = 0x7FFF0000, 0x80000000, 0x50001, 0x50026  # errno 1 EPERM, 38 ENOSYS
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16


def _filter(column: int, machine: int) -> bytes:
    """Return a seccomp filter (classic BPF, 8 bytes an instruction)."""
    code = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, machine), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if column == 0:
        code += [(BITS, 0, 1, 0x40000000), (RETURN, 0, 0, REFUSE)]  # x32, the other numbering
    for numbers in CALLS.values():
        if (number := numbers[column]) is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    code += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, MISSING)]  # libc then calls clone, whose flags can be read
    code += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, FIRST_ARGUMENT), (BITS, 0, 1, THREAD), (RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, REFUSE)]
    for number in (numbers[column] for numbers in SELF_ONLY.values()):
        code += [(EQUAL, 0, 4, number), (LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 0, 1, os.getpid()), (RETURN, 0, 0, ALLOW)]
        code += [(RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *one) for one in [*code, (RETURN, 0, 0, ALLOW)])


def _lock(readable: list[str]) -> bool:
    """Have the kernel confine this process for good; say whether it can make no other processes."""
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        column, machine = MACHINES[os.uname().machine]
    except (ImportError, OSError, KeyError):
        return False
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    _landlock(ctypes, libc, readable)
    code = _filter(column, machine)
    text = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, ctypes.addressof(text)))
    return bool(libc.prctl(22, 2, program, 0, 0) == 0)


FILE_RIGHTS, READING, ALL_RIGHTS = 0b111, 0b1101, (1 << 13) - 1
"""Landlock: execute, write, read of a file; execute, read, list below a folder; all of its first version."""


def _landlock(ctypes: Any, libc: Any, readable: list[str]) -> None:
    """Leave Python's own files to read, and this folder to write in, where the kernel can."""
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return
    every = ALL_RIGHTS | (1 << 14 if version >= 3 else 0)  # and truncating
    rules = libc.syscall(444, ctypes.create_string_buffer(struct.pack("Q", every), 8), ctypes.c_size_t(8), 0)
    rights = dict.fromkeys(readable, READING) | {"/dev/null": 0b110, "/dev/urandom": 0b100, ".": every}
    for path, allowed in rights.items():
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed &= ALL_RIGHTS | every if os.path.isdir(path) else FILE_RIGHTS
        libc.syscall(445, rules, 1, ctypes.create_string_buffer(struct.pack("=Qi", allowed, place), 12), 0)
        os.close(place)
    libc.syscall(446, rules, 0)
    os.close(rules)


def main() -> None:
    """Take the steps one after the other, all from C; what a step raises is the end."""
    try:
        deque(map(partial.__call__, steps()), maxlen=0)
    except MemoryError:
        os.write(2, b"MemoryError\n")
        os._exit(MEMORY)
    except BaseException as error:  # noqa: BLE001 - whatever a program raises
        try:
            place = error.__traceback__
            while place is not None and place.tb_frame.f_code.co_filename not in (PROGRAM, TESTS):
                place = place.tb_next
            sys.excepthook(type(error), error.with_traceback(place), place)
            sys.stderr.flush()
        finally:
            os._exit(FAILED)


if __name__ == "__main__":
    main()
