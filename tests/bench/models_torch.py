#!/usr/bin/env python3
"""models_torch.py - PyTorch's times for W5, W6 and W7 of workloads.lua; models.py defines them.

usage: models_torch.py [--threads N] [--reps N] [--workloads W5,..] [--ops b,..] [--variants eager,func,compile]
                       [--budget S] [--check-only]
Variants: eager (double backward), func (torch.func: jvp of grad) and compile (torch.compile of func, on request: it
takes minutes). peak_bytes: the most that the tensors of one call take at once, from PyTorch's own profiler.
"""
import models
args = models.options((("--variants", dict(default="eager,func")),))
import torch
import torch.nn.functional as F
torch.set_num_threads(args.threads)
try:
    from torch.func import grad as fgrad, jvp as fjvp
except ImportError:
    from functorch import grad as fgrad, jvp as fjvp
ag = torch.autograd.grad


def ce(z, y, plain):
    if plain:  # forward mode has no rule for nll_loss in old versions
        return (torch.logsumexp(z, 1) - (z * F.one_hot(y, z.shape[1]).to(z.dtype)).sum(1)).mean()
    return F.cross_entropy(z, y)


MASK = torch.full((64, 64), -1e30).triu(1)


def gpt(p, x, third):
    """third derivatives of PyTorch 2.13's layer_norm are wrong (2.76 for a checksum of 2.244, which the norm written
    out gives too, in float32 and float64): there it is written out"""
    p = iter(p)
    take = lambda n: [next(p) for _ in range(n)]
    def norm(t, g, b):
        if not third:
            return F.layer_norm(t, (128,), g, b, 1e-5)
        centred = t - t.mean(-1, keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + 1e-5) * g + b
    embedding, positions = take(2)
    h = F.embedding(x, embedding) + positions
    for _ in range(4):
        g1, b1, qkv, qkv_b, out, out_b, g2, b2, up, up_b, down, down_b = take(12)
        q, k, v = (norm(h, g1, b1) @ qkv + qkv_b).reshape(16, 64, 3, 4, 32).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) * 32 ** -0.5 + MASK, -1) @ v
        h = h + (a.permute(0, 2, 1, 3).reshape(16, 64, 128) @ out + out_b)
        h = h + (F.gelu(norm(h, g2, b2) @ up + up_b) @ down + down_b)
    g, b, w, wb = take(4)
    return (norm(h, g, b) @ w + wb).reshape(1024, 64)


def cnn(p, x, third):
    p = iter(p)
    take = lambda n: [next(p) for _ in range(n)]
    h = F.relu(F.group_norm(F.conv2d(x, *take(2), padding=1), 4, *take(2)))
    for n, m in ((16, 16), (16, 32), (32, 64)):
        w1, c1, g1, b1, w2, c2, g2, b2 = take(8)
        stride = 1 if n == m else 2
        t = F.relu(F.group_norm(F.conv2d(h, w1, c1, stride=stride, padding=1), 4, g1, b1))
        t = F.group_norm(F.conv2d(t, w2, c2, padding=1), 4, g2, b2)
        h = F.relu((h if n == m else F.conv2d(h, *take(2), stride=2)) + t)
    w, b = take(2)
    return torch.addmm(b, F.avg_pool2d(h, 8).flatten(1), w)


def gru(p, x, third):
    weight, recurrent, bias, inner, w, b = p
    a = x @ weight + bias
    h = x.new_zeros(32, 64)
    for t in range(100):
        ar, az, an = a[:, t].chunk(3, 1)
        ur, uz, un = (h @ recurrent).chunk(3, 1)
        z = torch.sigmoid(az + uz)
        n = torch.tanh(an + torch.sigmoid(ar + ur) * (un + inner))
        h = n + z * (h - n)
    return torch.addmm(b, h, w)


FORWARD = {"W5": gpt, "W6": cnn, "W7": gru}


def operations(name, params, v, tasks, variant):
    plain = variant != "eager"
    loss = lambda p, k, third=False: ce(FORWARD[name](p, tasks[k][0], third), tasks[k][1], plain)
    sub = lambda x, y: tuple(s - t for s, t in zip(x, y))
    if variant == "eager":
        p = [t.clone().requires_grad_(True) for t in params]
        fixed = lambda ts: tuple(t.detach() for t in ts)
        graph = lambda k, third=False: ag(loss(p, k, third), p, create_graph=True)
        def d():
            g0, g1 = graph(0), graph(1)
            return sub(ag(g1, p, grad_outputs=fixed(g0)), ag(g0, p, grad_outputs=fixed(g1)))
        def e():
            g = graph(0)
            return tuple(s + 0.05 * t for s, t in zip(fixed(g), ag(g, p, grad_outputs=fixed(g))))
        def squared():
            g0, g1 = graph(0, True), graph(1, True)
            x = ag(g1, p, grad_outputs=g0, create_graph=True)
            y = ag(g0, p, grad_outputs=g1, create_graph=True)
            return ag(sum(((s - t) ** 2).sum() for s, t in zip(x, y)), p)
        return dict(b=lambda: ag(loss(p, 0), p), c=lambda: ag(graph(0), p, grad_outputs=v), d=d, e=e, g=squared)
    grads_of = lambda third: [fgrad(lambda q, k=k: loss(q, k, third)) for k in range(2)]
    grads = grads_of(False)
    hvp = lambda k, p, u: fjvp(grads[k], (p,), (u,))
    def bracket(p, grads=grads):
        g1, h10 = fjvp(grads[1], (p,), (grads[0](p),))
        return sub(h10, fjvp(grads[0], (p,), (g1,))[1])
    def e(p):
        g = grads[0](p)
        return tuple(s + 0.05 * t for s, t in zip(g, hvp(0, p, g)[1]))
    raw = dict(b=grads[0], c=lambda p: hvp(0, p, v)[1], d=bracket, e=e,
               g=lambda p: fgrad(lambda q: sum((t * t).sum() for t in bracket(q, grads_of(True))))(p))
    if variant == "compile":
        raw = {o: torch.compile(f) for o, f in raw.items()}
    p = tuple(params)
    return {o: (lambda f=f: f(p)) for o, f in raw.items()}


def peak_bytes(f):
    """from PyTorch's profiler: what was allocated and freed, in order"""
    from torch.profiler import profile, ProfilerActivity
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        f()
    most = live = 0
    for event in run.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most


for name in args.workloads.split(","):
    params, v, tasks = models.data(name)
    params, v = [torch.from_numpy(t) for t in params], tuple(torch.from_numpy(t) for t in v)
    tasks = [tuple(torch.from_numpy(t) for t in task) for task in tasks]
    jobs = []
    for variant in (u for u in args.variants.split(",") if u in ("eager", "func", "compile")):
        for o, f in operations(name, params, v, tasks, variant).items():
            if o not in args.ops.split(","):
                continue
            record = dict(workload=name, op=o, variant=variant, dtype="f32", threads=args.threads, lib="torch", version=torch.__version__)
            try:
                r = torch.cat([t.detach().double().reshape(-1) for t in f()])
            except Exception as ex:
                import json
                record["error"] = (type(ex).__name__ + ": " + str(ex)).split("\n")[0][:200]
                print(json.dumps(record), flush=True)
                continue
            record["sum"], record["sumsq"] = float(r.sum()), float((r * r).sum())
            del r
            jobs.append((record, f))
    models.measure(jobs, args, peak_bytes)
