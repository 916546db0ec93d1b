"""The baselines' losses written out image by image with NumPy, from the papers' sums and the released code's factors.

Slow and independent: no torch, no matrix tricks. Every function takes float64 arrays and returns a float.
"""

import math

import numpy as np


def unit(row, eps):
    return row / max(math.sqrt(row @ row), eps)


def unit_by_square(row):
    return row / math.sqrt(max(row @ row, 1e-12))


def log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def simclr(view_1, view_2, temperature):
    rows = [unit_by_square(row) for row in (*view_1, *view_2)]
    m, total = len(view_1), 0.0
    for i, row in enumerate(rows):
        others = {j: row @ rows[j] / temperature for j in range(2 * m) if j != i}
        total += log_sum_exp(list(others.values())) - others[(i + m) % (2 * m)]
    return total / m  # the paper divides by 2 m


def moco(query, key, queue, temperature):
    total = 0.0
    for q, k in zip(query, key, strict=True):
        q, k = unit(q, 1e-12), unit(k, 1e-12)
        logits = [q @ k / temperature, *(q @ column / temperature for column in queue.T)]
        total += log_sum_exp(logits) - logits[0]
    return total / len(query)


def byol(prediction_1, prediction_2, target_projection_1, target_projection_2):
    total = 0.0
    for p, t in ((prediction_1, target_projection_2), (prediction_2, target_projection_1)):
        total += sum(np.sum((unit_by_square(a) - unit_by_square(b)) ** 2) for a, b in zip(p, t, strict=True))
    return total / len(prediction_1)


def sinkhorn(scores, epsilon, iterations):
    """Scores (samples, prototypes) to assignments, in the released order and without logarithms."""
    q = np.exp(scores / epsilon).T
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True)
        q /= prototypes
        q /= q.sum(axis=0, keepdims=True)
        q /= samples
    return (q * samples).T


def swav_codes(view, prototypes, queue, epsilon, iterations):
    prototypes = np.array([unit(row, 1e-12) for row in prototypes])
    rows = np.array([*(() if queue is None else queue), *(unit(row, 1e-12) for row in view)])
    return sinkhorn(rows @ prototypes.T, epsilon, iterations)[-len(view) :]


def swav(view_1, view_2, prototypes, queue_1, queue_2, temperature, epsilon, sinkhorn_iterations):
    codes = [
        swav_codes(view, prototypes, queue, epsilon, sinkhorn_iterations)
        for view, queue in ((view_1, queue_1), (view_2, queue_2))
    ]
    prototypes = [unit(row, 1e-12) for row in prototypes]
    total = 0.0
    for code, other in ((codes[0], view_2), (codes[1], view_1)):
        for shares, row in zip(code, other, strict=True):
            logits = [unit(row, 1e-12) @ prototype / temperature for prototype in prototypes]
            normaliser = log_sum_exp(logits)
            total -= sum(share * (logit - normaliser) for share, logit in zip(shares, logits, strict=True))
    return total / len(view_1) / 2


def simsiam(p_1, p_2, z_1, z_2):
    pairs = [(p, z) for ps, zs in ((p_1, z_2), (p_2, z_1)) for p, z in zip(ps, zs, strict=True)]
    return -sum(unit(p, 1e-8) @ unit(z, 1e-8) for p, z in pairs) / len(pairs)


def barlow_twins(view_1, view_2, lambd):
    m, d = view_1.shape
    a, b = ((v - v.mean(0)) / np.sqrt(((v - v.mean(0)) ** 2).sum(0) / m + 1e-5) for v in (view_1, view_2))
    total = 0.0
    for i in range(d):
        for j in range(d):
            c = a[:, i] @ b[:, j] / m
            total += (c - 1) ** 2 if i == j else lambd * c**2
    return total


def vicreg(view_1, view_2, sim_coeff, std_coeff, cov_coeff):
    m, d = view_1.shape
    invariance = ((view_1 - view_2) ** 2).sum() / (m * d)
    hinge = covariance = 0.0
    for view in (view_1, view_2):
        centred = view - view.mean(0)
        for i in range(d):
            hinge += max(0.0, 1 - math.sqrt(centred[:, i] @ centred[:, i] / (m - 1) + 1e-4)) / d / 2
            covariance += sum((centred[:, i] @ centred[:, j] / (m - 1)) ** 2 for j in range(d) if j != i) / d
    return sim_coeff * invariance + std_coeff * hinge + cov_coeff * covariance


def mec(online_1, online_2, target_1, target_2, eps, order, warmup):
    m, d = online_1.shape
    scale = warmup * m * eps / d
    total = 0.0
    for target, online in ((target_1, online_2), (target_2, online_1)):
        c = np.array([[unit(t, 1e-12) @ unit(o, 1e-12) / scale for o in online] for t in target])
        total += sum((-1) ** (k + 1) / k * np.trace(np.linalg.matrix_power(c, k)) for k in range(1, order + 1))
    return -scale * total / 2 / m


def supervised(logits, labels, label_smoothing):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        normaliser, classes = log_sum_exp(list(row)), len(row)
        for i, logit in enumerate(row):
            share = label_smoothing / classes + (1 - label_smoothing) * (i == label)
            total -= share * (logit - normaliser)
    return total / len(logits)
