"The grid on Ray, for real: two workers, killed workers, a cluster of two local nodes that loses one."

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmark_profiling.cluster import Worker, on_ray, start_ray
from benchmark_profiling.config import make_config
from benchmark_profiling.run import run_profile
from benchmark_profiling.status import events

ray = pytest.importorskip("ray")  # in the extra `ray`, and in `dev`
from ray.cluster_utils import Cluster

STARTS = 4  # a busy machine may take longer than the 15 seconds that Ray gives a node


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tiny_folder):
    return make_config(
        model=str(tiny_folder),
        tasks=["copa", "openbookqa"],
        limit=40,
        questions=4,
        controls=3,
        abilities=["spatial_reasoning", "temporal_reasoning"],
        style="cloze",
        protect="none",
        k=0.01,
    )


@pytest.fixture(scope="module")
def serial(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_profile(config, folder / "run")
    return folder / "run"


def two_nodes():
    "A cluster of two nodes with one CPU each; an error where a busy machine exceeds Ray's time for it."
    nodes = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    try:
        nodes.second = nodes.add_node(num_cpus=1)
        start_ray(ray, None, nodes.address)
    except Exception:
        nodes.shutdown()
        raise
    return nodes


@pytest.fixture(scope="module")
def cluster():
    "Two nodes; tried again where the machine is busy; one that cannot start them is no fault of ours."
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for attempt in range(STARTS):
        try:
            nodes = two_nodes()
        except Exception as e:
            why = e
        else:
            break
        time.sleep(5 * attempt)
    else:
        pytest.skip(f"no Ray cluster starts on this machine: {why}")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def same(one, other):
    names = ("profile.parquet", "profile.json", "outcomes.parquet")
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def named(folder, what):
    return [e for e in events(folder) if e["event"] == what]


def distributed(config, out, cluster, disturb=None):
    "A run on the cluster; `disturb`: after so many finished cells, what happens (it gets a worker's pid)."

    def watch():
        for when, what in (disturb or {}).items():
            while len(named(out, "finished")) < when:
                time.sleep(0.005)
            what(named(out, "worker")[0]["worker"])

    helper = threading.Thread(target=watch, daemon=True)
    helper.start()
    run_profile(config, out, compute=on_ray(workers=2, address=cluster.address))
    helper.join()
    cells = [e["cell"] for e in named(out, "finished")]
    assert len(cells) == len(set(cells)) == 12 == len(named(out, "started"))


def test_two_nodes_give_what_one_process_gives(config, serial, cluster, tmp_path):
    distributed(config, tmp_path / "run", cluster)
    assert same(tmp_path / "run", serial)
    assert len({e["worker"] for e in named(tmp_path / "run", "worker")}) == 2
    assert not named(tmp_path / "run", "worker lost")


def test_a_killed_worker_and_a_lost_node_cost_only_their_cells(config, serial, cluster, tmp_path):
    def kill(pid):
        os.kill(pid, signal.SIGKILL)

    def lose_node(pid):
        cluster.remove_node(cluster.second, allow_graceful=False)

    distributed(config, tmp_path / "run", cluster, {1: kill, 4: lose_node})
    assert same(tmp_path / "run", serial)
    assert 1 <= len(named(tmp_path / "run", "worker lost")) <= 2


def test_a_worker_refuses_other_weights(config):
    with pytest.raises(ValueError, match="the driver's 0000"):
        Worker(config.model, "float32", "cpu", "0000", {}, 1)


class BusyRay:
    "Ray on a machine where a node is up only at a later attempt; such load cannot be made to order."

    def __init__(self, starts):
        self.starts, self.tried = starts, 0

    def shutdown(self):
        pass

    def init(self, **settings):
        self.tried += 1
        if self.tried < self.starts:
            raise TimeoutError("The node timed out during startup.")


def test_a_slow_start_of_ray_is_tried_again():
    busy = BusyRay(3)
    start_ray(busy, 2, None)
    assert busy.tried == 3
    with pytest.raises(ValueError, match="Ray did not start: The node timed out"):
        start_ray(BusyRay(99), 2, None)


def test_the_scripts_that_are_shown_can_be_handed_in():
    "A script without a shebang is refused by sbatch."
    page = json.loads((Path(__file__).parent.parent / "nbs" / "23_cluster.ipynb").read_text())
    text = "\n".join("".join(c["source"]) for c in page["cells"] if c["cell_type"] == "markdown")
    scripts = [block for block in re.findall(r"```sh\n(.*?)```", text, re.S) if "#SBATCH" in block]
    assert len(scripts) == 2 and all(s.startswith("#!/bin/bash\n#SBATCH") for s in scripts)
