"""Findings: each statistic against data of which the answer is known, and a committed cell made again."""
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark_profiling.findings import (
    agreement, breadth, centred, decompose, distances, effective_number, exceeds, gains, label_agreement,
    label_test, load_run, reliability, split_halves)

ROOT = Path(__file__).parent.parent

def made_up(effects, n=300, noise=0.2, random=5, seed=0, chance=0.25):
    "Outcomes whose true AIS are `effects` (abilities × benchmarks); random regions do nothing."
    rng, rows = np.random.default_rng(seed), []
    for b in range(effects.shape[1]):
        x, ids = rng.beta(4, 2, n), [f"{i:03}" for i in range(n)]
        states = {"intact": x}
        for a in range(len(effects)):
            states[f"ability-{a}"] = x - effects[a, b] * (x - chance) + rng.normal(0, noise, n)
        for i in range(random): states[f"random-{i}"] = x + rng.normal(0, noise / 10, n)
        for s, y in states.items():
            columns = dict(state=s, task=f"task-{b}", item_id=ids, score=y, chance=chance, p_gold=y)
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)

profile = np.random.default_rng(1).normal(0.15, 0.1, (10, 6))

def test_exceeds_finds_what_is_above_and_nothing_else():
    effects = np.zeros((10, 4))
    effects[0], effects[1] = 0.5, 0.05   # the second lies on the border: 5 % of its tests at most
    hits = []
    for seed in range(20):
        cells = exceeds(made_up(effects, seed=seed)).query("~control")
        hits.append((cells.p < .05).groupby(cells.state).mean())
    rate = pd.concat(hits, axis=1).mean(axis=1)
    assert rate["ability-0"] == 1 and rate["ability-1"] < 0.15
    assert rate.drop(["ability-0", "ability-1"]).max() == 0
    several = breadth(made_up(effects))
    assert (several.abilities == 1).all() and (several.random == 0).all()
    assert (several.effective_number < several.of_noise + 3).all()

def test_effective_number():
    assert effective_number([2, 2, 2]) == pytest.approx(3) and effective_number([1]) == 1
    assert np.isnan(effective_number([-1, 0]))
    assert 1 < effective_number([0.9, 0.1]) < 2

def test_reliability_is_that_of_theory_and_none_for_noise():
    outcomes = made_up(profile)
    found = reliability(outcomes, splits=60, draws=50)
    intact = outcomes[outcomes.state == "intact"]
    above = (intact.p_gold - intact.chance).groupby(intact.task).mean()
    error = (0.2**2 / 300) / np.mean(above**2)
    expected = profile.var(0, ddof=1) / (profile.var(0, ddof=1) + error)
    off = found.reliability[:6].to_numpy() - expected
    assert abs(off.mean()) < 0.08 and np.abs(off).max() < 0.25
    assert (found.lo <= found.reliability + 0.05).all() and (found.hi <= 1 + 1e-9).all()
    noise = [made_up(np.zeros((10, 6)), seed=s) for s in range(8)]
    nothing = [reliability(df, splits=40, draws=5).reliability["all cells, main effects out"] for df in noise]
    assert abs(np.mean(nothing)) < 0.25

def test_halves_are_disjoint_and_average_to_the_whole():
    outcomes = made_up(profile)
    halves = split_halves(outcomes, 5)
    assert halves.shape == (5, 2, 10, 6)
    cells = exceeds(outcomes).query("~control")
    whole = cells.pivot(index="state", columns="benchmark", values="ais").sort_index()
    assert np.allclose(halves.mean(1), whole.to_numpy()) and not np.allclose(halves[:, 0], halves[:, 1])

def test_main_effects_leave_no_profile():
    additive = np.add.outer(np.linspace(0, .4, 10), np.linspace(0, .2, 6))
    assert np.allclose(centred(additive), 0)
    parts, real = decompose(made_up(additive)), decompose(made_up(profile))
    assert parts["the rest: the profile"] < 3 * parts["of that, expected from sampling"] < 0.2
    assert 0.2 < real["the rest: the profile"]
    assert parts.iloc[:3].sum() == pytest.approx(1)

def test_distance_is_zero_for_equal_profiles_and_right_for_others():
    one = np.repeat(profile[:, :1], 4, 1) + [0, .1, 0, -.1]   # the same mixture at other levels
    equal = pd.concat([distances(made_up(one, seed=s)) for s in range(12)])
    assert abs((np.sign(equal.distance) * equal.distance**2).mean()) < 3e-4
    assert (equal.p < .05).mean() < 0.12
    apart = distances(made_up(profile, n=1000))
    true = [np.std(profile[:, i] - profile[:, j]) for i, j in itertools.combinations(range(6), 2)]
    assert np.abs(apart.distance - true).max() < 0.04 and (apart.q < .05).all()

def test_labels_that_mean_something_are_told_from_labels_that_do_not():
    groups = np.repeat(np.random.default_rng(2).normal(.15, .1, (10, 3)), 3, 1)
    pairs = distances(made_up(groups))
    gap, p = label_test(pairs, {f"task-{b}": "abc"[b // 3] for b in range(9)}, 1000)
    assert gap < -0.05 and p < 0.02
    assert label_test(pairs, {f"task-{b}": "abc"[b % 3] for b in range(9)}, 500)[1] > 0.05

def test_agreement_of_matrices():
    rng = np.random.default_rng(3)
    def frame(m): return pd.DataFrame(m, [f"a{i}" for i in range(10)], [f"b{i}" for i in range(6)])
    same = agreement(frame(profile), frame(profile + rng.normal(0, .03, profile.shape)).iloc[::-1], 500)
    assert same.rho > 0.8 and same.p < 0.01
    other = [agreement(frame(profile), frame(rng.normal(0, .1, profile.shape)), 150).p for _ in range(25)]
    assert np.mean(np.array(other) < 0.05) < 0.2
    with pytest.raises(ValueError, match="in common"): agreement(frame(profile), frame(profile)[["b0"]])

def test_expected_cells():
    names = [f"a{i}" for i in range(10)]
    m = pd.DataFrame(np.random.default_rng(4).normal(0, .1, (10, 6)), names, [f"b{i}" for i in range(6)])
    expected = {b: [names[(i + 1) % 10], names[i]] for i, b in enumerate(m)}
    assert label_agreement(m, expected).p > 0.01
    for b, abilities in expected.items(): m.loc[abilities, b] += 0.3
    assert label_agreement(m, expected).p < 0.01
    with pytest.raises(ValueError, match="a99"): label_agreement(m, expected | {"b0": ["a99"]})

def test_gains():
    rng, base = np.random.default_rng(5), np.random.default_rng(6).uniform(.2, .8, 200)
    states = dict(intact=base, better=base + rng.normal(.05, .05, 200), same=base + rng.normal(0, .05, 200))
    shared = dict(task="t", item_id=range(200), chance=.25)
    rows = [pd.DataFrame(shared | dict(state=s, score=y, p_gold=y)) for s, y in states.items()]
    g = gains(pd.concat(rows)).set_index("arm")
    assert g.lo["better"] > 0.03 and g.hi["better"] < 0.07 and g.lo["same"] < 0 < g.hi["same"]

def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run.json is missing"): load_run(tmp_path)

def test_a_random_committed_cell_can_be_made_again(capsys):
    sys.path.insert(0, str(ROOT / "studies"))
    from check import pick, remake
    cell = pick()
    found = remake(*cell)
    off = (found.new - found.committed).abs().mean()
    with capsys.disabled(): print(f" [{' · '.join(cell)}: mean |new − committed| {off:.4f}]", end="")
    assert found.committed.notna().all() and len(found) == 12
    assert off < 0.04   # bfloat16; another batch of the same run may be 0.02 away
    assert np.corrcoef(found.new, found.committed)[0, 1] > 0.9

def test_the_repeat_is_no_member_of_the_random_regions_family():
    outcomes = made_up(profile[:, :3], noise=.05)
    again = outcomes[outcomes.state == "intact"].assign(state="intact-2")
    alone, beside = (exceeds(df).query("kind == 'random'").set_index(["benchmark", "state"]).q
                     for df in (outcomes, pd.concat([outcomes, again])))
    assert len(alone) == 15 and alone.to_numpy() == pytest.approx(beside[alone.index].to_numpy())

def test_missing_scores_and_items_are_an_error_and_no_number():
    outcomes = made_up(profile[:, :2], n=50)
    lost = (outcomes.state == "ability-3") & (outcomes.item_id == "007")
    for bad, words in ((outcomes[~lost], "don't have the same items"),
                       (outcomes.assign(p_gold=outcomes.p_gold.mask(lost)), "p_gold is missing")):
        for measure in (decompose, distances, exceeds, split_halves):
            with pytest.raises(ValueError, match=words): measure(bad)

def test_no_correlation_over_too_few_abilities():
    few = made_up(profile[:3], n=50)
    with pytest.raises(ValueError, match="at least 5 abilities, got 3"): reliability(few)
    matrix = pd.DataFrame(profile, [f"a{i}" for i in range(10)], [f"b{i}" for i in range(6)])
    with pytest.raises(ValueError, match="4 abilities × 6 benchmarks in common; agreement needs at least 5"):
        agreement(matrix.iloc[:4], matrix)

def test_a_damaged_run_is_named(tmp_path):
    (tmp_path / "outcomes.parquet").touch()
    (tmp_path / "run.json").write_text('{"config": ')
    with pytest.raises(ValueError, match="run.json is damaged"): load_run(tmp_path)
