"The LLM writer against bad servers: sets or clear reports, budgets kept, nothing paid twice, keys unseen."

import json, logging, os, re, signal, socket, subprocess, sys, threading, time, traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pytest

pytest.importorskip("openai")
from tenacity import wait_none
from benchmark_profiling import writer
from benchmark_profiling.batches import collect_batch, submit_batch
from benchmark_profiling.datagen import ABILITIES, check_questions, load_questions
from benchmark_profiling.endpoint import LLM, LLMError
from benchmark_profiling.instructions import Labels, solve_prompt, write_prompt
from benchmark_profiling.journal import at_most
from benchmark_profiling.writer import estimate, job_files, label_questions, write_questions

KEY = "sk-test-0123456789abcdefghij"
ABILITY = "quantitative_reasoning"


def question(i, **change):
    return {
        "context": f"Ann has {i} nuts and finds {i + 1} more.",
        "question": "How many nuts has Ann now?",
        "answer": str(2 * i + 1),
        "options": [str(2 * i + 1 + d) for d in (0, 1, 2, 3)],
        **change,
    }


def completion(content, prompt=500, done=100, **message):
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "usage": {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done},
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
    }


def reply(*questions, **kw):
    return completion(json.dumps({"questions": questions}), **kw)


class Server:
    "A chat endpoint: `script(i, body)` gives the i-th answer: body, (status, body, headers), or raw text."

    ascii = True  # whether batch answers escape what is not ASCII

    def __init__(self, script):
        self.bodies, self.spent, self.files, self.batches, self.script, self.lock = (
            [],
            0,
            {},
            {},
            script,
            threading.Lock(),
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *a):
                pass

            def do_GET(self):
                outer.get(self)

            def do_POST(self):
                outer.post(self, self.rfile.read(int(self.headers["Content-Length"])))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def send(self, h, status, body, headers={}):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        try:
            h.send_response(status)
            for k, v in {
                "Content-Type": "text/html" if isinstance(body, str) else "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                h.send_header(k, v)
            h.end_headers()
            h.wfile.write(data)
        except OSError:
            pass

    def post(self, h, data):
        if h.path.endswith("/files"):
            done = self.upload(data)
            return self.send(h, *(done if isinstance(done, tuple) else (200, done)))
        body = json.loads(data)
        if h.path.endswith("/batches"):
            return self.send(h, 200, self.begin(body))
        with self.lock:
            self.bodies.append(body)
            i = len(self.bodies)
        answer = self.script(i, body)
        status, answer, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        if isinstance(answer, dict) and "usage" in answer:
            with self.lock:
                self.spent += answer["usage"]["total_tokens"]
        self.send(h, status, answer, headers)

    def upload(self, data):
        name = f"file-{len(self.files)}"
        self.files[name] = [json.loads(l) for l in data.decode().splitlines() if l.startswith('{"custom_id"')]
        return {
            "id": name,
            "object": "file",
            "bytes": len(data),
            "created_at": 0,
            "filename": "x",
            "purpose": "batch",
            "status": "processed",
        }

    def begin(self, body):
        b = {
            "id": f"batch-{len(self.batches)}",
            "object": "batch",
            "created_at": 0,
            "status": "in_progress",
            **body,
            "request_counts": {"total": len(self.files[body["input_file_id"]]), "completed": 0, "failed": 0},
        }
        self.batches[b["id"]] = b
        return b

    def get(self, h):
        parts = h.path.split("?")[0].strip("/").split("/")[1:]
        if parts[0] == "files":
            lines = (json.dumps(line, ensure_ascii=self.ascii) for line in self.files[parts[1]])
            return self.send(h, 200, "\n".join(lines), {"Content-Type": "application/jsonl"})
        if len(parts) == 1:
            return self.send(
                h, 200, {"object": "list", "data": list(self.batches.values()), "has_more": False}
            )
        self.send(h, 200, self.batches[parts[1]])

    def finish(self, id, status="completed", drop=0):
        "Answer a batch: all but the last `drop` requests, one of them with an error."
        b, out, bad = self.batches[id], [], []
        asked = self.files[b["input_file_id"]]
        for k, line in enumerate(asked[: len(asked) - drop]):
            body = reply(question(1000 + 2 * k), question(1001 + 2 * k))
            if k == 1:
                bad.append(
                    {
                        "custom_id": line["custom_id"],
                        "response": {"status_code": 500, "body": {}},
                        "error": None,
                    }
                )
            else:
                out.append(
                    {
                        "custom_id": line["custom_id"],
                        "response": {"status_code": 200, "body": body},
                        "error": None,
                    }
                )
        self.files.update({f"out-{id}": out[::-1], f"err-{id}": bad})
        b.update(status=status, output_file_id=f"out-{id}", error_file_id=f"err-{id}")


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(writer, "PAUSE", wait_none())
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    servers = []

    def start(script, **kw):
        servers.append(Server(script))
        kw = {
            "model": "m",
            "max_completion": 300,
            "concurrency": 4,
            "timeout": 20,
            "api_key": KEY,
            "price": (1.0, 4.0),
            **kw,
        }
        return servers[-1], LLM(base_url=servers[-1].url, **kw)

    yield start
    for s in servers:
        s.http.shutdown()
        s.http.server_close()


def sound(written, out):
    ds = load_questions(out)
    assert list(ds) == list(written.questions) and not [
        p for p in check_questions(ds).problems if "duplicate" in p or "right in" in p
    ]
    assert all(re.fullmatch(r"llm:m:[0-9a-f]{8}:\d{4}-\d\d-\d\d", s) for s in ds["source"]) and len(
        set(ds["id"])
    ) == len(ds)
    for q in ds:
        if q["context"].startswith("Ann"):
            assert q["options"][q["answer"]] == str(2 * int(q["context"].split()[2]) + 1)
    return ds


def test_a_bad_day_ends_in_a_valid_set(serve, tmp_path):
    used = set()

    def script(i, body):
        k, fresh = i % 14, [question(2 * i), question(2 * i + 1)]
        used.add(k)
        return {
            1: (500, {"error": {"message": "oops"}}, {}),
            2: (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.2"}),
            3: "<html>gateway</html>",
            4: completion(None, refusal="no"),
            5: reply(question(7), question(8)),
            6: reply(question(i, options=["1", "2", "3"]), fresh[1]),
            7: reply(
                question(i, answer="7 and 9", options=["7", "8", "9", "10"]),
                question(i, options=["5", " 5.", "6", "7"], answer="6"),
            ),
            8: completion("```json\n" + json.dumps(fresh) + "\n```"),
            9: completion("I think, therefore I am {not} JSON"),
            10: (503, "down", {}),
            11: completion(json.dumps({"questions": fresh})[:-40], done=300),
            12: reply(question(i, answer="elm")),
            13: {"unexpected": True},
        }.get(k, reply(*fresh))

    server, llm = serve(script)
    out = tmp_path / "q.jsonl"
    w = write_questions(ABILITY, 60, out, llm, max_tokens=10_000_000, per_request=2)
    assert len(sound(w, out)) == 60 and w.stopped is None and used == set(range(14))
    assert w.requests == len(server.bodies) and sum(w.failed.values()) == sum(
        i % 14 in (1, 2, 10) for i in range(1, w.requests + 1)
    )
    assert set(w.rejected) == {
        "refused by the model",
        "duplicate",
        "not four options",
        "two right answers",
        "two options are the same",
        "no question in the reply",
        "the answer is no option",
    }
    assert "duplicate" in str(w) and all(b["response_format"]["json_schema"]["strict"] for b in server.bodies)


def test_prompts_vary_and_know_every_type():
    for a in ABILITIES.values():
        texts = ["\n".join(m["content"] for m in write_prompt(a.key, i)) for i in range(30)]
        assert len(set(texts)) == 30 and all(
            any(t.replace("_", " ") in x for x in texts) for t in a.question_types
        )


@pytest.mark.parametrize("limit", [{"max_tokens": 60_000}, {"max_cost": 0.08}])
def test_the_budget_holds_with_requests_in_flight_and_over_sessions(serve, tmp_path, limit):
    server, llm = serve(
        lambda i, body: time.sleep(0.01) or reply(question(i), prompt=3000, done=300), concurrency=8
    )
    for n in (10, 500, 500):
        w = write_questions(ABILITY, n, tmp_path / "q.jsonl", llm, per_request=1, **limit)
        cost = len(server.bodies) * (3000 * 1.0 + 300 * 4.0) / 1e6
        assert server.spent <= limit.get("max_tokens", 1e9) and cost <= limit.get("max_cost", 1e9)
        assert sum(w.tokens) == server.spent and w.cost == pytest.approx(cost)
    assert 10 < len(w.questions) < 500 and "budget" in w.stopped and len(w.questions) == len(server.bodies)


def test_what_may_have_been_billed_counts(serve, tmp_path):
    server, llm = serve(lambda i, body: time.sleep(30), timeout=0.15, concurrency=2)
    start = time.monotonic()
    w = write_questions(ABILITY, 5, tmp_path / "q.jsonl", llm, max_tokens=40_000)
    assert (
        w.questions is None
        and w.failed == {"timeout": len(server.bodies)}
        and "budget" in w.stopped
        and 30_000 < sum(w.tokens) <= 40_000
    )
    w = write_questions(ABILITY, 5, tmp_path / "q.jsonl", llm, max_tokens=10_000_000)
    assert "in a row" in w.stopped and time.monotonic() - start < 25


def test_a_server_that_drips_is_a_timeout(serve, tmp_path):
    server, llm = serve(None, timeout=0.3, concurrency=1)

    def drip(h, data):
        h.send_response(200)
        h.send_header("Content-Length", "1000")
        h.end_headers()
        try:
            for _ in range(100):
                h.wfile.write(b" ")
                h.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass

    server.post = drip
    w = write_questions(ABILITY, 5, tmp_path / "q.jsonl", llm, max_tokens=10_000_000)
    assert set(w.failed) == {"timeout"} and "in a row" in w.stopped


def test_a_server_that_exceeds_its_limit_is_left_alone(serve, tmp_path):
    server, llm = serve(lambda i, body: reply(question(i), done=5000), concurrency=1)
    w = write_questions(ABILITY, 50, tmp_path / "q.jsonl", llm, max_tokens=10_000_000)
    assert len(server.bodies) == 1 and "were allowed" in w.stopped and len(w.questions) == 1


@pytest.mark.parametrize(
    "script, why",
    [
        (lambda i, b: reply(question(1)), "in a row"),
        (lambda i, b: "", "in a row"),
        (lambda i, b: (429, {}, {"Retry-After": "0"}), "in a row"),
        (lambda i, b: completion("{" * 3000), "in a row"),
    ],
)
def test_fruitless_asking_ends(serve, tmp_path, script, why):
    server, llm = serve(script, concurrency=3)
    w = write_questions(ABILITY, 50, tmp_path / "q.jsonl", llm, max_tokens=10_000_000)
    assert why in w.stopped and len(server.bodies) < 30 and len(w.questions or []) <= 1


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_no_server_at_all(serve, tmp_path, capfd):
    "One line with the address and the way out; nothing is charged and nothing tried again."
    port = closed_port()
    _, llm = serve(None)
    llm.base_url = f"http://127.0.0.1:{port}/v1"
    way_out = rf"http://127\.0\.0\.1:{port} cannot be reached .*base_url"
    with pytest.raises(LLMError, match=way_out) as e:
        write_questions(ABILITY, 5, tmp_path / "q.jsonl", llm, max_tokens=100_000)
    assert "\n" not in str(e.value) and KEY not in str(e.value) and e.value.__context__ is None
    lines = [json.loads(line) for line in (tmp_path / "q.journal.jsonl").read_text().splitlines()]
    ended = [line for line in lines if "got" in line]
    assert 1 <= len(ended) <= llm.concurrency and {line["failed"] for line in ended} == {"no connection"}
    assert (
        sum(line["prompt"] + line["completion"] for line in ended) == 0
        and not (tmp_path / "q.jsonl").exists()
    )
    with pytest.raises(LLMError, match=way_out):
        label_questions(sheet(2), llm, max_tokens=100_000)
    with pytest.raises(LLMError, match=way_out):
        submit_batch(ABILITY, 5, tmp_path / "b.jsonl", llm, max_tokens=100_000)
    llm.base_url = "http://no-such-host.invalid/v1"
    with pytest.raises(LLMError, match="http://no-such-host.invalid cannot be reached"):
        write_questions(ABILITY, 5, tmp_path / "n.jsonl", llm, max_tokens=100_000)


def test_a_server_that_goes_away_and_comes_back_is_asked_again(serve, tmp_path):
    "Once it has answered, a refused connection is a bad moment and no wrong address."
    server, llm = serve(lambda i, body: reply(question(i)), concurrency=1)
    from openai import APIConnectionError
    from openai.resources.chat.completions import AsyncCompletions

    real, calls = AsyncCompletions.create, []

    async def sometimes(self, **kw):
        calls.append(1)
        if len(calls) in (2, 3):
            import httpx

            raise APIConnectionError(request=httpx.Request("POST", server.url)) from httpx.ConnectError(
                "refused"
            )
        return await real(self, **kw)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AsyncCompletions, "create", sometimes)
        w = write_questions(ABILITY, 4, tmp_path / "q.jsonl", llm, max_tokens=1_000_000, per_request=1)
    assert len(w.questions) == 4 and w.failed == {"no connection": 2}


def test_the_command_line_names_address_and_flags(tmp_path):
    bprof = [
        str(Path(sys.executable).with_name("bprof")),
        "generate",
        ABILITY,
        "--llm",
        "m",
        "--out",
        str(tmp_path),
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}

    def said(*flags):
        done = subprocess.run([*bprof, *flags], capture_output=True, text=True, env=env)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    address = f"http://127.0.0.1:{closed_port()}"
    assert f"{address} cannot be reached" in said("--base-url", f"{address}/v1", "--max-tokens", "90000")
    assert "--max-tokens" in (line := said("--base-url", address)) and "--max-cost" in line
    assert "--max-tokens" in said("--base-url", address, "--max-cost", "1")
    assert "OPENAI_API_KEY" in (line := said("--max-tokens", "90000")) and "--base-url" in line
    assert "http://localhost:8000/v1" in said("--base-url", "localhost:8000", "--max-tokens", "90000")


def test_what_a_server_does_not_know_is_left_out_once(serve, tmp_path, capfd):
    def script(i, body):
        if "max_completion_tokens" in body:
            return 400, {"error": {"message": "unknown field max_completion_tokens"}}, {}
        if "response_format" in body:
            return 422, {"detail": "bad request"}, {}
        return completion("Here you are: " + json.dumps(question(i)))

    server, llm = serve(script)
    w = write_questions(ABILITY, 10, tmp_path / "q.jsonl", llm, max_tokens=10_000_000, per_request=1)
    said = capfd.readouterr().err
    assert (
        len(w.questions) == 10
        and said.count("does not take response_format")
        == said.count("does not take max_completion_tokens")
        == 1
    )
    assert server.bodies[-1]["max_tokens"] == 300 and "response_format" not in server.bodies[-1]


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_a_shut_door_ends_at_once_and_the_key_is_seen_nowhere(
    serve, tmp_path, caplog, capfd, monkeypatch, status
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server, llm = serve(
        lambda i, body: (status, {"error": {"message": f"bad key {KEY} in header"}}, {"x-key": KEY}),
        api_key=None,
        concurrency=1,
    )
    with pytest.raises(LLMError) as e:
        write_questions(ABILITY, 5, tmp_path / "q.jsonl", llm, max_tokens=100_000)
    assert len(server.bodies) == 1 and f"HTTP {status}" in str(e.value) and "\n" not in str(e.value)
    frames = "".join(traceback.TracebackException.from_exception(e.value, capture_locals=True).format())
    assert e.value.__cause__ is None and e.value.__context__ is None
    with pytest.raises(LLMError):
        label_questions(sheet(2), llm, max_tokens=100_000)
    server.upload = lambda data: (status, {"error": {"message": f"bad key {KEY}"}}, {"x-key": KEY})
    with pytest.raises(LLMError, match=str(status)):
        submit_batch(ABILITY, 5, tmp_path / "b.jsonl", llm, max_tokens=100_000)
    files = "".join(p.read_text() for p in tmp_path.iterdir())
    seen = capfd.readouterr()
    for text in (str(e.value), frames, caplog.text, files, seen.out + seen.err, repr(llm), str(vars(llm))):
        assert KEY not in text


def test_a_key_that_comes_back_in_an_answer_is_not_kept(serve, tmp_path):
    server, llm = serve(lambda i, body: reply(question(i, context=f"Ann has {i} nuts. {KEY}")))
    write_questions(ABILITY, 4, tmp_path / "q.jsonl", llm, max_tokens=1_000_000)
    assert KEY not in "".join(p.read_text() for p in tmp_path.iterdir())


CHILD = """
import sys
from tenacity import wait_none
from benchmark_profiling import writer
writer.PAUSE = wait_none()
llm = writer.LLM("m", sys.argv[2], "none", price=(1, 4), max_completion=300, concurrency=4)
writer.write_questions("quantitative_reasoning", 40, sys.argv[1], llm, max_tokens=1_000_000, per_request=2)
"""


def test_kill_9_loses_nothing_that_was_paid_for(serve, tmp_path):
    server, llm = serve(lambda i, body: time.sleep(0.05) or reply(question(2 * i), question(2 * i + 1)))
    out, journal = tmp_path / "q.jsonl", tmp_path / "q.journal.jsonl"
    p = subprocess.Popen([sys.executable, "-c", CHILD, str(out), server.url], stderr=subprocess.DEVNULL)
    while p.poll() is None and (not journal.exists() or journal.read_bytes().count(b'"got"') < 6):
        time.sleep(0.005)
    assert p.poll() is None
    p.send_signal(signal.SIGKILL)
    p.wait()
    time.sleep(0.3)
    with open(journal, "ab") as f:
        f.write(b'{"got": 9, "pro')
    before, kept = len(server.bodies), journal.read_bytes().count(b'"got"') - 1
    w = write_questions(ABILITY, 40, out, llm, max_tokens=1_000_000, per_request=2)
    assert len(sound(w, out)) == 40 and len(server.bodies) - before == 20 - kept
    assert sum(w.tokens) >= server.spent and {
        b["messages"][-1]["content"] for b in server.bodies[before:]
    }.isdisjoint(b["messages"][-1]["content"] for b in server.bodies[:before])
    ids = w.questions["id"]
    assert (
        write_questions(ABILITY, 40, out, llm, max_tokens=1_000_000).questions["id"] == ids
        and len(server.bodies) - before == 20 - kept
    )


def test_files_that_are_not_ours(serve, tmp_path):
    _, llm = serve(lambda i, body: reply(question(i)))
    out, journal = tmp_path / "q.jsonl", tmp_path / "q.journal.jsonl"
    out.write_text("{}\n")
    with pytest.raises(FileExistsError, match="no journal"):
        write_questions(ABILITY, 2, out, llm, max_tokens=100_000)
    out.unlink()
    journal.write_text('{"ability": "spatial_reasoning"}\n')
    with pytest.raises(ValueError, match="spatial_reasoning"):
        write_questions(ABILITY, 2, out, llm, max_tokens=100_000)
    journal.write_text('{"ability": "quantitative_reasoning"}\nnonsense\n')
    with pytest.raises(ValueError, match="line 2"):
        write_questions(ABILITY, 2, out, llm, max_tokens=100_000)
    journal.unlink()
    with job_files(out, ABILITY, llm, 1, None), pytest.raises(ValueError, match="another process"):
        write_questions(ABILITY, 2, out, llm, max_tokens=100_000)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"base_url": "localhost:1234/v1"}, "no web address"),
        ({"base_url": "ftp://x"}, "no web address"),
        ({"base_url": "http://"}, "no web address"),
        ({"api_key": f"{KEY}é"}, "character that no key has"),
        ({"api_key": f"{KEY}\n2"}, "character that no key has"),
        ({"model": ""}, "has no name"),
        ({"concurrency": 0}, "concurrency must be above 0, not 0"),
        ({"max_completion": -1}, "max_completion must be above 0"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"price": (1,)}, "two numbers"),
        ({"price": (1, -1)}, "two numbers"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_by_name(change, said):
    with pytest.raises(ValueError, match=said) as e:
        LLM(**{"model": "m", **change})
    assert KEY not in str(e.value) and "\n" not in str(e.value)


def test_arguments_are_checked(serve, tmp_path):
    _, llm = serve(None)
    for match, args, kw in [
        ("unknown ability", ("x", 5), {"max_tokens": 9}),
        ("at least 1", (ABILITY, 0), {"max_tokens": 9}),
        ("max_tokens", (ABILITY, 5), {}),
        ("max_cost", (ABILITY, 5), {}),
        ("above 0", (ABILITY, 5), {"max_tokens": -1}),
        ("per_request", (ABILITY, 5), {"max_tokens": 9, "per_request": 0}),
    ]:
        with pytest.raises(ValueError, match=match):
            write_questions(*args, tmp_path / "q.jsonl", llm, **kw)
    with pytest.raises(ValueError, match="price"):
        write_questions(ABILITY, 5, tmp_path / "q.jsonl", LLM("other", llm.base_url), max_cost=1)
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        write_questions(ABILITY, 5, tmp_path / "q.jsonl", LLM(), max_cost=1)
    assert (
        estimate(ABILITY, 100, LLM("other")).cost is None
        and estimate(ABILITY, 2000, LLM(), verify=True).cost > estimate(ABILITY, 2000, LLM()).cost > 0
    )


def solving(i, body):
    "A writer whose every third question has a wrong key, and a solver who can add."
    text = body["messages"][-1]["content"]
    if "Item 1." not in text:
        return reply(
            *(question(3 * i + d, **({"answer": str(6 * i + 6)} if d == 2 else {})) for d in range(3))
        )
    labels = []
    for n, item in enumerate(text.split("Item ")[1:], 1):
        a, b = map(int, re.findall(r"has (\d+) nuts and finds (\d+)", item)[0])
        labels.append(
            {"item": n, "ability": ABILITY, "answer": re.search(rf"^([A-D])\. {a + b}$", item, re.M)[1]}
        )
    return completion(json.dumps({"labels": labels}))


def test_a_second_look_finds_wrong_keys(serve, tmp_path):
    server, llm = serve(solving)
    w = write_questions(
        ABILITY, 12, tmp_path / "q.jsonl", llm, max_tokens=1_000_000, per_request=3, verify=True
    )
    assert len(sound(w, tmp_path / "q.jsonl")) == 12 and w.rejected["solved differently"] >= 6
    seen = len(server.bodies)
    assert (
        write_questions(ABILITY, 12, tmp_path / "q.jsonl", llm, max_tokens=1_000_000).questions["id"]
        == w.questions["id"]
        and len(server.bodies) == seen
    )


def sheet(n):
    return pd.DataFrame(
        [
            {
                "item": i,
                "context": question(i)["context"],
                "question": question(i)["question"],
                **dict(zip("ABCD", question(i)["options"])),
                "ability": "",
                "answer": "",
                "comment": "",
            }
            for i in range(n)
        ]
    )


def test_sheets_that_cannot_be_shown_are_refused_by_row_and_column():
    llm, frame = LLM("m", "http://127.0.0.1:9/v1"), sheet(3)
    for column, value in (("question", None), ("B", float("nan")), ("D", " ")):
        bad = frame.astype(object)
        bad.loc[1, column] = value
        with pytest.raises(ValueError, match=f"row 2 of the sheet: '{column}' is empty"):
            label_questions(bad, llm, max_tokens=9)
    with pytest.raises(ValueError, match="no column 'question'"):
        label_questions(frame.drop(columns="question"), llm, max_tokens=9)


def test_numbers_and_gaps_in_a_sheet_are_fine(serve):
    server, llm = serve(solving)
    frame = sheet(2).assign(ability=float("nan"), answer=None)
    frame[[*"ABCD"]] = frame[[*"ABCD"]].astype(int)
    assert label_questions(frame, llm, max_tokens=1_000_000).answer.tolist() == ["A", "A"]


def test_a_model_fills_in_a_sheet(serve, tmp_path):
    server, llm = serve(lambda i, body: completion("what?") if i == 1 else solving(i, body))
    frame = sheet(12)
    frame.loc[3, ["ability", "answer"]] = "spatial_reasoning", "B"
    done = label_questions(frame, llm, max_tokens=1_000_000, per_request=4)
    assert done.answer.tolist() == ["B" if i == 3 else "A" for i in range(12)] and done.ability.tolist() == [
        "spatial_reasoning" if i == 3 else ABILITY for i in range(12)
    ]
    assert len(server.bodies) == 4 and list(done.columns) == list(frame.columns) and not frame.answer[0]
    for_two = at_most(solve_prompt([question(9)] * 4), Labels) + 300 + 700
    part = label_questions(
        frame,
        LLM("m", llm.base_url, "none", max_completion=300, concurrency=1),
        max_tokens=for_two,
        per_request=4,
    )
    assert (part.answer != "").sum() == 1 + 8


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c"], ids=ascii)
def test_answers_with_line_separators_are_not_lost(serve, tmp_path, mark):
    "JSON Lines end at \\n only: in a batch's answers, in the journal, and in the questions."
    server, llm = serve(
        lambda i, body: reply(question(i, context=f"Ann has {i} nuts and{mark}finds {i + 1} more."))
    )
    out = tmp_path / "q.jsonl"
    number = submit_batch(ABILITY, 12, out, llm, per_request=2, max_tokens=1_000_000)
    server.ascii = ord(mark) < 32  # JSON escapes control characters in any case
    server.finish(number)
    for name, lines in server.files.items():
        if not name.startswith("out-"):
            continue
        for line in lines:
            message = line["response"]["body"]["choices"][0]["message"]
            said = message["content"] = message["content"].replace("nuts and finds", f"nuts and{mark}finds")
            message["content"] = json.dumps(
                json.loads(said.replace(mark, json.dumps(mark)[1:-1])), ensure_ascii=server.ascii
            )
    w = collect_batch(ABILITY, out, llm)
    assert len(w.questions) == 10 and w.failed == {"HTTP 500": 1} and w.tokens == (5 * 500, 5 * 100)
    assert all(f"nuts and{mark}finds" in q["context"] for q in w.questions)
    w = write_questions(ABILITY, 14, out, llm, per_request=1, max_tokens=1_000_000)
    assert len(w.questions) == 14 and list(load_questions(out)) == list(w.questions)
    journal = tmp_path / "q.journal.jsonl"  # also as another program may have saved it
    records = [
        json.dumps(json.loads(line), ensure_ascii=False) for line in journal.read_text().split("\n") if line
    ]
    journal.write_text("\n".join(records) + "\n")
    again = write_questions(ABILITY, 14, out, llm, max_tokens=1_000_000)
    assert list(again.questions) == list(w.questions)


def test_a_batch_is_sent_once_and_collected_once(serve, tmp_path):
    server, llm = serve(lambda i, body: reply(question(i), question(-i)))
    out, money = tmp_path / "q.jsonl", {"max_cost": 1.0}
    with pytest.raises(ValueError, match="no batch"):
        collect_batch(ABILITY, out, llm)
    first = submit_batch(ABILITY, 12, out, llm, per_request=2, **money)
    assert submit_batch(ABILITY, 12, out, llm, per_request=2, **money) == first and len(server.batches) == 1
    assert "0 of 6" in collect_batch(ABILITY, out, llm).stopped and not out.exists()
    server.finish(first, drop=1)
    w = collect_batch(ABILITY, out, llm)
    assert (
        len(sound(w, out)) == 8
        and w.failed == {"HTTP 500": 1, "no answer in the batch": 1}
        and "rest" in w.stopped
    )
    assert w.tokens == (4 * 500, 4 * 100) and w.cost == pytest.approx(4 * (500 * 1.0 + 100 * 4.0) / 2e6)
    with pytest.raises(ValueError, match="no batch"):
        collect_batch(ABILITY, out, llm)
    w = write_questions(ABILITY, 12, out, llm, per_request=2, **money)  # the two take turns
    assert len(sound(w, out)) == 12 and len(server.bodies) == 2
    with pytest.raises(ValueError, match="nothing to send"):
        submit_batch(ABILITY, 12, out, llm, **money)


@pytest.mark.parametrize("arrived", [True, False])
def test_a_batch_whose_sending_was_cut_off(serve, tmp_path, monkeypatch, arrived):
    server, llm = serve(None)
    out, begin = tmp_path / "q.jsonl", server.begin

    def cut(body):
        if arrived:
            begin(body)
        raise ConnectionResetError

    server.begin = cut
    server.http.handle_error = lambda *a: None
    with pytest.raises(LLMError):
        submit_batch(ABILITY, 4, out, llm, max_tokens=100_000, per_request=2)
    server.begin = begin
    if not arrived:  # and a second crash, among the reservations
        journal = tmp_path / "q.journal.jsonl"
        with open(journal, "a") as f:
            f.write(
                '{"ask": 2, "prompt": 9, "completion": 9, "price": null, "model": "m", '
                '"batch": "x", "type": "arithmetic_word_problem", "version": "1"}\n'
            )
    id = submit_batch(ABILITY, 4, out, llm, max_tokens=100_000, per_request=2)
    assert len(server.batches) == 1 or not arrived
    server.finish(id)
    w = collect_batch(ABILITY, out, llm)
    assert len(w.questions) == 2 and w.failed == {"HTTP 500": 1, **({} if arrived else {"never sent": 3})}


def test_a_real_server(tiny_folder, tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    name = str(tiny_folder)
    p = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("transformers")),
            "serve",
            name,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--device",
            "cpu",
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            assert p.poll() is None
            try:
                urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        w = write_questions(
            ABILITY,
            1,
            tmp_path / "q.jsonl",
            LLM(name, f"http://127.0.0.1:{port}/v1", max_completion=12, concurrency=1),
            max_tokens=1_000_000,
            per_request=1,
        )
        assert (
            w.questions is None
            and "in a row" in w.stopped
            and not w.failed
            and sum(w.rejected.values()) == w.requests == 6
        )
        assert w.tokens[0] > 6 * 300 and 0 < w.tokens[1] <= 6 * 12
    finally:
        p.terminate()
        p.wait()
