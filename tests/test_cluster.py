"The grid on Ray, for real: two workers, killed workers, a cluster of two local nodes that loses one."
import os, signal, threading, time
import pytest

from benchmark_profiling.cluster import Worker
from benchmark_profiling.run import events, make_config, run_profile
ray = pytest.importorskip("ray")      # in the extra `ray`, and in `dev`
from ray.cluster_utils import Cluster

@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch
    before = torch.get_num_threads(); torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

@pytest.fixture(scope="module")
def config(tiny_folder):
    return make_config(model=str(tiny_folder), tasks=["copa", "openbookqa"], limit=40, abilities=["spatial_reasoning", "temporal_reasoning"],
                       questions=4, controls=3, style="cloze", protect="none", k=0.01)

@pytest.fixture(scope="module")
def serial(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_profile(config, folder / "run")
    return folder / "run"

@pytest.fixture(scope="module")
def cluster():
    "Two nodes of one CPU each."
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    nodes.second = nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    yield nodes
    ray.shutdown(); nodes.shutdown()

def same(one, other): return all((one / n).read_bytes() == (other / n).read_bytes() for n in ("profile.parquet", "profile.json", "outcomes.parquet"))
def named(folder, what): return [e for e in events(folder) if e["event"] == what]

def distributed(config, out, cluster, disturb={}):
    "A run on the cluster; `disturb`: after so many finished cells, what happens (it gets a worker's pid)."
    def watch():
        for when, what in disturb.items():
            while len(named(out, "finished")) < when: time.sleep(.005)
            what(named(out, "worker")[0]["worker"])
    helper = threading.Thread(target=watch, daemon=True); helper.start()
    run_profile(config, out, workers=2, address=cluster.address)
    helper.join()
    cells = [e["cell"] for e in named(out, "finished")]
    assert len(cells) == len(set(cells)) == 12 == len(named(out, "started"))

def test_two_nodes_give_what_one_process_gives(config, serial, cluster, tmp_path):
    distributed(config, tmp_path / "run", cluster)
    assert same(tmp_path / "run", serial)
    assert len({e["worker"] for e in named(tmp_path / "run", "worker")}) == 2 and not named(tmp_path / "run", "worker lost")

def test_a_killed_worker_and_a_lost_node_cost_only_their_cells(config, serial, cluster, tmp_path):
    distributed(config, tmp_path / "run", cluster, {1: lambda pid: os.kill(pid, signal.SIGKILL), 4: lambda pid: cluster.remove_node(cluster.second, allow_graceful=False)})
    assert same(tmp_path / "run", serial)
    assert 1 <= len(named(tmp_path / "run", "worker lost")) <= 2

def test_a_worker_refuses_other_weights(config):
    with pytest.raises(ValueError, match="the driver's 0000"): Worker(config.model, "float32", "cpu", "0000", {}, 1)
