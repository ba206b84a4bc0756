"""Percentile intervals of a whole grid of AIS against scipy's bootstrap, cell by cell.

    python benchmarks/ais.py --repeats 3 [--items 1000] [--abilities 10] [--benchmarks 10]
                             [--resamples 10000] [--cells 2]

Ours is `profile(outcomes, interval='bootstrap')` on the whole grid, tables, checks and tests included. The
other is `scipy.stats.bootstrap(paired=True, vectorized=True, method='percentile')` of the same statistic on
`--cells` cells, times the cells of the grid. Ratios are medians over repeats, in which both are timed one
after the other, the first changing each time. The interval ends must agree within Monte-Carlo error: their
difference over its standard error, which a second seed of ours gives.
"""

import argparse, json, os, platform, statistics, time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
import numpy as np
import pandas as pd
from scipy import stats

from benchmark_profiling.ais import profile


def grid(items, abilities, benchmarks, seed=0):
    "Simulated outcomes: every ability takes a different amount of evidence away."
    rng, rows = np.random.default_rng(seed), []
    for b in range(benchmarks):
        z = rng.normal(1.2, 1.3, items)
        for a in range(-1, abilities):
            v = z if a < 0 else z + rng.normal(-0.06 * a, 0.6, items)
            rows.append(
                pd.DataFrame(
                    dict(
                        state="intact" if a < 0 else f"ability-{a}",
                        task=f"task-{b}",
                        item_id=np.arange(items),
                        score=(v > 0) * 1.0,
                        chance=0.25,
                        p_gold=1 / (1 + 3 * np.exp(-v)),
                    )
                )
            )
    return pd.concat(rows, ignore_index=True)


def ratio(x, y, axis=-1):
    return (x - y).mean(axis) / (x.mean(axis) - 0.25)


def ours(outcomes, resamples, seed=0):
    return profile(outcomes, interval="bootstrap", resamples=resamples, seed=seed).frame.set_index(
        ["benchmark", "ability"]
    )[["lo", "hi"]]


def theirs(outcomes, cells, resamples):
    "Interval ends of some cells, one after the other."
    wide, out = outcomes.pivot(index=["task", "item_id"], columns="state", values="p_gold"), {}
    for task, ability in cells:
        x, y = (wide.loc[task, s].to_numpy() for s in ("intact", ability))
        ci = stats.bootstrap(
            (x, y),
            ratio,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=resamples,
            batch=1000,
            rng=np.random.default_rng(1),
        ).confidence_interval
        out[task, ability] = ci.low, ci.high
    return pd.DataFrame(out, index=["lo", "hi"]).T


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(
        items=1000, abilities=10, benchmarks=10, resamples=10_000, cells=2, repeats=3
    ).items():
        p.add_argument(f"--{name}", type=int, default=default)
    a = p.parse_args()
    outcomes, seconds = grid(a.items, a.abilities, a.benchmarks), dict(ours=[], scipy=[])
    cells = [(f"task-{i % a.benchmarks}", f"ability-{i % a.abilities}") for i in range(a.cells)]
    for r in range(a.repeats):
        for way in ("ours", "scipy")[:: 1 if r % 2 == 0 else -1]:
            start = time.perf_counter()
            if way == "ours":
                mine = ours(outcomes, a.resamples)
            else:
                other = theirs(outcomes, cells, a.resamples)
            seconds[way].append(
                (time.perf_counter() - start) * (1 if way == "ours" else a.abilities * a.benchmarks / a.cells)
            )
    error = (
        (mine - ours(outcomes, a.resamples, seed=1)).std().mean()
    )  # of the difference of two independent Monte-Carlo runs
    off = float(((other - mine.loc[other.index]) / error).abs().to_numpy().max())
    print(
        json.dumps(
            dict(
                vars(a),
                machine=platform.machine(),
                cores=os.cpu_count(),
                seconds_ours=round(statistics.median(seconds["ours"]), 2),
                seconds_scipy_extrapolated=round(statistics.median(seconds["scipy"]), 1),
                ratio=round(statistics.median(s / o for s, o in zip(seconds["scipy"], seconds["ours"])), 1),
                monte_carlo_error=round(float(error), 5),
                largest_difference_in_errors=round(off, 2),
            ),
            indent=1,
        )
    )
    assert off < 5, "the interval ends differ by more than Monte-Carlo error"


if __name__ == "__main__":
    main()
