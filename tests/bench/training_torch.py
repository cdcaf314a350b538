#!/usr/bin/env python3
"""training_torch.py - PyTorch's part of training.lua.

usage: training_torch.py FILE OPTIMIZER LR BATCH REPS THREADS
FILE (safetensors): theta, flat as bracket lays it out (W (in, out), b of every layer); x1, y1, x2, y2: the tasks'
examples in the order of training, so that a batch is a slice. One line for each variant of the optimizer: its name, the
fewest seconds of REPS runs of one epoch of each task, and the loss of task 2 at the end, on all its examples.
"""
import json, struct, sys, time
import torch
import torch.nn.functional as F

path, name, lr, batch, reps, threads = sys.argv[1], sys.argv[2], float(sys.argv[3]), *map(int, sys.argv[4:7])
torch.set_num_threads(threads)
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}

with open(path, "rb") as f:
    (size,) = struct.unpack("<Q", f.read(8))
    header, data = json.loads(f.read(size)), bytearray(f.read())
tensors = {k: torch.frombuffer(data, dtype=DTYPES[v["dtype"]], offset=v["data_offsets"][0],
                               count=torch.Size(v["shape"]).numel()).reshape(v["shape"]).clone()
           for k, v in header.items() if k != "__metadata__"}
inputs = tensors["x1"].shape[1]


def network():
    layers = [torch.nn.Linear(inputs, 256), torch.nn.Linear(256, 256), torch.nn.Linear(256, 10)]
    at, theta = 0, tensors["theta"]
    with torch.no_grad():
        for layer in layers:
            rows, columns = layer.in_features, layer.out_features
            layer.weight.copy_(theta[at:at + rows * columns].reshape(rows, columns).T)
            at += rows * columns
            layer.bias.copy_(theta[at:at + columns])
            at += columns
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])


def optimizer(parameters, **how):
    if name == "sgd":
        return torch.optim.SGD(parameters, lr, **how)
    if name == "heavy_ball":
        return torch.optim.SGD(parameters, lr, momentum=0.9, **how)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](parameters, lr, **how)


def run(**how):
    model = network()
    step = optimizer(model.parameters(), **how)
    began = time.perf_counter()
    for task in "12":
        x, y = tensors["x" + task], tensors["y" + task]
        for i in range(0, len(y) // batch * batch, batch):
            step.zero_grad()
            F.cross_entropy(model(x[i:i + batch]), y[i:i + batch]).backward()
            step.step()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        return seconds, F.cross_entropy(model(tensors["x2"]), tensors["y2"]).item()


for variant, how in {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}.items():
    try:
        runs = [run(**how) for _ in range(reps)]
    except (TypeError, RuntimeError):  # a version without it
        continue
    print(variant, min(r[0] for r in runs), runs[0][1], flush=True)
