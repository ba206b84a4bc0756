"Generated programs: every attack is run for real, and nothing outside the program's process notices."
import math, os, secrets, socket, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import psutil, pytest

from benchmark_profiling import sandbox
from benchmark_profiling.sandbox import (PROBES, CodeEval, Outcome, Unavailable, available, code_eval_here, hook, landlock, limits, pass_at_k,
                                         protections, run_program, seccomp, syscall_filter, uses_code_eval, weak_spots)

ADD, TEST = "def add(a, b): return a + b\n", "\nassert add(2, 3) == 5"
KERNEL = seccomp in available()
on_linux = pytest.mark.skipif(not KERNEL, reason="no seccomp here: the audit hook's version of these tests runs")
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
    program = "import os\nmade = 0\nfor _ in range(200):\n    try: child = os.fork()\n    except OSError: continue\n    if child == 0: os._exit(0)\n    made += 1\nassert made == 0"
    assert all(run_program(program, layers=layers).passed for layers in (None, [hook], *([[seccomp]] if KERNEL else [])))

# --- the report ---

@pytest.mark.parametrize("program, why", [
    (ADD, "passed"), ("def add(a, b): return a * b", "AssertionError"), ("", "NameError"), ("def add(a, b) return", "SyntaxError"),
    ("import sys; sys.exit(0)", "exited early"), ("import os; os._exit(0)", "exited early"), ("raise SystemExit", "exited early"),
    ("import os; os.close(1); os.close(2); os._exit(0)", "exited early"), ("print('passed'); print('+passed'); exit()", "exited early"),
    ("import atexit, os; atexit.register(lambda: os._exit(0)); quit()", "exited early"),
    ("input()", "EOFError"), ("class passed(Exception): pass\nraise passed", "passed"), ("\0", "ValueError|SyntaxError"),
    ("def f(): f()\nf()", "RecursionError"), ("\ud800", "UnicodeEncodeError"), ("type('x' * 9999, (Exception,), {})", "NameError"),
    ("import os; os.abort()", "killed (SIGSEGV)|killed (SIGABRT)"), ("if True:", "IndentationError"), ("'''", "SyntaxError"),
], ids=lambda v: repr(v)[:40] if isinstance(v, str) else None)
def test_passes_only_by_reaching_the_end_of_the_tests(program, why):
    outcome = run_program(program + TEST)
    assert outcome.passed == (program == ADD)
    assert outcome.why in why.split("|")

def test_words_of_the_program_are_not_taken_for_the_report():
    everywhere = "import os\nfor fd in range(64):\n    try: os.write(fd, {!r})\n    except OSError: pass\nos._exit(0)"
    for said in (b"passed", b"0" * 32 + b"+passed", b"+passed\n", secrets.token_hex(16).encode() + b"+passed"):
        assert run_program(everywhere.format(said)) == Outcome(False, "exited early")
    assert not run_program(everywhere.format(b"x").replace("os._exit(0)", "") + "\n" + ADD + TEST).passed  # noise before the word

def test_names_of_exceptions_are_cut():
    assert run_program("raise type('x' * 9999, (Exception,), {})") == Outcome(False, "x" * 100)

# --- attacks, with all layers and with those that macOS has ---

@pytest.mark.parametrize("layers", STACKS)
@pytest.mark.parametrize("program", [
    "import os\nwhile True: os.fork()",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "import os; os.system('true')",
    "import os; os.execv('/bin/true', ['true'])", "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "import os; os.kill(os.getppid(), 9)", "import os; os.kill(-1, 0)", "import os; os.killpg(os.getpgid(os.getppid()), 9)",
    "import fcntl, os; fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())",
    "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
    "import ctypes; ctypes.CDLL(None)",
    "open('small', 'w')", "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))", "import os; os.mkdir('new')",
    "import tempfile; tempfile.NamedTemporaryFile()", "import socket; socket.socket()", "import urllib.request as u; u.urlopen('http://127.0.0.1:1')",
    "open('/etc/passwd').read()", "import os; os.listdir('/')",
], ids=lambda p: p.replace("import ", "")[:45])
def test_refused(program, layers):
    outcome = run_program(program, timeout=2, layers=layers)
    assert not outcome.passed and outcome.why in ("PermissionError", "FileNotFoundError", "URLError"), outcome
    if outcome.why == "FileNotFoundError": assert "tempfile" in program  # no folder in which to make one

@pytest.mark.parametrize("layers", STACKS)
@pytest.mark.parametrize("program, why", [
    ("while True: pass", {"timeout"}), ("import time; time.sleep(1000)", {"timeout"}), ("while True: print('x' * 10000)", {"timeout"}),
    ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", {"timeout", "killed (SIGKILL)"}),
    ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", {"timeout"}),
    ("import os, sys; sys.stdout.close(); os.closerange(0, 64); os._exit(0)", {"exited early", "killed (SIGKILL)"}),  # whichever is first
    ("import os; os.closerange(0, 64)\nwhile True: pass", {"killed (SIGKILL)"}),
    ("import os\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, b'passed' * 1000)\n        except OSError: pass", {"killed (SIGKILL)"}),
], ids=lambda v: v[:40] if isinstance(v, str) else None)
def test_time(program, why, layers):
    outcome = run_program(program, timeout=.5, layers=layers)
    assert not outcome.passed and outcome.why in why

@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce the limit on memory; protections() says so")
@pytest.mark.parametrize("program", ["bytearray(10 << 30)", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", "'x' * (10 << 30)",
                                     "import mmap; mmap.mmap(-1, 10 << 30)"])
def test_memory(program):
    outcome = run_program(program, memory=1 << 28)
    assert not outcome.passed and outcome.why in ("MemoryError", "OSError")

@pytest.mark.parametrize("layers", STACKS)
def test_files_of_others_stay(tmp_path, layers):
    (tmp_path / "thesis.txt").write_text("ten years")
    name, folder = repr(str(tmp_path / "thesis.txt")), repr(str(tmp_path))
    for program in (f"import os; os.remove({name})", f"import shutil; shutil.rmtree({folder})", f"import os; os.rename({name}, {name} + 'x')",
                    f"open({name}, 'w')", f"import os; os.truncate({name}, 0)", f"import pathlib; pathlib.Path({name}).unlink()",
                    f"import os; os.chmod({name}, 0)", f"open({name}).read()", f"import os; os.open({name}, os.O_RDONLY | os.O_TRUNC)",
                    f"import os; os.symlink({name}, 'link')"):
        assert run_program(program, layers=layers) == Outcome(False, "PermissionError"), program
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"] and (tmp_path / "thesis.txt").read_text() == "ten years"

@pytest.mark.parametrize("layers", STACKS)
def test_nobody_connects(layers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not run_program(f"import socket; socket.create_connection({server.getsockname()})", layers=layers).passed
        server.settimeout(0)
        with pytest.raises(BlockingIOError): server.accept()

@pytest.mark.parametrize("layers", STACKS)
def test_keys_in_our_environment_are_not_seen(monkeypatch, layers):
    monkeypatch.setenv("MY_ACCESS_KEY", "not for you")
    assert run_program("import os; assert 'not for you' not in str(dict(os.environ))", layers=layers).passed
    assert not run_program("import os; open(f'/proc/{os.getppid()}/environ').read()", layers=layers).passed
    helper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # a process that was started with the key
    try: assert not run_program(f"assert 'not for you' in open('/proc/{helper.pid}/environ').read()", layers=layers).passed
    finally: helper.communicate(b"\n")

# --- each layer by itself ---

@on_linux
def test_seccomp_alone_holds_what_the_hook_announces():
    for what in set(PROBES) - {"read a file", "take too much memory"}: assert not run_program(PROBES[what], layers=[seccomp]).passed, what

@on_linux
def test_calls_that_no_hook_hears_of_are_refused_by_the_kernel():
    for program in ("import os, signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)", "import os; os.nice(5)", "import threading; threading.Thread(target=int).start()", "import os; os.memfd_create('x')",
                    "import os; os.pipe()", "import os; os.sched_setaffinity(0, [0])"):
        assert run_program(program, layers=[hook]).passed, program
        assert run_program(program).why in ("PermissionError", "RuntimeError"), program

@on_linux
def test_the_list_fits_this_python():
    body = "import re, math, random, hashlib, datetime, decimal, typing, time, dataclasses, json, sys, asyncio, subprocess, unittest, zoneinfo, numpy, pandas\n" \
           "time.sleep(.01); time.localtime(); hashlib.md5(b'x'); random.random(); assert numpy.ones((50, 50)).dot(numpy.ones(50))[0] == 50"
    assert run_program(body) == Outcome(True, "passed")
    steps = syscall_filter()
    assert len(steps) % 8 == 0 and 500 < len(steps) < 4096 * 8

@on_linux
def test_filter_of_the_other_machine_is_well_formed(monkeypatch):
    "Every jump ends inside the program, every path in an answer, and the numbers are those of aarch64."
    import struct
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "aarch64")
    steps = list(struct.iter_unpack("=HBBI", syscall_filter()))
    assert steps[1][3] == 0xC00000B7 and steps[-1][0] == 0x06 and steps[-1][3] & 0xFFFF0000 == 0x00050000
    for n, (code, yes, no, _) in enumerate(steps):
        if code in (0x15, 0x45): assert n + 1 + max(yes, no) < len(steps)
    def answer(number, args=()):
        at, value, data = 0, 0, {0: number, 4: 0xC00000B7, **{16 + 8*i: a for i, a in enumerate(args)}}
        while True:
            code, yes, no, k = steps[at]
            if code == 0x06: return k == 0x7FFF0000
            if code == 0x20: value = data.get(k, 0); at += 1
            else: at += 1 + (yes if (value == k if code == 0x15 else value & k) else no)
    assert answer(63) and answer(64) and answer(56, (0, 0, 0o2000000)) and answer(25, (0, 1030))          # read, write, openat, fcntl
    assert not answer(56, (0, 0, 0o101)) and not answer(56, (0, 0, 0o1000)) and not answer(25, (0, 8))     # to write, to truncate, F_SETOWN
    assert not any(map(answer, (129, 198, 220, 221, 35, 38, 117, 435, 434, 425)))  # kill socket clone execve unlinkat renameat ptrace clone3 pidfd io_uring

@on_linux
def test_a_machine_without_a_list_has_no_seccomp_and_says_so(monkeypatch):
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    assert syscall_filter() == b""
    with pytest.raises(Unavailable, match="seccomp: no list of system calls"): run_program(ADD, layers=[seccomp])
    assert seccomp not in sandbox.available.__wrapped__()

def test_a_layer_that_breaks_python_is_not_dropped_in_silence(monkeypatch):
    monkeypatch.setattr(sandbox, "run_program", lambda *args, **kwargs: Outcome(False, "timeout"))
    with pytest.raises(RuntimeError, match="'limits' breaks Python here: timeout"): sandbox.available.__wrapped__()

def test_protections_are_measured_and_weak_spots_named(monkeypatch):
    assert protections().keys() == PROBES.keys() and all("hook" in by for what, by in protections().items() if what != "take too much memory")
    if KERNEL and landlock in available(): assert weak_spots() == []
    monkeypatch.setattr(sandbox, "available", lambda: (limits, hook)); monkeypatch.setattr(sandbox, "protections", sandbox.protections.__wrapped__)
    assert {"signal another process", "open a socket", "delete", "read a file"} <= set(weak_spots())

# --- around the program ---

def test_programs_go_when_the_evaluation_goes():
    "The harness is killed while a program sleeps; the program does not stay."
    if sys.platform != "linux": pytest.skip("only Linux tells a process that its parent died")
    harness = subprocess.Popen([sys.executable, "-c", "from benchmark_profiling.sandbox import *; run_program('import time; time.sleep(60)', 30, layers=[limits])"])
    def programs(): return psutil.Process(harness.pid).children()
    while not programs(): time.sleep(.05)
    child = programs()[0]; time.sleep(1)
    harness.kill(); harness.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()

def test_programs_at_once_are_bounded():
    most, stop = 0, threading.Event()
    def watch():
        nonlocal most
        while not stop.wait(.02): most = max(most, len(psutil.Process().children()))
    watcher = threading.Thread(target=watch); watcher.start()
    with ThreadPoolExecutor(12) as pool: outcomes = list(pool.map(run_program, ["import time; time.sleep(.1)"] * 12))
    stop.set(); watcher.join()
    assert all(o.passed for o in outcomes) and 1 <= most <= os.cpu_count()

def test_the_same_program_gets_the_same_verdict():
    "Sets of strings have an order that changes from process to process, unless the seed of hashes is fixed."
    assert len({run_program("assert hash('word') % 2").why for _ in range(6)}) == 1

# --- pass@k and lm-eval's metric ---

def test_pass_at_k_is_the_unbiased_estimator():
    from itertools import combinations
    for n, c in [(1, 0), (1, 1), (6, 2), (6, 0), (6, 6), (7, 5)]:
        for k in range(1, n + 1):
            drawn = [any(s) for s in combinations([1]*c + [0]*(n - c), k)]
            assert math.isclose(pass_at_k(n, c, k), sum(drawn)/len(drawn))
    for wrong in [(5, 6, 1), (5, 2, 6), (5, 2, 0), (5, -1, 1)]:
        with pytest.raises(ValueError, match="pass@k needs"): pass_at_k(*wrong)

def test_code_eval_has_the_interface_of_the_hub():
    scores, outcomes = CodeEval().compute(references=[TEST, TEST], predictions=[[ADD, ""], ["", ""]], k=[1, 2, 10])
    assert scores == {"pass@1": .25, "pass@2": .5} and [[o.passed for o in row] for row in outcomes] == [[True, False], [False, False]]

@pytest.mark.parametrize("task, metric", [("humaneval", "pass_at_k"), ("mbpp", "pass_at_1")])
def test_lm_eval_task_files_get_it(task, metric):
    import evaluate, lm_eval.tasks
    from pathlib import Path
    from lm_eval.tasks._yaml_loader import load_yaml
    before = evaluate.load
    with code_eval_here(): config = load_yaml(Path(lm_eval.tasks.__file__).parent / task / f"{task}.yaml")
    assert evaluate.load is before
    score, = [m["metric"] for m in config["metric_list"]]
    kwargs = {"k": [1]} if task == "humaneval" else {}
    assert score.__name__ == metric and uses_code_eval(score)
    for program, right in [(ADD, 1), ("exit()", 0)]:
        result = score(references=[TEST], predictions=[[program]], **kwargs)
        assert (result["pass@1"] if task == "humaneval" else result) == right
