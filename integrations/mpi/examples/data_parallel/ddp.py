"""The same training by PyTorch's DistributedDataParallel with gloo, by 1 to 4 processes of one thread each.

    python -m venv torch && torch/bin/pip install torch numpy
    torch/bin/python integrations/mpi/examples/data_parallel/ddp.py
    LP_NUM_THREADS=1 mpirun -n 4 target/release/examples/data_parallel --rate 1e-3

Network, images, size of the minibatches, schedule, AdamW and its settings are those of main.rs with --rate; the weights
and the order of the images come from another generator of random numbers. LP_NUM_THREADS is for Mesa's software
renderer, which otherwise uses all cores for each rank.
"""

import argparse
import math
import os
import pathlib
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

TEST, UNTIMED = 360, 10


def images():
    path = pathlib.Path(__file__).parents[4] / "examples/data/digits.csv"
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(0).permutation(len(rows))][TEST:]
    return torch.from_numpy(rows[:, 1:] / 16), torch.from_numpy(rows[:, 0]).long()


def factor(step, steps):
    """cosine_with_warm_up(step, steps / 10, steps, 0.1) of the crate."""
    warm_up = steps // 10
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / (steps - warm_up)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def train(rank, ranks, args, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    torch.manual_seed(args.seed)
    layers = [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)]
    for layer in layers[::2]:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers))
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate)
    pixels, labels = images()
    order, next_image = torch.randperm(len(labels)), 0
    losses = []
    # Each image counts as one, whatever the shares.
    own = slice(args.batch * rank // ranks, args.batch * (rank + 1) // ranks)
    scale = (own.stop - own.start) * ranks / args.batch
    for step in range(args.steps):
        if step == UNTIMED:
            began = time.perf_counter()
        if next_image + args.batch > len(order):
            order, next_image = torch.randperm(len(labels)), 0
        batch = order[next_image : next_image + args.batch][own]
        next_image += args.batch
        for group in optimizer.param_groups:
            group["lr"] = args.rate * factor(step, args.steps)
        loss = scale * nn.functional.cross_entropy(model(pixels[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    elapsed = time.perf_counter() - began
    losses = torch.stack(losses)
    dist.all_reduce(losses)
    losses /= ranks
    if rank == 0:
        ends = [args.steps // 3, args.steps * 2 // 3, args.steps]
        means = "".join(f"{losses[end - 10 : end].mean():>15.6f}" for end in ends)
        print(f"{ranks:>5}{means}{1e3 * elapsed / (args.steps - UNTIMED):>10.2f}", flush=True)
    # gloo aborts a rank now and then if another goes while it still reads.
    dist.barrier()
    time.sleep(0.5)
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.steps < 30:
        parser.error("at least 30 steps")
    ends = [args.steps // 3, args.steps * 2 // 3, args.steps]
    heads = [f"loss at {ends[0]}", f"at {ends[1]}", f"at {ends[2]}"]
    print("ranks" + "".join(f"{head:>15}" for head in heads) + f"{'ms/step':>10}")
    for ranks in range(1, args.ranks + 1):
        mp.spawn(train, (ranks, args, 29500 + ranks), ranks)
