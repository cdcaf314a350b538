#!/usr/bin/env python3
"""operations_torch.py - PyTorch's part of operations.lua.

usage: operations_torch.py [THREADS [REPS [TEXT]]]: a line an operation or layer whose name has the text: name,
microseconds of its value and of its gradient, the least of REPS calls, between tabs.
"""
import sys, time
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
reps = int(sys.argv[2]) if len(sys.argv) > 2 else 9
only = sys.argv[3] if len(sys.argv) > 3 else ""
torch.manual_seed(1)
normal = torch.randn
square, image, planes = normal(1024, 1024), normal(64, 32, 32, 32), normal(64, 32, 16, 16)
positive, other, row, sequence = square.abs() + 0.5, normal(1024, 1024), normal(1024), normal(16, 64, 128)
rows = torch.randint(0, 1024, (4096,))


class Attention(nn.Module):
    """heads written out, as its products and its derivatives of any order are ours too"""
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.all, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, time, width = x.shape
        size = width // self.heads
        q, k, v = self.all(x).reshape(n, time, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) * size ** -0.5, -1) @ v
        return self.out(a.permute(0, 2, 1, 3).reshape(n, time, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.up = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                                nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.up(x)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.of = kind(128, 128, batch_first=True)

    def forward(self, x):
        return self.of(x)[0]


elementwise = "exp", "tanh", "sigmoid", "relu", "erf", "sin", "cos", "abs"
list_ = [(name, getattr(torch, name), square) for name in elementwise]
list_ += [
    ("softplus", F.softplus, square), ("gelu", F.gelu, square), ("log", torch.log, positive),
    ("sqrt", torch.sqrt, positive), ("pow 2.5", lambda t: t ** 2.5, positive), ("add a row", lambda t: t + row, square),
    ("divide", lambda t: t / positive, square), ("maximum", lambda t: torch.maximum(t, other), square),
    ("where", lambda t: torch.where(t > 0, t, other), square),
    ("softmax", lambda t: torch.softmax(t, -1), square), ("log_softmax", lambda t: torch.log_softmax(t, -1), square),
    ("logsumexp", lambda t: torch.logsumexp(t, -1), square), ("norm", lambda t: t.norm(), square),
    ("cumsum", lambda t: t.cumsum(1), square), ("sort", lambda t: t.sort()[0], square),
    ("gather", lambda t: t[rows], square), ("flip", lambda t: t.flip(1), square),
    ("transpose, times", lambda t: t.t() * t, square), ("concat", lambda t: torch.cat([t, other], 1), square),
    ("permute", lambda t: t.permute(0, 2, 3, 1).contiguous(), image), ("matmul", lambda t: t @ other, square),
    ("linear 512", nn.Linear(512, 512), normal(256, 512)), ("conv 3 x 3", nn.Conv2d(32, 64, 3, 1, 1), planes),
    ("conv 3 x 3, stride 2", nn.Conv2d(32, 64, 3, 2, 1), planes), ("conv 5 x 5", nn.Conv2d(32, 64, 5, 1, 2), planes),
    ("conv 1 x 1", nn.Conv2d(32, 64, 1), planes),
    ("conv 7 x 7, stride 2", nn.Conv2d(3, 64, 7, 2, 3), normal(16, 3, 64, 64)),
    ("conv 3 x 3 of 256 at 8 x 8", nn.Conv2d(256, 256, 3, 1, 1), normal(32, 256, 8, 8)),
    ("conv 3 x 3 of 512 at 4 x 4", nn.Conv2d(512, 512, 3, 1, 1), normal(32, 512, 4, 4)),
    ("max pool 2", nn.MaxPool2d(2), image), ("max pool 3, stride 2", nn.MaxPool2d(3, 2, 1), image),
    ("average pool 2", nn.AvgPool2d(2), image), ("average pool 3, stride 2", nn.AvgPool2d(3, 2, 1), image),
    ("group norm", nn.GroupNorm(8, 32), image), ("layer norm", nn.LayerNorm(128), sequence),
    ("attention", Attention(128, 4), sequence), ("gru", Recurrent(nn.GRU), sequence),
    ("lstm", Recurrent(nn.LSTM), sequence),
    ("transformer block of 384", Block(384, 6), normal(8, 128, 384)),
    ("LeNet, batch 64", nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)), normal(64, 1, 28, 28)),
]
for dim in (1, 2):
    list_ += [(f"sum along {dim}", lambda t, d=dim - 1: t.sum(d), square),
              (f"max along {dim}", lambda t, d=dim - 1: t.max(d)[0], square)]


def best_of(f):
    f()
    best = float("inf")
    for _ in range(reps):
        began = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - began)
    return 1e6 * best


for name, f, x in list_:
    if only not in name:
        continue
    x = x.clone().requires_grad_(True)
    leaves = [x] + (list(f.parameters()) if isinstance(f, nn.Module) else [])

    def gradient():
        y = f(x)
        return torch.autograd.grad((y * y).sum(), leaves)

    with torch.no_grad():
        value = best_of(lambda: f(x))
    print(f"{name}\t{value:.4g}\t{best_of(gradient):.4g}", flush=True)
