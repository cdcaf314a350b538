"""models.py - what models_torch.py and models_jax.py compute, beside workloads.lua: numbers as NumPy arrays.

THE DEFINITION. Elements come from splitmix64 as in the peers' four workloads: element i (from 0) of the stream with seed
s is z of s + (i + 1) 0x9E3779B97F4A7C15, a number a (2 (z >> 11) 2^-53 - 1) in [-a, a), an id z mod their count. Seeds:
w 1000000 + kind 10000 + index, w = 5..7; kind 0: parameter tensor `index`, a = 1/sqrt(fan in) (a norm's gain 1 + 0.1 u,
its bias 0.1 u), 1: x of task `index`, 2: its labels, 3: the direction v over all parameters. float32, row-major; dense
weights (in, out).
  W5  a GPT: 16 sequences of 64 ids below 64, embedding 64 x 128 plus positions 64 x 128; 4 blocks before a norm (eps
      1e-5) each: x + attention (4 heads, causal, q, k and v in one weight), x + gelu (exact) between 128, 512 and 128;
      norm, dense 128 x 64, mean cross-entropy over all 1024 places.
  W6  a residual CNN: 32 images 3 x 32 x 32; conv 3x3 to 16 (padding 1), group norm of 4 groups, relu; blocks
      16-16, 16-32 and 32-64 (stride 2, and a 1x1 convolution beside them): relu(s(x) + norm(conv(relu(norm(conv x)))));
      mean over 8 x 8, dense 64 x 10, mean cross-entropy.
  W7  a GRU of 100 steps, input 16, width 64, batch 32: r, z = s(x W + b + h U), n = tanh(x W + b + r (h U + c)), h = n + z (h - n);
      from the last state dense 64 x 10, mean cross-entropy.
  ops b gradient of task 0, c H_0 v, d the bracket H_1 g_0 - H_0 g_1, e g_0 + (h/2) H_0 g_0 with h = 0.1, g the gradient
      of the squared norm of d. Checksum: sum and sum of squares of the result, in float64.
"""
import argparse
import os

OPS = "b,c,d,e,g"


def options(more=()):
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--reps", type=int, default=30)
    p.add_argument("--workloads", default="W5,W6,W7")
    p.add_argument("--ops", default=OPS)
    p.add_argument("--budget", type=float, default=20.0, help="seconds for an operation; repetitions shrink to fit, to 5 at least")
    p.add_argument("--check-only", action="store_true")
    for name, kind in more:
        p.add_argument(name, **kind)
    args = p.parse_args()
    for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[k] = str(args.threads)
    return args


def numpy():
    import numpy as np
    return np


def raw(seed, n):
    np = numpy()
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed, n, a):
    np = numpy()
    return a * (2.0 * ((raw(seed, n) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53) - 1.0)


def ids(seed, n, below):
    np = numpy()
    return (raw(seed, n) % np.uint64(below)).astype(np.int64)


def shapes(w):
    """(shape, fan in, what a gain adds) of every parameter tensor, in order"""
    if w == 5:
        out = [((64, 128), 1, 0), ((64, 128), 1, 0)]
        norm = [((128,), 100, 1), ((128,), 100, 0)]
        dense = lambda n, m: [((n, m), n, 0), ((m,), n, 0)]
        for _ in range(4):
            out += norm + dense(128, 384) + dense(128, 128) + norm + dense(128, 512) + dense(512, 128)
        return out + norm + dense(128, 64)
    if w == 6:
        conv = lambda n, m, k: [((m, n, k, k), n * k * k, 0), ((m,), n * k * k, 0)]
        norm = lambda n: [((n,), 100, 1), ((n,), 100, 0)]
        out = conv(3, 16, 3) + norm(16)
        for n, m in ((16, 16), (16, 32), (32, 64)):
            out += conv(n, m, 3) + norm(m) + conv(m, m, 3) + norm(m) + (conv(n, m, 1) if n != m else [])
        return out + [((64, 10), 64, 0), ((10,), 64, 0)]
    return [((16, 192), 16, 0), ((64, 192), 64, 0), ((192,), 16, 0), ((64,), 64, 0), ((64, 10), 64, 0), ((10,), 64, 0)]


def data(name):
    """parameters, v in their shapes, and two tasks (x, labels)"""
    np = numpy()
    w = int(name[1])
    seed = lambda kind, index: w * 1000000 + kind * 10000 + index
    size = lambda shape: int(np.prod(shape))
    params = [(gain + uniform(seed(0, t), size(s), 1 / np.sqrt(fan))).reshape(s).astype(np.float32)
              for t, (s, fan, gain) in enumerate(shapes(w))]
    flat = uniform(seed(3, 0), sum(p.size for p in params), 1.0).astype(np.float32)
    v, at = [], 0
    for p in params:
        v.append(flat[at:at + p.size].reshape(p.shape))
        at += p.size
    tasks = []
    for k in range(2):
        if w == 5:
            tasks.append((ids(seed(1, k), 1024, 64).reshape(16, 64), ids(seed(2, k), 1024, 64)))
        else:
            shape = (32, 3, 32, 32) if w == 6 else (32, 100, 16)
            tasks.append((uniform(seed(1, k), size(shape), 1.0).reshape(shape).astype(np.float32), ids(seed(2, k), 32, 10)))
    return params, v, tasks


def measure(jobs, args, peak_bytes):
    """times jobs (record, function) in turn and prints a line of JSON each"""
    import json, time
    import numpy as np
    live = []
    for record, f in jobs:
        t0 = time.perf_counter()
        f()
        estimate = time.perf_counter() - t0
        reps = max(5, min(args.reps, int(args.budget / max(estimate, 1e-9))))
        live.append((record, f, reps, max(1, int(2e-3 / max(estimate, 1e-9))), [], []))
    if not args.check_only:
        for r in range(max([x[2] for x in live] + [0]) + 1):
            for record, f, reps, inner, times, cpus in live:
                if r > reps:
                    continue
                f()  # untimed: the operation before left the caches cold
                c0, t0 = time.process_time(), time.perf_counter()
                for _ in range(inner):
                    f()
                if r > 0:
                    times.append((time.perf_counter() - t0) / inner)
                    cpus.append((time.process_time() - c0) / inner)
    for record, f, reps, inner, times, cpus in live:
        if times:
            record.update(median_us=1e6 * float(np.median(times)), min_us=1e6 * min(times), reps=len(times),
                          median_cpu_us=1e6 * float(np.median(cpus)))
        if peak_bytes:
            record["peak_bytes"] = peak_bytes(f)
        print(json.dumps(record), flush=True)
