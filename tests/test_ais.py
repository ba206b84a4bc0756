"AIS, intervals, tests and profiles on hand-made outcomes"

import subprocess
import sys

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import pytest

from benchmark_profiling.ais import COLUMNS, Profile, _more, ais, more_items, profile
from benchmark_profiling.comparison import MIN_CELLS, compare, rank_correlation
from benchmark_profiling.intervals import above_chance, between_regions, bh, fieller, items_needed, moments
from benchmark_profiling.states import StateKind
from benchmark_profiling.words import KEY, flags

INTACT, WITHOUT = [1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 1, 0]


TWO = ("deductive_reasoning", "spatial_reasoning")


def outcomes(n=60, seed=0, tasks=("alpha", "beta"), states=TWO, randoms=2, hurt=0.8, everywhere=0, apart=0):
    "Simulated: the first ability is hurt, the rest jitter; `everywhere` hurts all, `apart` each differently"
    rng, rows = np.random.default_rng(seed), []
    for t in tasks:
        z = rng.normal(1.2, 1, n)
        for s in ["intact", *states, *(f"random-{i}" for i in range(randoms))]:
            jitter = rng.normal(0, 0.3, n) - everywhere - apart * rng.normal()
            v = z - hurt * (s == states[0]) + (s != "intact") * jitter
            ids = [f"{t}/{i}" for i in range(n)]
            scores = dict(score=(v > 0.5) * 1.0, chance=0.25, p_gold=1 / (1 + 3 * np.exp(-v)))
            rows.append(pd.DataFrame(dict(state=s, task=t, item_id=ids) | scores))
    return pd.concat(rows, ignore_index=True)


# ---- one score


def test_eight_items_by_hand():
    r = ais(INTACT, WITHOUT, 1 / 4)
    assert (r.value, r.base, r.ablated, r.chance, r.n, r.status) == (0.5, 0.75, 0.5, 0.25, 8, "too few")
    assert np.isnan([r.lo, r.hi, r.p]).all()


def test_per_item_chance():
    x, y = np.tile(INTACT, 10), np.tile(WITHOUT, 10)
    c = np.tile([0.5] * 4 + [0.25] * 4, 10)
    assert ais(x, y, c).value == pytest.approx((0.75 - 0.5) / (0.75 - 0.375))


def test_better_without_is_negative():
    x = np.r_[np.ones(60), np.zeros(40)]
    y = np.r_[np.ones(90), np.zeros(10)]
    r = ais(x, y, 0.25)
    assert r.value == pytest.approx(-0.3 / 0.35) and r.hi < 0 and r.p < 1e-6


def test_nothing_changes():
    x = np.tile(INTACT, 10)
    for scores in (x, 0.5 * x + 0.2):
        r = ais(scores, scores, 0.25)
        assert (r.value, r.p, r.status) == (0, 1, "ok") and r.lo <= 0 <= r.hi
    assert ais(x, x, 0.25).lo < 0 < ais(x, x, 0.25).hi  # fifty equal answers are no proof of "exactly 0"


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_equals_statsmodels(seed):
    from statsmodels.stats.contingency_tables import mcnemar

    rng = np.random.default_rng(seed)
    x = (rng.random(80) < 0.7) * 1
    y = np.where(rng.random(80) < 0.2, 1 - x, x)
    table = [[((x == a) & (y == b)).sum() for b in (1, 0)] for a in (1, 0)]
    assert ais(x, y, 0.25).p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_continuous_p_is_the_paired_t_test_and_agrees_with_the_interval():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    for shift in (0, 0.02, 0.03, 0.04, 0.1):
        x = rng.beta(4, 3, 70)
        y = np.clip(x - shift + rng.normal(0, 0.1, 70), 0, 1)
        r = ais(x, y, 0.25)
        assert r.p == pytest.approx(ttest_rel(x, y).pvalue)
        assert (r.p < 0.05) == (r.lo > 0 or r.hi < 0)


def test_fieller_ends_are_where_the_t_test_turns():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(1)
    x = rng.beta(4, 3, 50)
    y = x - 0.1 + rng.normal(0, 0.1, 50)
    r = ais(x, y, 0.25)
    for end in (r.lo, r.hi):
        assert ttest_1samp((x - y) - end * (x - 0.25), 0).pvalue == pytest.approx(0.05)


def test_bootstrap_is_seeded_and_close_to_fieller():
    rng = np.random.default_rng(2)
    x = rng.beta(4, 3, 300)
    y = x - 0.05 + rng.normal(0, 0.1, 300)
    a, b, c = (ais(x, y, 0.25, interval="bootstrap", seed=s) for s in (0, 0, 1))
    assert a == b and a != c
    f = ais(x, y, 0.25)
    assert abs(a.lo - f.lo) < 0.02 and abs(a.hi - f.hi) < 0.02


def test_guessing_is_not_profiled():
    rng = np.random.default_rng(0)
    status = [ais(rng.random(100) < 0.25, rng.random(100) < 0.25, 0.25).status for _ in range(400)]
    assert status.count("not profiled") >= 0.95 * 400
    r = ais(np.zeros(50), np.zeros(50), 0)
    assert r.status == "not profiled" and np.isnan([r.value, r.lo, r.hi, r.p]).all()


@pytest.mark.parametrize(
    "args, words",
    [
        (([1, 0], [1, 0, 1], 0.25), "same items: 2, 3 and 2"),
        (([], [], 0.25), "no items"),
        (([1, np.nan], [1, 0], 0.25), "intact has 1"),
        (([1, 0], [1, 0], 1.0), "chance must lie in"),
        (([1, 0], [1, 0], -0.1), "chance must lie in"),
        (([1, 0], [1, 0], [0.25]), "2, 2 and 1"),
        (([[1]], [[0]], 0.25), "one number per item"),
    ],
)
def test_ais_refuses(args, words):
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        ais(*args)


def test_items_needed_grows_with_the_square():
    x, y = np.tile(INTACT, 20), np.tile(WITHOUT, 20)
    a, b = items_needed(x, y, 0.25, ais=0.1), items_needed(x, y, 0.25, ais=0.05)
    assert isinstance(a, int) and 3.9 < b / a < 4.1
    with pytest.raises(ValueError, match="not above chance"):
        items_needed(1 - x, y, 0.25)


# ---- the table


def test_columns_and_cells():
    df = outcomes()
    p = profile(df, model="toy")
    assert list(p.frame.columns) == list(p.controls.columns) == COLUMNS
    assert set(p.frame.ability) == {"deductive_reasoning", "spatial_reasoning"}
    assert set(p.controls.ability) == {"random-0", "random-1"}
    assert p.matrix().shape == (2, 2) and (p.frame.metric == "p_gold").all()

    def pick(s):
        return df[(df.task == "alpha") & (df.state == s)].p_gold.to_numpy()

    row = p.frame[(p.frame.benchmark == "alpha") & (p.frame.ability == "deductive_reasoning")].iloc[0]
    one = ais(pick("intact"), pick("deductive_reasoning"), 0.25)
    assert (row.ais, row.lo, row.hi, row.p) == pytest.approx((one.value, one.lo, one.hi, one.p))
    rand = np.mean([ais(pick("intact"), pick(f"random-{i}"), 0.25).value for i in range(2)])
    assert row.specific == pytest.approx(row.ais - rand) and row.specific_lo < row.specific < row.specific_hi


def test_bh_equals_statsmodels():
    from statsmodels.stats.multitest import multipletests

    f = profile(outcomes()).frame
    assert f.q.to_numpy() == pytest.approx(multipletests(f.p, method="fdr_bh")[1])
    p = np.random.default_rng(0).random(50)
    assert bh(np.r_[p, np.nan])[:50] == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_order_of_rows_does_not_matter():
    df = outcomes()
    for interval in ("fieller", "bootstrap"):
        a, b = (profile(d, interval=interval, resamples=500) for d in (df, df.sample(frac=1, random_state=1)))
        pd.testing.assert_frame_equal(a.frame, b.frame)
        pd.testing.assert_frame_equal(a.controls, b.controls)


def test_pairing_matters():
    "Breaking the pairs (same scores, other items) keeps the value and widens the interval"
    rng = np.random.default_rng(0)
    x = rng.beta(4, 3, 200)
    y = x - 0.03 + rng.normal(0, 0.02, 200)
    a, b = ais(x, y, 0.25), ais(x, rng.permutation(y), 0.25)
    assert a.value == pytest.approx(b.value) and b.hi - b.lo > 3 * (a.hi - a.lo)


def test_score_is_used_where_p_gold_is_missing():
    df = outcomes()
    df.loc[df.task == "beta", "p_gold"] = np.nan
    f = profile(df).frame.set_index("benchmark").metric
    assert set(f["alpha"]) == {"p_gold"} and set(f["beta"]) == {"score"}
    assert set(profile(df.drop(columns="p_gold")).frame.metric) == {"score"}
    assert set(profile(df, on="score").frame.metric) == {"score"}


def test_states_must_match_item_for_item():
    df = outcomes()
    gone = (df.state == "spatial_reasoning") & df.item_id.isin([f"beta/{i}" for i in range(8)])
    with pytest.raises(ValueError) as e:
        profile(df[~gone])
    some = "beta/0, beta/1, beta/2, beta/3, beta/4, …"
    for word in ("'beta'", "'intact'", "'spatial_reasoning'", "8 differ", some):
        assert word in str(e.value)
    assert "beta/5" not in str(e.value)


def test_other_refusals():
    df = outcomes()
    for bad, words in (
        (pd.concat([df, df.head(3)]), "more than once"),
        (df[df.state != "intact"], "state 'intact'"),
        (df.head(0), "empty"),
        (df.drop(columns="score"), "score"),
        (df[df.state == "intact"], "beside 'intact'"),
        (df.assign(score=np.nan, p_gold=np.nan), "finite|missing"),
    ):
        with pytest.raises(ValueError, match=words):
            profile(bad)
    with pytest.raises(ValueError, match="p_gold"):
        profile(df, on="loglik")
    with pytest.raises(ValueError, match="fieller"):
        profile(df, interval="wald")


def test_known_effect_is_found_and_random_regions_are_not():
    p = profile(outcomes(n=300, hurt=1.0))
    f = p.frame.set_index("ability")
    assert (f.q["deductive_reasoning"] < 1e-6).all() and (f.specific_lo["deductive_reasoning"] > 0).all()
    assert (p.controls.ais.abs() < 0.1).all()


def test_no_random_regions():
    p = profile(outcomes(randoms=0))
    assert p.frame.specific.isna().all() and not len(p.controls)
    assert "No random regions" in p.summary()
    p.heatmap()
    p.diagnose()


ODD = {
    "too few": lambda: outcomes(n=6),
    "one cell": lambda: outcomes(tasks=("only",), states=("one",)),
    "at chance": lambda: outcomes().assign(chance=0.9),
    "one random": lambda: outcomes(randoms=1),
    "a cell missing": lambda: outcomes().query('not (task == "beta" and state == "spatial_reasoning")'),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_words_and_pictures_of_odd_profiles(make, tmp_path):
    import matplotlib.pyplot as plt

    p = profile(make(), model="toy")
    assert p.summary() and repr(p) and "<table" in p._repr_html_()
    assert set(p.diagnose().columns) == {"signature", "found", "evidence", "advice"}
    p.heatmap().figure.savefig(tmp_path / "h.png")
    p.ribbons().figure.savefig(tmp_path / "r.png")
    p.heatmap(plt.subplots()[1])
    p.ribbons(plt.subplots()[1])
    plt.close("all")


def collapsed():
    df = outcomes(n=200)
    x = df.state != "intact"
    df.loc[x, "p_gold"] = 0.25 + 0.01 * np.random.default_rng(0).normal(size=x.sum())
    return df


def repeated(shift=0.2):
    df = outcomes(n=200, hurt=0.6)
    again = df[df.state == "intact"]
    return pd.concat([df, again.assign(state="intact-2", p_gold=(again.p_gold - shift).clip(0))])


MANY = ("deductive_reasoning", "spatial_reasoning", "temporal_reasoning", "contextual_recall")
ILL = {
    "all about 0": lambda: outcomes(n=1500, hurt=0),
    "collapse": collapsed,
    "the same for every ability": lambda: outcomes(n=200, hurt=0, everywhere=1, states=MANY),
    "negative almost everywhere": lambda: outcomes(n=300, hurt=-1, everywhere=-1, randoms=0, states=MANY),
    "random regions do as much": lambda: outcomes(n=300, hurt=0.1, everywhere=1),
    "numerical noise": repeated,
    "benchmarks at chance": lambda: outcomes().assign(chance=0.9),
}


@pytest.mark.parametrize("name", ILL)
def test_every_illness_is_found_where_it_is_and_not_where_it_is_not(name):
    ill, well = profile(ILL[name]()).diagnose(), profile(repeated(0)).diagnose()
    row = ill[ill.signature == name].iloc[0]
    assert row.found and row.evidence and row.advice, ill
    assert not well.found.any() and set(well.signature) == set(ILL) and (well.advice == "").all(), well


def test_too_few_items_are_not_taken_for_too_few_weights():
    found = [profile(outcomes(n=n, hurt=0)).diagnose().set_index("signature") for n in (40, 1500)]
    few, many = (f.advice["all about 0"] for f in found)
    assert "more items" in few and "larger k" in many


def test_heat_map_without_its_colours():
    "Frames, bold numbers, hatches: what is known can be read in black and white"
    from matplotlib.colors import to_hex
    from matplotlib.patches import Rectangle

    df = outcomes(n=300, randoms=5, tasks=("alpha", "beta", "gamma"))
    guess = df.task == "gamma"
    df.loc[guess, "p_gold"] = np.random.default_rng(0).dirichlet(np.full(4, 0.8), guess.sum())[:, 0]
    p = profile(df)
    ax = p.heatmap()
    ok, apart, specific = flags(p.frame, 0.05)
    assert 0 < specific.sum() <= apart.sum() < ok.sum() < len(p.frame)
    boxes = [b for b in ax.patches if isinstance(b, Rectangle)]
    assert sum(b.get_hatch() is not None for b in boxes) == (~ok).sum() + 1  # and one of each in the key
    framed = [not b.get_fill() or to_hex(b.get_edgecolor()) == "#000000" for b in boxes]
    assert sum(framed) == specific.sum() + 1
    signed = [t for t in ax.texts if t.get_text().startswith(("+", "−", "0.00"))]
    assert sum(t.get_fontweight() == "bold" for t in signed) == apart.sum() + 2
    text = repr(p)
    assert text.count("not prof.") == (~ok).sum() and text.split("** apart")[0].count("**") == specific.sum()


def test_noise_floor_is_a_control():
    p = profile(repeated(0))
    assert set(p.controls.ability) == {"random-0", "random-1", "intact-2"}
    assert "intact-2" not in set(p.frame.ability)
    words = p.summary().replace(" to 0.0000", "")
    assert "Noise floor: the intact model, evaluated again, has AIS 0.0000." in words
    assert any("noise floor" in t.get_text() for t in p.heatmap().texts)


# ---- promises, on simulated outcomes whose truth is known


def simulated(kind, target, m=100_000):
    "A large population: intact and ablated scores and the true AIS"
    from scipy.optimize import brentq

    rng = np.random.default_rng(5)
    z, jit, luck = rng.normal(1.2, 1.3, m), rng.normal(0, 1, m), 0.5 * rng.logistic(0, 1, m)

    def score(v):
        return 1 / (1 + 3 * np.exp(-v)) if kind == "p_gold" else (v + luck > 0) * 1.0

    x = score(z)
    lost = target * (x.mean() - 0.25)
    y = score(z + jit + brentq(lambda t: score(z + jit + t).mean() - x.mean() + lost, -16, 6))
    return x, y, (x - y).mean() / (x.mean() - 0.25)


@pytest.mark.parametrize("kind", ["p_gold", "right/wrong"])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_intervals_cover(kind, n):
    for target in (-0.1, 0, 0.2, 0.8):
        x, y, true = simulated(kind, target)
        at = np.random.default_rng(n).integers(0, len(x), (n, 2000))
        X, D = x[at], x[at] - y[at]
        m = moments(X, D, 0.25, kind != "p_gold")
        ok, (lo, hi) = above_chance(m, 0.05), fieller(m, 0.05)
        one = ais(X[:, 0], X[:, 0] - D[:, 0], 0.25)
        assert (one.lo, one.hi) == pytest.approx((lo[0], hi[0]))  # the columns are what `ais` gives
        assert 0.93 <= ((lo <= true) & (true <= hi))[ok].mean() <= 0.98, (target, n)


@pytest.mark.parametrize("kind", ["p_gold", "right/wrong"])
def test_stopping_at_a_width_keeps_coverage(kind):
    for target in (0, 0.8):
        x, y, true = simulated(kind, target)
        rng = np.random.default_rng(0)
        X, D, ends = np.empty((0, 1000)), np.empty((0, 1000)), []
        while X.shape[1]:
            at = rng.integers(0, len(x), (25 if len(X) else 100, X.shape[1]))
            X, D = np.vstack([X, x[at]]), np.vstack([D, x[at] - y[at]])
            lo, hi = fieller(moments(X, D, 0.25, kind != "p_gold"), 0.05)
            stop = _more(len(X), (hi - lo) / 2, 0.1) == 0
            ends += [a <= true <= b for a, b in zip(lo[stop], hi[stop])]
            X, D = X[:, ~stop], D[:, ~stop]
        assert len(ends) == 1000 and np.mean(ends) > 0.925, (target, np.mean(ends))


def test_false_discoveries_stay_under_their_level():
    false = found = 0
    for seed in range(12):
        f = profile(outcomes(n=100, seed=seed, randoms=0, states=("hit", *(f"a{i}" for i in range(9))))).frame
        told = f[f.q < 0.05]
        false += (told.ability != "hit").sum()
        found += (told.ability == "hit").sum()
    assert found == 24
    assert false / (false + found) < 0.1  # the jitter is not quite harmless: it costs a little on p_gold


@pytest.mark.parametrize("randoms", [3, 5, 10])
def test_random_regions_as_abilities_are_not_significant(randoms):
    "Ten random regions as if they were abilities: told apart from 0, but not from the random regions"
    apart, specific = [], []
    for seed in range(4):
        df = outcomes(
            n=400,
            seed=seed,
            states=[f"a{i}" for i in range(10)],
            randoms=randoms,
            hurt=0,
            everywhere=0.3,
            apart=0.15,
            tasks=("alpha", "beta", "gamma"),
        )
        _, a, b = flags(profile(df).frame, 0.05)
        apart += list(a)
        specific += list(b)
    assert np.mean(apart) > 0.8 and np.mean(specific) <= 0.05


def test_a_specific_effect_is_told():
    p = profile(outcomes(n=400, randoms=5, hurt=1, everywhere=0.3, apart=0.05))
    f = p.frame.set_index("ability")
    _, _, specific = flags(f, 0.05)
    both = bh(np.maximum(p.frame.p, p.frame.specific_p))
    assert p.frame.specific_q.to_numpy() == pytest.approx(both) and (p.frame.specific_q >= p.frame.q).all()
    assert specific["deductive_reasoning"].all() and not specific["spatial_reasoning"].any()


def test_spread_of_random_regions_is_the_anova_of_items_and_regions():
    from statsmodels.stats.anova import AnovaRM

    df = outcomes(n=40, randoms=4, apart=0.3, tasks=("alpha",))
    df = df[df.state.str.startswith("random-")]
    R = df.pivot(index="item_id", columns="state", values="p_gold")
    spread, free = between_regions({"alpha": R})
    tau2, noise = spread["alpha"]
    F = AnovaRM(df, "p_gold", "item_id", within=["state"]).fit().anova_table["F Value"].iloc[0]
    assert R.mean().var() / noise == pytest.approx(F)
    assert tau2 == pytest.approx((F - 1) * noise) and free == pytest.approx(3)


def test_one_random_region_gives_a_value_without_interval():
    p = profile(outcomes(randoms=1))
    f = p.frame
    assert f.specific.notna().all() and f[["specific_lo", "specific_hi", "specific_p"]].isna().all(axis=None)
    assert not flags(f, 0.05)[2].any() and "take five" in p.summary()
    assert p.controls.specific.isna().all()  # a random region is what one compares with


# ---- two profiles


def pair(hurt=0.8, n=60, **kw):
    "Two profiles of the same model and items; the second hurts its first ability less, or not at all"
    df = outcomes(n=n, **kw)
    other = outcomes(n=n, hurt=hurt, **kw)
    return profile(df, model="one"), profile(other, model="two")


def test_compare_with_itself_finds_nothing():
    a, b = pair(states=[f"a{i}" for i in range(5)])
    c = a.compare(b)
    assert (c.frame["diff"] == 0).all() and (c.frame.hi < 1e-6).all() and (c.frame.p == 1).all()
    assert c.rho[0] == pytest.approx(1) and (c.frame.shared == 60).all()


def test_compare_is_the_paired_bootstrap():
    a, b = pair(hurt=0.5, n=300)
    row = a.compare(b).frame.iloc[0]
    x, y, w, u = (
        p.outcomes.query('task == "alpha" and state == @s').p_gold.to_numpy()
        for p, s in ((a, "intact"), (a, "deductive_reasoning"), (b, "intact"), (b, "deductive_reasoning"))
    )
    W = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), 20_000) / 300
    r = (W @ (x - y)) / (W @ x - 0.25) - (W @ (w - u)) / (W @ w - 0.25)
    assert row["diff"] == pytest.approx(
        (x - y).mean() / (x.mean() - 0.25) - (w - u).mean() / (w.mean() - 0.25)
    )
    assert (row.lo, row.hi) == pytest.approx(
        tuple(np.quantile(r, [0.025, 0.975])), abs=0.1 * (row.hi - row.lo)
    )
    assert row.q < 0.05 and (a.compare(b).frame.query('ability == "spatial_reasoning"').q == 1).all()


def test_compare_pairs_what_items_are_shared():
    a, b = pair(hurt=0.5, n=200)
    f = b.outcomes
    late = f.item_id.str.split("/").str[1].astype(int) >= 100
    half = profile(f.assign(item_id=f.item_id + np.where(late, "x", "")))
    moved = profile(f.assign(item_id=f.item_id + "x"))
    bare = Profile(b.frame, b.controls, b.meta)
    found = {k: a.compare(v) for k, v in dict(all=b, half=half, none=moved, bare=bare).items()}
    width = {k: (c.frame.hi - c.frame.lo).mean() for k, c in found.items()}
    assert width["all"] < width["half"] and width["all"] < width["none"]
    assert width["none"] == pytest.approx(width["bare"], rel=0.05)
    assert set(found["half"].frame.shared) == {100}
    assert set(found["none"].frame.shared) == set(found["bare"].frame.shared) == {0}
    for k, words in dict(half="in part", bare="independent", all="paired").items():
        assert words in found[k].summary()


def test_compare_covers_the_truth():
    "Two sets of questions whose regions are equally bad: at most about one interval in twenty leaves out 0"
    out = []
    for seed in range(6):
        df = outcomes(
            n=120, seed=seed, states=[*"abcdefgh"], hurt=0, everywhere=0.4, tasks=("alpha", "beta", "gamma")
        )
        swap = df.replace({"state": dict(zip("abcdefgh", "badcfehg"))})
        f = profile(df).compare(profile(swap)).frame
        out += list((f.lo <= 0) & (0 <= f.hi))
    assert len(out) == 144 and 0.9 <= np.mean(out) <= 0.99


def test_rank_correlation():
    from scipy.stats import spearmanr

    states = [f"a{i}" for i in range(10)]
    a, b = (
        profile(outcomes(n=100, seed=s, states=states, hurt=0, everywhere=0.3, apart=0.2)) for s in (0, 1)
    )
    c = a.compare(b)
    f = c.frame
    assert c.rho[0] == pytest.approx(spearmanr(f["first"], f.second)[0])
    assert c.rho[1] < c.rho[0] < c.rho[2] and c.rho == a.compare(b).rho
    assert a.compare(a).rho[0] == pytest.approx(1)


def test_rank_correlation_interval_covers():
    "Abilities, benchmarks and cells all vary together with correlation 0.6 (Spearman 0.58)"
    rng, hit = np.random.default_rng(0), []
    C, true = np.linalg.cholesky([[1, 0.6], [0.6, 1]]), 6 / np.pi * np.arcsin(0.3)
    a, b = np.divmod(np.arange(60), 6)
    for _ in range(200):
        u, v, w = (C @ rng.normal(size=(2, k)) for k in (10, 6, 60))
        M = 0.6 * u[:, a] + 0.5 * v[:, b] + 0.6 * w
        cells = pd.DataFrame(dict(ability=a, benchmark=b, first=M[0], second=M[1]))
        _, lo, hi = rank_correlation(cells, 0.05, draws=500)
        hit.append(lo <= true <= hi)
    assert np.mean(hit) > 0.93


def test_what_compare_refuses_and_shows(tmp_path):
    import matplotlib.pyplot as plt

    a, b = pair(hurt=0)
    with pytest.raises(ValueError, match="no cell in common"):
        a.compare(profile(outcomes(tasks=("gamma",))))
    other = profile(outcomes(), on="score")
    with pytest.raises(ValueError, match="'alpha' is scored by 'p_gold'"):
        a.compare(other)
    wrong = Profile(b.frame.assign(ais=0.5), b.controls, b.meta, b.outcomes)
    with pytest.raises(ValueError, match="not those of this profile"):
        a.compare(wrong)
    c = a.compare(b)
    assert "one against two: 4 common cells" in c.summary()
    assert "deductive reasoning" in repr(c) and "<table" in c._repr_html_()
    c.plot().figure.savefig(tmp_path / "c.png")
    a.compare(profile(outcomes(), model="one")).plot(plt.subplots()[1])
    assert a.compare(profile(outcomes(), model="one")).names == ("one (1)", "one (2)")
    plt.close("all")


# ---- as many items as it takes


def test_more_items_asks_for_what_the_width_takes():
    df = outcomes(n=150)
    f = profile(df).frame
    half = ((f.hi - f.lo) / 2).groupby(f.benchmark).max()
    assert (more_items(df, half.max() + 1e-9) == 0).all()
    asks = more_items(df, 0.9 * half.max())
    assert asks[half.idxmax()] == np.ceil(150 * (1 / 0.81 - 1)) and set(asks.index) == {"alpha", "beta"}
    assert (more_items(df, 0.001) == 150).all()  # at most as many again
    assert (more_items(df.assign(chance=0.54), 0.1) == 150).all()
    assert (more_items(outcomes(n=60), 1) == 40).all()  # no look before 100 items
    anything = np.random.default_rng(0).random(len(df))
    wide = df.assign(p_gold=np.where(df.state == "random-0", anything, df.p_gold))
    pd.testing.assert_series_equal(more_items(wide, 0.05), more_items(df, 0.05))  # controls don't count


def test_more_items_refuses():
    with pytest.raises(ValueError, match="above 0"):
        more_items(outcomes(), 0)
    df = outcomes()
    controls = df[df.state.isin(["intact", "random-0"])]
    with pytest.raises(ValueError, match="no state of an ability"):
        more_items(controls, 0.05)


# ---- keeping it


def test_save_and_load(tmp_path):
    p = profile(outcomes(), model="toy")
    p.save(tmp_path / "a")
    q = Profile.load(tmp_path / "a")
    pd.testing.assert_frame_equal(p.frame, q.frame)
    pd.testing.assert_frame_equal(p.controls, q.controls)
    assert p.meta == q.meta
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == ["profile.json", "profile.parquet"]
    p.save(tmp_path / "a")  # again, over the old one
    assert q.outcomes is None
    p.outcomes.to_parquet(tmp_path / "a" / "outcomes.parquet")  # where a run leaves them
    assert (Profile.load(tmp_path / "a").compare(p).frame.shared == 60).all()
    r = profile(outcomes(randoms=0))
    r.save(tmp_path / "b")
    pd.testing.assert_frame_equal(r.frame, Profile.load(tmp_path / "b").frame)
    assert list(Profile.load(tmp_path / "b").controls.columns) == COLUMNS


def test_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no profile"):
        Profile.load(tmp_path)
    profile(outcomes()).save(tmp_path)
    data = (tmp_path / "profile.parquet").read_bytes()
    (tmp_path / "profile.parquet").write_bytes(data[:100])
    with pytest.raises(ValueError, match="again"):
        Profile.load(tmp_path)
    (tmp_path / "profile.json").write_text('{"mo')
    with pytest.raises(ValueError, match="JSON"):
        Profile.load(tmp_path)


def test_imports_without_torch():
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'torch', 'transformers', 'datasets', 'matplotlib'}: raise ImportError(name)
sys.meta_path.insert(0, Block())
import benchmark_profiling.ais as a
print(a.ais([1]*30, [1]*20 + [0]*10, .25).status)"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "ok", out.stderr


# ---- what a stranger may bring

WRONG = {
    "a path": (lambda df: "runs/b", "DataFrame"),
    "nothing": (lambda df: None, "DataFrame"),
    "a missing column": (lambda df: df.drop(columns="chance"), "columns: chance"),
    "words for scores": (lambda df: df.assign(score="right"), "numbers"),
    "scores in percent": (lambda df: df.assign(score=100 * df.score), r"\[0, 1\], got 100"),
    "a negative score": (lambda df: df.assign(p_gold=df.p_gold - 0.5), r"\[0, 1\], got -"),
    "a state without a name": (lambda df: df.assign(state=df.state.mask(df.index == 3)), "no state"),
    "an item twice": (lambda df: pd.concat([df, df.head(1)]), "more than once"),
    "a missing score": (lambda df: df.assign(score=df.score.mask(df.index == 3), p_gold=np.nan), "NaN"),
    "a missing chance": (lambda df: df.assign(chance=df.chance.mask(df.index == 3)), "not finite"),
    "a chance for each state": (
        lambda df: df.assign(chance=0.25 + 0.25 * (df.state == "random-0")),
        "chance 0.5",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_one_clear_line(name):
    spoil, words = WRONG[name]
    with pytest.raises(ValueError, match=words) as e:
        profile(spoil(outcomes()))
    assert "\n" not in str(e.value) and len(str(e.value)) < 300


def test_a_probability_that_is_missing_for_some_is_not_replaced_by_right_and_wrong():
    df = outcomes()
    df.loc[(df.state == "spatial_reasoning") & (df.task == "beta"), "p_gold"] = np.nan
    words = "'beta': p_gold is missing .* 60 of 300 rows.*'spatial_reasoning'"
    with pytest.raises(ValueError, match=words):
        profile(df)
    assert set(profile(df, on="score").frame.metric) == {"score"}


@pytest.mark.parametrize("what", ["runs/b", None, 3])
def test_compare_needs_two_profiles(what):
    p = profile(outcomes())
    with pytest.raises(ValueError, match="two profiles, got .*Profile.load"):
        p.compare(what)


def test_settings_that_mean_nothing():
    with pytest.raises(ValueError, match="'wald'"):
        profile(outcomes(n=6), interval="wald")
    with pytest.raises(ValueError, match="alpha must lie"):
        profile(outcomes(), alpha=5)
    with pytest.raises(ValueError, match="only controls"):
        profile(outcomes().query('state in ("intact", "random-0")'))


# ---- chance is what the outcomes say


def test_chance_of_two_right_options_of_three():
    df = outcomes(n=200).assign(chance=2 / 3)
    df["p_gold"] = 0.7 + 0.3 * df.p_gold
    row = profile(df).frame.query('benchmark == "alpha" and ability == "deductive_reasoning"').iloc[0]
    x, y = (df.query('task == "alpha" and state == @s').p_gold for s in ("intact", "deductive_reasoning"))
    assert row.chance == pytest.approx(2 / 3)
    assert row.ais == pytest.approx((x.mean() - y.mean()) / (x.mean() - 2 / 3))
    ratio = ((x.mean() - 1 / 4) / (x.mean() - 2 / 3)) ** 2  # the same scatter, less to lose
    high, low = (items_needed(x, y, c, ais=0.005) for c in (2 / 3, 1 / 4))
    assert high / low == pytest.approx(ratio, rel=0.01) and items_needed(x, y, 2 / 3) == row.needed


def test_chance_may_differ_between_items():
    df = outcomes(n=200)
    chance = df.item_id.str.split("/").str[1].astype(int).mod(2).map({0: 1 / 4, 1: 2 / 3})
    df = df.assign(chance=chance, p_gold=0.7 + 0.3 * df.p_gold)
    row = profile(df).frame.iloc[0]
    assert row.chance == pytest.approx((1 / 4 + 2 / 3) / 2)


# ---- families of tests, and kinds of states


def test_the_repeat_is_no_member_of_the_random_regions_family():
    df = outcomes(n=200, randoms=5, everywhere=0.1, apart=0.05)
    again = df[df.state == "intact"].assign(state="intact-2")
    alone, beside = profile(df).controls, profile(pd.concat([df, again])).controls
    random = beside[beside.ability != "intact-2"].reset_index(drop=True)
    assert len(beside) == len(alone) + 2
    pd.testing.assert_frame_equal(random, alone)


def test_what_a_state_is_for_is_asked_and_not_read_from_its_name():
    df = outcomes(n=100, randoms=3)
    names = {"random-0": "r", "random-1": "s", "random-2": "t", "deductive_reasoning": "random-9"}
    kinds = dict.fromkeys("rst", StateKind.RANDOM) | dict(intact="intact", spatial_reasoning="ability")
    named = profile(df.replace({"state": names}), kinds=kinds | {"random-9": StateKind.ABILITY})
    assert set(named.frame.ability) == {"random-9", "spatial_reasoning"}
    assert set(named.controls.ability) == {*"rst"}
    plain = profile(df)
    assert sorted(named.frame.specific) == sorted(plain.frame.specific)
    assert "3 random regions" in named.summary() and "3 random regions: range" in drawn(named.heatmap())
    with pytest.raises(ValueError, match="kinds lacks the states 'random-9'"):
        profile(df.replace({"state": names}), kinds=kinds)


def drawn(ax):
    return " ".join(t.get_text() for t in ax.texts)


# ---- words that the numbers bear out


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda df: df.assign(chance=0.9), "the intact model is not above chance: alpha, beta"),
        (
            lambda df: df[df.item_id.str.split("/").str[1].astype(int) < 10],
            "fewer than 20 items: alpha, beta",
        ),
    ],
)
def test_random_regions_that_cannot_be_judged_are_not_called_missing(spoil, why):
    words = profile(spoil(outcomes())).summary()
    assert "No random regions" not in words
    assert f"2 random regions were measured, but nowhere to be judged ({why})" in words


def test_regions_beyond_random_are_not_diagnosed_as_no_better_than_random():
    df = outcomes(n=400, randoms=5, states=MANY, hurt=0, everywhere=0.5, apart=0.02)
    hit = df.state.isin(MANY)
    df["p_gold"] = df.p_gold.mask(hit, df.p_gold / (df.p_gold + (1 - df.p_gold) * np.exp(1.0)))
    p = profile(df)
    _, apart, specific = flags(p.frame, 0.05)
    assert apart.all() and specific.all()
    assert (p.controls.q < 0.05).all()  # random regions do a lot, the others more
    found = p.diagnose().set_index("signature")
    assert (
        not found.found["random regions do as much"]
        and "8 of these 8 go beyond" in found.evidence["random regions do as much"]
    )
    assert "not specific" not in " ".join(found.advice)


def test_every_mark_of_the_table_is_explained():
    "A cell without a mark has an interval that excludes 0, and the key says so."
    text = repr(profile(outcomes(n=60, randoms=5, states=[f"a{i}" for i in range(10)], hurt=0.1, apart=0.1)))
    cells = text.split("** apart")[0].split()
    assert any(c[0] in "+−" and c[-1].isdigit() and "…" not in c for c in cells)
    assert "no mark: only its own interval excludes 0" in KEY and KEY in text


def test_one_of_a_thing_has_no_plural():
    import re

    p = profile(outcomes(n=300, tasks=("only",), states=("one",), randoms=1), model="toy")
    words = " ".join([p.summary(), *p.diagnose().evidence, drawn(p.heatmap())])
    assert "toy: 1 ability x 1 benchmark, 300 items each." in words
    assert "1 of 1 profiled cell is told apart from 0" in words
    assert not re.search(r"(?<![\d,.])1 (?!of)\w+[^s\W]s\b(?! each)", words.replace("1 gains", "")), words


def test_no_rank_correlation_of_a_few_cells():
    a, b = pair(hurt=0)
    few = a.compare(b)
    assert len(few.frame) == 4 and np.isnan(few.rho).all()
    assert "Spearman" not in few.summary() + drawn(few.plot())
    assert f"{MIN_CELLS} common cells" in few.summary()
    many = compare(*pair(hurt=0, states=[f"a{i}" for i in range(MIN_CELLS // 2)]))
    assert "Spearman" in many.summary() and many.rho.lo < many.rho.hi
