#!/usr/bin/env python3
"""models_jax.py - JAX's times for W5, W6 and W7 of workloads.lua, every operation one jitted function; models.py defines
them.

usage: models_jax.py [--threads N] [--reps N] [--workloads W5,..] [--ops b,..] [--budget S] [--check-only]
One thread: the process keeps to one processor, for XLA has no switch of its own. The first call, which compiles, is
compile_s; results are waited for. peak_bytes: XLA's temporaries and results of the compiled function.
"""
import models
args = models.options()
import os
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if args.threads == 1:
    os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false").strip()
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-args.threads:]))
import time
import jax
import jax.numpy as jnp
from jax import lax
import numpy as np
jax.config.update("jax_default_matmul_precision", "float32")


def taker(p):
    p = iter(p)
    return lambda n: [next(p) for _ in range(n)]


def normed(t, axes, eps=1e-5):
    centred = t - t.mean(axes, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(axes, keepdims=True) + eps)


def gpt(p, x):
    take = taker(p)
    embedding, positions = take(2)
    mask = jnp.triu(jnp.full((64, 64), -1e30, jnp.float32), 1)
    h = embedding[x] + positions
    for _ in range(4):
        g1, b1, qkv, qkv_b, out, out_b, g2, b2, up, up_b, down, down_b = take(12)
        q, k, v = (((normed(h, -1) * g1 + b1) @ qkv) + qkv_b).reshape(16, 64, 3, 4, 32).transpose(2, 0, 3, 1, 4)
        a = jax.nn.softmax(q @ k.swapaxes(-1, -2) * np.float32(32 ** -0.5) + mask, -1) @ v
        h = h + (a.transpose(0, 2, 1, 3).reshape(16, 64, 128) @ out + out_b)
        h = h + (jax.nn.gelu((normed(h, -1) * g2 + b2) @ up + up_b, approximate=False) @ down + down_b)
    g, b, w, wb = take(4)
    return ((normed(h, -1) * g + b) @ w + wb).reshape(1024, 64)


def conv(x, w, b, stride=1, padding=1):
    dims = ("NCHW", "OIHW", "NCHW")
    y = lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=dims)
    return y + b[:, None, None]


def group_norm(x, g, b):
    n, c, height, width = x.shape
    y = normed(x.reshape(n, 4, c // 4, height, width), (2, 3, 4)).reshape(x.shape)
    return y * g[:, None, None] + b[:, None, None]


def cnn(p, x):
    take = taker(p)
    relu = jax.nn.relu
    h = relu(group_norm(conv(x, *take(2)), *take(2)))
    for n, m in ((16, 16), (16, 32), (32, 64)):
        w1, c1, g1, b1, w2, c2, g2, b2 = take(8)
        t = relu(group_norm(conv(h, w1, c1, 1 if n == m else 2), g1, b1))
        t = group_norm(conv(t, w2, c2), g2, b2)
        h = relu((h if n == m else conv(h, *take(2), 2, 0)) + t)
    w, b = take(2)
    return h.mean((2, 3)) @ w + b


def gru(p, x):
    weight, recurrent, bias, inner, w, b = p
    a = jnp.swapaxes(x @ weight + bias, 0, 1)
    def step(h, at):
        ar, az, an = jnp.split(at, 3, 1)
        ur, uz, un = jnp.split(h @ recurrent, 3, 1)
        z = jax.nn.sigmoid(az + uz)
        n = jnp.tanh(an + jax.nn.sigmoid(ar + ur) * (un + inner))
        return n + z * (h - n), None
    return lax.scan(step, jnp.zeros((32, 64), jnp.float32), a)[0] @ w + b


FORWARD = {"W5": gpt, "W6": cnn, "W7": gru}


def operations(name):
    """functions of (parameters, tasks, v): data are arguments, so that XLA folds none of them"""
    def loss(p, task):
        logp = jax.nn.log_softmax(FORWARD[name](p, task[0]), axis=1)
        return -jnp.mean(jnp.take_along_axis(logp, task[1][:, None], axis=1))
    gr = jax.grad(loss)
    hvp = lambda p, task, u: jax.jvp(lambda q: gr(q, task), (p,), (u,))[1]
    def bracket(p, T):
        return tuple(s - t for s, t in zip(hvp(p, T[1], gr(p, T[0])), hvp(p, T[0], gr(p, T[1]))))
    def e(p, T, v):
        g = gr(p, T[0])
        return tuple(s + 0.05 * t for s, t in zip(g, hvp(p, T[0], g)))
    return dict(b=lambda p, T, v: gr(p, T[0]), c=lambda p, T, v: hvp(p, T[0], v), d=lambda p, T, v: bracket(p, T), e=e,
                g=lambda p, T, v: jax.grad(lambda q: sum(jnp.sum(t * t) for t in bracket(q, T)))(p))


for name in args.workloads.split(","):
    params, v, tasks = models.data(name)
    place = lambda ts: tuple(jnp.asarray(t) for t in ts)
    params, v, tasks = place(params), place(v), tuple((jnp.asarray(x), jnp.asarray(y.astype(np.int32))) for x, y in tasks)
    jobs, memory = [], {}
    for o, fn in operations(name).items():
        if o not in args.ops.split(","):
            continue
        record = dict(workload=name, op=o, variant="jit", dtype="f32", threads=args.threads, lib="jax", version=jax.__version__)
        t0 = time.perf_counter()
        compiled = jax.jit(fn).lower(params, tasks, v).compile()
        f = lambda compiled=compiled: jax.block_until_ready(compiled(params, tasks, v))
        r = [np.asarray(t, dtype=np.float64) for t in f()]
        record["compile_s"] = time.perf_counter() - t0
        record["sum"], record["sumsq"] = float(sum(t.sum() for t in r)), float(sum((t * t).sum() for t in r))
        del r
        stats = compiled.memory_analysis()
        memory[f] = stats.temp_size_in_bytes + stats.output_size_in_bytes if stats else 0
        jobs.append((record, f))
    models.measure(jobs, args, lambda f: memory[f])
