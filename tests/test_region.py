"Regions know which model they are of: shapes, fingerprints, files, equality."

import json
import warnings

import pytest
import safetensors.torch
import torch

from benchmark_profiling.ablation import (
    ablated,
    overlap,
    pooled,
    random_like,
    random_mean,
    save_ablated,
    select,
)
from benchmark_profiling.first_order import first_order
from benchmark_profiling.importance import Scores
from benchmark_profiling.models import fingerprint, load_model, mlp_parameters, weights_hash
from benchmark_profiling.region import Region

NAME = "model.layers.0.mlp.gate_proj.weight"


def some_scores(model, **meta):
    draw = torch.Generator().manual_seed(0)
    return Scores({n: torch.rand(p.shape, generator=draw) for n, p in mlp_parameters(model).items()}, meta)


def region_of(model, fraction=0.1):
    return select(some_scores(model, ability="a", fingerprint=fingerprint(model)), fraction)


def like(tiny, hidden, intermediate):
    "A model of the same architecture in another size."
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=tiny[0].config.vocab_size,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(
    params=[(48, 96), (24, 48), (64, 32)], ids=["larger", "smaller", "as many weights in another shape"]
)
def foreign(request, tiny):
    "A model whose MLP tensors have other shapes than the tiny one's, 64 × 32."
    return like(tiny, *request.param)


def words(shape):
    return " × ".join(map(str, shape))


def test_a_region_is_refused_by_every_model_of_another_shape(tiny, foreign, tmp_path):
    model, tokenizer = tiny
    region, before = region_of(model), weights_hash(foreign)
    theirs = dict(foreign.named_parameters())[NAME].shape
    said = f"{NAME} is 64 × 32 there and {words(theirs)} in this model"

    def enter():
        with ablated(foreign, region):
            pass

    for use in (
        enter,
        lambda: save_ablated(foreign, tokenizer, region, tmp_path / "out"),
        lambda: random_like(region, foreign),
        lambda: overlap({"a": region}, foreign),
        lambda: random_mean([region, region], foreign),
        lambda: first_order(foreign, tokenizer, [], {"a": region}),
    ):
        with pytest.raises(ValueError, match=said) as e:
            use()
        assert "\n" not in str(e.value)
    assert weights_hash(foreign) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["union", "minus", "jaccard"])
def test_regions_of_different_models_do_not_combine(tiny, foreign, how):
    one, other = region_of(tiny[0]), region_of(foreign)
    with pytest.raises(ValueError, match=f"{NAME} is 64 × 32 there and"):
        getattr(one, how)(other)
    with pytest.raises(ValueError, match="and 64 × 32 in the other"):
        getattr(other, how)(one)
    with pytest.raises(ValueError, match="there and"):
        random_mean([one, other], tiny[0])


def test_maps_of_different_models_do_not_combine(tiny, foreign):
    mine, theirs = some_scores(tiny[0], ability="mine"), some_scores(foreign, ability="theirs")
    for use in (
        lambda: pooled([mine, theirs]),
        lambda: select(mine, 0.1, protect=theirs),
        lambda: select(mine, 0.1, contrast=theirs),
    ):
        with pytest.raises(ValueError, match=f"{NAME} is .* there and"):
            use()
    fewer = Scores({NAME: mine.tensors[NAME]}, dict(ability="few"))
    with pytest.raises(ValueError, match="of 'few' has no 'model.layers.0.mlp.down_proj.weight'"):
        pooled([mine, fewer])
    with pytest.raises(ValueError, match="no weight '.*' in the map given as protect"):
        select(mine, 0.1, protect=fewer)
    assert select(fewer, 0.1, protect=mine).size > 0  # a map of more tensors is enough


def old_file(region, path):
    "As versions without shapes wrote it."
    region.save(path)
    with safetensors.safe_open(path, "pt") as f:
        meta, planes = json.loads(f.metadata()["meta"]), f.get_tensor("planes")
    del meta["shapes"]
    safetensors.torch.save_file({"planes": planes}, path, metadata={"meta": json.dumps(meta)})


def test_shapes_and_fingerprint_are_stored_and_old_files_load(tiny, foreign, tmp_path):
    model, path = tiny[0], tmp_path / "r.safetensors"
    region = region_of(model)
    region.save(path)
    again = Region.load(path)
    assert again == region and again.fingerprint == fingerprint(model)
    assert again.shapes == {n: tuple(p.shape) for n, p in mlp_parameters(model).items()}
    old_file(region, path)
    with pytest.warns(UserWarning, match="checked against a model by numbers of weights only"):
        old = Region.load(path)
    assert old.shapes is None and old == region and old.hash() == region.hash()
    with ablated(model, old):
        assert (model.get_parameter(NAME).data.view(-1)[region.indices[NAME]] == 0).all()
    same_number = foreign.get_parameter(NAME).numel() == 64 * 32
    if not same_number:
        with pytest.raises(ValueError, match="of another model"):
            with ablated(foreign, old):
                pass


def test_another_checkpoint_is_applied_and_said_once(tiny, tiny_folder):
    model, (other, _) = tiny[0], load_model(tiny_folder)
    other.model.norm.weight.data *= 1.5
    region = region_of(model)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            with ablated(other, region):
                assert (other.get_parameter(NAME).data.view(-1)[region.indices[NAME]] == 0).all()
            with ablated(model, region):
                pass
    assert [
        fingerprint(other) in str(w.message) and "another checkpoint" in str(w.message) for w in said
    ] == [True]


def test_a_union_over_two_checkpoints_knows_both(tiny):
    one, other = region_of(tiny[0]), region_of(tiny[0], 0.2)
    assert one.union(other).fingerprint == one.fingerprint
    other.meta["fingerprint"] = "0" * 16
    with pytest.warns(UserWarning, match="one of the regions is of another checkpoint"):
        both = one.union(other)
    assert both.fingerprint == f"{'0' * 16}+{one.fingerprint}"


def test_importance_maps_carry_the_fingerprint_through_select(tiny):
    from benchmark_profiling.datagen import generate
    from benchmark_profiling.importance import importance

    model, tokenizer = tiny
    maps = [
        importance(model, tokenizer, generate(a, 2, seed=0))
        for a in ("spatial_reasoning", "temporal_reasoning")
    ]
    region = select(maps[0], 0.01, contrast=pooled(maps))
    assert region.fingerprint == fingerprint(model) == pooled(maps).meta["fingerprint"]
    assert random_like(region, model).fingerprint == region.fingerprint


def test_regions_are_equal_by_content(tiny, tmp_path):
    region = region_of(tiny[0])
    region.save(tmp_path / "r.safetensors")
    assert (
        region == Region.load(tmp_path / "r.safetensors")
        and region != region.top(0.05)
        and region != "region"
    )
    assert len({region, region.top(0.1), region.top(0.05)}) == 2
    scores = some_scores(tiny[0])
    turned = select(
        Scores({n: scores.tensors[n] for n in reversed(scores.tensors)}), 0.1
    )  # as files list them
    assert turned == region and hash(turned) == hash(region) and turned.jaccard(region) == 1
    assert turned.union(region.top(0.05)).size == region.size and region.minus(turned).size == 0


def test_hash_is_that_of_earlier_versions():
    torch.manual_seed(0)
    scores = Scores({f"t{i}": torch.rand(40, 25) for i in range(3)}, dict(ability="x"))
    assert select(scores, 0.1).hash() == "95baf4a61adae3ba"  # stored outcomes are filed under it


def test_wrong_types_end_in_one_line_with_the_way_out(tiny):
    model, scores = tiny[0], some_scores(tiny[0])
    region = select(scores, 0.1)

    def enter(model, region):
        with ablated(model, region):
            pass

    for use, said in (
        (lambda: select(region, 0.1), r"not from a Region; for a smaller k of a region use region.top"),
        (lambda: select("scores", 0.1), r"importance scores \(`Scores`\), not from a str"),
        (lambda: select(scores, "1%"), r"fraction must be a number such as 0.01 \(which is 1 %\), not '1%'"),
        (lambda: select(scores, True), r"fraction must be a number"),
        (
            lambda: select(scores, 0.1, protect=region),
            r"the map given as protect must hold importance scores",
        ),
        (lambda: select(scores, 0.1, protect=scores, protected="5%"), r"protected must be a number such as"),
        (lambda: region.top("1%"), r"fraction must be a number"),
        (lambda: region.union("x"), r"combines with another region, not with a value of type str"),
        (lambda: enter(model, scores), r"is a Region, such as select\(scores, 0.001\) gives, not a Scores"),
        (lambda: enter(tiny, region), r"such as load_model\(name\)\[0\], not to a tuple"),
        (lambda: random_like(scores, model), r"for regions, not for a Scores"),
        (lambda: pooled([region]), r"selected from importance scores"),
    ):
        with pytest.raises(TypeError, match=said) as e:
            use()
        assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got 5; 5 % is 0.05"):
        select(scores, 5)
    with pytest.raises(ValueError, match="got 2; 2 % is 0.02"):
        region.top(2)
    with pytest.raises(ValueError, match="no region to draw a control for"):
        random_mean([], model)


def test_a_control_has_the_regions_size_or_the_mean(tiny):
    model = tiny[0]
    large, small = region_of(model, 0.2), region_of(model, 0.02)
    own = {r.size: random_like(r, model, seed=3).size for r in (large, small)}
    assert all(size == control for size, control in own.items())
    mean = random_mean([large, small], model, seed=3)
    assert small.size < mean.size < large.size and mean.meta["drawn_for"] == ["a", "a"]
    assert random_like([large, small], model, seed=3) == mean


def test_a_checkpoint_is_whole_or_not_there(tiny, tmp_path, monkeypatch):
    model, tokenizer = tiny
    region, before = region_of(model), weights_hash(model)

    def fails(*a, **k):
        raise OSError("no room")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", fails)
    with pytest.raises(OSError, match="no room"):
        save_ablated(model, tokenizer, region, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == [] and weights_hash(model) == before
    monkeypatch.undo()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    folder = save_ablated(model, tokenizer, region, tmp_path / "there")
    assert {"notes.txt", "config.json", "model.safetensors"} <= {f.name for f in folder.iterdir()}
    assert (load_model(folder)[0].get_parameter(NAME).view(-1)[region.indices[NAME]] == 0).all()
