"""Real processes that are killed, interrupted, run out of disk, damage files, or run at once.

The runs are forked from a process that has imported everything, on a random model of two layers with a
small tokenizer of its own."""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import yaml

from benchmark_profiling.config import Config, load_config
from benchmark_profiling.status import events, status
from benchmark_profiling.store import held, read_cell

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    [
        "benchmark_profiling.run",
        "benchmark_profiling.grid",
        "benchmark_profiling.plan",
        "benchmark_profiling.evaluation",
        "benchmark_profiling.ablation",
        "benchmark_profiling.ais",
        "benchmark_profiling.datagen",
        "transformers.models.llama.modeling_llama",
        "matplotlib.pyplot",
        "seaborn",
    ]
)
STATES = ["intact", "spatial_reasoning", "temporal_reasoning", "random-0"]


def command(args, log, largest=None):
    "What a forked process does: `bprof` with these arguments, everything that it says into `log`."
    import torch

    torch.set_num_threads(1)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    from benchmark_profiling.cli import app

    app([str(a) for a in args])


class Place:
    "A config and the processes that run it; folders for runs and store."

    def __init__(self, folder, **config):
        self.folder, self.config = folder, folder / "config.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(config))
        self.run, self.store, self.log = folder / "run", folder / "store", folder / "log.txt"

    def start(self, **kw):
        args = ["run", self.config, "--out", self.run, "--store", self.store]
        p = FORK.Process(target=command, args=(args, self.log), kwargs=kw)
        p.start()
        return p

    def finish(self, **kw):
        p = self.start(**kw)
        p.join(120)
        return p.exitcode

    def said(self):
        return self.log.read_text()

    def result(self):
        names = ("profile.parquet", "profile.json", "outcomes.parquet")
        return [(self.run / name).read_bytes() for name in names]

    def finished(self):
        return [e["cell"] for e in events(self.run) if e["event"] == "finished"]

    def until(self, condition):
        while not condition():
            time.sleep(0.005)


def small_model(folder, vocabulary=600):
    "Returns the folder of a random two-layer Llama whose tokenizer has this many tokens."
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from benchmark_profiling.datagen import generate

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    sets = [generate(a, 40, seed=1) for a in STATES[1:3]]
    text = [q["context"] + q["question"] for q in chain.from_iterable(sets)]
    letters = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    bpe.train_from_iterator(text, trainer)
    torch.manual_seed(0)
    shape = AutoConfig.for_model(
        "llama",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocabulary,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    AutoModelForCausalLM.from_config(shape).save_pretrained(folder)
    tokens = dict(bos_token="<s>", eos_token="</s>", pad_token="</s>")
    PreTrainedTokenizerFast(tokenizer_object=bpe, **tokens).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    "A config, with rows of our own that the model answers above chance or not: that does not matter here."
    folder = tmp_path_factory.mktemp("faults")
    data = folder / "data"
    data.mkdir()

    def piqa(i):
        return dict(
            goal=f"Carry {i} eggs home.", sol1="Use a box.", sol2=f"Throw them {i} times.", label=i % 2
        )

    def copa(i):
        causes = dict(choice1="The power failed.", choice2="It was noon.")
        return dict(premise=f"{i} lamps went out.", **causes, question="cause", idx=i, label=0)

    for row in (piqa, copa):
        lines = [json.dumps(row(i)) + "\n" for i in range(24)]
        (data / f"{row.__name__}.jsonl").write_text("".join(lines))
    return dict(
        model=str(small_model(folder / "model")),
        tasks=["copa", "piqa"],
        data_dir=str(data),
        limit=None,
        abilities=STATES[1:3],
        questions=4,
        controls=1,
        style="cloze",
        protect="none",
        k=0.01,
    )


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("undisturbed"), **settings)
    assert place.finish() == 0, place.said()
    start = time.time()
    again = Place(tmp_path_factory.mktemp("again"), **settings)
    assert again.finish() == 0 and again.result() == place.result()
    place.seconds = time.time() - start
    return place


@contextlib.contextmanager
def copied(place, folder):
    "The same run in another folder."
    shutil.copytree(place.folder, folder)
    yield Place(folder, **yaml.safe_load(place.config.read_text()))


def test_twenty_kills_at_random_moments(undisturbed, settings, tmp_path):
    "Up to five kills a folder, each at a random moment of what is left; then it ends as if nothing had been."
    draw, kills, unsaid, n = random.Random(0), 0, 0, 0
    while kills < 20:
        place, n = Place(tmp_path / f"run{n}", **settings), n + 1
        for _ in range(min(5, 20 - kills)):
            p = place.start()
            p.join(draw.uniform(0, undisturbed.seconds * 0.6))
            if p.exitcode is None:
                p.kill()
                kills += 1
            p.join()
            assert p.exitcode in (0, -signal.SIGKILL), place.said()
        assert place.finish() == 0, place.said()
        assert place.result() == undisturbed.result()
        cells, maps = place.finished(), [e["map"] for e in events(place.run) if e["event"] == "map finished"]
        assert len(cells) == len(set(cells)) <= 8 and len(maps) == len(set(maps)) <= 3
        assert len(list(place.store.rglob("*.parquet"))) == 8 and not list(place.store.rglob("*.damaged"))
        unsaid += 8 - len(cells)  # stored, but killed before the log said so: not computed again either
    assert unsaid <= 5


def damage(path, how, other=None):
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[:-50]
    if how == "emptied":
        data = b""
    if how == "swapped":
        data = other.read_bytes()
    if how == "flipped":
        data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def test_damaged_files_are_found_set_aside_and_made_again_in_the_same_call(undisturbed, tmp_path):
    with copied(undisturbed, tmp_path / "copy") as place:
        cells = sorted(place.store.glob("cells/*/*.parquet"))
        damage(cells[0], "truncated")
        damage(cells[1], "emptied")
        damage(cells[2], "swapped", cells[3])
        score = read_cell(cells[4]).p_gold.to_numpy()[5:6].tobytes()
        data = bytearray(cells[4].read_bytes())
        data[data.index(score)] ^= 1
        cells[4].write_bytes(bytes(data))
        done, before = len(place.finished()), place.said().count("is damaged")
        assert place.finish() == 0 and place.result() == undisturbed.result()
        assert len(place.finished()) - done == 4 == place.said().count("is damaged") - before
        assert sorted(p.name for p in place.store.rglob("*.damaged")) == [
            f"{c.name}.damaged" for c in sorted([*cells[:3], cells[4]], key=lambda c: c.name)
        ]


@pytest.mark.parametrize("how", ["truncated", "emptied", "flipped", "swapped"])
def test_a_damaged_region_is_found_and_made_again(undisturbed, tmp_path, how):
    with copied(undisturbed, tmp_path / "copy") as place:
        one, other = sorted(place.store.glob("regions/*/*_reasoning.safetensors"))
        damage(one, how, other)
        assert place.finish() == 0 and place.result() == undisturbed.result()
        assert "spatial_reasoning.safetensors is damaged" in place.said() and len(place.finished()) == 8


def test_no_flipped_bit_in_a_cell_changes_what_is_read(undisturbed, tmp_path):
    cell = sorted(undisturbed.store.glob("cells/*/*.parquet"))[0]
    data, whole, found = cell.read_bytes(), read_cell(cell), 0
    for at in range(0, len(data), 37):
        (tmp_path / "cell").write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            assert read_cell(tmp_path / "cell").equals(whole), at
        except ValueError as e:
            assert "is damaged" in str(e)
            found += 1
    assert found > len(data) / 37 / 3


def test_cells_of_other_weights_are_not_used(undisturbed, settings, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with copied(undisturbed, tmp_path / "copy") as place:
        model = AutoModelForCausalLM.from_pretrained(settings["model"])
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0, 0] += 0.5
        model.save_pretrained(tmp_path / "other")
        AutoTokenizer.from_pretrained(settings["model"]).save_pretrained(tmp_path / "other")
        place.config.write_text(yaml.safe_dump(settings | dict(model=str(tmp_path / "other"))))
        assert place.finish() == 1 and "holds a finished profile of another run (model " in place.said()
        assert place.result() == undisturbed.result()
        place.run = place.folder / "of-the-other"
        assert place.finish() == 0 and len(place.finished()) == 8
        assert {p.name for p in undisturbed.store.glob("cells/*/*")} < {
            p.name for p in place.store.glob("cells/*/*")
        }


@contextlib.contextmanager
def small_disk(folder, size):
    "A file system of so many bytes, as root; yields what gives it more room; None where mounting fails."
    folder.mkdir()

    def mount(*args):
        command = ["mount", "-t", "tmpfs", *args, "bprof-test", folder]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not mount("-o", f"size={size}"):
        yield None
        return
    try:
        yield lambda size: mount("-o", f"remount,size={size}")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_once_there_is_room(
    undisturbed, settings, tmp_path
):
    with small_disk(tmp_path / "disk", 60_000) as grow:
        place = Place(tmp_path / "disk" / "runs", **settings)
        place.log = tmp_path / "log.txt"

        def attempt(size):  # without a mount: no file may be larger
            place.log.write_text("")
            if grow:
                assert grow(size)
            return place.finish() if grow else place.finish(largest=size)

        for size in [60_000, 200_000, 260_000, 400_000] if grow else [4_000, 60_000]:
            assert attempt(size) == 1, size
            errors = [l for l in place.said().splitlines() if l.startswith("error:")]
            assert len(errors) == 1 and "Traceback" not in place.said(), place.said()
            assert "no room" in errors[0] and str(tmp_path / "disk") in errors[0], place.said()
        assert attempt(20_000_000) == 0, place.said()
        assert place.result() == undisturbed.result()
        assert len(place.finished()) == len(set(place.finished())) <= 8


@pytest.mark.parametrize("moment", ["map finished", "started"])
def test_ctrl_c_leaves_no_half_cell_and_the_run_goes_on(undisturbed, settings, tmp_path, moment):
    place = Place(tmp_path / "stopped", **settings)
    p = place.start()
    place.until(lambda: any(e["event"] == moment for e in events(place.run)))
    os.kill(p.pid, signal.SIGINT)
    p.join(5)
    assert p.exitcode == 130, place.said()
    said = place.said()
    assert "stopped; what is finished is kept" in said and "Traceback" not in said, said
    for cell in place.store.glob("cells/*/*.parquet"):
        read_cell(cell)
    assert not list(place.store.rglob(".*")) and not (place.run / "profile.parquet").exists()
    assert place.finish() == 0 and place.result() == undisturbed.result()
    assert len(set(place.finished())) == len(place.finished())


def test_two_processes_share_a_run(undisturbed, settings, tmp_path):
    place = Place(tmp_path / "shared", **settings)
    both = [place.start(), place.start()]
    for p in both:
        p.join(120)
    assert [p.exitcode for p in both] == [0, 0], place.said()
    maps = [e["map"] for e in events(place.run) if e["event"] == "map finished"]
    assert place.result() == undisturbed.result() and len(maps) == 3
    assert len(place.finished()) == len(set(place.finished())) == 8


def hold(lock):
    with held(Path(lock)):
        time.sleep(600)


def test_a_cell_that_another_process_holds_is_left_to_it_and_computed_if_it_dies(
    undisturbed, settings, tmp_path
):
    with copied(undisturbed, tmp_path / "copy") as place:
        for cell in place.store.glob("cells/*/*.parquet"):
            cell.unlink()
        key = json.loads((place.run / "grid.json").read_text())["cells"][2]["cell"]
        other = FORK.Process(target=hold, args=(place.store / "locks" / f"{key}.lock",))
        other.start()
        place.until(lambda: (status(place.run).status == "running").sum() == 1)
        done = len(place.finished())
        p = place.start()
        place.until(lambda: len(place.finished()) == done + 7)
        table = status(place.run)
        assert table.status.value_counts().to_dict() == dict(done=7, running=1)
        assert table[table.status == "running"].index == [2] and p.exitcode is None
        other.kill()
        other.join()
        p.join(60)
        assert p.exitcode == 0 and place.finished()[-1] == key and place.result() == undisturbed.result()


def test_a_failing_cell_stops_no_other_and_is_tried_again(settings, tmp_path):
    "The model has fewer tokens than its tokenizer: a benchmark with the last one fails, the other does not."
    data = tmp_path / "data"
    shutil.copytree(settings["data_dir"], data)
    model = small_model(tmp_path / "model", vocabulary=599)
    from transformers import AutoTokenizer

    last = AutoTokenizer.from_pretrained(model).decode([599])
    rows = [json.loads(l) for l in (data / "piqa.jsonl").read_text().splitlines()]
    (data / "piqa.jsonl").write_text(
        "".join(json.dumps(r | dict(sol1=f"{last} {last}")) + "\n" for r in rows)
    )
    place = Place(tmp_path / "failing", **settings | dict(model=str(model), data_dir=str(data)))
    assert place.finish() == 1 and "4 of 8 cells failed" in place.said()
    table = status(place.run)
    failed = table[table.task == "piqa"]
    assert (failed.status == "failed").all() and failed.error.str.contains("Error: ").all()
    assert (table[table.task == "copa"].status == "done").all()
    assert all("Traceback" in p.read_text() for p in place.store.rglob("*.error"))
    assert (place.run / "profile.parquet").exists()
    done = len(place.finished())
    assert place.finish() == 1 and len(place.finished()) == done == 4
    assert sum(e["event"] == "failed" for e in events(place.run)) == 8
    shown = FORK.Process(target=command, args=(["status", place.run], tmp_path / "status.txt"))
    shown.start()
    shown.join()
    text = (tmp_path / "status.txt").read_text()
    assert shown.exitcode == 1 and "intact on piqa: " in text
    assert "4 done, 4 failed" in text.replace("4 failed, 4 done", "4 done, 4 failed")


def test_cells_are_shared_across_runs(undisturbed, settings, tmp_path):
    with copied(undisturbed, tmp_path / "copy") as place:
        place.config.write_text(
            yaml.safe_dump(settings | dict(ks=[0.002, 0.01], unions="pairs", repeat_intact=True))
        )
        place.run = place.folder / "other"
        assert place.finish() == 0, place.said()
        both = "spatial_reasoning+temporal_reasoning"
        new = sorted(e["state"] for e in events(place.run) if e["event"] == "finished")
        assert new == sorted(2 * ["intact-2", "spatial_reasoning@0.002", "temporal_reasoning@0.002", both])
        outcomes = read_cell(place.run / "outcomes.parquet")
        assert set(outcomes.state) == {
            *STATES,
            "intact-2",
            "spatial_reasoning@0.002",
            "spatial_reasoning@0.01",
            "temporal_reasoning@0.002",
            "temporal_reasoning@0.01",
            both,
        }
        page = (place.run / "report.html").read_text()
        assert "k sweep" in page and "Unions" in page and "sum of single AIS" in page


NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "lm_eval"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Refuse())
from benchmark_profiling.cli import app
from benchmark_profiling.store import read_cell
from benchmark_profiling.ais import profile, Profile
run = sys.argv[1]
stored = Profile.load(run)
again = profile(read_cell(f"{run}/outcomes.parquet"), model=stored.meta["model"])
assert again.frame.equals(stored.frame)
app(["report", run])
"""


def test_profile_and_report_are_made_again_without_torch(undisturbed, tmp_path):
    with copied(undisturbed, tmp_path / "copy") as place:
        (place.run / "report.html").unlink()
        shutil.rmtree(place.run / "cards")
        done = subprocess.run([sys.executable, "-c", NO_TORCH, place.run], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert place.result() == undisturbed.result() and (place.run / "report.html").exists()
        assert {p.name for p in (place.run / "cards").iterdir()} == {"copa.md", "piqa.md"}


def test_a_dry_run_computes_and_writes_nothing(undisturbed, settings, tmp_path):
    place = Place(tmp_path / "dry", **settings)
    args = ["run", place.config, "--out", place.run, "--store", place.store, "--dry-run"]
    p = FORK.Process(target=command, args=(args, place.log))
    p.start()
    p.join()
    assert p.exitcode == 0 and "4 states × 2 benchmarks = 8 cells, 0 already there" in place.said()
    assert "disk:" in place.said() and "memory:" in place.said()
    assert {p.name for p in place.folder.iterdir()} == {"config.yaml", "log.txt"}
    with copied(undisturbed, tmp_path / "copy") as place:

        def times():
            return {p: p.stat().st_mtime_ns for p in place.folder.rglob("*") if p != place.log}

        before = times()
        args = ["run", place.config, "--out", place.run, "--store", place.store, "--dry-run"]
        p = FORK.Process(target=command, args=(args, place.log))
        p.start()
        p.join()
        assert "8 already there, 0 to compute" in place.said() and times() == before


CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_ready_configs_load(config):
    assert config.read_text().startswith("# ") and load_config(config) != Config(tasks=["none"])
