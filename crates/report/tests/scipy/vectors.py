"""Writes vectors.json: what NumPy and SciPy say of samples that the crate's statistics must agree on.

    python3 -m venv venv && venv/bin/pip install scipy && venv/bin/python vectors.py > vectors.json
"""

import json

import numpy as np
import scipy
from scipy import stats

LEVEL, ALPHA = 0.95, 0.025
EPSILON = 1e-9


def signed_rank_p(values, threshold):
    return stats.wilcoxon(values - threshold, alternative="greater", method="exact").pvalue


def rank_sum_p(one, other, threshold):
    return stats.mannwhitneyu(one - threshold, other, alternative="greater", method="exact").pvalue


def bound(candidates, p):
    """The largest candidate whose p just below it is small enough: the confidence bound that belongs to the test."""
    passing = [at for at, candidate in enumerate(candidates) if p(candidate - EPSILON) <= ALPHA]
    return passing[-1] if passing else None


def interval(candidates, p):
    candidates = np.sort(candidates)
    at = bound(candidates, p)
    return None if at is None else [candidates[at], candidates[len(candidates) - 1 - at]]


def order(values):
    n = len(values)
    ranks = [rank for rank in range(1, n // 2 + 1) if stats.binom.cdf(rank - 1, n, 0.5) <= ALPHA]
    if not ranks:
        return None
    ordered = np.sort(values)
    return [ordered[ranks[-1] - 1], ordered[n - ranks[-1]], 1 - 2 * stats.binom.cdf(ranks[-1] - 1, n, 0.5)]


def one_sample(random, n):
    values = random.lognormal(0, 0.4, n)
    threshold = float(np.quantile(values, 0.3)) + 1e-4
    walsh = np.array([(values[i] + values[j]) / 2 for i in range(n) for j in range(i, n)])
    above = int((values > threshold).sum())
    return {
        "values": values,
        "threshold": threshold,
        "median": np.median(values),
        "order": order(values),
        "sign_p": stats.binomtest(above, n, 0.5, alternative="greater").pvalue,
        "centre": np.median(walsh),
        "signed_rank": interval(walsh, lambda at: signed_rank_p(values, at)),
        "signed_rank_p": signed_rank_p(values, threshold),
        "median_standard_error": stats.bootstrap(
            (values,), np.median, n_resamples=20000, method="percentile", rng=random
        ).standard_error,
    }


def two_samples(random, n, m):
    one, other = random.lognormal(0.2, 0.3, n), random.lognormal(0, 0.3, m)
    threshold = 0.0503
    differences = (one[:, None] - other[None, :]).ravel()
    return {
        "one": one,
        "other": other,
        "threshold": threshold,
        "shift": np.median(differences),
        "interval": interval(differences, lambda at: rank_sum_p(one, other, at)),
        "p": rank_sum_p(one, other, threshold),
    }


def plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(type(value))


random = np.random.default_rng(14)
vectors = {
    "scipy": scipy.__version__,
    "one_sample": [one_sample(random, n) for n in (3, 5, 6, 7, 8, 9, 10, 12, 15, 20, 31, 48)],
    "two_samples": [two_samples(random, n, m) for n, m in ((2, 3), (3, 3), (4, 4), (6, 6), (5, 9), (12, 12), (20, 31))],
}
print(json.dumps(vectors, default=plain))
