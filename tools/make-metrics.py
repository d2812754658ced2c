#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what scikit-learn says of labelled answers, for tests/unit/validate.

usage: make-metrics.py > tests/data/metrics/cases.json    (needs scikit-learn 1.7, NumPy)

Answers are float32, as models give them; scikit-learn gets them as float64, but for
log_loss, whose clipping depends on the dtype of the answers."""
import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics as sk

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)
out = []


def add(metric, answers, labels, value, **options):
    out.append({"metric": dict(metric=metric, **options), "shape": list(answers.shape),
                "dtype": str(answers.dtype),
                "answers": [float(str(v)) if answers.dtype.kind == "f" else int(v) for v in answers.ravel()],
                "labels_shape": list(labels.shape), "labels_dtype": str(labels.dtype),
                "labels": labels.ravel().tolist(), "value": float(value)})


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def classes(n, c, skill, ties=False):
    y = np.concatenate([np.arange(c), rng.integers(0, c, n - c)])
    z = rng.normal(size=(n, c))
    z[np.arange(n), y] += skill
    p = softmax(z).astype(np.float32)
    return (np.round(p, 1).astype(np.float32) if ties else p), y


shares = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
for n, c, skill in ((40, 3, 1.0), (30, 7, 0.2), (25, 2, 0.5), (12, 5, 4.0)):
    for ties in (False, True):
        p, y = classes(n, c, skill, ties)
        wide = p.astype(np.float64)
        hat = p.argmax(-1)
        add("accuracy", p, y, sk.accuracy_score(y, hat))
        add("accuracy", hat, y, sk.accuracy_score(y, hat))
        for name, f in shares.items():
            for average in ("micro", "macro", "weighted"):
                add(name, p, y, f(y, hat, average=average), average=average)
            if c == 2:
                add(name, p, y, f(y, hat))
                add(name, hat, y, f(y, hat, pos_label=0), positive=0)
        if c > 2:
            for k in (1, 2):
                add("top_k_accuracy", p, y, sk.top_k_accuracy_score(y, wide, k=k, labels=np.arange(c)), k=k)
            if not ties:
                for average in ("macro", "weighted"):
                    norm = wide / wide.sum(-1, keepdims=True)
                    add("auc", norm, y, sk.roc_auc_score(y, norm, multi_class="ovr", average=average),
                        **({} if average == "macro" else {"average": average}))
                    hot = np.eye(c)[y]
                    add("average_precision", norm, y, sk.average_precision_score(hot, norm, average=average),
                        **({} if average == "macro" else {"average": average}))
        else:
            add("auc", p, y, sk.roc_auc_score(y, wide[:, 1]))
            add("average_precision", p, y, sk.average_precision_score(y, wide[:, 1]))
            add("average_precision", p, y, sk.average_precision_score(1 - y, wide[:, 0]), positive=0)
        if not ties:
            add("log_loss", wide, y, sk.log_loss(y, wide, labels=np.arange(c)))
for n in (20, 60):
    y = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
    z = (rng.normal(size=n) + y).astype(np.float32)
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    for score in (p.astype(np.float32), np.round(p, 1).astype(np.float32)):
        wide = score.astype(np.float64)
        add("auc", score, y, sk.roc_auc_score(y, wide))
        add("average_precision", score[:, None], y, sk.average_precision_score(y, wide))
        for t in (0.5, 0.3):
            hat = (wide > t).astype(int)
            option = {} if t == 0.5 else {"threshold": t}
            add("accuracy", score, y, sk.accuracy_score(y, hat), **option)
            for name, f in shares.items():
                add(name, score, y == 1, f(y, hat), **option)
    add("log_loss", p, y, sk.log_loss(y, p))
    add("log_loss", z, y, sk.log_loss(y, p), logits=True)
    add("accuracy", z, y, sk.accuracy_score(y, p > 0.5), logits=True)
sure = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0.25, 0.25, 0.5]], np.float64)
add("log_loss", sure, np.array([1, 2, 2, 0]), sk.log_loss([1, 2, 2, 0], sure))
add("precision", np.array([0, 0, 0]), np.array([1, 1, 0]), sk.precision_score([1, 1, 0], [0, 0, 0]))
add("f1", np.array([3, 3, 0]), np.array([1, 1, 0]), sk.f1_score([1, 1, 0], [3, 3, 0], average="macro"), average="macro")
for shape in ((30,), (30, 1), (20, 4)):
    y = rng.normal(size=shape)
    x = (y + rng.normal(size=shape) * 0.3).astype(np.float32)
    wide = x.astype(np.float64)
    for name, f in (("mae", sk.mean_absolute_error), ("mse", sk.mean_squared_error),
                    ("rmse", sk.root_mean_squared_error), ("r2", sk.r2_score)):
        add(name, x, y, f(y, wide))
counts = rng.integers(0, 50, 15)
add("mae", counts, counts[::-1].copy(), sk.mean_absolute_error(counts[::-1], counts))
add("r2", np.array([1.0, 2.0]), np.array([3.0, 3.0]), sk.r2_score([3, 3], [1.0, 2.0]))
json.dump({"sklearn": sklearn.__version__, "cases": out}, sys.stdout, separators=(",", ":"))
print(len(out), file=sys.stderr)
