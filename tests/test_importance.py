"Importance: closed form, finite differences, independence of batches."
import pytest, torch
import torch.nn.functional as F

from benchmark_profiling.datagen import generate
from benchmark_profiling.importance import (Scores, _GradientSum, encode_options, encode_text, importance, option_scores, ordinary_text,
                                            text_importance)
from benchmark_profiling.models import mlp_parameters

def test_closed_form_on_a_two_layer_toy():
    torch.manual_seed(0)
    W, V = torch.nn.Linear(3, 4, bias=False), torch.nn.Linear(4, 1, bias=False)
    toy, x, y = torch.nn.Sequential(W, V), torch.randn(6, 3), torch.randn(6, 1)
    with _GradientSum(dict(toy.named_parameters())) as g:
        for rows in (slice(0, 2), slice(2, 6)): (((toy(x[rows]) - y[rows]) ** 2).sum() / 6).backward()   # two batches, one mean
    r = 2 * (x @ W.weight.T @ V.weight.T - y).detach() / 6
    assert torch.allclose(g.total["0.weight"], V.weight.T @ r.T @ x, atol=1e-5)
    assert torch.allclose(g.total["1.weight"], r.T @ (x @ W.weight.T), atol=1e-5)
    assert all(p.grad is None for p in toy.parameters())

@pytest.mark.parametrize("loss_on", ["choice", "answer"])
def test_finite_differences(tiny, loss_on):
    model, tok = tiny
    model, questions = model.double(), generate("long_term_knowledge", 4, seed=3)
    params = mlp_parameters(model)
    scores = importance(model, tok, questions, loss_on=loss_on, params=params)
    encoded = [encode_options(tok, q) for q in questions]
    right = torch.tensor(questions["answer"])
    def loss():
        with torch.no_grad(): s = option_scores(model, encoded, trees=False).double()
        return (F.cross_entropy(s, right) if loss_on == "choice" else -s[range(len(right)), right].mean()).item()
    name, t = max(scores.tensors.items(), key=lambda kv: kv[1].max())
    w, j = params[name].data.view(-1), t.argmax()
    old, h = w[j].item(), 0.05
    w[j] = old * (1 + h); up = loss(); w[j] = old * (1 - h); down = loss(); w[j] = old
    assert t.view(-1)[j].item() == pytest.approx(abs(up - down) / (2 * h), rel=0.05)

def test_needed_keeps_what_removal_would_harm(tiny):
    model, tok = tiny
    questions = generate("spatial_reasoning", 6, seed=0)
    either, needed = (importance(model, tok, questions, sign=s) for s in ("either", "needed"))
    for k, t in needed.tensors.items():
        assert ((t == 0) | torch.isclose(t, either.tensors[k])).all() and 0 < t.count_nonzero() < t.numel()

def test_batches_do_not_matter(tiny):
    model, tok = tiny
    questions = generate("temporal_reasoning", 9, seed=1)
    a, b = (importance(model, tok, questions, budget=n) for n in (1, 4096))
    for k in a.tensors: assert torch.allclose(a.tensors[k], b.tensors[k], rtol=1e-3, atol=1e-9)

def test_gradients_only_where_asked_and_model_left_as_it_was(tiny):
    model, tok = tiny
    before = {k: (v.clone(), v.requires_grad) for k, v in model.named_parameters()}
    text_importance(model, encode_text(tok, ordinary_text(3, 20)))
    for k, v in model.named_parameters(): assert torch.equal(v, before[k][0]) and v.requires_grad == before[k][1] and v.grad is None

def test_nan_weights_are_named(tiny):
    model, tok = tiny
    next(iter(mlp_parameters(model).values())).data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"): importance(model, tok, generate("spatial_reasoning", 2, seed=0))

def test_the_two_halves_of_ordinary_text_are_disjoint():
    a, b = set(ordinary_text(200)), set(ordinary_text(200, held_out=True))
    assert len(a) == len(b) == 200 and not a & b

def test_scores_round_trip(tmp_path):
    s = Scores({"w": torch.rand(3, 4)}, dict(ability="x", n=2))
    s.save(tmp_path / "deep" / "s.safetensors")
    again = Scores.load(tmp_path / "deep" / "s.safetensors")
    assert torch.equal(again.tensors["w"], s.tensors["w"]) and again.meta == s.meta
