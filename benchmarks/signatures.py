"""Screens of a million contexts against other implementations, with the memory they take.

    python benchmarks/signatures.py [--contexts 1000000] [--models 64] [--subset 20000]

Ours are `thrush` and `preselect` on a file of float32 that is read piece by piece, each in a process of its
own whose peak memory is read. The others are `perplexity_correlations.estimation` (sign_cdf, sign_sign) and
`scipy.stats.spearmanr` context by context, on a subset of the contexts, times contexts / subset. Results
must be equal on the subset.
"""

import argparse, json, os, platform, resource, subprocess, sys, tempfile, time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "2")
import numpy as np


def data(path, models, contexts):
    rng = np.random.default_rng(0)
    with open(path, "wb") as f:  # not a memory map: a child process would count its pages as its own
        for _ in range(models):
            f.write(rng.gamma(2, 3, contexts).astype(np.float32).tobytes())
    return rng.random(models)


def pieces(path, models, contexts, size=4096):
    "Some contexts of all models at a time; the file is never in memory as a whole."
    for i in range(0, contexts, size):
        yield np.stack(
            [
                np.fromfile(path, np.float32, min(size, contexts - i), offset=4 * (k * contexts + i))
                for k in range(models)
            ]
        )


def ours(path, models, contexts, way):
    "In a process of its own: seconds, peak memory, and the values of the first contexts in a file."
    from benchmark_profiling import signatures

    P, y = pieces(path, models, contexts), np.load(f"{path}.y.npy")
    before, start, cpu = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        time.perf_counter(),
        time.process_time(),
    )
    values = getattr(signatures, way)(P, y)
    print(
        json.dumps(
            dict(
                seconds=time.perf_counter() - start,
                cpu_seconds=time.process_time() - cpu,
                peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                imports_gb=before / 2**20,
            )
        )
    )
    np.save(f"{path}.{way}.npy", values)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(contexts=1_000_000, models=64, subset=20_000).items():
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        return ours(a.child[0], a.models, a.contexts, a.child[1])
    from perplexity_correlations.estimation import sign_cdf, sign_sign
    from scipy.stats import spearmanr

    out = dict(vars(a), machine=platform.machine(), cores=os.cpu_count())
    del out["child"]
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "P"
        y = data(path, a.models, a.contexts)
        np.save(f"{path}.y.npy", y)
        P, m, mine = (
            np.array(np.memmap(path, np.float32, "r", shape=(a.models, a.contexts))[:, : a.subset]),
            a.models,
            {},
        )
        for way in ("thrush", "preselect"):
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--contexts",
                    str(a.contexts),
                    "--models",
                    str(m),
                    "--child",
                    path,
                    way,
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            out[way], mine[way] = (
                {k: round(v, 2) for k, v in json.loads(done.stdout).items()},
                np.load(f"{path}.{way}.npy")[: a.subset],
            )
    others = dict(
        sign_cdf=("thrush", lambda: sign_cdf(P, y) * m * m * (m - 1) / 2),
        sign_sign=("preselect", lambda: (1 - sign_sign(P, y)) / 2),
        spearmanr=("thrush", lambda: np.array([spearmanr(x, y)[0] for x in P.T]) * m * (m**2 - 1) / 6),
    )
    for name, (way, other) in others.items():
        start = time.perf_counter()
        values = other()
        seconds = (time.perf_counter() - start) * a.contexts / a.subset
        distinct = np.array(
            [len(set(x)) == m for x in P.T]
        )  # tied ranks are a matter of definition for spearmanr
        same = np.allclose(values[distinct], mine[way][distinct], rtol=0, atol=1e-6)
        out[name] = dict(
            seconds_extrapolated=round(seconds, 1),
            ratio=round(seconds / out[way]["seconds"], 1),
            equal=bool(same),
            largest_difference=float(np.abs(values - mine[way])[distinct].max()),
        )
    print(json.dumps(out, indent=1))
    assert all(out[n]["equal"] for n in others), "the results differ"
    if (a.contexts, a.models) == (1_000_000, 64):
        assert out["thrush"]["peak_gb"] < 4 and out["preselect"]["peak_gb"] < 4, "more than 4 GB"


if __name__ == "__main__":
    main()
