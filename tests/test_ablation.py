"Regions and ablation: exact selection, nesting, exact restore."

import subprocess, sys
import numpy as np, pytest, torch
from transformers import AutoModelForCausalLM

from benchmark_profiling.ablation import (
    Region,
    ablated,
    bottom,
    overlap,
    pooled,
    random_like,
    save_ablated,
    select,
    threshold,
    top_positions,
    where,
)
from benchmark_profiling.damage import perplexity
from benchmark_profiling.importance import Scores, encode_text
from benchmark_profiling.models import load_model, mlp_parameters, weights_hash


def scores(*tensors, **meta):
    return Scores({f"t{i}": t for i, t in enumerate(tensors)}, meta)


def pairs(region):
    return {(n, i) for n, ix in region.indices.items() for i in ix.tolist()}


INPUTS = {
    "random": lambda: torch.rand(50, 40),
    "constant": lambda: torch.ones(50, 40),
    "sparse": lambda: torch.rand(50, 40) * (torch.rand(50, 40) < 0.3),
    "tied": lambda: torch.randint(0, 5, (50, 40)).float(),
    "bf16": lambda: torch.rand(50, 40).bfloat16().float(),
    "negative zero": lambda: torch.where(torch.rand(50, 40) < 0.5, -0.0, torch.rand(50, 40)),
    "huge": lambda: torch.rand(50, 40) * 1e38,
    "tiny": lambda: torch.rand(50, 40) * 1e-42,
    "few": lambda: torch.rand(50, 40) * (torch.rand(50, 40) < 0.01),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_selection_is_the_exact_top_k(kind):
    torch.manual_seed(0)
    a, b = INPUTS[kind](), INPUTS[kind]()
    flat = torch.cat([a.reshape(-1), b.reshape(-1)])
    for fraction in (0.0005, 0.01, 0.2):
        region = select(scores(a, b), fraction)
        k = min(round(fraction * 4000), int(flat.count_nonzero()))
        got = torch.cat([a.reshape(-1)[region.indices["t0"]], b.reshape(-1)[region.indices["t1"]]])
        assert region.size == k == len(pairs(region)) and torch.equal(
            got.sort().values, flat.topk(k).values.sort().values
        )
        assert threshold([a.reshape(-1), b.reshape(-1)], k) == flat.topk(k).values[-1].item()


@pytest.mark.parametrize("kind", [*INPUTS, "zero"])
def test_top_positions_are_those_of_a_stable_sort(kind):
    torch.manual_seed(0)
    x = (
        torch.zeros(300_000)
        if kind == "zero"
        else torch.cat([INPUTS[kind]().reshape(-1) for _ in range(150)])
    )
    want = torch.sort(x.abs(), descending=True, stable=True).indices
    for k in (1, 77, 3_000, 300_000):
        got = top_positions([x[:5], x[5:200_000].reshape(-1, 5), x[200_000:]], k)
        assert torch.equal(got, want[:k]) and torch.equal(
            x[got].sort().values, x.abs().topk(k).values.sort().values
        )
        assert (
            top_positions(lambda: iter(x.split(1000)), k).equal(got)
            and threshold(lambda: x.split(1000), k) == x[got[-1]].abs()
        )
    with pytest.raises(ValueError, match="no 300,001-th largest"):
        top_positions([x], 300_001)


def test_all_zero_scores_are_refused_and_no_weight_with_score_zero_is_chosen():
    with pytest.raises(ValueError, match="no weight qualifies"):
        select(scores(torch.zeros(50)), 0.5)
    assert pairs(select(scores(torch.tensor([0.0, 3, 0, 1])), 1.0)) == {("t0", 1), ("t0", 3)}


def test_a_stream_from_disk(tmp_path):
    made = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3_000_000,))
    made[:] = np.random.default_rng(0).random(3_000_000, dtype=np.float32) ** 8
    x = torch.from_numpy(made)
    assert top_positions(lambda: (x[i : i + 70_000] for i in range(0, 3_000_000, 70_000)), 30_000).equal(
        torch.sort(x, descending=True, stable=True).indices[:30_000]
    )


MEMORY = """
import torch, benchmark_profiling.ablation as a
from benchmark_profiling.importance import Scores
g = torch.Generator().manual_seed(0)
scores = Scores({f"l.{i}": torch.rand(1 << 20, generator=g) for i in range(40)})
a.select(Scores({"x": torch.rand(1 << 18)}), 0.01)
line = lambda key: int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1]) * 1024
open("/proc/self/clear_refs", "w").write("5")
before = line("VmRSS")
region = a.select(scores, 0.01024, protect=scores, protected=0.001)
print((line("VmHWM") - before) / (4 * scores.numel))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_selection_takes_little_memory():
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    # one copy of the scores would be 1.0; how much the allocator keeps differs between machines
    assert float(out) < 0.1


@pytest.mark.parametrize("scope", ["layer", "tensor"])
def test_scopes_give_each_group_the_same_fraction(scope):
    torch.manual_seed(0)
    s = Scores(
        {
            f"model.layers.{i}.mlp.{m}.weight": torch.rand(40, 25) * 10**i
            for i in range(3)
            for m in ("up", "down")
        }
    )
    region = select(s, 0.1, scope=scope)
    for names in (
        [[n] for n in s.tensors]
        if scope == "tensor"
        else [[n for n in s.tensors if f".{i}." in n] for i in range(3)]
    ):
        own = select(Scores({n: s.tensors[n] for n in names}), 0.1)
        for n in names:
            assert torch.equal(region.indices[n], own.indices[n])
    assert region.size == 600 and region.fraction == 0.1
    assert pairs(region.top(0.05)) == pairs(select(s, 0.05, scope=scope))
    assert all(
        len(ix) == 0 for n, ix in select(s, 0.1).indices.items() if ".0." in n
    )  # together, the largest layer takes all
    with pytest.raises(ValueError, match="unknown scope 'row'"):
        select(s, 0.1, scope="row")


def test_fraction_of_the_whole_model():
    s = scores(torch.rand(100), model_numel=400)
    assert (
        select(s, 0.05, of="model").size == 20 == select(s, 0.2).size
        and select(s, 0.05, of="model").hash() == select(s, 0.2).hash()
    )
    with pytest.raises(ValueError, match="model_numel"):
        select(scores(torch.rand(9)), 0.1, of="model")
    with pytest.raises(ValueError, match="more than the 100 targeted"):
        select(s, 0.5, of="model")
    with pytest.raises(ValueError, match="unknown whole 'layer'"):
        select(s, 0.5, of="layer")


def test_bottom_is_the_least_important_that_is_not_zero():
    torch.manual_seed(0)
    x = torch.rand(2000) * (torch.rand(2000) < 0.7)
    region = bottom(scores(x, ability="a"), 0.1)
    assert (
        sorted(x[region.indices["t0"]].tolist()) == sorted(x[x > 0].tolist())[:200]
        and region.meta["ability"] == "bottom-a"
    )
    assert x[region.indices["t0"]][0] == x[x > 0].min()


def test_ties_go_to_the_first_positions():
    region = select(scores(torch.ones(4), torch.ones(4)), 0.75)
    assert region.indices["t0"].tolist() == [0, 1, 2, 3] and region.indices["t1"].tolist() == [0, 1]


def test_a_prefix_is_the_region_of_a_smaller_k():
    torch.manual_seed(1)
    s = scores(torch.rand(60, 50), torch.rand(70, 10))
    large = select(s, 0.3)
    for fraction in (0.001, 0.01, 0.1, 0.3):
        small = select(s, fraction)
        assert pairs(large.top(fraction)) == pairs(small) and large.top(fraction).hash() == small.hash()
        for n in small.indices:
            assert torch.equal(large.indices[n][: len(small.indices[n])], small.indices[n])
    with pytest.raises(ValueError, match="ranks"):
        large.top(0.5)


def test_contrast_and_protect():
    mine, theirs = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0]), torch.tensor([8.0, 0.0, 0.0, 1.0, 7.0])
    a, b = scores(mine, ability="a"), scores(theirs, ability="b")
    assert pairs(select(a, 1.0, contrast=pooled([a, b]))) == {("t0", 1), ("t0", 2)}
    assert pairs(select(a, 0.4, protect=b, protected=0.4)) == {("t0", 1), ("t0", 2)}
    with pytest.raises(ValueError, match="no weight qualifies"):
        select(a, 1.0, contrast=pooled([a, a]), share=0.9)
    with pytest.raises(ValueError, match="all zero"):
        pooled([scores(torch.zeros(3), ability="empty")])
    with pytest.raises(ValueError, match="fraction"):
        select(a, 0.0)
    with pytest.raises(ValueError, match="t0 are not finite"):
        select(scores(torch.tensor([1.0, float("nan")])), 0.5)


def test_set_operations():
    s = scores(torch.rand(40, 25))
    a, b = (
        select(s, 0.1),
        random_like(select(s, 0.1), torch.nn.ParameterDict({"t0": torch.rand(40, 25)}), seed=1),
    )
    assert pairs(a.union(b)) == pairs(a) | pairs(b) and pairs(a.minus(b)) == pairs(a) - pairs(b)
    assert (
        a.jaccard(b) == pytest.approx(len(pairs(a) & pairs(b)) / len(pairs(a) | pairs(b)))
        and a.jaccard(a) == 1
    )


def test_round_trip_and_damage(tmp_path):
    region = select(scores(torch.rand(40, 25), ability="x"), 0.1)
    region.save(tmp_path / "r.safetensors")
    again = Region.load(tmp_path / "r.safetensors")
    assert again.hash() == region.hash() and again.meta == region.meta and again.numel == region.numel
    (tmp_path / "r.safetensors").write_bytes((tmp_path / "r.safetensors").read_bytes()[:-7])
    with pytest.raises(ValueError, match="damaged"):
        Region.load(tmp_path / "r.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_restore_is_bit_exact_also_after_an_exception(tiny, dtype):
    model = tiny[0].to(dtype)
    params = mlp_parameters(model)
    next(iter(params.values())).data.view(-1)[:3] = torch.tensor([-0.0, float("inf"), 1e-7], dtype=dtype)
    region = random_like(
        select(Scores({k: torch.rand(p.shape) for k, p in params.items()}), 0.2), model, seed=0
    )
    before = weights_hash(model)
    with ablated(model, region):
        assert all((params[k].data.view(-1)[ix] == 0).all() for k, ix in region.indices.items())
        assert sum(int((p == 0).sum()) for p in params.values()) >= region.size
    assert weights_hash(model) == before
    with pytest.raises(RuntimeError, match="inside"):
        with ablated(model, region):
            raise RuntimeError("inside")
    assert weights_hash(model) == before
    with pytest.raises(KeyboardInterrupt):
        with ablated(model, region):
            with ablated(model, random_like(region, model, seed=1)):
                raise KeyboardInterrupt
    assert weights_hash(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_modes_put_something_else_there_and_restore(tiny, dtype):
    model = tiny[0].to(dtype)
    params = mlp_parameters(model)
    before = weights_hash(model)
    whole = {k: p.detach().clone().view(-1) for k, p in params.items()}
    region = random_like(select(Scores({k: torch.rand(p.shape) for k, p in params.items()}), 0.1), model)

    def inside(**how):
        with ablated(model, region, **how):
            return {k: params[k].detach().view(-1)[ix].clone() for k, ix in region.indices.items()}

    for k, v in inside(mode="mean").items():
        assert (v == whole[k].mean(dtype=torch.float32).to(dtype)).all()
    one, again, two = inside(mode="resample"), inside(mode="resample"), inside(mode="resample", seed=1)
    for k, v in one.items():
        assert (
            torch.isin(v, whole[k]).all()
            and v.equal(again[k])
            and not v.equal(two[k])
            and not v.equal(whole[k][region.indices[k]])
        )
    assert weights_hash(model) == before
    with pytest.raises(ValueError, match="unknown mode 'noise'"):
        with ablated(model, region, "noise"):
            pass
    with pytest.raises(KeyboardInterrupt):
        with ablated(model, region, "resample"):
            raise KeyboardInterrupt
    assert weights_hash(model) == before


def test_giving_a_region_back_to_a_damaged_model(tiny):
    model = tiny[0]
    params = mlp_parameters(model)
    damage = select(Scores({k: torch.rand(p.shape) for k, p in params.items()}), 0.2)
    part = damage.top(0.05)
    values = {k: params[k].detach().view(-1)[ix].clone() for k, ix in part.indices.items()}
    with ablated(model, damage.minus(part)):
        assert all(params[k].view(-1)[ix].equal(values[k]) for k, ix in part.indices.items())
        assert sum(int((p == 0).sum()) for p in params.values()) == damage.size - part.size


@pytest.mark.parametrize("kind", ["memory", "disk", "auto"])
def test_weights_that_are_not_in_memory(tiny_folder, tmp_path, kind):
    import accelerate

    plain, tok = load_model(tiny_folder)
    region = random_like(
        select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(plain).items()}), 0.3), plain
    )
    text = encode_text(tok, ["The sun rose over the quiet hills, and somebody laughed."])
    with ablated(plain, region):
        want = perplexity(plain, text)
    intact = perplexity(plain, text)
    if kind == "auto":
        model = AutoModelForCausalLM.from_pretrained(
            tiny_folder,
            device_map={
                "model.embed_tokens": "cpu",
                "model.layers.0": "cpu",
                "model.layers.1": "disk",
                "model.norm": "cpu",
                "model.rotary_emb": "cpu",
                "lm_head": "cpu",
            },
            offload_folder=tmp_path,
        )
    else:
        model, _ = load_model(tiny_folder)
        for i, layer in enumerate(model.model.layers):
            if kind == "memory":
                accelerate.cpu_offload(layer.mlp, torch.device("cpu"))
            else:
                accelerate.disk_offload(layer.mlp, str(tmp_path / str(i)), torch.device("cpu"))
    assert any(p.device.type == "meta" for p in model.parameters()) and perplexity(model, text) == intact
    for _ in range(2):
        with pytest.raises(RuntimeError, match="inside"):
            with ablated(model, region):
                assert perplexity(model, text) == want != intact
                with ablated(model, random_like(region, plain, seed=1)):
                    pass
                assert perplexity(model, text) == want
                raise RuntimeError("inside")
        assert perplexity(model, text) == intact


def test_an_empty_shell_is_refused(tiny_folder):
    from transformers import AutoConfig

    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_folder))
    name = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(ValueError, match="up_proj.weight is on the meta device"):
        with ablated(shell, Region.ranked([name], torch.tensor([0]), torch.tensor([0]), 64 * 32)):
            pass


def test_a_region_of_another_model_changes_nothing(tiny):
    model = tiny[0]
    before = weights_hash(model)
    names = list(mlp_parameters(model))[:2]
    wrong = Region.ranked(names, torch.tensor([0, 1]), torch.tensor([0, 10**9]), numel=10)
    with pytest.raises(ValueError, match="another model"):
        with ablated(model, wrong):
            pass
    with pytest.raises(ValueError, match="no weight 'nowhere'"):
        with ablated(model, Region.ranked(["nowhere"], torch.tensor([0]), torch.tensor([0]), numel=10)):
            pass
    assert weights_hash(model) == before


def test_controls_have_the_same_number_in_each_tensor(tiny):
    model = tiny[0]
    region = select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), 0.05)
    a, b = random_like(region, model, seed=0), random_like(region, model, seed=1)
    for n in region.indices:
        assert (
            len(a.indices[n])
            == len(b.indices[n])
            == len(region.indices[n])
            == len(set(a.indices[n].tolist()))
        )
    assert a.hash() != b.hash() and a.hash() == random_like(region, model, seed=0).hash()


def test_saved_checkpoint_is_the_ablated_model(tiny, tmp_path):
    model, tok = tiny
    region = select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), 0.1)
    save_ablated(model, tok, region, tmp_path / "out")
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=model.dtype)
    with ablated(model, region):
        for k, v in model.state_dict().items():
            assert torch.equal(v, other.state_dict()[k])


def test_saved_regions_are_small(tmp_path):
    torch.manual_seed(0)
    region = select(Scores({f"t{i}": torch.rand(1000, 1000) for i in range(4)}), 0.01024)
    region.save(tmp_path / "r.safetensors")
    assert (
        tmp_path / "r.safetensors"
    ).stat().st_size < region.size * 22 / 8 + 2000  # log2(4 million) bits a weight
    empty = region.minus(region)
    empty.save(tmp_path / "e.safetensors")
    assert (
        Region.load(tmp_path / "e.safetensors").size == 0
        and Region.load(tmp_path / "r.safetensors").hash() == region.hash()
    )


def test_overlap_is_compared_with_chance(tiny):
    model = tiny[0]
    sizes = {k: p.shape for k, p in mlp_parameters(model).items()}
    torch.manual_seed(0)
    regions = {str(i): select(Scores({k: torch.rand(s) for k, s in sizes.items()}), 0.2) for i in range(6)}
    table = overlap(regions, model)
    assert len(table) == 36 and (table[table.one == table.other].jaccard == 1).all()
    apart = table[table.one != table.other]
    assert apart.jaccard.mean() == pytest.approx(
        apart.chance.mean(), rel=0.05
    ) and apart.chance.mean() == pytest.approx(0.2 / 1.8, rel=0.05)


def test_where_a_region_sits(tiny):
    model = tiny[0]
    region = random_like(
        select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), 0.2), model
    )
    table = where(region)
    assert (
        list(table.index) == [0, 1]
        and list(table) == ["gate_proj", "up_proj", "down_proj"]
        and table.to_numpy().sum() == region.size
    )
    assert table.loc[1, "up_proj"] == len(region.indices["model.layers.1.mlp.up_proj.weight"])
