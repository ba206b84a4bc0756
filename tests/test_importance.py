"Importance: estimators against their definitions, batches, fine-tuning, what does not fit or is not finite."

import pytest, torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from benchmark_profiling import prompts as module
from benchmark_profiling.datagen import generate
from benchmark_profiling.gradients import GradientSum
from benchmark_profiling.importance import (
    ESTIMATORS,
    Scores,
    concentration,
    importance,
    ordinary_text,
    text_importance,
)
from benchmark_profiling.models import load_model, mlp_parameters, target_parameters, weights_hash
from benchmark_profiling.prompts import (
    STYLES,
    Encoded,
    answer_accuracy,
    answer_nll,
    answerability,
    choose_style,
    encode,
    encode_options,
    encode_text,
    option_scores,
    render,
)


@pytest.fixture(scope="module")
def questions():
    return list(generate("long_term_knowledge", 5, seed=3))


@pytest.fixture
def random_model(embedded):
    "Builds a tiny random model of another family with the embedded model's tokenizer."

    def make(kind, **kw):
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind, vocab_size=len(embedded[1]), bos_token_id=1, eos_token_id=2, pad_token_id=2, **kw
        )
        return AutoModelForCausalLM.from_config(config).eval(), embedded[1]

    return make


@pytest.fixture
def gpt2(random_model):
    return random_model("gpt2", n_embd=32, n_layer=2, n_head=4)


def question_gradients(model, tok, questions, params, loss_on="choice"):
    "Gradient of each question's loss by plain autograd, float64."
    for q in questions:
        options = encode_options(tok, q)
        if loss_on == "choice":
            scores = torch.stack([-torch.divide(*answer_nll(model, [o])) for o in options])[:, 0].double()
            loss = F.cross_entropy(scores[None], torch.tensor([q["answer"]]))
        else:
            gold = options[q["answer"]]
            labels = torch.tensor([gold.ids])
            if loss_on == "answer":
                labels[0, : gold.start] = -100
            loss = model(input_ids=torch.tensor([gold.ids]), labels=labels).loss
        yield dict(zip(params, torch.autograd.grad(loss, params.values())))


def test_closed_form_on_a_two_layer_toy():
    torch.manual_seed(0)
    W, V = torch.nn.Linear(3, 4, bias=False), torch.nn.Linear(4, 1, bias=False)
    toy, x, y = torch.nn.Sequential(W, V), torch.randn(6, 3), torch.randn(6, 1)
    with GradientSum(dict(toy.named_parameters())) as g:
        for rows in (slice(0, 2), slice(2, 6)):
            (((toy(x[rows]) - y[rows]) ** 2).sum() / 6).backward()  # two batches, one mean
    r = 2 * (x @ W.weight.T @ V.weight.T - y).detach() / 6
    assert torch.allclose(g.total["0.weight"], V.weight.T @ r.T @ x, atol=1e-5)
    assert torch.allclose(g.total["1.weight"], r.T @ (x @ W.weight.T), atol=1e-5)
    assert all(p.grad is None for p in toy.parameters())


@pytest.mark.parametrize("family", ["tiny", "gpt2"])
@pytest.mark.parametrize(
    "estimator, loss_on",
    [
        ("taylor", "choice"),
        ("taylor", "answer"),
        ("taylor", "sequence"),
        ("taylor_abs", "choice"),
        ("taylor_abs", "sequence"),
        ("fisher", "choice"),
        ("fisher", "answer"),
    ],
)
def test_gradient_estimators_are_their_definitions(request, questions, family, estimator, loss_on):
    model, tok = request.getfixturevalue(family)
    model = model.double()
    params = target_parameters(model, "all")
    single = list(question_gradients(model, tok, questions, params, loss_on))
    found = importance(model, tok, questions, loss_on=loss_on, estimator=estimator, params=params)
    for k, p in params.items():
        each = torch.stack([g[k] for g in single]) * p.detach()
        want = {
            "taylor": each.mean(0).abs(),
            "taylor_abs": each.abs().mean(0),
            "fisher": each.square().mean(0),
        }[estimator]
        assert found.tensors[k].dtype == torch.float32
        assert torch.allclose(found.tensors[k].double(), want, rtol=1e-4, atol=1e-4 * want.max().item()), k
    assert found.meta["estimator"] == estimator and found.meta["n"] == len(questions)
    assert found.meta["model_numel"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("loss_on", ["answer", "sequence"])
@pytest.mark.parametrize("family", ["tiny", "gpt2"])
def test_wanda_is_weight_times_norm_of_its_input(request, questions, family, loss_on):
    model, tok = request.getfixturevalue(family)
    name = {"tiny": "model.layers.1.mlp.down_proj", "gpt2": "transformer.h.1.mlp.c_proj"}[family]
    owner, inputs = model.get_submodule(name), []
    hook = owner.register_forward_pre_hook(lambda m, args: inputs.append(args[0][0]))
    scored = []
    for q in questions:
        gold = encode_options(tok, q)[q["answer"]]
        start = 1 if loss_on == "sequence" else gold.start
        with torch.no_grad():
            model(torch.tensor([gold.ids]))
        scored.append(inputs[-1][start - 1 : len(gold.ids) - 1])
    hook.remove()
    norm, W = torch.cat(scored).norm(dim=0), owner.weight.detach().abs()
    want = W * (norm[None] if family == "tiny" else norm[:, None])  # Linear is (out, in), Conv1D is (in, out)
    for budget in (1, 4096):
        found = importance(model, tok, questions, loss_on=loss_on, estimator="wanda", budget=budget)
        assert torch.allclose(found.tensors[name + ".weight"], want, rtol=1e-4)


def test_wanda_refuses_experts_in_one_tensor(random_model, questions):
    model, tok = random_model(
        "mixtral",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    with pytest.raises(ValueError, match="wanda.*experts.gate_up_proj is a 3-D weight"):
        importance(model, tok, questions, estimator="wanda")
    assert importance(model, tok, questions, estimator="taylor_abs").numel  # gradients are no problem


def test_magnitude_needs_no_data(tiny):
    model, tok = tiny
    found = importance(model, tok, None, estimator="magnitude")
    for k, p in mlp_parameters(model).items():
        assert torch.equal(found.tensors[k], p.detach().abs())


def test_tied_weights_are_counted_once(gpt2):
    model, tok = gpt2
    assert model.lm_head.weight is model.transformer.wte.weight
    numel = importance(model, tok, None, estimator="magnitude").meta["model_numel"]
    assert numel == sum(
        p.numel() for p in {id(p): p for p in model.state_dict(keep_vars=True).values()}.values()
    )


@pytest.mark.parametrize("loss_on", ["choice", "answer"])
def test_finite_differences(tiny, questions, loss_on):
    model, tok = tiny
    model, params = model.double(), mlp_parameters(model)
    scores = importance(model, tok, questions, loss_on=loss_on, params=params)
    encoded = [encode_options(tok, q) for q in questions]
    right = torch.tensor([q["answer"] for q in questions])

    def loss():
        with torch.no_grad():
            s = option_scores(model, encoded, trees=False).double()
        return (
            F.cross_entropy(s, right) if loss_on == "choice" else -s[range(len(right)), right].mean()
        ).item()

    name, t = max(scores.tensors.items(), key=lambda kv: kv[1].max())
    w, j = params[name].data.view(-1), t.argmax()
    old, h = w[j].item(), 0.05
    w[j] = old * (1 + h)
    up = loss()
    w[j] = old * (1 - h)
    down = loss()
    w[j] = old
    assert t.view(-1)[j].item() == pytest.approx(abs(up - down) / (2 * h), rel=0.05)


def test_needed_keeps_what_removal_would_harm(tiny, questions):
    model, tok = tiny
    either, needed = (importance(model, tok, questions, sign=s) for s in ("either", "needed"))
    for k, t in needed.tensors.items():
        assert ((t == 0) | torch.isclose(t, either.tensors[k])).all() and 0 < t.count_nonzero() < t.numel()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_batches_do_not_matter_and_runs_repeat(tiny, estimator):
    model, tok = tiny
    questions = generate("temporal_reasoning", 9, seed=1)
    a, b, again = (importance(model, tok, questions, estimator=estimator, budget=n) for n in (1, 4096, 4096))
    for k in a.tensors:
        assert torch.equal(b.tensors[k], again.tensors[k])
        assert torch.allclose(a.tensors[k], b.tensors[k], rtol=1e-3, atol=1e-5 * b.tensors[k].max().item())


def test_gradients_only_where_asked_and_model_left_as_it_was(tiny):
    model, tok = tiny
    before = {k: (v.clone(), v.requires_grad) for k, v in model.named_parameters()}
    for e in ESTIMATORS:
        text_importance(model, encode_text(tok, ordinary_text(3, 20)), estimator=e)
    for k, v in model.named_parameters():
        assert torch.equal(v, before[k][0]) and v.requires_grad == before[k][1] and v.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finetune_restores_every_bit(tiny, questions, dtype):
    model, tok = tiny
    model = model.to(dtype)
    before, plain = weights_hash(model), importance(model, tok, questions)
    tuned = importance(model, tok, questions, finetune=dict(steps=4, lr=1e-2))
    assert weights_hash(model) == before and all(p.grad is None for p in model.parameters())
    assert tuned.meta["loss"] < 0.9 * plain.meta["loss"]  # it did learn on the way
    assert tuned.meta["finetune"] == dict(steps=4, lr=1e-2) and not plain.meta["finetune"]


def test_finetune_restores_after_an_exception(tiny, questions, monkeypatch):
    model, tok = tiny
    before, seen, step = weights_hash(model), [], torch.optim.AdamW.step

    def fails(self, *args):
        step(self, *args)
        seen.append(weights_hash(model))
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", fails)
    with pytest.raises(KeyboardInterrupt):
        importance(model, tok, questions, finetune=dict(steps=2, lr=1e-2))
    assert weights_hash(model) == before != seen[0]


def test_finetune_that_does_not_move_is_plain_taylor(tiny):
    model, tok = tiny
    questions = generate("spatial_reasoning", 16, seed=0)
    plain, still = importance(model, tok, questions), importance(model, tok, questions, finetune=dict(lr=0.0))
    assert still.meta["finetune"]["steps"] == 2
    for k, t in plain.tensors.items():
        assert torch.allclose(t, still.tensors[k], rtol=1e-3, atol=1e-5 * t.max().item())


@pytest.mark.parametrize(
    "wrong, says",
    [
        (dict(loss_on="prompt"), "unknown loss 'prompt'"),
        (dict(sign="negative"), "unknown sign 'negative'"),
        (dict(style="essay"), "'essay'"),
        (dict(estimator="hessian"), "unknown estimator 'hessian'"),
        (dict(sign="needed", estimator="fisher"), "not with fisher"),
        (dict(finetune=True, estimator="wanda"), "not with wanda"),
        (dict(finetune=dict(epochs=3)), "'epochs'; use steps and lr"),
        (dict(params={"w": torch.nn.Parameter(torch.ones(2, 2))}), "w is no weight of this model"),
    ],
)
def test_bad_settings_are_one_clear_line(tiny, questions, wrong, says):
    with pytest.raises(ValueError, match=says) as e:
        importance(*tiny, questions, **wrong)
    assert "\n" not in str(e.value)


def test_an_empty_set_is_an_error(tiny):
    with pytest.raises(ValueError, match="empty"):
        importance(*tiny, [])
    with pytest.raises(ValueError, match="empty"):
        text_importance(tiny[0], [])


def test_what_does_not_fit_is_left_out_and_counted(tiny, questions):
    model, tok = tiny
    model.config.max_position_embeddings = 100
    long = [dict(q, id=f"long-{i}", context="word " * 200) for i, q in enumerate(questions[:2])]
    with pytest.warns(
        UserWarning,
        match="2 of 7 texts are longer than the model's 100 tokens and left out; the first is long-0",
    ) as w:
        some = importance(model, tok, [long[0], *questions, long[1]])
    assert (
        len(w) == 1
        and some.meta["left_out"] == dict(number=2, first=["long-0", "long-1"])
        and some.meta["n"] == 5
    )
    fit = importance(model, tok, questions)
    assert fit.meta["left_out"] == dict(number=0, first=[]) and all(
        torch.equal(t, some.tensors[k]) for k, t in fit.tensors.items()
    )
    with pytest.warns(UserWarning, match="left out"):
        assert answer_accuracy(model, tok, [*long, *questions])["n"] == 5
    with pytest.raises(ValueError, match="all 2 texts are longer"):
        importance(model, tok, long)


@pytest.mark.parametrize("estimator", ["taylor", "fisher", "wanda"])
def test_a_nan_weight_is_named_with_the_question(tiny, questions, estimator):
    model, tok = tiny
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(
        ValueError,
        match=r"question \S+ is not finite; the first such value comes out of model.layers.1.mlp.up_proj",
    ) as e:
        importance(model, tok, questions, estimator=estimator)
    assert any(q["id"] in str(e.value) for q in questions)


def test_an_infinite_gradient_names_question_and_layer(tiny, questions):
    model, tok = tiny
    model.eval()
    bad, word = questions[3]["id"], encode_options(tok, questions[3])[0].ids
    p, seen = model.model.layers[0].mlp.gate_proj.weight, {}
    model.model.embed_tokens.register_forward_hook(lambda m, args, out: seen.update(ids=args[0]))
    p.register_hook(
        lambda g: g * float("inf") if (seen["ids"][:, :8] == torch.tensor(word[:8])).all(1).any() else g
    )
    for budget in (1, 4096):
        with pytest.raises(
            ValueError,
            match=f"gradient of question {bad} is not finite at model.layers.0.mlp.gate_proj.weight",
        ):
            importance(model, tok, questions, budget=budget)


@pytest.mark.parametrize("trees", [True, False])
def test_scores_that_are_not_finite_are_named_and_not_counted(tiny, questions, monkeypatch, trees):
    "argmax returns the first NaN: a model that overflows would be right wherever option 0 is."
    model, tok = tiny
    if not trees:
        monkeypatch.setattr(module, "tree_fault", lambda model: "no trees")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    for f in (answer_accuracy, choose_style, answerability):
        with pytest.raises(ValueError, match=f"question {questions[0]['id'][:4]}.*not finite.*float32"):
            f(model, tok, questions)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            dict(questions="spatial_reasoning"),
            r"not 'spatial_reasoning'; use questions=generate\('spatial_reasoning', 100\)",
        ),
        (dict(questions=["What?"]), "row 0 of the questions is a str, not a dict"),
        (dict(questions=[dict(id="a", question="?")]), "row 0 of the questions has no context"),
        (dict(questions=dict(id="a")), "a list of rows"),
        (dict(params="attention"), r"not 'attention'; use params=target_parameters\(model, 'attention'\)"),
        (dict(params=[1]), "not a list"),
        (dict(params={"w": torch.ones(2, 2)}), "name -> parameter"),
    ],
)
def test_wrong_types_say_what_is_expected(tiny, questions, wrong, says):
    with pytest.raises(ValueError, match=says) as e:
        importance(*tiny, **dict(dict(questions=questions), **wrong))
    assert "\n" not in str(e.value)
    if "params" in wrong:
        with pytest.raises(ValueError, match=says):
            text_importance(tiny[0], encode_text(tiny[1], ["a b c d"]), **wrong)


def test_chat_template_without_a_second_beginning(tiny, questions):
    model, tok = tiny
    q = questions[0]
    for style in STYLES:
        prompt, options = render(q, style, tok)
        want = tok.apply_chat_template(
            [dict(role="user", content=render(q, style)[0].removesuffix("\nAnswer:"))],
            add_generation_prompt=True,
        )
        e = encode_options(tok, q, style, chat=True)[1]
        assert (
            e.ids[: e.start] == list(want["input_ids"])
            and tok.decode(e.ids[e.start :])
            == options[1]
            == (q["options"] if style == "cloze" else "ABCD")[1]
        )
    assert importance(model, tok, questions, chat=True).meta["chat"]
    assert answer_accuracy(model, tok, questions, chat=True)["n"] == 5
    template, tok.chat_template = tok.chat_template, None
    try:
        with pytest.raises(ValueError, match="no chat template"):
            importance(model, tok, questions, chat=True)
    finally:
        tok.chat_template = template


def test_one_beginning_token_wherever_the_tokenizer_puts_one():
    class Tokenizer:  # puts a beginning-of-text token 1 in front, as Gemma's and Llama's do
        bos_token, bos_token_id = "^", 1

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [1] * add_special_tokens + [1 if c == "^" else ord(c) for c in text]}

    tok = Tokenizer()
    assert encode(tok, "ab", "cd") == Encoded([1, 97, 98, 99, 100], 3)
    assert encode(tok, "^ab", "cd") == Encoded([1, 97, 98, 99, 100], 3)  # a chat template brings its own
    assert encode(tok, "", "cd") == Encoded([1, 99, 100], 1)
    tok.bos_token_id = None
    tok.bos_token = None
    assert encode(tok, "ab", "cd").ids == [97, 98, 99, 100]


def test_answerability_counts_what_answers_are_right(tiny, monkeypatch):
    rows = [
        dict(id=f"{a}-{i}", ability=a, question_type=t)
        for a, t in (("x", "easy"), ("x", "hard"), ("y", "odd"))
        for i in range(20)
    ]
    share = dict(easy=1.0, hard=0.0, odd=0.25)

    def answers(model, tok, qs, style, chat):
        return {
            i: i % 20 < (20 * share[q["question_type"]] if style == "cloze" else 0) for i, q in enumerate(qs)
        }

    monkeypatch.setattr(module, "_answers", answers)
    style, table = choose_style(None, None, rows)
    assert style == "cloze" and len(table) == 2 * (3 + 2 + 1)
    row = table.set_index(["ability", "question_type", "style"]).loc
    assert (
        row["x", "easy", "cloze"].verdict == "above chance"
        and row["x", "hard", "cloze"].verdict == "below chance"
    )
    assert row["y", "odd", "cloze"].verdict == "at chance" and row["x", "all", "cloze"].accuracy == 0.5
    assert (
        row["all", "all", "cloze"].n == 60
        and row["all", "all", "cloze"].lo < 25 / 60 < row["all", "all", "cloze"].hi
    )
    assert answerability(None, None, rows, styles=["listed"])["style"].unique().tolist() == ["listed"]


def test_concentration_is_the_sorted_curve():
    torch.manual_seed(0)
    s = Scores({"a": torch.rand(50, 40) ** 4, "b": torch.cat([torch.rand(500), torch.zeros(500)])})
    values = torch.cat([t.flatten() for t in s.tensors.values()]).sort(descending=True).values.double()
    share = values.cumsum(0) / values.sum()
    curve = concentration(s)
    assert (
        curve.top.is_monotonic_increasing
        and curve.top.iloc[-1] == 1
        and curve.share.iloc[-1] == pytest.approx(1)
    )
    for top, found in zip(curve.top, curve.share):
        assert found == pytest.approx(share[round(top * len(values)) - 1].item())


def test_the_two_halves_of_ordinary_text_are_disjoint():
    a, b = set(ordinary_text(200)), set(ordinary_text(200, held_out=True))
    assert len(a) == len(b) == 200 and not a & b


def test_scores_round_trip(tmp_path):
    s = Scores({"w": torch.rand(3, 4)}, dict(ability="x", n=2))
    s.save(tmp_path / "deep" / "s.safetensors")
    again = Scores.load(tmp_path / "deep" / "s.safetensors")
    assert torch.equal(again.tensors["w"], s.tensors["w"]) and again.meta == s.meta


@pytest.mark.parametrize("kind", ["memory", "disk", "auto"])
def test_weights_that_are_not_in_memory(tiny_folder, tmp_path, kind):
    import accelerate

    plain, tok = load_model(tiny_folder)
    questions = generate("temporal_reasoning", 6, seed=0)
    if kind == "auto":
        model = AutoModelForCausalLM.from_pretrained(
            tiny_folder,
            offload_folder=tmp_path,
            device_map={
                "model.embed_tokens": "disk",
                "model.layers.0": "cpu",
                "model.layers.1": "disk",
                "model.norm": "cpu",
                "model.rotary_emb": "cpu",
                "lm_head": "disk",
            },
        )
    else:
        model, _ = load_model(tiny_folder)
        for i, layer in enumerate(model.model.layers):
            if kind == "memory":
                accelerate.cpu_offload(layer.mlp, torch.device("cpu"))
            else:
                accelerate.disk_offload(layer.mlp, str(tmp_path / str(i)), torch.device("cpu"))
    before = [dict(m.__dict__) for m in model.modules()]
    assert any(p.device.type == "meta" for p in mlp_parameters(model).values()) and weights_hash(
        model
    ) == weights_hash(plain)
    for settings in (
        dict(),
        dict(sign="needed"),
        dict(estimator="taylor_abs"),
        dict(estimator="wanda"),
        dict(estimator="magnitude"),
        dict(loss_on="sequence"),
    ):
        want, got = (
            importance(plain, tok, questions, **settings),
            importance(model, tok, questions, **settings),
        )
        assert list(got.tensors) == list(want.tensors)
        for k, t in want.tensors.items():
            torch.testing.assert_close(got.tensors[k], t, rtol=1e-4, atol=1e-4 * float(t.max()))
    assert weights_hash(model) == weights_hash(plain) and [set(m.__dict__) for m in model.modules()] == [
        set(b) for b in before
    ]
    assert all(m.__dict__.get("forward") is b.get("forward") for m, b in zip(model.modules(), before))
    with pytest.raises(ValueError, match="offloaded; finetune"):
        importance(model, tok, questions, finetune=True)
