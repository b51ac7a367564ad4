"""Optimizer steps of PyTorch, burn-optim and dimer, side by side in one run.

    ./dev bench peers [--log2 20 24] [--device cpu|cuda] [--burn] [--torch-only] [--json FILE]

Prints a Markdown table: milliseconds a step, and each as a multiple of torch's fused AdamW. Gradients
are prepared, so that the optimizer alone is timed. Each round runs every peer once, and medians over
rounds count.

The DEO step is the same everywhere: place the probe, H N = (g2 - g1) / d, turn N against
F = H N - C N, take the part along N out of the gradient, AdamW.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATE, DISTANCE, ALPHA = 1e-3, 1e-2, 1.0
LEARNING_RATE, DECAY, BETA1, BETA2, EPSILON = 1e-3, 1e-2, 0.9, 0.999, 1e-8


class Deo:
    """DEO-AdamW over one flat vector, in operations of torch."""

    def __init__(self, parameters, device, step):
        values = (torch.arange(parameters, device=device) % 1000) / 1e3
        self.theta = values.clone()
        self.g1, self.g2 = values.clone(), 1.01 * values
        direction = torch.randn(parameters, device=device)
        self.n = direction / direction.norm()
        self.m, self.v = torch.zeros_like(values), torch.zeros_like(values)
        self.probe = torch.empty_like(values)
        self.t = torch.zeros((), device=device)
        self.function = step

    @torch.no_grad()
    def step(self):
        self.t += 1
        vectors = (self.theta, self.probe, self.g1, self.g2, self.n, self.m, self.v, self.t)
        self.function(*vectors)


def deo_step(theta, probe, g1, g2, n, m, v, t):
    """One rotating step, in place. The probe is placed before the gradient there is taken, so that a
    compiler may not fuse the two; both are prepared here."""
    probe.copy_(theta + DISTANCE * n)
    product = (g2 - g1) / DISTANCE
    curvature = n @ product
    force = product - curvature * n
    turned = n - RATE * force
    n.copy_(turned / turned.norm())
    gradient = g1 - ALPHA * (g1 @ n) * n
    m.lerp_(gradient, 1 - BETA1)
    v.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    theta.mul_(1 - LEARNING_RATE * DECAY)
    root = v.sqrt() / (1 - BETA2**t).sqrt() + EPSILON
    theta.sub_(LEARNING_RATE / (1 - BETA1**t) * m / root)


def adamw(parameters, device):
    """torch's own, fused."""
    values = (torch.arange(parameters, device=device) % 1000) / 1e3
    theta = torch.nn.Parameter(values.clone())
    theta.grad = values.clone()
    return torch.optim.AdamW([theta], LEARNING_RATE, weight_decay=DECAY, fused=True)


def milliseconds(step, device, steps):
    """Of a step, by the host's clock, and by CUDA's events where there are any."""
    cuda = device == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    first, last = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else (None, None)
    step()
    wait()
    began = time.perf_counter()
    if cuda:
        first.record()
    for _ in range(steps):
        step()
    if cuda:
        last.record()
    wait()
    wall = (time.perf_counter() - began) / steps * 1e3
    return wall, first.elapsed_time(last) / steps if cuda else None


def check():
    """The torch step is the one it claims to be: N goes to the softest direction of a quadratic."""
    curvatures = torch.tensor([-1.0, 0.5, 1.0, 2.0])
    n = torch.full((4,), 0.5)
    zeros = [torch.zeros(4) for _ in range(4)]
    theta, probe, m, v = zeros
    global RATE
    rate, RATE = RATE, 0.3
    for t in range(1, 200):
        g1 = curvatures * theta
        g2 = curvatures * (theta + DISTANCE * n)
        deo_step(theta, probe, g1, g2, n, m, v, torch.tensor(float(t)))
    RATE = rate
    assert n[0].abs() > 0.999 and abs(n.norm() - 1) < 1e-5, n


def of_command(command):
    """The JSON that another program prints last."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--log2", type=int, nargs="+", default=[12, 16, 20, 24])
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--burn", action="store_true", help="burn-optim's AdamW as well")
    arguments.add_argument("--torch-only", action="store_true", help="without cargo")
    arguments.add_argument("--json", type=pathlib.Path, help="where torch's times go as JSON")
    arguments = arguments.parse_args()
    check()
    device = arguments.device
    compiled = torch.compile(deo_step)
    print(f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads")
    described = None
    rows, of_torch = [], []
    for log2 in arguments.log2:
        parameters = 2**log2
        peers = {
            "torch AdamW, fused": adamw(parameters, device).step,
            "torch DEO, eager": Deo(parameters, device, deo_step).step,
            "torch DEO, compiled": Deo(parameters, device, compiled).step,
        }
        times, on_gpu = {}, {}
        for _ in range(arguments.rounds):
            for name, step in list(peers.items()):
                try:
                    wall, gpu = milliseconds(step, device, arguments.steps)
                except Exception as error:  # No compiler for torch.compile, or no memory.
                    print(f"{name}, 2^{log2}: {error}")
                    del peers[name]
                    times.pop(name, None)
                    on_gpu.pop(name, None)
                    continue
                times.setdefault(name, []).append(wall)
                on_gpu.setdefault(name, []).append(gpu)
            if arguments.torch_only:
                continue
            ours = ["cargo", "bench", "--quiet", "--bench", "peers", "--"]
            sizes = ["--parameters", str(parameters), "--steps", str(arguments.steps)]
            found = of_command(ours + sizes + ["--batches", "1"])
            described = found.pop("device")
            found.pop("tuning")
            if arguments.burn:
                burn = ["cargo", "run", "--quiet", "--release", "-p", "dimer-burn"]
                found |= of_command(burn + ["--example", "peer", "--"] + sizes)
            for name, nanoseconds in found.items():
                times.setdefault(name, []).append(nanoseconds / 1e6)
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, values in on_gpu.items():
            gpu = statistics.median(values) if device == "cuda" else None
            wall = medians[name]
            row = {"name": name, "parameters": parameters, "milliseconds": wall, "gpu_milliseconds": gpu}
            of_torch.append(row)
        if arguments.json:  # Whatever comes later may take too long.
            arguments.json.write_text(json.dumps(of_torch))
        unit = medians["torch AdamW, fused"]
        rows.append((log2, {n: f"{x:.3f} ({x / unit:.2f})" for n, x in medians.items()}))
    print(f"dimer on {described}\n" if described else "")
    names = list(dict.fromkeys(name for _, cells in rows for name in cells))
    print("| parameters | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for log2, cells in rows:
        print(f"| 2^{log2} | " + " | ".join(cells.get(name, "–") for name in names) + " |")


if __name__ == "__main__":
    main()
