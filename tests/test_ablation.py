"Regions and ablation: exact selection, nesting, exact restore."
import pytest, torch
from transformers import AutoModelForCausalLM

from benchmark_profiling.ablation import Region, ablated, pooled, random_like, save_ablated, select, threshold
from benchmark_profiling.importance import Scores
from benchmark_profiling.models import mlp_parameters, weights_hash

def scores(*tensors, **meta): return Scores({f"t{i}": t for i, t in enumerate(tensors)}, meta)
def pairs(region): return {(n, i) for n, ix in region.indices.items() for i in ix.tolist()}

INPUTS = {"random": lambda: torch.rand(50, 40), "constant": lambda: torch.ones(50, 40), "sparse": lambda: torch.rand(50, 40) * (torch.rand(50, 40) < .3),
          "tied": lambda: torch.randint(0, 5, (50, 40)).float(), "bf16": lambda: torch.rand(50, 40).bfloat16().float(), "negative zero": lambda: torch.where(torch.rand(50, 40) < .5, -0.0, torch.rand(50, 40)), "huge": lambda: torch.rand(50, 40) * 1e38}

@pytest.mark.parametrize("kind", INPUTS)
def test_selection_is_the_exact_top_k(kind):
    torch.manual_seed(0)
    a, b = INPUTS[kind](), INPUTS[kind]()
    flat = torch.cat([a.reshape(-1), b.reshape(-1)])
    for fraction in (0.0005, 0.01, 0.2):
        region = select(scores(a, b), fraction)
        k = min(round(fraction * 4000), int(flat.count_nonzero()))
        got = torch.cat([a.reshape(-1)[region.indices["t0"]], b.reshape(-1)[region.indices["t1"]]])
        assert region.size == k == len(pairs(region)) and torch.equal(got.sort().values, flat.topk(k).values.sort().values)
        assert threshold([a.reshape(-1), b.reshape(-1)], k) == flat.topk(k).values[-1].item()

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
        for n in small.indices: assert torch.equal(large.indices[n][:len(small.indices[n])], small.indices[n])
    with pytest.raises(ValueError, match="ranks"): large.top(0.5)

def test_contrast_and_protect():
    mine, theirs = torch.tensor([8., 4., 2., 1., 1.]), torch.tensor([8., 0., 0., 1., 7.])
    a, b = scores(mine, ability="a"), scores(theirs, ability="b")
    assert pairs(select(a, 1.0, contrast=pooled([a, b]))) == {("t0", 1), ("t0", 2)}
    assert pairs(select(a, 0.4, protect=b, protected=0.4)) == {("t0", 1), ("t0", 2)}
    with pytest.raises(ValueError, match="no weight qualifies"): select(a, 1.0, contrast=pooled([a, a]), share=0.9)
    with pytest.raises(ValueError, match="all zero"): pooled([scores(torch.zeros(3), ability="empty")])
    with pytest.raises(ValueError, match="fraction"): select(a, 0.0)
    with pytest.raises(ValueError, match="t0 are not finite"): select(scores(torch.tensor([1., float("nan")])), 0.5)

def test_set_operations():
    s = scores(torch.rand(40, 25)); a, b = select(s, 0.1), random_like(select(s, 0.1), torch.nn.ParameterDict({"t0": torch.rand(40, 25)}), seed=1)
    assert pairs(a.union(b)) == pairs(a) | pairs(b) and pairs(a.minus(b)) == pairs(a) - pairs(b)
    assert a.jaccard(b) == pytest.approx(len(pairs(a) & pairs(b)) / len(pairs(a) | pairs(b))) and a.jaccard(a) == 1

def test_round_trip_and_damage(tmp_path):
    region = select(scores(torch.rand(40, 25), ability="x"), 0.1)
    region.save(tmp_path / "r.safetensors")
    again = Region.load(tmp_path / "r.safetensors")
    assert again.hash() == region.hash() and again.meta == region.meta and again.numel == region.numel
    (tmp_path / "r.safetensors").write_bytes((tmp_path / "r.safetensors").read_bytes()[:-7])
    with pytest.raises(ValueError, match="damaged"): Region.load(tmp_path / "r.safetensors")

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_restore_is_bit_exact_also_after_an_exception(tiny, dtype):
    model = tiny[0].to(dtype)
    params = mlp_parameters(model)
    next(iter(params.values())).data.view(-1)[:3] = torch.tensor([-0.0, float("inf"), 1e-7], dtype=dtype)
    region = random_like(select(Scores({k: torch.rand(p.shape) for k, p in params.items()}), 0.2), model, seed=0)
    before = weights_hash(model)
    with ablated(model, region):
        assert all((params[k].data.view(-1)[ix] == 0).all() for k, ix in region.indices.items())
        assert sum(int((p == 0).sum()) for p in params.values()) >= region.size
    assert weights_hash(model) == before
    with pytest.raises(RuntimeError, match="inside"):
        with ablated(model, region): raise RuntimeError("inside")
    assert weights_hash(model) == before
    with pytest.raises(KeyboardInterrupt):
        with ablated(model, region):
            with ablated(model, random_like(region, model, seed=1)): raise KeyboardInterrupt
    assert weights_hash(model) == before

def test_a_region_of_another_model_changes_nothing(tiny):
    model = tiny[0]; before = weights_hash(model)
    names = list(mlp_parameters(model))[:2]
    wrong = Region.ranked(names, torch.tensor([0, 1]), torch.tensor([0, 10**9]), numel=10)
    with pytest.raises(ValueError, match="another model"):
        with ablated(model, wrong): pass
    with pytest.raises(ValueError, match="no weight 'nowhere'"):
        with ablated(model, Region.ranked(["nowhere"], torch.tensor([0]), torch.tensor([0]), numel=10)): pass
    assert weights_hash(model) == before

def test_controls_have_the_same_number_in_each_tensor(tiny):
    model = tiny[0]
    region = select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), 0.05)
    a, b = random_like(region, model, seed=0), random_like(region, model, seed=1)
    for n in region.indices: assert len(a.indices[n]) == len(b.indices[n]) == len(region.indices[n]) == len(set(a.indices[n].tolist()))
    assert a.hash() != b.hash() and a.hash() == random_like(region, model, seed=0).hash()

def test_saved_checkpoint_is_the_ablated_model(tiny, tmp_path):
    model, tok = tiny
    region = select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), 0.1)
    save_ablated(model, tok, region, tmp_path / "out")
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=model.dtype)
    with ablated(model, region):
        for k, v in model.state_dict().items(): assert torch.equal(v, other.state_dict()[k])
