"Which weights are MLP, whatever the family calls them; and where a model comes from."

import json, shutil

import gguf, pytest, torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmark_profiling import models
from benchmark_profiling.models import (
    EMBEDDED,
    asset,
    convert_gguf,
    describe,
    find_kinds,
    fingerprint,
    load_model,
    mlp_parameters,
    target_parameters,
    weights_hash,
)

SMALL = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=99,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
GPT = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=99, bos_token_id=1, eos_token_id=2)
KV = SMALL | dict(num_key_value_heads=2)
MOE = KV | dict(
    num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=40
)
MAMBA = dict(mamba_d_state=4, mamba_n_heads=4)
GATED = {"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"}
FORWARD = {"feed_forward.gate_proj.weight", "feed_forward.up_proj.weight", "feed_forward.down_proj.weight"}
H4H = {"mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight"}
EXPERTS = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
SHARED = {f"mlp.shared_expert.{n}_proj.weight" for n in ("gate", "up", "down")}
EXPECTED = {
    "llama": (KV, GATED),
    "mistral": (KV, GATED),
    "qwen2": (KV, GATED),
    "gemma3_text": (KV | dict(head_dim=8), GATED),
    "phi3": (KV, {"mlp.gate_up_proj.weight", "mlp.down_proj.weight"}),
    "gpt2": (GPT, {"mlp.c_fc.weight", "mlp.c_proj.weight"}),
    "gpt_neox": (SMALL, H4H),
    "falcon": (SMALL, H4H),
    "bloom": (SMALL | GPT, H4H),
    "opt": (SMALL | dict(ffn_dim=48, word_embed_proj_dim=32), {"fc1.weight", "fc2.weight"}),
    "mixtral": (KV | dict(num_local_experts=4), EXPERTS),
}
# layers of several kinds, or with side paths: the MLP of each layer
MANY = {
    "gemma3n_text": (
        KV
        | dict(
            head_dim=8,
            num_kv_shared_layers=0,
            laurel_rank=6,
            hidden_size_per_layer_input=10,
            layer_types=["full_attention"] * 2,
            vocab_size_per_layer_input=99,
            activation_sparsity_pattern=[0.5, 0.0],
        ),
        [GATED, GATED],
    ),
    "gemma4_text": (
        KV
        | dict(
            head_dim=8,
            global_head_dim=8,
            hidden_size_per_layer_input=10,
            num_kv_shared_layers=0,
            vocab_size_per_layer_input=99,
            layer_types=["sliding_attention", "full_attention"],
        ),
        [GATED, GATED],
    ),
    "qwen2_moe": (MOE, [EXPERTS | SHARED] * 2),
    "qwen3_moe": (MOE | dict(head_dim=8), [EXPERTS] * 2),
    "deepseek_v3": (
        SMALL
        | dict(
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            q_lora_rank=12,
            kv_lora_rank=10,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=8,
            num_key_value_heads=4,
            moe_intermediate_size=24,
            first_k_dense_replace=1,
        ),
        [GATED, EXPERTS | {n.replace("expert.", "experts.") for n in SHARED}],
    ),
    "jamba": (
        KV
        | dict(
            num_experts=2,
            num_experts_per_tok=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            attn_layer_period=2,
            attn_layer_offset=1,
            mamba_d_state=4,
            mamba_dt_rank=5,
            use_mamba_kernels=False,
        ),
        [FORWARD, {"feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"}],
    ),
    "bamba": (
        KV | MAMBA | dict(attn_layer_indices=[1], mamba_d_head=16, mamba_n_groups=1),
        [FORWARD, FORWARD],
    ),
    "falcon_h1": (KV | MAMBA | dict(mamba_d_ssm=32, mamba_d_head=8, mamba_n_groups=1), [FORWARD, FORWARD]),
    "qwen3_next": (
        MOE
        | dict(
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
        ),
        [EXPERTS | SHARED] * 2,
    ),
    "gpt_oss": (KV | dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2), [EXPERTS] * 2),
    "recurrent_gemma": (
        SMALL | dict(num_key_value_heads=1, lru_width=32, attention_window_size=32),
        [{n.replace("mlp.", "mlp_block.") for n in GATED}] * 2,
    ),
    "zamba": (
        SMALL
        | dict(
            layers_block_type=["hybrid", "hybrid"],
            attention_hidden_size=64,
            attention_head_dim=16,
            n_mamba_heads=2,
            mamba_d_state=4,
            mamba_dt_rank=5,
            use_mamba_kernels=False,
            num_key_value_heads=4,
        ),
        [{"shared_transf." + n for n in FORWARD}, set()],
    ),  # both layers share one: it is there once
}


def make(kind, dtype=torch.float32):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(EXPECTED | MANY)[kind][0])
    return AutoModelForCausalLM.from_config(config).to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_exactly_the_mlp_matrices(kind, dtype):
    model = make(kind, dtype)
    found = mlp_parameters(model)
    for layer in "01":
        assert {n.split(f".{layer}.", 1)[1] for n in found if f".{layer}." in n} == EXPECTED[kind][1]
    own = dict(model.named_parameters())
    assert all(own[n] is p for n, p in found.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", MANY)
def test_neither_attention_nor_mlp_is_left_alone(kind, dtype):
    "Routers, low-rank side paths, gates of embeddings, state-space and linear-attention blocks are no MLP."
    found = mlp_parameters(make(kind, dtype))
    for layer, want in enumerate(MANY[kind][1]):
        assert {n.split(f".{layer}.", 1)[1] for n in found if f"layers.{layer}." in n} == want
    assert len(found) == sum(map(len, MANY[kind][1]))


def test_an_expert_that_no_token_was_sent_to_is_what_its_siblings_are():
    class Expert(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(32, 24), nn.Linear(24, 32)

        def forward(self, x):
            return self.b(self.a(x).relu())

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.choose = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 40)
            self.experts = nn.ModuleList(Expert() for _ in range(40))

        def forward(self, x):
            x = x + self.mix(x, x, x)[0]
            best, out = self.choose(x).argmax(-1), x.clone()
            for i in best.unique().tolist():
                out[best == i] += self.experts[i](x[best == i])
            return out

    torch.manual_seed(0)
    assert len(mlp_parameters(Toy(Layer))) == 2 * 40 * 2


def test_a_vision_tower_is_not_part_of_the_language_model():
    vision = dict(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    config = AutoConfig.for_model(
        "gemma3", text_config=KV | dict(head_dim=8), vision_config=vision, mm_tokens_per_image=4
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert len(mlp_parameters(model)) == 6 and not any("vision" in n for n in target_parameters(model, "all"))


def test_a_layer_that_holds_matrices_of_its_own_beside_attention_cannot_be_decided():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.MultiheadAttention(32, 4, batch_first=True)
            self.a, self.b = nn.Parameter(torch.randn(48, 32)), nn.Parameter(torch.randn(32, 48))

        def forward(self, x):
            x = x + self.mix(x, x, x)[0]
            return x + (x @ self.a.T).relu() @ self.b.T

    with pytest.raises(
        ValueError, match="Layer mixes positions and holds other matrices.*pass the weights yourself"
    ):
        mlp_parameters(Toy(Layer))


def test_packed_weights_are_refused():
    model = make("llama")
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(
        torch.ones(48, 32, dtype=torch.int8), requires_grad=False
    )
    model.model.layers[1].mlp.up_proj.forward = lambda x: x.new_zeros(*x.shape[:-1], 48)
    with pytest.raises(ValueError, match="up_proj.weight is int8.*not quantised"):
        mlp_parameters(model)


def test_finding_leaves_the_model_as_it_was():
    model = make("gemma3n_text")
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i % 2 == 0)
    before = weights_hash(model)
    find_kinds(model)
    assert weights_hash(model) == before and [p.requires_grad for p in model.parameters()][:2] == [
        True,
        False,
    ]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Toy(nn.Module):
    "Two layers of a kind between words and logits, unlike anything in `transformers`."

    device = torch.device("cpu")

    def __init__(self, layer):
        super().__init__()
        self.words, self.out = nn.Embedding(99, 32), nn.Linear(32, 99)
        self.stuff = nn.ModuleList(layer() for _ in range(2))

    def forward(self, input_ids, use_cache=False):
        x = self.words(input_ids)
        for layer in self.stuff:
            x = layer(x)
        return self.out(x)


def test_names_do_not_matter():
    class Odd(
        nn.Module
    ):  # attention called "alpha", MLP called "beta" and split over two plain matrices in the layer
        def __init__(self):
            super().__init__()
            self.alpha, self.beta, self.gamma = (
                nn.MultiheadAttention(32, 4, batch_first=True),
                nn.Linear(32, 48),
                nn.Linear(48, 32),
            )

        def forward(self, hidden_states):
            hidden_states = hidden_states + self.alpha(hidden_states, hidden_states, hidden_states)[0]
            return hidden_states + self.gamma(self.beta(hidden_states).relu())

    torch.manual_seed(0)
    assert set(mlp_parameters(Toy(Odd).eval())) == {
        f"stuff.{i}.{n}.weight" for i in (0, 1) for n in ("beta", "gamma")
    }


def test_nothing_to_tell_apart_is_an_error_that_shows_what_was_looked_at():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("mamba", hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=4)
    )
    with pytest.raises(ValueError, match=r"backbone.layers \(2 × MambaBlock\).*MambaMixer"):
        mlp_parameters(model.eval())


def test_embedded_model(embedded):
    model, tokenizer = embedded
    assert sum(p.numel() for p in mlp_parameters(model).values()) == 79_626_240
    ids = tokenizer("The capital of France is", return_tensors="pt").to(model.device)
    assert "Paris" in tokenizer.decode(model.generate(**ids, max_new_tokens=3, do_sample=False)[0])


def test_unloadable_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no waiting for a network
    with pytest.raises(FileNotFoundError, match="assets.txt"):
        asset("no-such-wheel", "x")
    with pytest.raises(FileNotFoundError, match="no such GGUF"):
        load_model(str(tmp_path / "x.gguf"))
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_model(str(tmp_path))
    with pytest.raises(ValueError, match="no/such-model") as e:
        load_model("no/such-model")
    assert "\n" not in str(e.value) and all(n in str(e.value) for n in EMBEDDED)


def test_a_damaged_file_is_not_converted(tmp_path):
    (tmp_path / "w.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ValueError, match="sha256"):
        convert_gguf(tmp_path / "w.gguf", sha256="0" * 64)


def test_weights_hash_sees_one_bit(tiny):
    model, _ = tiny
    before, p = weights_hash(model), next(model.parameters()).data.view(-1)
    old = p[0].item()
    p[0] = -old
    assert weights_hash(model) != before
    p[0] = old
    assert weights_hash(model) == before


@pytest.mark.parametrize("kind", EXPECTED)
def test_targets_are_mlp_attention_or_both(kind):
    model = make(kind)
    mlp, attention, both = (target_parameters(model, t) for t in ("mlp", "attention", "all"))
    assert mlp.keys() == mlp_parameters(model).keys() and attention and not mlp.keys() & attention.keys()
    assert set(both) == set(mlp) | set(attention) and all("att" in n for n in attention)
    blocks = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    router = {id(p) for n, p in model.named_parameters() if "gate.weight" in n}
    matrices = {id(p) for p in blocks.parameters() if p.dim() > 1} - router
    assert {id(p) for p in both.values()} == matrices  # no embedding, no norm, no head, no router
    second = target_parameters(model, "all", layers=[1])
    assert list(second) == [n for n in both if ".1." in n] and len(second) == len(both) // 2
    assert set(target_parameters(model, lambda name, p: name in mlp, layers=range(2))) == set(mlp)


def test_targets_that_make_no_sense():
    model = make("llama")
    with pytest.raises(ValueError, match="'heads'.*mlp, attention, all"):
        target_parameters(model, "heads")
    with pytest.raises(ValueError, match="no layer 2: the model has 2 layers, 0 to 1"):
        target_parameters(model, layers=range(1, 3))
    with pytest.raises(ValueError, match="choose no weights"):
        target_parameters(model, lambda name, p: "lm_head" in name)
    with pytest.raises(ValueError, match="choose no weights"):
        target_parameters(model, layers=[])


def test_trees_are_trusted_in_bfloat16_and_a_lost_mask_is_still_seen(monkeypatch):
    "Rounding moves single logits by a quarter of a standard deviation; a mask that is ignored moves all."
    from benchmark_profiling.models import load_model
    from benchmark_profiling.prompts import tree_fault

    model, _ = load_model("smollm2-135m-instruct", "bfloat16")
    assert tree_fault(model) is None
    real = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, attention_mask=None, **kw: real(*a, **kw))
    assert "changes its output" in tree_fault(model)


def test_a_fingerprint_tells_checkpoints_of_one_shape_apart_and_not_their_dtypes(tiny):
    model, _ = tiny
    known = fingerprint(model)
    weight = mlp_parameters(model)["model.layers.1.mlp.up_proj.weight"]
    old = weight.data.clone()
    weight.data += 1e-3
    assert fingerprint(model) != known
    weight.data.copy_(old)
    assert fingerprint(model) == fingerprint(model.bfloat16()) == known


@pytest.fixture
def checkpoint(tmp_path, tiny_folder):
    "A copy of the tiny checkpoint, and what writes other tensors into it."
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folder, folder)

    def rewrite(change):
        tensors = change(load_file(tiny_folder / "model.safetensors"))
        save_file(tensors, folder / "model.safetensors", metadata=dict(format="pt"))

    return folder, rewrite


def refusal(name, **kw):
    with pytest.raises((OSError, ValueError)) as e:
        load_model(name, **kw)
    assert "\n" not in str(e.value), str(e.value)
    return str(e.value)


def test_a_missing_tensor_is_named(checkpoint):
    folder, rewrite = checkpoint
    rewrite(lambda t: {k: v for k, v in t.items() if "layers.1.mlp.up" not in k})
    said = refusal(folder)
    assert "lacks 1 weights of the model: model.layers.1.mlp.up_proj.weight" in said


@pytest.mark.parametrize("prefix, wrapper", models.WRAPPERS.items())
def test_a_wrappers_prefix_is_named(checkpoint, prefix, wrapper):
    folder, rewrite = checkpoint
    rewrite(lambda t: {prefix + k: v for k, v in t.items()})
    said = refusal(folder)
    assert f"'{prefix}' is that of {wrapper}" in said and "(21 in all)" in said and "lm_head.weight" in said


def test_a_tensor_of_another_shape_is_named(checkpoint):
    folder, rewrite = checkpoint
    rewrite(lambda t: t | {k: v[:-1].contiguous() for k, v in t.items() if "1.mlp.up" in k})
    assert "model.layers.1.mlp.up_proj.weight is (63, 32), not (64, 32)" in refusal(folder)


def test_a_missing_tensor_in_shards_is_named_and_so_is_a_missing_shard(tmp_path, tiny, tiny_folder):
    folder = tmp_path / "shards"
    tiny[0].save_pretrained(folder, max_shard_size="2MB")
    tiny[1].save_pretrained(folder)
    assert weights_hash(load_model(folder)[0]) == weights_hash(tiny[0])
    shard = sorted(folder.glob("model-*"))[-1]
    tensors = load_file(shard)
    gone = sorted(tensors)[0]
    save_file(
        {k: v for k, v in tensors.items() if k != gone} or {"x": torch.ones(1)},
        shard,
        metadata=dict(format="pt"),
    )
    assert gone in refusal(folder)
    shard.unlink()
    assert f"{shard.name} is not there" in refusal(folder)


def test_tied_weights_are_not_missing_and_what_has_no_place_is_only_said(checkpoint, caplog):
    folder, rewrite = checkpoint
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | dict(tie_word_embeddings=True)))
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "score.weight": torch.ones(2, 32),
    }
    rewrite(lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"} | buffers)
    model, _ = load_model(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "1 tensors have no place in the model: score.weight" in caplog.text


def test_an_untied_head_is_missing(checkpoint):
    folder, rewrite = checkpoint
    rewrite(lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    assert "lacks 1 weights of the model: lm_head.weight" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 4, 5000, -1])
def test_a_file_that_was_cut_short_is_one_line(checkpoint, keep):
    folder, _ = checkpoint
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    said = refusal(folder)
    assert str(file) in said and "is damaged" in said


def test_pickled_weights_and_adapters_are_refused_with_the_way_out(checkpoint):
    folder, _ = checkpoint
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights only" in refusal(folder) and "save_pretrained" in refusal(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "no *.safetensors" in refusal(folder)
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert "merge" in refusal(folder)


@pytest.mark.parametrize(
    "settings",
    [
        dict(quant_method="bitsandbytes", load_in_4bit=True),
        dict(quant_method="gptq", bits=4, group_size=128),
        dict(quant_method="awq", bits=4, group_size=128, zero_point=True),
    ],
    ids=lambda s: s["quant_method"],
)
def test_a_library_of_quantised_weights_that_is_missing_is_one_line(checkpoint, settings):
    folder, _ = checkpoint
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | dict(quantization_config=settings)))
    assert "not quantised" in refusal(folder)


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "nosuch"}', '{"model_type": "t5"}'])
def test_a_config_of_no_causal_model_is_one_line(checkpoint, config):
    folder, _ = checkpoint
    (folder / "config.json").write_text(config)
    refusal(folder)
    with pytest.raises(ValueError) as e:
        describe(folder)
    assert "\n" not in str(e.value)


def test_a_device_that_is_not_here_is_one_line(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for device in ("cuda", "gpu", "cuda:1", "mps", "cpu:x"):
        said = refusal(tiny_folder, device=device)
        assert f"'{device}'" in said and said.endswith("use cpu, auto")
    assert "unknown dtype 'int8'" in refusal(tiny_folder, dtype="int8")


def test_an_unreachable_hub_is_asked_once(monkeypatch):
    asked = []

    def unreachable(url, **kw):
        asked.append(url)
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    for call in (load_model, describe):
        with pytest.raises(ValueError, match="cannot be reached .no route.$") as e:
            call("no/such-model")
        assert "\n" not in str(e.value)
    assert len(asked) == 2
    with pytest.raises(ValueError, match="no hub id"):
        load_model("what ever/i like")
    assert len(asked) == 2


def test_a_hub_that_answers_no_is_quoted(monkeypatch):
    from huggingface_hub.errors import RepositoryNotFoundError

    def unknown(url, **kw):
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unknown)
    assert "the hub knows no such model" in refusal("no/such-model")


def write_gguf(path, leave_out=()):
    "A Llama of one layer with a vocabulary of 64 characters."
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(32)
    w.add_block_count(1)
    w.add_feed_forward_length(64)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(64)
    tokens = ["<unk>", "<s>", "</s>"] + [chr(48 + i) for i in range(60)] + ["01"]
    w.add_tokenizer_model("gpt2")
    w.add_token_list(tokens)
    w.add_token_types([1] * 64)
    w.add_token_merges(["0 1"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    block = dict(
        attn_q=(32, 32),
        attn_k=(16, 32),
        attn_v=(16, 32),
        attn_output=(32, 32),
        ffn_gate=(64, 32),
        ffn_up=(64, 32),
        ffn_down=(32, 64),
        attn_norm=(32,),
        ffn_norm=(32,),
    )
    shapes = {f"blk.0.{k}.weight": v for k, v in block.items()}
    shapes |= {"token_embd.weight": (64, 32), "output.weight": (64, 32), "output_norm.weight": (32,)}
    draw = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        if name not in leave_out:
            w.add_tensor(name, torch.randn(shape, generator=draw).numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def test_a_gguf_says_once_where_its_copy_is_and_names_what_it_lacks(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BPROF_CACHE", str(tmp_path / "cache"))
    whole = write_gguf(tmp_path / "whole.gguf")
    model, _ = load_model(str(whole))
    said = [r.getMessage() for r in caplog.records if "converted" in r.getMessage()]
    assert len(said) == 1 and "whole.gguf is converted to float32, once: " in said[0]
    assert str(tmp_path / "cache") in said[0] and "kB in" in said[0]
    assert weights_hash(load_model(str(whole))[0]) == weights_hash(model)
    assert len([r for r in caplog.records if "converted" in r.getMessage()]) == 1
    lacking = write_gguf(tmp_path / "lacking.gguf", leave_out=["blk.0.ffn_up.weight"])
    assert "lacks 1 weights of the model: model.layers.0.mlp.up_proj.weight" in refusal(str(lacking))
    assert len(list((tmp_path / "cache").glob("gguf-*[0-9a-f]"))) == 1  # nothing half-made stays
    (tmp_path / "no.gguf").write_bytes(b"GGUF but not really")
    refusal(str(tmp_path / "no.gguf"))
    assert describe(str(whole)).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "phi3", "mixtral", *MANY])
def test_a_description_from_the_config_alone_is_what_the_model_has(tmp_path, kind):
    model = make(kind)
    model.config.save_pretrained(tmp_path)
    kinds = find_kinds(model)
    found = describe(tmp_path)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    for kind in ("mlp", "attention"):
        assert getattr(found, kind) == sum(k.weight.numel() for k in kinds.values() if k.kind == kind)
    assert (found.layers, found.hidden, found.vocab) == (2, 32, 99)


def test_a_description_of_eight_billion_weights_takes_none_of_them(tmp_path):
    config = dict(
        model_type="llama",
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        dtype="bfloat16",
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = describe(tmp_path)
    assert (found.parameters, found.mlp) == (8_030_261_248, 3 * 32 * 4096 * 14336)
    assert found.attention == 32 * 4096 * (4096 * 2 + 1024 * 2)
    assert (found.positions, found.dtype) == (131072, "bfloat16")
