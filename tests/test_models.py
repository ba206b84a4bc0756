"Which weights are MLP, whatever the family calls them; and where a model comes from."
import pytest, torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmark_profiling.models import (EMBEDDED, asset, convert_gguf, fingerprint, load_model, mlp_parameters,
                                        target_parameters, weights_hash)

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=99, pad_token_id=0,
             bos_token_id=1, eos_token_id=2)
KV, GPT = dict(num_key_value_heads=2), dict(n_embd=32, n_layer=2, n_head=4, vocab_size=99, bos_token_id=1, eos_token_id=2)
GATED = {"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"}
EXPECTED = {
    "llama": (SMALL | KV, GATED), "mistral": (SMALL | KV, GATED), "qwen2": (SMALL | KV, GATED),
    "gemma3_text": (SMALL | KV | dict(head_dim=8), GATED),
    "phi3": (SMALL | KV, {"mlp.gate_up_proj.weight", "mlp.down_proj.weight"}),
    "gpt2": (GPT, {"mlp.c_fc.weight", "mlp.c_proj.weight"}),
    "gpt_neox": (SMALL, {"mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight"}),
    "opt": (SMALL | dict(ffn_dim=48, word_embed_proj_dim=32), {"fc1.weight", "fc2.weight"}),
    "mixtral": (SMALL | KV | dict(num_local_experts=4), {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}),
    "falcon": (SMALL, {"mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight"}),
    "bloom": (SMALL | GPT, {"mlp.dense_h_to_4h.weight", "mlp.dense_4h_to_h.weight"}),
}

def make(kind, dtype=torch.float32):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **EXPECTED[kind][0])).to(dtype).eval()

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_exactly_the_mlp_matrices(kind, dtype):
    model = make(kind, dtype)
    found = mlp_parameters(model)
    for layer in "01": assert {n.split(f".{layer}.", 1)[1] for n in found if f".{layer}." in n} == EXPECTED[kind][1]
    own = dict(model.named_parameters())
    assert all(own[n] is p for n, p in found.items())

def test_names_do_not_matter():
    class Odd(nn.Module):   # attention called "alpha", MLP called "beta" and split over two plain matrices in the layer
        def __init__(self):
            super().__init__()
            self.alpha, self.beta, self.gamma = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 48), nn.Linear(48, 32)
        def forward(self, hidden_states):
            hidden_states = hidden_states + self.alpha(hidden_states, hidden_states, hidden_states)[0]
            return hidden_states + self.gamma(self.beta(hidden_states).relu())
    class Model(nn.Module):
        device = torch.device("cpu")
        def __init__(self):
            super().__init__(); self.words, self.stuff, self.out = nn.Embedding(99, 32), nn.ModuleList(Odd() for _ in range(2)), nn.Linear(32, 99)
        def forward(self, input_ids, use_cache=False):
            x = self.words(input_ids)
            for layer in self.stuff: x = layer(x)
            return self.out(x)
    torch.manual_seed(0)
    assert set(mlp_parameters(Model().eval())) == {f"stuff.{i}.{n}.weight" for i in (0, 1) for n in ("beta", "gamma")}

def test_nothing_to_tell_apart_is_an_error_that_shows_what_was_looked_at():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=4))
    with pytest.raises(ValueError, match=r"backbone.layers \(2 × MambaBlock\).*MambaMixer"): mlp_parameters(model.eval())

def test_embedded_model(embedded):
    model, tokenizer = embedded
    assert sum(p.numel() for p in mlp_parameters(model).values()) == 79_626_240
    ids = tokenizer("The capital of France is", return_tensors="pt").to(model.device)
    assert "Paris" in tokenizer.decode(model.generate(**ids, max_new_tokens=3, do_sample=False)[0])

def test_unloadable_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)   # no waiting for a network
    with pytest.raises(FileNotFoundError, match="assets.txt"): asset("no-such-wheel", "x")
    with pytest.raises(FileNotFoundError, match="no such GGUF"): load_model(str(tmp_path / "x.gguf"))
    with pytest.raises(FileNotFoundError, match="config.json"): load_model(str(tmp_path))
    with pytest.raises(ValueError, match="no/such-model") as e: load_model("no/such-model")
    assert "\n" not in str(e.value) and all(n in str(e.value) for n in EMBEDDED)

def test_a_damaged_file_is_not_converted(tmp_path):
    (tmp_path / "w.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ValueError, match="sha256"): convert_gguf(tmp_path / "w.gguf", sha256="0" * 64)

def test_weights_hash_sees_one_bit(tiny):
    model, _ = tiny
    before, p = weights_hash(model), next(model.parameters()).data.view(-1)
    old = p[0].item(); p[0] = -old
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
    assert {id(p) for p in both.values()} == matrices                   # no embedding, no norm, no head, no router
    second = target_parameters(model, "all", layers=[1])
    assert list(second) == [n for n in both if ".1." in n] and len(second) == len(both) // 2
    assert set(target_parameters(model, lambda name, p: name in mlp, layers=range(2))) == set(mlp)

def test_targets_that_make_no_sense():
    model = make("llama")
    with pytest.raises(ValueError, match="'heads'.*mlp, attention, all"): target_parameters(model, "heads")
    with pytest.raises(ValueError, match="no layer 2: the model has 2 layers, 0 to 1"): target_parameters(model, layers=range(1, 3))
    with pytest.raises(ValueError, match="choose no weights"): target_parameters(model, lambda name, p: "lm_head" in name)
    with pytest.raises(ValueError, match="choose no weights"): target_parameters(model, layers=[])

def test_trees_are_trusted_in_bfloat16_and_a_lost_mask_is_still_seen(monkeypatch):
    "Rounding moves single logits of the embedded model by a quarter of a standard deviation; a mask that is ignored moves all of them."
    from benchmark_profiling.models import load_model, tree_fault
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
