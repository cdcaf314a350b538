#!/usr/bin/env python3
"""optimizers_torch.py - PyTorch's part of optimizers.lua.

usage: optimizers_torch.py [SIZES [REPS]]: one JSON line an optimizer, float32, size and variant of it: seconds of a
step, the fastest of REPS blocks, one thread.
"""
import json, sys, time
import torch

sizes = [int(n) for n in (sys.argv[1] if len(sys.argv) > 1 else "1000,30000,269322,1000000,4000000").split(",")]
reps = int(sys.argv[2]) if len(sys.argv) > 2 else 15
torch.set_num_threads(1)
OPTIMIZERS = {
    "sgd": lambda p, **how: torch.optim.SGD(p, 1e-3, **how),
    "heavy_ball": lambda p, **how: torch.optim.SGD(p, 1e-3, momentum=0.9, **how),
    "adam": lambda p, **how: torch.optim.Adam(p, 1e-3, **how),
    "adamw": lambda p, **how: torch.optim.AdamW(p, 1e-3, **how),
}
VARIANTS = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}

for n in sizes:
    count = max(3, min(200, 4000000 // n))
    for name, make in OPTIMIZERS.items():
        for variant, how in VARIANTS.items():
            theta = torch.randn(n, requires_grad=True)
            theta.grad = torch.randn(n)
            try:
                step = make([theta], **how).step
                step()
            except (TypeError, RuntimeError):  # a version without it
                continue
            best = float("inf")
            for _ in range(reps):
                began = time.perf_counter()
                for _ in range(count):
                    step()
                best = min(best, (time.perf_counter() - began) / count)
            print(json.dumps({"optimizer": name, "dtype": "float32", "n": n, "variant": variant,
                              "seconds": float(f"{best:.3g}")}), flush=True)
