"""Makes tests/oracles/torch_learning_rate.csv: a learning rate from the curvature along the update, around
PyTorch's optimizers, in f64, on the 4-D Rosenbrock function (scipy.optimize.rosen), on the minibatches of a
small network, and on those of a function that turns from a bowl into a hill.

Where rounding to f32 moves a point by half of what the test allows, the point says nothing and is left out: each run
is taken again several times, with parameters, probes, gradients and rates off by as much as rounding does, at random.

Run with:  pip install torch  &&  python tests/oracles/torch_learning_rate.py
"""

import math
import pathlib

import torch

torch.set_default_dtype(torch.float64)

STEPS = [1, 2, 5, 10, 20, 40, 80]
ALLOWED = 5e-6
ROUNDING, ROUNDED_RUNS = 2.0**-24, 8
RESOLUTION = 2.0**-20
BURN_IN, INTERVAL, INITIAL, DISPLACEMENT = 20, 25, 1e-2, 3e-2
OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1.0),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1.0, weight_decay=1e-2),
}


class Rosenbrock:
    start = [-1.2, 1.0, -0.5, 0.8]

    def loss(self, x, minibatch):
        return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


class Network:
    """2 inputs, 8 units with tanh, 1 output, half the mean squared error; minibatches of 8 out of 24 points."""

    start = [0.5 * math.sin(1.7 * i + 0.3) for i in range(33)]

    def loss(self, x, minibatch):
        rows = [(5 * minibatch + j) % 24 for j in range(8)]
        points = torch.tensor([[math.sin(1.3 * r), math.cos(2.1 * r)] for r in rows])
        targets = torch.tensor([math.sin(0.9 * r + 0.5) for r in rows])
        hidden = torch.tanh(points @ x[:16].view(2, 8) + x[16:24])
        return 0.5 * ((hidden @ x[24:32] + x[32] - targets) ** 2).mean()


class Hill:
    """Five minibatches that are one bowl, and then a maximum in the same place, a twentieth as sharp."""

    start = [0.03, 0.045, 0.06, 0.075]

    def loss(self, x, minibatch):
        return 0.5 * (1.0 if minibatch < 5 else -0.05) * (x * x).sum()


class Rate:
    """q, and what it is measured from."""

    def __init__(self, problem, make, repeated, seed=None):
        self.problem, self.make, self.repeated = problem, make, repeated
        self.random = None if seed is None else torch.Generator().manual_seed(seed)
        self.x = torch.tensor(problem.start, requires_grad=True)
        self.optimizer = make([self.x])
        self.q, self.first, self.minibatch = INITIAL, None, -1
        self.burn_in, self.measured = (BURN_IN // 2 if repeated else BURN_IN), 0
        self.scale = 0.5 if isinstance(self.optimizer, torch.optim.SGD) else 1.4
        self.signals, self.log_mean, self.weight, self.last = [], 0.0, 0, None
        self.longest, self.steepest = 0.0, 0.0

    def gradient(self, x):
        x = self.round(x.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(self.problem.loss(x, self.minibatch), x)
        return self.round(gradient)

    def round(self, x):
        if self.random is None:
            return x
        return x * (1 + ROUNDING * (2 * torch.rand(x.shape, generator=self.random) - 1))

    def update(self, gradient):
        """Where a step at a rate of 1 leads, without decoupled weight decay."""
        x = self.x.detach().clone().requires_grad_()
        optimizer = self.make([x])
        state = self.optimizer.state_dict()["state"]
        copied = {k: {n: torch.clone(t) if t is not None else None for n, t in s.items()} for k, s in state.items()}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": copied})
        if isinstance(optimizer, torch.optim.AdamW):
            optimizer.param_groups[0]["weight_decay"] = 0.0
        x.grad = gradient.clone()
        optimizer.step()
        return (x - self.x).detach()

    def previous_update(self, step):
        """u of the step before, from the moments that it left."""
        if self.last is None or self.last[3] != step:
            return torch.zeros_like(self.x.detach())
        state = self.optimizer.state[self.x]
        if "momentum_buffer" in state:
            return -state["momentum_buffer"]
        root = (state["exp_avg_sq"] / (1 - 0.999**step)).sqrt() + 1e-8
        return -state["exp_avg"] / (1 - 0.9**step) / root

    def look(self, step, gradient):
        """u, the slope along the last u, and the rate at which u leads to the probe."""
        u = self.update(gradient)
        reach = DISPLACEMENT * (1 + float(self.x.detach().norm())) / float(u.norm())
        return u, float(gradient @ self.previous_update(step)), reach

    def adopt(self, seen, slope, curvature, rounding, growth):
        """q goes to the geometric mean of all estimates times the square of what other minibatches see of the slope; in
        the burn-in not beyond the last estimate, and after it the mean so far counts as two. With Adam, an update below a
        fiftieth of the longest counts as that long; and where it leads down more steeply than ever, or the curvature is
        negative and the slope no higher than the last, q goes to ten probes, fourfold at most, and the mean begins anew."""
        u, previous, reach = seen
        norm = float(u.norm())
        q, burning_in = self.q, self.measured < self.burn_in
        self.measured += 1
        last, resolved = self.last, abs(curvature) > rounding
        self.last = [slope, curvature if resolved else 0.0, self.first[2] if self.repeated else 0.0, 0]
        if burning_in and slope < 0 and last and last[0] < 0 and previous != 0:
            there = previous - last[2] * last[1]
            self.signals.append(min(max(there / last[0], 0.0), 1.0))
        signal = max(sum(self.signals) / len(self.signals), 0.1) if self.signals else 1.0
        self.longest = max(self.longest, norm)
        is_adam = not isinstance(self.optimizer, torch.optim.SGD)
        shortness = min(1.0, 50 * norm / self.longest) if is_adam else 1.0
        steepness, distant = -slope / norm, 10 * shortness * reach
        lower = resolved and curvature < 0 and last and slope <= last[0] < 0
        steeper = is_adam and self.signals and signal >= 0.9 and (lower or 0 < self.steepest <= steepness)
        self.steepest = max(self.steepest, steepness)
        if slope < 0 and resolved:
            estimate = shortness * min(max(self.scale * -slope / abs(curvature), 1e-10), 1e3)
        if slope < 0 and resolved and steeper and q < distant:
            goal, growth = min(distant, 4 * q), 4
            self.log_mean, self.weight = math.log(max(estimate, goal / signal**2)), min(max(self.weight, 1), 2)
        elif slope < 0 and resolved:
            self.weight += 1
            self.log_mean += (math.log(estimate) - self.log_mean) / self.weight
            mean = math.exp(self.log_mean)
            goal = signal**2 * (min(mean, estimate) if burning_in else mean)
        elif slope < 0 and (burning_in or not self.weight):
            goal = max(q, reach)
        elif not self.weight:
            goal = q / growth
        else:
            goal = signal**2 * math.exp(self.log_mean)
            goal = min(goal, q) if burning_in else goal
        if self.measured == self.burn_in:
            self.weight = min(self.weight, 2)
        self.q = float(self.round(torch.tensor(min(max(goal, q / 10), growth * q))))

    def measure_by_probe(self, step, g):
        seen = self.look(step, g)
        u, reach = seen[0], seen[2]
        product = (self.gradient(self.x + reach * u) - g) / reach
        rounding = RESOLUTION * float(g.norm()) * float(u.norm()) / reach
        self.adopt(seen, float(g @ u), float(u @ product), rounding, 2)

    def measure_by_step(self, step, g):
        moved, slope, rate, seen = self.first
        rounding = RESOLUTION * float(g.norm()) * float(moved.norm()) / rate**2
        self.adopt(seen, slope / rate, (float(g @ moved) - slope) / rate**2, rounding, 3)

    def step(self, step, factor):
        repeats = self.repeated and self.first is not None
        self.minibatch += not repeats
        g = self.gradient(self.x)
        due = step % INTERVAL == 0
        begins = self.repeated and not repeats and (due or step + 1 < BURN_IN)
        measured = self.measured
        if repeats:
            self.measure_by_step(step, g)
        elif not self.repeated and (due or step < BURN_IN):
            self.measure_by_probe(step, g)
        if self.measured > measured:
            self.last[2] += self.q * factor
            self.last[3] = step + 1
        before = self.x.detach().clone()
        seen = self.look(step, g) if begins else None
        self.optimizer.param_groups[0]["lr"] = self.q * factor
        self.x.grad = g.clone()
        self.optimizer.step()
        self.x.data = self.round(self.x.detach())
        moved = self.x.detach() - before
        self.first = (moved, float(g @ moved), self.q * factor, seen) if begins else None


def main():
    torch.set_num_threads(1)
    lines = [f"# torch {torch.__version__}, f64, CPU", "problem,optimizer,probe,step,rate,parameters"]
    for problem in (Rosenbrock, Network, Hill):
        for name, make in OPTIMIZERS.items():
            for repeated in (False, True):
                run = Rate(problem(), make, repeated)
                others = [Rate(problem(), make, repeated, seed) for seed in range(ROUNDED_RUNS)]
                for step in range(STEPS[-1]):
                    for each in (run, *others):
                        each.step(step, min(1.0, (step + 1) / 10))
                    moved = max(float((other.x - run.x).detach().abs().max()) for other in others)
                    if step + 1 in STEPS and moved < ALLOWED:
                        values = " ".join(f"{v:.9g}" for v in run.x.tolist())
                        probe = "repeated" if repeated else "separate"
                        row = f"{problem.__name__},{name},{probe},{step + 1},{run.q:.9g},{values}"
                        lines.append(row.lower())
    path = pathlib.Path(__file__).with_suffix(".csv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
