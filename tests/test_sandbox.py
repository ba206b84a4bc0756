"Generated programs: every attack is run for real, and nothing outside the program's process notices."

import math, os, secrets, socket, struct, subprocess, sys, threading, time, types
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import psutil
import pytest

from benchmark_profiling import layers, sandbox
from benchmark_profiling.layers import hook, landlock, limits, seccomp, syscall_filter
from benchmark_profiling.sandbox import (
    PROBES,
    CodeEval,
    Outcome,
    Unavailable,
    available,
    code_eval_here,
    pass_at_k,
    protections,
    run_program,
    uses_code_eval,
    weak_spots,
)

ADD, TEST = "def add(a, b): return a + b\n", "assert add(2, 3) == 5"
KERNEL = seccomp in available()
on_linux = pytest.mark.skipif(
    not KERNEL, reason="no seccomp here: the audit hook's version of these tests runs"
)
# what this machine offers, and what is left of it on macOS
STACKS = [pytest.param(None, id="all layers"), pytest.param([limits, hook], id="limits and hook")]


@pytest.fixture(autouse=True)
def nothing_is_left():
    "No test leaves a child process behind."
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.fixture(scope="session", autouse=True)
def bounded_bomb_first():
    "No fork bomb is lit before 200 forks have been refused."
    program = """import os
made = 0
for _ in range(200):
    try: child = os.fork()
    except OSError: continue
    if child == 0: os._exit(0)
    made += 1
assert made == 0"""
    stacks = [None, [hook], *([[seccomp]] if KERNEL else [])]
    assert all(run_program(program, layers=stack).passed for stack in stacks)


# --- the report ---


@pytest.mark.parametrize(
    "program, why",
    [
        (ADD, "passed"),
        ("def add(a, b): return a * b", "AssertionError"),
        ("", "NameError"),
        ("def add(a, b) return", "SyntaxError"),
        ("import sys; sys.exit(0)", "exited early"),
        ("import os; os._exit(0)", "exited early"),
        ("raise SystemExit", "exited early"),
        ("import os; os.close(1); os.close(2); os._exit(0)", "exited early"),
        ("print('passed'); print('+passed'); exit()", "exited early"),
        ("import atexit, os; atexit.register(lambda: os._exit(0)); quit()", "exited early"),
        ("input()", "EOFError"),
        ("class passed(Exception): pass\nraise passed", "passed"),
        ("\0", "ValueError|SyntaxError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("\ud800", "UnicodeEncodeError"),
        ("type('x' * 9999, (Exception,), {})", "NameError"),
        ("import os; os.abort()", "killed (SIGSEGV)|killed (SIGABRT)"),
        ("if True:", "IndentationError"),
        ("'''", "SyntaxError"),
    ],
    ids=lambda v: repr(v)[:40] if isinstance(v, str) else None,
)
def test_passes_only_by_reaching_the_end_of_the_tests(program, why):
    outcome = run_program(program, TEST)
    assert outcome.passed == (program == ADD)
    assert outcome.why in why.split("|")


def test_words_of_the_program_are_not_taken_for_the_report():
    everywhere = (
        "import os\nfor fd in range(64):\n    try: os.write(fd, {!r})\n    except OSError: pass\nos._exit(0)"
    )
    for said in (
        b"passed",
        b"0" * 32 + b"+passed",
        b"+passed\n",
        secrets.token_hex(16).encode() + b"+passed",
    ):
        assert run_program(everywhere.format(said)) == Outcome(False, "exited early")
    noise = everywhere.format(b"x").replace("os._exit(0)", "")  # and then a right program
    assert not run_program(f"{noise}\n{ADD}", TEST).passed


def test_names_of_exceptions_are_cut():
    assert run_program("raise type('x' * 9999, (Exception,), {})") == Outcome(False, "x" * 100)


# --- attacks, with all layers and with those that macOS has ---


@pytest.mark.parametrize("layers", STACKS)
@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
        "import os; os.system('true')",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 0)",
        "import os; os.killpg(os.getpgid(os.getppid()), 9)",
        "import fcntl, os; fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "import ctypes; ctypes.CDLL(None)",
        "open('small', 'w')",
        "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "import os; os.mkdir('new')",
        "import tempfile; tempfile.NamedTemporaryFile()",
        "import socket; socket.socket()",
        "import urllib.request as u; u.urlopen('http://127.0.0.1:1')",
        "open('/etc/passwd').read()",
        "import os; os.listdir('/')",
    ],
    ids=lambda p: p.replace("import ", "")[:45],
)
def test_refused(program, layers):
    outcome = run_program(program, timeout=2, layers=layers)
    assert not outcome.passed and outcome.why in ("PermissionError", "FileNotFoundError", "URLError"), outcome
    if outcome.why == "FileNotFoundError":
        assert "tempfile" in program  # no folder in which to make one


FLOOD = """import os
while True:
    for fd in range(3, 64):
        try: os.write(fd, b'passed' * 1000)
        except OSError: pass"""


@pytest.mark.parametrize("layers", STACKS)
@pytest.mark.parametrize(
    "program, why",
    [
        ("while True: pass", {"timeout"}),
        ("import time; time.sleep(1000)", {"timeout"}),
        ("while True: print('x' * 10000)", {"timeout"}),
        (
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            {"timeout", "killed (SIGKILL)"},
        ),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", {"timeout"}),
        ("import os, sys; sys.stdout.close(); os.closerange(0, 64); os._exit(0)", {"exited early"}),
        ("import os; os.closerange(0, 64)\nwhile True: pass", {"killed (SIGKILL)"}),
        (FLOOD, {"killed (SIGKILL)"}),
    ],
    ids=lambda v: v[:40] if isinstance(v, str) else None,
)
def test_time(program, why, layers):
    outcome = run_program(program, timeout=0.5, layers=layers)
    assert not outcome.passed and outcome.why in why


@pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS does not enforce the limit on memory; protections() says so"
)
@pytest.mark.parametrize(
    "program",
    [
        "bytearray(10 << 30)",
        "kept = []\nwhile True: kept.append(bytearray(1 << 20))",
        "'x' * (10 << 30)",
        "import mmap; mmap.mmap(-1, 10 << 30)",
    ],
)
def test_memory(program):
    outcome = run_program(program, memory=1 << 28)
    assert not outcome.passed and outcome.why in ("MemoryError", "OSError")


@pytest.mark.parametrize("layers", STACKS)
def test_files_of_others_stay(tmp_path, layers):
    (tmp_path / "thesis.txt").write_text("ten years")
    name, folder = repr(str(tmp_path / "thesis.txt")), repr(str(tmp_path))
    for program in (
        f"import os; os.remove({name})",
        f"import shutil; shutil.rmtree({folder})",
        f"open({name}, 'w')",
        f"import os; os.rename({name}, {name} + 'x')",
        f"import os; os.truncate({name}, 0)",
        f"open({name}).read()",
        f"import pathlib; pathlib.Path({name}).unlink()",
        f"import os; os.chmod({name}, 0)",
        f"import os; os.open({name}, os.O_RDONLY | os.O_TRUNC)",
        f"import os; os.symlink({name}, 'link')",
    ):
        assert run_program(program, layers=layers) == Outcome(False, "PermissionError"), program
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"] and (
        tmp_path / "thesis.txt"
    ).read_text() == "ten years"


@pytest.mark.parametrize("layers", STACKS)
def test_nobody_connects(layers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"import socket; socket.create_connection({server.getsockname()})"
        assert not run_program(program, layers=layers).passed
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("layers", STACKS)
def test_keys_in_our_environment_are_not_seen(monkeypatch, layers):
    monkeypatch.setenv("MY_ACCESS_KEY", "not for you")
    assert run_program("import os; assert 'not for you' not in str(dict(os.environ))", layers=layers).passed
    assert not run_program("import os; open(f'/proc/{os.getppid()}/environ').read()", layers=layers).passed
    # a process that was started with the key
    helper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    look = f"assert 'not for you' in open('/proc/{helper.pid}/environ').read()"
    try:
        assert not run_program(look, layers=layers).passed
    finally:
        helper.communicate(b"\n")


# --- each layer by itself ---


@on_linux
def test_seccomp_alone_holds_what_the_hook_announces():
    for what in set(PROBES) - {"read a file", "take too much memory"}:
        assert not run_program(PROBES[what], layers=[seccomp]).passed, what


@on_linux
def test_calls_that_no_hook_hears_of_are_refused_by_the_kernel():
    for program in (
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
        "import os; os.nice(5)",
        "import threading; threading.Thread(target=int).start()",
        "import os; os.memfd_create('x')",
        "import os; os.pipe()",
        "import os; os.sched_setaffinity(0, [0])",
    ):
        assert run_program(program, layers=[hook]).passed, program
        assert run_program(program).why in ("PermissionError", "RuntimeError"), program


@on_linux
def test_the_list_fits_this_python():
    names = (
        "re, math, random, hashlib, datetime, decimal, typing, time, dataclasses, json, sys, asyncio, "
        "subprocess, unittest, zoneinfo, numpy, pandas"
    )
    body = (
        f"import {names}\ntime.sleep(.01); time.localtime(); hashlib.md5(b'x'); random.random()\n"
        "assert numpy.ones((50, 50)).dot(numpy.ones(50))[0] == 50"
    )
    assert run_program(body) == Outcome(True, "passed")
    steps = syscall_filter()
    assert len(steps) % 8 == 0 and 500 < len(steps) < 4096 * 8


@on_linux
def test_filter_of_the_other_machine_is_well_formed(monkeypatch):
    "Every jump ends inside the program, every path in an answer, and the numbers are those of aarch64."
    monkeypatch.setattr(layers.os, "uname", lambda: types.SimpleNamespace(machine="aarch64"))
    steps = list(struct.iter_unpack("=HBBI", syscall_filter()))
    assert steps[1][3] == 0xC00000B7 and steps[-1][0] == 0x06 and steps[-1][3] & 0xFFFF0000 == 0x00050000
    for n, (code, yes, no, _) in enumerate(steps):
        if code in (0x15, 0x45):
            assert n + 1 + max(yes, no) < len(steps)

    def answer(number, args=()):
        at, value, data = 0, 0, {0: number, 4: 0xC00000B7, **{16 + 8 * i: a for i, a in enumerate(args)}}
        while True:
            code, yes, no, k = steps[at]
            if code == 0x06:
                return k == 0x7FFF0000
            if code == 0x20:
                value = data.get(k, 0)
                at += 1
            else:
                at += 1 + (yes if (value == k if code == 0x15 else value & k) else no)

    # read, write, openat, fcntl
    assert answer(63) and answer(64) and answer(56, (0, 0, 0o2000000)) and answer(25, (0, 1030))
    # to write, to truncate, F_SETOWN
    assert not answer(56, (0, 0, 0o101)) and not answer(56, (0, 0, 0o1000)) and not answer(25, (0, 8))
    # kill socket clone execve unlinkat renameat ptrace clone3 pidfd io_uring
    assert not any(map(answer, (129, 198, 220, 221, 35, 38, 117, 435, 434, 425)))


@on_linux
def test_a_machine_without_a_list_has_no_seccomp_and_says_so(monkeypatch):
    monkeypatch.setattr(layers.os, "uname", lambda: types.SimpleNamespace(machine="riscv64"))
    assert syscall_filter() == b""
    with pytest.raises(Unavailable, match="seccomp: no list of system calls"):
        run_program(ADD, layers=[seccomp])
    assert seccomp not in sandbox.available.__wrapped__()


def test_a_layer_that_breaks_python_is_not_dropped_in_silence(monkeypatch):
    monkeypatch.setattr(sandbox, "run_program", lambda *args, **kwargs: Outcome(False, "timeout"))
    with pytest.raises(RuntimeError, match="'limits' breaks Python here: timeout"):
        sandbox.available.__wrapped__()


def test_protections_are_measured_and_weak_spots_named(monkeypatch):
    assert protections().keys() == PROBES.keys()
    assert all("hook" in by for what, by in protections().items() if what != "take too much memory")
    if KERNEL and landlock in available():
        assert weak_spots() == []
    monkeypatch.setattr(sandbox, "available", lambda: (limits, hook))
    monkeypatch.setattr(sandbox, "protections", sandbox.protections.__wrapped__)
    assert {"signal another process", "open a socket", "delete", "read a file"} <= set(weak_spots())


# --- around the program ---


def test_programs_go_when_the_evaluation_goes():
    "The harness is killed while a program sleeps; the program does not stay."
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent died")
    program = "run_program('import time; time.sleep(60)', timeout=30, layers=LAYERS[:1])"
    harness = subprocess.Popen(
        [sys.executable, "-c", f"from benchmark_profiling.sandbox import *\n{program}"]
    )

    def programs():
        return psutil.Process(harness.pid).children(recursive=True)

    while len(programs()) < 2:
        assert harness.poll() is None
        time.sleep(0.05)
    children = programs()
    time.sleep(1)
    harness.kill()
    harness.wait()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)


def test_programs_at_once_are_bounded():
    most, stop = 0, threading.Event()

    def watch():
        nonlocal most
        while not stop.wait(0.02):
            most = max(most, len(psutil.Process().children()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(run_program, ["import time; time.sleep(.1)"] * 12))
    stop.set()
    watcher.join()
    assert all(o.passed for o in outcomes) and 1 <= most <= os.cpu_count()


def test_the_same_program_gets_the_same_verdict():
    "Sets of strings have an order that changes from process to process, unless the seed of hashes is fixed."
    assert len({run_program("assert hash('word') % 2").why for _ in range(6)}) == 1


# --- pass@k and lm-eval's metric ---


def test_pass_at_k_is_the_unbiased_estimator():
    for n, c in [(1, 0), (1, 1), (6, 2), (6, 0), (6, 6), (7, 5)]:
        for k in range(1, n + 1):
            drawn = [any(s) for s in combinations([1] * c + [0] * (n - c), k)]
            assert math.isclose(pass_at_k(n, c, k), sum(drawn) / len(drawn))
    for wrong in [(5, 6, 1), (5, 2, 6), (5, 2, 0), (5, -1, 1)]:
        with pytest.raises(ValueError, match="pass@k needs"):
            pass_at_k(*wrong)


def test_code_eval_has_the_interface_of_the_hub():
    scores, outcomes = CodeEval().compute(
        references=[TEST, TEST], predictions=[[ADD, ""], ["", ""]], k=[1, 2, 10]
    )
    assert scores == {"pass@1": 0.25, "pass@2": 0.5}
    assert [[o.passed for o in row] for row in outcomes] == [[True, False], [False, False]]


@pytest.mark.parametrize("task, metric", [("humaneval", "pass_at_k"), ("mbpp", "pass_at_1")])
def test_lm_eval_task_files_get_it(task, metric):
    import evaluate
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    before = evaluate.load
    with code_eval_here():
        config = load_yaml(Path(lm_eval.tasks.__file__).parent / task / f"{task}.yaml")
    assert evaluate.load is before
    (score,) = [m["metric"] for m in config["metric_list"]]
    kwargs = {"k": [1]} if task == "humaneval" else {}
    assert score.__name__ == metric and uses_code_eval(score)
    for program, right in [(ADD, 1), ("exit()", 0)]:
        result = score(references=[TEST], predictions=[[program]], **kwargs)
        assert (result["pass@1"] if task == "humaneval" else result) == right


# --- a pass cannot be forged: what judges is in another process ---

FRAMES = """import sys
found, frame = {}, sys._getframe()
while frame:
    found.update({k: v for k, v in [*frame.f_locals.items(), *frame.f_globals.items()]})
    frame = frame.f_back
"""
TOKEN = (
    FRAMES
    + """import os
for job in [v for v in found.values() if isinstance(v, dict) and 'token' in v]:
    found['write'](found['report'], (job['token'] + '+passed').encode())
os._exit(0)"""
)
LINE = (
    FRAMES
    + """line = found['line']
line.answers['call'] = lambda function, args, named: {}
line.answers['eq'] = line.answers['bool'] = lambda *args: True
add = {}"""
)
SPEAK = """import json, os
words = ['{"passed": true}', '["give", [true, []]]', '["passed", null]', 'passed']
words.append('{"passed": true, "program": 1}')
for fd in range(64):
    for word in words:
        try: os.write(fd, word.encode() + b'\\n')
        except OSError: pass
"""
YES = """class Yes{}:
    __eq__ = lambda s, o: True
    __bool__ = __eq__
def add(a, b): return Yes({})"""
FORGERIES = {
    "read the token from the callers' frames": TOKEN,
    "take over the line": LINE,
    "speak on every descriptor and leave": SPEAK + "os._exit(0)",
    "speak on every descriptor and stay": SPEAK + "def add(a, b): return 0",
    "answer before the question": FRAMES + "found['line'].send('give', [5, []])\ndef add(a, b): return 0",
    "give another word": FRAMES + "def add(a, b): found['line'].send('passed', None)",
    "exit with success": "import os\ndef add(a, b): os._exit(0)",
    "raise SystemExit": "def add(a, b): raise SystemExit(0)",
    "end at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): quit()",
    "StopIteration out of a test's loop": "def add(a, b): raise StopIteration",
    "GeneratorExit": "def add(a, b): raise GeneratorExit",
    "an exception of one's own": "class Odd(BaseException): pass\ndef add(a, b): raise Odd",
    "equal to everything": YES.format("", ""),
    "a number equal to everything": YES.format("(int)", 1),
    "a text equal to everything": YES.format("(str)", 1),
    "calculates with everything": "class Yes:\n    __sub__ = __rsub__ = __abs__ = lambda s, o=0: s\n"
    "    __lt__ = __gt__ = lambda s, o: True\ndef add(a, b): return Yes()",
    "abs": "abs = lambda x: 0\ndef add(a, b): return 0",
    "abs for everybody": "import builtins\nbuiltins.abs = lambda x: 0\ndef add(a, b): return 0",
    "all for everybody": "import builtins\nbuiltins.all = lambda x: True\ndef add(a, b): return 0",
    "check": "def check(candidate): pass\ndef add(a, b): return 0",
    "a module": "import sys, types\nmath = sys.modules['math'] = types.ModuleType('math')\n"
    "math.isclose = lambda *a: True\ndef add(a, b): return 0",
    "eval in the judge": "add = eval",
    "a class of the judge": "add = type",
    "compile, then exec": "def add(a, b): return compile\nadd = exec",
    "all objects there are": "import gc\nfor x in gc.get_objects():\n"
    "    if isinstance(x, dict):\n        for k in [*x]:\n"
    "            if k in ('why', 'passed', 'failed'): x[k] = True\ndef add(a, b): return 0",
    "nested for ever": "x = []\nfor _ in range(10**5): x = [x]\ndef add(a, b): return x",
    "a list in itself": "x = []\nx.append(x)\ndef add(a, b): return x",
    "never ending": "def add(a, b):\n    while True: yield 5",
}
CHECK = """
import math
def check(candidate):
    pairs = [(2, 3), (4, 5)]
    assert all(map(lambda pair: abs(candidate(*pair) - sum(pair)) < 1e-6, pairs))
    assert math.isclose(candidate(1, 1), 2) and candidate(2, 2) == 4
check(add)"""
EQUALS = "assert add(2, 3) == 5"
ASKED_TWICE = "x = add(2, 3)\nassert x == 5 and 5 == x and not x == 6 and x in [5] and list([x]) == [5]"
FORGIVING = "try: assert add(2, 3) == 5\nexcept Exception: raise\nexcept BaseException: pass"


@pytest.mark.parametrize("stack", [*STACKS, pytest.param([], id="no layer")])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_pass_cannot_be_forged(forgery, stack):
    for tests in (CHECK, EQUALS, ASKED_TWICE):
        outcome = run_program(FORGERIES[forgery], tests, timeout=1, memory=1 << 28, layers=stack)
        assert not outcome.passed, (outcome, tests)


def test_tests_that_swallow_everything_do_not_hide_that_the_program_left():
    for program in (
        "import os\ndef add(a, b): os._exit(0)",
        FRAMES + "def add(a, b): found['line'].send('passed', None)",
    ):
        assert not run_program(program, FORGIVING).passed


@pytest.mark.parametrize("stack", [*STACKS, pytest.param([], id="no layer")])
def test_the_programs_process_holds_no_test_and_no_way_to_report(stack):
    "No object, frame or file there has a word of the tests; nothing of what it is asked says what is right."
    look = """import gc, os, sys
def mentions(x):
    text = x.decode('latin1') if isinstance(x, bytes) else x
    return isinstance(text, str) and chr(115) + 'esame' in text
def add(a, b):
    seen = [o for o in gc.get_objects() for x in (o.values() if isinstance(o, dict) else [o]) if mentions(x)]
    frame = sys._getframe()
    while frame:
        seen += [v for v in frame.f_locals.values() if mentions(v) or mentions(repr(v)[:100000])]
        frame = frame.f_back
    assert not seen, 'found'
    return a + b
"""
    if stack != []:
        look = look.replace("gc.get_objects()", "[globals()]")  # the hook refuses the other
    tests = "note = 's' + 'esame'\nSECRET = 'sesame'\nassert add(2, 3) == 5, SECRET"
    assert run_program(look, tests, layers=stack) == Outcome(True, "passed")
    if sys.platform == "linux" and stack == []:
        files = """import os, stat
def pipes():
    found = 0
    for n in range(64):
        try: found += stat.S_ISFIFO(os.fstat(n).st_mode)
        except OSError: pass
    return found
"""
        assert run_program(
            files, "assert pipes() == 2", layers=[]
        ).passed  # a question comes in, an answer goes out


@on_linux
@pytest.mark.parametrize(
    "program",
    [
        "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
        "import os; os.listdir(f'/proc/{os.getppid()}/fd')",
        "import os; os.open(f'/proc/{os.getppid()}/fd/1', os.O_RDONLY)",
        "open('/proc/self/environ')",
        "import os; os.kill(os.getppid(), 0)",
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
        "import os; os.setpgid(0, 0)",
        "import os; os.setsid()",
    ],
)
def test_the_judges_process_is_out_of_reach(program):
    assert run_program(program).why == "PermissionError"
    for layer in [landlock] if "/proc" in program else [seccomp]:
        assert run_program(program, layers=[layer]).why == "PermissionError"


@on_linux
def test_no_ptrace():
    "Not even a program that gets to C: without the hook `ctypes` is there, and the calls are refused."
    for number in (101, 310, 311):  # ptrace, process_vm_readv, process_vm_writev on x86_64
        program = (
            f"import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            f"assert libc.syscall({number}, 16, os.getppid(), 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1"
        )
        if os.uname().machine == "x86_64":
            assert run_program(program, layers=[limits, seccomp]).passed


# --- what crosses between the two ---

VALUES = [
    "None",
    "True",
    "0",
    "-1",
    "10**30",
    "-(2**62)",
    "2**14000",
    "0.1",
    "-0.0",
    "float('inf')",
    "1e-320",
    "3+4j",
    "'é\\n\\0\\u2028'",
    "'\\ud800'",
    "b'\\xff'",
    "bytearray(b'x')",
    "[]",
    "[1, [2, []]]",
    "()",
    "(1,)",
    "{1: {2: 3}}",
    "{(1, 'a'): [None]}",
    "{1, 2}",
    "frozenset({1})",
    "{frozenset({1})}",
    "range(2, 9, 3)",
    "collections.Counter('abca')",
    "collections.deque([1, 2], 5)",
    "collections.OrderedDict([(2, 1), (1, 2)])",
    "fractions.Fraction(1, 3)",
    "decimal.Decimal('1.10')",
    "datetime.date(2024, 2, 29)",
    "datetime.timedelta(1, 2, 3)",
    "int",
    "ValueError",
    "Ellipsis",
    "{1: 2}.keys()",
    "{1: 2}.items()",
]


@pytest.mark.parametrize("value", VALUES)
def test_values_come_back_as_they_went(value):
    modules = "import collections, datetime, decimal, fractions\n"
    tests = (
        f"{modules}x = {value}\nassert made() == x and type(made()) is type(x) and repr(made()) == repr(x)\n"
        f"assert same(x) == x and type(same(x)) is type(x) and repr(same([x, x])) == repr([x, x])"
    )
    assert run_program(f"{modules}def made(): return {value}\ndef same(x): return x", tests) == Outcome(
        True, "passed"
    )


@pytest.mark.parametrize(
    "program, tests",
    [
        (
            "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
            "def total(pairs): return sum(p.a * p.b for p in pairs)",
            "assert total([Pair(2, 3), Pair(4, 5)]) == 26\n"
            "assert Pair(1, 2).b == 2 and isinstance(Pair(1, 2), Pair)",
        ),
        (
            "class Node:\n    def __init__(s, v): s.v = v\n    left = right = None\n"
            "def depth(n): return 1 + max(depth(n.left), depth(n.right)) if n else 0",
            "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nassert depth(root) == 3",
        ),
        (
            "def apply(f, xs): return [f(x) for x in xs]",
            "assert apply(lambda x: x + 1, [1, 2]) == [2, 3] and apply(len, ['ab']) == [2]",
        ),
        (
            "def apply(f, xs): return [f(x) for x in xs]",
            "seen = []\napply(seen.append, [1, 2])\nassert seen == [1, 2]",
        ),
        (
            "def evens():\n    n = 0\n    while True:\n        yield n\n        n += 2",
            "import itertools\nassert list(itertools.islice(evens(), 3)) == [0, 2, 4]\n"
            "g = evens()\nassert next(g) == 0 and next(g) == 2",
        ),
        (
            "def total(xs): return sum(xs)",
            "assert total(iter([1, 2])) == 3 and total(x for x in range(4)) == 6",
        ),
        ("def order(xs): xs.sort()", "xs = [3, 1, 2]\nassert order(xs) is None and xs == [1, 2, 3]"),
        ("def add(d, k): d[k] = 1", "d = {}\nadd(d, 'x')\nassert d == {'x': 1}"),
        (
            "def rows(grid):\n    grid[0].append(1)\n    return grid",
            "row = [0]\nassert rows([row, row]) == [[0, 1], [0, 1]]",
        ),
        (
            "class Odd(ValueError): pass\ndef half(n):\n    if n % 2: raise Odd('odd', n)\n    return n // 2",
            "try: half(3)\n"
            "except ValueError as e: assert e.args == ('odd', 3) and type(e).__name__ == 'Odd'\n"
            "else: assert False",
        ),
        ("def sum(a, b): return a * b", "assert sum(10, 15) == 150"),
        ("import math\ndef root(x): return math.sqrt(x)", "assert math.isclose(root(2)**2, 2)"),
        (
            "import numpy as np\ndef ones(n): return np.ones(n)",
            "assert np.allclose(ones(3), [1, 1, 1]) and ones(2).tolist() == [1, 1]",
        ),
        ("import numpy as np\ndef mean(x): return np.mean(x)", "assert abs(mean([1, 2]) - 1.5) < 1e-9"),
        (
            "import collections\nPoint = collections.namedtuple('Point', 'x y')\n"
            "def at(): return Point(1, 2)",
            "assert at() == (1, 2)",
        ),
        (
            "import re\ndef starts(s): return re.match('ab', s)",
            "assert starts('abc') and not starts('b') and starts('abc').group() == 'ab'",
        ),
        ("LIMIT = 7\ndef f(): return LIMIT", "assert f() == LIMIT"),
        ("def f(*args, **named): return args, named", "assert f(1, *[2], x=3) == ((1, 2), {'x': 3})"),
        (
            "def f(): return zip('ab', [1, 2])",
            "assert list(f()) == [('a', 1), ('b', 2)] and sorted(f()) == [('a', 1), ('b', 2)]",
        ),
        ("def f(): return f", "assert f() is f and f()()() == f and callable(f) and f.__name__ == 'f'"),
    ],
)
def test_programs_and_tests_understand_each_other(program, tests):
    assert run_program(program, tests) == Outcome(True, "passed")
    assert run_program(f"{program}\n{tests}") == Outcome(True, "passed")  # the same in one process


def test_what_a_test_cannot_hand_over_is_said():
    with pytest.raises(ValueError, match="hand the program a Mine of their own"):
        run_program("def f(x): return x", "class Mine: pass\ntry: f(Mine())\nexcept BaseException: pass")


def test_wrong_answers_are_wrong_in_both():
    for program, tests in [
        ("def f(): return [1]", "assert f() == (1,)"),
        ("def f(): return 1", "assert f() is True"),
        ("def f(): return True", "assert f() is None"),
        ("def f(x): x.pop()", "x = [1]\nf(x)\nassert x == [1]"),
    ]:
        assert (
            run_program(program, tests)
            == Outcome(False, "AssertionError")
            == run_program(f"{program}\n{tests}")
        )
