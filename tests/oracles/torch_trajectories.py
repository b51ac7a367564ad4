"""Makes tests/oracles/torch_trajectories.csv: what PyTorch's optimizers do on the 4-D Rosenbrock
function (scipy.optimize.rosen), in f32, on the CPU.

Run with:  pip install torch lion-pytorch  &&  python tests/oracles/torch_trajectories.py
"""

import pathlib

import torch
from lion_pytorch import Lion

START = [-1.2, 1.0, -0.5, 0.8]
STEPS = [1, 10, 100, 1000]
RUNS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-4),
    "sgd_decay": lambda p: torch.optim.SGD(p, lr=1e-4, weight_decay=1e-1),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(
        p, lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-2
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adam_decay": lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=1e-1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=1e-2),
    "adamw_clipped": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=1e-2),
    # PyTorch has no Lion; this is the best-known implementation in it. Its factor 1 - lr * decay is exact for
    # these numbers, and would else be rounded by 3e-8 in each of 1000 steps.
    "lion": lambda p: Lion(p, lr=2**-10, weight_decay=2**-3),
}


def rosen(x):
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def main():
    torch.set_num_threads(1)
    lines = [f"# torch {torch.__version__}, f32, CPU", "run,step,x0,x1,x2,x3"]
    for name, make in RUNS.items():
        x = torch.tensor(START, dtype=torch.float32, requires_grad=True)
        optimizer = make([x])
        for step in range(1, STEPS[-1] + 1):
            optimizer.zero_grad()
            rosen(x).backward()
            if name == "adamw_clipped":
                torch.nn.utils.clip_grad_norm_([x], 1.0)
            optimizer.step()
            # Later points of the clipped run say nothing: moving the start by 1e-7 moves step
            # 1000 by 6e-3, in f64, too (Adam jumps about where gradients vanish).
            if step in STEPS and not (name == "adamw_clipped" and step > 100):
                values = ",".join(f"{v:.9g}" for v in x.tolist())
                lines.append(f"{name},{step},{values}")
    path = pathlib.Path(__file__).with_suffix(".csv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
