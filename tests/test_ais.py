"AIS, intervals, tests and profiles on hand-made outcomes"
import subprocess
import sys

import matplotlib
matplotlib.use('Agg')
import numpy as np
import pandas as pd
import pytest

from benchmark_profiling.ais import COLUMNS, Profile, ais, bh, items_needed, profile

INTACT, WITHOUT = [1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 1, 0]


def outcomes(n=60, seed=0, tasks=('alpha', 'beta'), states=('deductive_reasoning', 'spatial_reasoning'), randoms=2, hurt=.8):
    "Simulated outcomes: the first ability is hurt, the rest jitter"
    rng, rows = np.random.default_rng(seed), []
    for t in tasks:
        z = rng.normal(1.2, 1, n)
        for s in ['intact', *states, *(f'random-{i}' for i in range(randoms))]:
            v = z - hurt*(s == states[0]) + (s != 'intact')*rng.normal(0, .3, n)
            rows.append(pd.DataFrame(dict(state=s, task=t, item_id=[f'{t}/{i}' for i in range(n)], score=(v > .5)*1.,
                                          chance=.25, p_gold=1/(1 + 3*np.exp(-v)))))
    return pd.concat(rows, ignore_index=True)


# ---- one score

def test_eight_items_by_hand():
    r = ais(INTACT, WITHOUT, 1/4)
    assert (r.value, r.base, r.ablated, r.chance, r.n, r.status) == (.5, .75, .5, .25, 8, 'too few')
    assert np.isnan([r.lo, r.hi, r.p]).all()


def test_per_item_chance():
    x, y = np.tile(INTACT, 10), np.tile(WITHOUT, 10)
    c = np.tile([.5]*4 + [.25]*4, 10)
    assert ais(x, y, c).value == pytest.approx((.75 - .5)/(.75 - .375))


def test_better_without_is_negative():
    x = np.r_[np.ones(60), np.zeros(40)]; y = np.r_[np.ones(90), np.zeros(10)]
    r = ais(x, y, .25)
    assert r.value == pytest.approx(-.3/.35) and r.hi < 0 and r.p < 1e-6


def test_nothing_changes():
    x = np.tile(INTACT, 10)
    for scores in (x, .5*x + .2):
        r = ais(scores, scores, .25)
        assert (r.value, r.p, r.status) == (0, 1, 'ok') and r.lo <= 0 <= r.hi
    assert ais(x, x, .25).lo < 0 < ais(x, x, .25).hi  # fifty equal answers are no proof of "exactly 0"


@pytest.mark.parametrize('seed', range(5))
def test_mcnemar_equals_statsmodels(seed):
    from statsmodels.stats.contingency_tables import mcnemar
    rng = np.random.default_rng(seed)
    x = (rng.random(80) < .7)*1; y = np.where(rng.random(80) < .2, 1 - x, x)
    table = [[((x == a) & (y == b)).sum() for b in (1, 0)] for a in (1, 0)]
    assert ais(x, y, .25).p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_continuous_p_is_the_paired_t_test_and_agrees_with_the_interval():
    from scipy.stats import ttest_rel
    rng = np.random.default_rng(0)
    for shift in (0, .02, .03, .04, .1):
        x = rng.beta(4, 3, 70); y = np.clip(x - shift + rng.normal(0, .1, 70), 0, 1)
        r = ais(x, y, .25)
        assert r.p == pytest.approx(ttest_rel(x, y).pvalue)
        assert (r.p < .05) == (r.lo > 0 or r.hi < 0)


def test_fieller_ends_are_where_the_t_test_turns():
    from scipy.stats import ttest_1samp
    rng = np.random.default_rng(1)
    x = rng.beta(4, 3, 50); y = x - .1 + rng.normal(0, .1, 50)
    r = ais(x, y, .25)
    for end in (r.lo, r.hi): assert ttest_1samp((x - y) - end*(x - .25), 0).pvalue == pytest.approx(.05)


def test_bootstrap_is_seeded_and_close_to_fieller():
    rng = np.random.default_rng(2)
    x = rng.beta(4, 3, 300); y = x - .05 + rng.normal(0, .1, 300)
    a, b, c = (ais(x, y, .25, interval='bootstrap', seed=s) for s in (0, 0, 1))
    assert a == b and a != c
    f = ais(x, y, .25)
    assert abs(a.lo - f.lo) < .02 and abs(a.hi - f.hi) < .02


def test_guessing_is_not_profiled():
    rng = np.random.default_rng(0)
    status = [ais(rng.random(100) < .25, rng.random(100) < .25, .25).status for _ in range(400)]
    assert status.count('not profiled') >= .95*400
    r = ais(np.zeros(50), np.zeros(50), 0)
    assert r.status == 'not profiled' and np.isnan([r.value, r.lo, r.hi, r.p]).all()


@pytest.mark.parametrize('args, words', [
    (([1, 0], [1, 0, 1], .25), 'same items: 2, 3 and 2'), (([], [], .25), 'no items'),
    (([1, np.nan], [1, 0], .25), 'intact has 1'), (([1, 0], [1, 0], 1.), 'chance must lie in'),
    (([1, 0], [1, 0], -.1), 'chance must lie in'), (([1, 0], [1, 0], [.25]), '2, 2 and 1'), (([[1]], [[0]], .25), 'one number per item')])
def test_ais_refuses(args, words):
    with pytest.raises(ValueError, match=words.replace('[', r'\[')): ais(*args)


def test_items_needed_grows_with_the_square():
    x, y = np.tile(INTACT, 20), np.tile(WITHOUT, 20)
    a, b = items_needed(x, y, .25, ais=.1), items_needed(x, y, .25, ais=.05)
    assert isinstance(a, int) and 3.9 < b/a < 4.1
    with pytest.raises(ValueError, match='not above chance'): items_needed(1 - x, y, .25)


# ---- the table

def test_columns_and_cells():
    df = outcomes(); p = profile(df, model='toy')
    assert list(p.frame.columns) == list(p.controls.columns) == COLUMNS
    assert set(p.frame.ability) == {'deductive_reasoning', 'spatial_reasoning'} and set(p.controls.ability) == {'random-0', 'random-1'}
    assert p.matrix().shape == (2, 2) and (p.frame.metric == 'p_gold').all()
    def pick(s): return df[(df.task == 'alpha') & (df.state == s)].p_gold.to_numpy()
    row = p.frame[(p.frame.benchmark == 'alpha') & (p.frame.ability == 'deductive_reasoning')].iloc[0]
    one = ais(pick('intact'), pick('deductive_reasoning'), .25)
    assert (row.ais, row.lo, row.hi, row.p) == pytest.approx((one.value, one.lo, one.hi, one.p))
    rand = np.mean([ais(pick('intact'), pick(f'random-{i}'), .25).value for i in range(2)])
    assert row.specific == pytest.approx(row.ais - rand) and row.specific_lo < row.specific < row.specific_hi


def test_bh_equals_statsmodels():
    from statsmodels.stats.multitest import multipletests
    f = profile(outcomes()).frame
    assert f.q.to_numpy() == pytest.approx(multipletests(f.p, method='fdr_bh')[1])
    p = np.random.default_rng(0).random(50)
    assert bh(np.r_[p, np.nan])[:50] == pytest.approx(multipletests(p, method='fdr_bh')[1])


def test_order_of_rows_does_not_matter():
    df = outcomes()
    for interval in ('fieller', 'bootstrap'):
        a, b = (profile(d, interval=interval, resamples=500) for d in (df, df.sample(frac=1, random_state=1)))
        pd.testing.assert_frame_equal(a.frame, b.frame)
        pd.testing.assert_frame_equal(a.controls, b.controls)


def test_pairing_matters():
    "Breaking the pairs (same scores, other items) keeps the value and widens the interval"
    rng = np.random.default_rng(0)
    x = rng.beta(4, 3, 200); y = x - .03 + rng.normal(0, .02, 200)
    a, b = ais(x, y, .25), ais(x, rng.permutation(y), .25)
    assert a.value == pytest.approx(b.value) and b.hi - b.lo > 3*(a.hi - a.lo)


def test_score_is_used_where_p_gold_is_missing():
    df = outcomes(); df.loc[df.task == 'beta', 'p_gold'] = np.nan
    f = profile(df).frame.set_index('benchmark').metric
    assert set(f['alpha']) == {'p_gold'} and set(f['beta']) == {'score'}
    assert set(profile(df.drop(columns='p_gold')).frame.metric) == set(profile(df, on='score').frame.metric) == {'score'}


def test_states_must_match_item_for_item():
    df = outcomes()
    gone = (df.task == 'beta') & (df.state == 'spatial_reasoning') & df.item_id.isin([f'beta/{i}' for i in range(8)])
    with pytest.raises(ValueError) as e: profile(df[~gone])
    for word in ("'beta'", "'intact'", "'spatial_reasoning'", '8 differ', 'beta/0, beta/1, beta/2, beta/3, beta/4, …'): assert word in str(e.value)
    assert 'beta/5' not in str(e.value)


def test_other_refusals():
    df = outcomes()
    for bad, words in ((pd.concat([df, df.head(3)]), 'more than once'), (df[df.state != 'intact'], "state 'intact'"), (df.head(0), 'empty'),
                       (df.drop(columns='score'), 'score'), (df[df.state == 'intact'], "beside 'intact'"), (df.assign(score=np.nan, p_gold=np.nan), 'finite|missing')):
        with pytest.raises(ValueError, match=words): profile(bad)
    with pytest.raises(ValueError, match='p_gold'): profile(df, on='loglik')
    with pytest.raises(ValueError, match='fieller'): profile(df, interval='wald')


def test_known_effect_is_found_and_random_regions_are_not():
    p = profile(outcomes(n=300, hurt=1.))
    f = p.frame.set_index('ability')
    assert (f.q['deductive_reasoning'] < 1e-6).all() and (f.specific_lo['deductive_reasoning'] > 0).all()
    assert (p.controls.ais.abs() < .1).all()


def test_no_random_regions():
    p = profile(outcomes(randoms=0))
    assert p.frame.specific.isna().all() and not len(p.controls)
    assert 'No random regions' in p.summary()
    p.heatmap(); p.diagnose()


@pytest.mark.parametrize('make', [
    lambda: outcomes(n=6), lambda: outcomes(tasks=('only',), states=('one',)), lambda: outcomes().assign(chance=.9), lambda: outcomes(randoms=1),
    lambda: outcomes().query('not (task == "beta" and state == "spatial_reasoning")')], ids=['too few', 'one cell', 'at chance', 'one random', 'a cell missing'])
def test_words_and_pictures_of_odd_profiles(make, tmp_path):
    import matplotlib.pyplot as plt
    p = profile(make(), model='toy')
    assert p.summary() and repr(p) and '<table' in p._repr_html_() and set(p.diagnose().columns) == {'signature', 'found', 'evidence', 'advice'}
    p.heatmap().figure.savefig(tmp_path/'h.png'); p.ribbons().figure.savefig(tmp_path/'r.png')
    p.heatmap(plt.subplots()[1]); p.ribbons(plt.subplots()[1])
    plt.close('all')


def test_diagnosis_finds_collapse_and_sameness():
    df = outcomes(n=200); x = df.state != 'intact'
    df.loc[x, 'p_gold'] = .25 + .01*np.random.default_rng(0).normal(size=x.sum())
    found = profile(df).diagnose().query('found').signature.tolist()
    assert {'collapse', 'the same for every ability', 'random regions do as much'} <= set(found) and 'all about 0' not in found


# ---- keeping it

def test_save_and_load(tmp_path):
    p = profile(outcomes(), model='toy'); p.save(tmp_path/'a')
    q = Profile.load(tmp_path/'a')
    pd.testing.assert_frame_equal(p.frame, q.frame); pd.testing.assert_frame_equal(p.controls, q.controls)
    assert p.meta == q.meta and sorted(f.name for f in (tmp_path/'a').iterdir()) == ['profile.json', 'profile.parquet']
    p.save(tmp_path/'a')  # again, over the old one
    r = profile(outcomes(randoms=0)); r.save(tmp_path/'b')
    pd.testing.assert_frame_equal(r.frame, Profile.load(tmp_path/'b').frame)
    assert list(Profile.load(tmp_path/'b').controls.columns) == COLUMNS


def test_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no profile'): Profile.load(tmp_path)
    profile(outcomes()).save(tmp_path)
    data = (tmp_path/'profile.parquet').read_bytes(); (tmp_path/'profile.parquet').write_bytes(data[:100])
    with pytest.raises(ValueError, match='again'): Profile.load(tmp_path)
    (tmp_path/'profile.json').write_text('{"mo')
    with pytest.raises(ValueError, match='JSON'): Profile.load(tmp_path)


def test_imports_without_torch():
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'torch', 'transformers', 'datasets', 'matplotlib', 'fastcore'}: raise ImportError(f'blocked: {name}')
sys.meta_path.insert(0, Block())
import benchmark_profiling.ais as a
print(a.ais([1]*30, [1]*20 + [0]*10, .25).status)"""
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert out.stdout.strip() == 'ok', out.stderr
