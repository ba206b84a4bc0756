"A model whose abilities are known: do importance, selection and ablation find them?"

import numpy as np, pytest, torch

from benchmark_profiling.ablation import ablated, pooled, random_like, select
from benchmark_profiling.ais import ais
from benchmark_profiling.importance import encode_options, importance, option_scores, text_importance
from benchmark_profiling.models import mlp_parameters, weights_hash
from benchmark_profiling.planted import planted_model


@pytest.fixture(scope="module")
def planted():
    return planted_model()


def halves(p):
    return {
        t: (q.select(range(len(q) // 2)), q.select(range(len(q) // 2, len(q))))
        for t, q in p.questions.items()
    }


def recall(p, regions):
    return np.mean([1 - p.truth[t].minus(r).size / p.truth[t].size for t, r in regions.items()])


def regions(p, estimator, contrast):
    k = p.truth["addition"].fraction
    maps = {
        t: importance(p.model, p.tokenizer, rank, loss_on="answer", estimator=estimator)
        for t, (rank, _) in halves(p).items()
    }
    all_maps = (
        pooled([*maps.values(), text_importance(p.model, p.text, estimator=estimator)]) if contrast else None
    )
    return {t: select(s, k, contrast=all_maps) for t, s in maps.items()}


@torch.no_grad()
def right(p, rows):
    best = option_scores(p.model, [encode_options(p.tokenizer, q) for q in rows]).argmax(1)
    return (best == torch.tensor(rows["answer"])).float().numpy()


def matrix(p, regions):
    tests = {t: test for t, (_, test) in halves(p).items()}
    intact, rows = {t: right(p, q) for t, q in tests.items()}, []
    for region in regions.values():
        with ablated(p.model, region):
            rows.append([ais(intact[t], right(p, q), 0.25).value for t, q in tests.items()])
    return np.array(rows)


def shape(m):
    own = np.eye(len(m), dtype=bool)
    return m[own].mean(), abs(m[~own]).mean()


def test_the_truth_is_disjoint_blocks_of_mlp_weights(planted):
    assert list(planted.truth["addition"].indices) == list(mlp_parameters(planted.model))
    sizes = {n: w.numel() for n, w in mlp_parameters(planted.model).items()}
    for t, a in planted.truth.items():
        assert a.fraction == pytest.approx(1 / 6) and all(
            len(ix) == sizes[n] / 6 for n, ix in a.indices.items()
        )
        assert all(a.jaccard(b) == 0 for u, b in planted.truth.items() if u != t)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in planted.model.modules())


def test_the_model_answers_and_its_abilities_are_where_we_planted_them(planted):
    assert all(right(planted, q).mean() > 0.85 for q in planted.questions.values())
    on, off = shape(matrix(planted, planted.truth))
    assert on >= 0.8 and off <= 0.1


def test_the_method_finds_the_planted_weights_and_the_matrix_is_diagonal(planted):
    found = regions(planted, "taylor_abs", contrast=True)
    on, off = shape(matrix(planted, found))
    assert recall(planted, found) >= 0.9 and on >= 0.8 and off <= 0.1
    assert recall(planted, regions(planted, "taylor", contrast=False)) > 0.7


def test_what_knows_nothing_of_the_task_finds_nothing(planted):
    by_size = regions(planted, "magnitude", contrast=False)
    chance = {t: random_like(r, planted.model, seed=i) for i, (t, r) in enumerate(planted.truth.items())}
    assert recall(planted, by_size) < 0.3 and recall(planted, chance) < 0.2
    on, off = shape(matrix(planted, by_size))
    assert abs(on - off) < 0.01  # one and the same region for every task


def test_training_is_deterministic_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    a, b, c = planted_model(steps=3), planted_model(steps=3), planted_model(seed=1, steps=3)
    assert weights_hash(a.model) == weights_hash(b.model) != weights_hash(c.model)
    assert torch.equal(torch.get_rng_state(), before) and a.questions["lookup"][0] == b.questions["lookup"][0]
