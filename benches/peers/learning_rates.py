"""Learning rates that need no tuning: a grid of fixed rates, the rate from curvature, Prodigy and D-Adaptation.

    pip install torch prodigyopt dadaptation
    python benches/peers/learning_rates.py digits --gradients 1000 --seeds 40 41 42
    python benches/peers/learning_rates.py gpt --text FILE --gradients 600 --seeds 40 41 42

Prints a Markdown table: the loss at the end of each seed, after equally many gradients, probes counted, and the
rate at the end. The rate warms up over the first tenth of the steps and then falls to a tenth by a cosine. The
rule is written out here in PyTorch, apart from the crate's own reference, and is that of
`LearningRate::Curvature`.
"""

import argparse
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
BETA1, EPSILON = 0.9, 1e-8
DISPLACEMENT = 1e-3
RESOLUTION = 2.0**-20


class Digits:
    """The network of `examples/digits_mlp.rs`; the loss at the end is that of all images for training."""

    beta2, decay, clip, batch = 0.999, 0.01, math.inf, 128

    def __init__(self, arguments):
        lines = (ROOT / "examples/data/digits.csv").read_text().splitlines()
        rows = torch.tensor([[float(x) for x in line.split(",")] for line in lines])
        rows = rows[torch.randperm(len(rows), generator=seeded(7))][:1437]
        self.labels, self.pixels = rows[:, 0].long(), rows[:, 1:] / 16
        self.batch = arguments.batch or self.batch
        self.full_batch = arguments.full_batch
        if arguments.wrong_labels:
            wrong = torch.rand(len(rows), generator=seeded(5)) < arguments.wrong_labels
            other = torch.randint(10, (len(rows),), generator=seeded(6))
            self.labels = torch.where(wrong, other, self.labels)

    def module(self):
        layers = [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)]
        return nn.Sequential(*layers)

    def loss(self, module, chosen):
        return F.cross_entropy(module(self.pixels[chosen]), self.labels[chosen])

    def minibatch(self, generator):
        if self.full_batch:
            return torch.arange(len(self.labels))
        return torch.randint(len(self.labels), (self.batch,), generator=generator)

    def final_loss(self, module):
        return self.loss(module, torch.arange(len(self.labels)))


class Network(Digits):
    """The digits by other networks: with ReLU, or with layer norms before it."""

    def __init__(self, arguments):
        super().__init__(arguments)
        self.norms = arguments.problem == "layer-norm"

    def module(self):
        if not self.norms:
            return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        norm = lambda: nn.LayerNorm(64, bias=False)
        hidden = [nn.Linear(64, 64), norm(), nn.ReLU(), nn.Linear(64, 64), norm(), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(64, 10))


class Autoencoder(Digits):
    """The images of the digits through 8 units; the mean squared error of all at the end."""

    def module(self):
        sizes = [64, 32, 8, 32, 64]
        layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers[:-1])

    def loss(self, module, chosen):
        return F.mse_loss(module(self.pixels[chosen]), self.pixels[chosen])


class Teacher(Digits):
    """4096 random points of 20 numbers, and what a network of 10 units with tanh makes of them."""

    def __init__(self, arguments):
        generator = seeded(11)
        self.pixels = torch.randn(4096, 20, generator=generator)
        inner = torch.randn(20, 10, generator=generator) / 20**0.5
        outer = torch.randn(10, generator=generator)
        self.labels = torch.tanh(2 * self.pixels @ inner) @ outer
        self.batch = arguments.batch or self.batch
        self.full_batch = arguments.full_batch

    def module(self):
        return nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))

    def loss(self, module, chosen):
        return F.mse_loss(module(self.pixels[chosen])[:, 0], self.labels[chosen])


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        batch, context, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, context, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, context, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """Pre-norm, no biases, no dropout, the head tied to the embedding."""

    def __init__(self, vocabulary, context, layers, heads, width):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if name.startswith("embedding"):
                nn.init.normal_(weight, std=0.06)
            elif name.startswith("position"):
                nn.init.normal_(weight, std=0.02)
            elif weight.dim() > 1:
                residual = name.endswith(("out.weight", "down.weight"))
                inputs = weight.shape[1] * (2 * layers if residual else 1)
                nn.init.normal_(weight, std=inputs**-0.5)

    def forward(self, x):
        x = self.embedding(x) + self.position.weight[: x.shape[1]]
        return self.norm(self.blocks(x)) @ self.embedding.weight.T


class Text:
    """A GPT on the characters of a text; the loss at the end is that of 256 windows of the last tenth."""

    beta2, decay, clip, batch, context = 0.99, 0.1, 1.0, 16, 64
    sizes = {"gpt": (2, 4, 64), "large-gpt": (4, 4, 128)}

    def __init__(self, arguments):
        text = arguments.text.read_text()
        letters = {letter: i for i, letter in enumerate(sorted(set(text)))}
        numbers = torch.tensor([letters[letter] for letter in text])
        cut = 9 * len(numbers) // 10
        self.train, self.validation, self.vocabulary = numbers[:cut], numbers[cut:], len(letters)
        self.size = self.sizes[arguments.problem]
        self.batch = arguments.batch or self.batch

    def module(self):
        return Gpt(self.vocabulary, self.context, *self.size)

    def windows(self, text, generator, count):
        return torch.randint(len(text) - self.context - 1, (count,), generator=generator)

    def minibatch(self, generator):
        return self.windows(self.train, generator, self.batch)

    def loss(self, module, starts, text=None):
        text = self.train if text is None else text
        at = starts[:, None] + torch.arange(self.context)
        return F.cross_entropy(module(text[at]).flatten(0, 1), text[at + 1].flatten())

    def final_loss(self, module):
        return self.loss(module, self.windows(self.validation, seeded(99), 256), self.validation)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def schedule(step, steps, warm_up):
    cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return cosine * min(1.0, (step + 1) / (warm_up * steps)) if warm_up else cosine


class Training:
    """A module whose parameters are views of one vector, and its minibatches."""

    def __init__(self, problem, seed, arguments):
        torch.manual_seed(seed)
        self.problem, self.arguments, self.seed = problem, arguments, seed
        self.module = problem.module()
        self.parameters = list(self.module.parameters())
        self.theta = nn.utils.parameters_to_vector(self.parameters).detach().clone()
        nn.utils.vector_to_parameters(self.theta, self.parameters)
        self.decays = torch.cat([torch.full((p.numel(),), float(p.dim() > 1)) for p in self.parameters])

    def gradient(self, minibatch):
        chosen = self.problem.minibatch(seeded(1_000_003 * self.seed + minibatch))
        loss = self.arguments.loss_factor * self.problem.loss(self.module, chosen)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)])

    def final_loss(self):
        with torch.no_grad():
            return float(self.problem.final_loss(self.module))


class Momentum:
    adaptive = False

    def __init__(self, training):
        self.m = torch.zeros_like(training.theta)

    def update(self, g):
        """Where a step at a rate of 1 leads from zero."""
        self.m.mul_(BETA1).add_(g)
        return -self.m


class AdamW:
    adaptive = True

    def __init__(self, training):
        self.m, self.v = torch.zeros_like(training.theta), torch.zeros_like(training.theta)
        self.beta2, self.t = training.problem.beta2, 0

    def update(self, g):
        self.t += 1
        self.m.lerp_(g, 1 - BETA1)
        self.v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        root = (self.v / (1 - self.beta2**self.t)).sqrt() + EPSILON
        return -self.m / (1 - BETA1**self.t) / root


class Rate:
    """The base rate q: fixed, or from curvature by a gradient of its own or by repeated minibatches."""

    def __init__(self, probe, start, base, arguments):
        self.probe, self.q = probe, start
        self.scale = arguments.scale * (1.4 if BASES[base].adaptive else 0.5)
        self.interval, self.burn_in = arguments.interval, arguments.burn_in
        self.measured, self.to_measure = 0, self.burn_in // 2 if probe == "repeated" else self.burn_in
        self.log_mean, self.weight, self.signals, self.last = 0.0, 0, [], None
        self.longest, self.steepest, self.is_adam = 0.0, 0.0, BASES[base].adaptive
        self.last_slope = 0.0

    def steps(self, gradients):
        """How many steps so many gradients are for."""
        if self.probe != "separate":
            return gradients
        return int((gradients - self.burn_in) / (1 + 1 / self.interval))

    def measures(self, step):
        """For repeated minibatches: whether the step is the first of two on one."""
        if self.probe == "repeated":
            burning = step + 1 < self.burn_in and step % 2 == 0
            return burning or (step >= self.burn_in and step % self.interval == 0)
        return self.probe == "separate" and (step < self.burn_in or step % self.interval == 0)

    def adopt(self, seen, slope, curvature, rounding, moved=0.0):
        """Lets q go to the geometric mean of the estimates, times the square of what other minibatches see of the slope.
        In the burn-in all estimates count alike, and q does not go beyond the last one; then they count as two. With Adam, an
        update that is shorter than a fiftieth of the longest counts as that long; and where it leads down more steeply than
        ever, or the curvature is negative and the slope no higher than the last, q goes to ten probes, fourfold at most, and
        the mean begins anew."""
        if not math.isfinite(slope + curvature):
            self.last = None
            return
        previous, reach, norm = seen
        growth = 3 if self.probe == "repeated" else 2
        burning_in = self.measured < self.to_measure
        self.measured += 1
        last, resolved = self.last, abs(curvature) > rounding
        self.last = [slope, curvature if resolved else 0.0, moved]
        # The last slope as this minibatch would have found it.
        if burning_in and slope < 0 and last and last[0] < 0:
            there = previous - last[2] * last[1]
            self.signals.append(min(max(there / last[0], 0.0), 1.0))
        signal = max(sum(self.signals) / len(self.signals), 0.1) if self.signals else 1.0
        self.longest = max(self.longest, norm)
        shortness = min(1.0, 50 * norm / self.longest) if self.is_adam else 1.0
        steepness, distant = -slope / norm, 10 * shortness * reach
        lower = resolved and curvature < 0 and slope <= self.last_slope < 0
        self.last_slope = slope
        steeper = self.is_adam and self.signals and signal >= 0.9 and (lower or 0 < self.steepest <= steepness)
        self.steepest = max(self.steepest, steepness)
        if slope < 0 and resolved:
            estimate = shortness * min(max(self.scale * -slope / abs(curvature), 1e-10), 1e3)
        if slope < 0 and resolved and steeper and self.q < distant:
            goal, growth = min(distant, 4 * self.q), 4
            self.log_mean, self.weight = math.log(max(estimate, goal / signal**2)), min(max(self.weight, 1), 2)
        elif slope < 0 and resolved:
            self.weight += 1
            self.log_mean += (math.log(estimate) - self.log_mean) / self.weight
            mean = math.exp(self.log_mean)
            goal = signal**2 * (min(mean, estimate) if burning_in else mean)
        elif slope < 0 and (burning_in or not self.weight):
            goal = max(reach, self.q)
        elif not self.weight:
            goal = self.q / growth
        else:
            goal = signal**2 * math.exp(self.log_mean)
            goal = min(goal, self.q) if burning_in else goal
        if self.measured == self.to_measure:
            self.weight = min(self.weight, 2)
        self.q = min(max(goal, self.q / 10), growth * self.q)


BASES = {"adamw": AdamW, "momentum": Momentum}


def run_ours(problem, base, rate, seed, arguments):
    training = Training(problem, seed, arguments)
    optimizer, theta = BASES[base](training), training.theta
    steps = rate.steps(arguments.gradients)
    decay = problem.decay * training.decays if base == "adamw" else 0.0
    first, u = None, torch.zeros_like(theta)
    for step in range(steps):
        minibatch = step - (first is not None)
        g = training.gradient(minibatch)
        if not torch.isfinite(g).all():
            return math.nan, rate.q
        w, u = u, optimizer.update(g * min(1.0, problem.clip / float(g.norm())))
        measures, measured = rate.measures(step), rate.measured
        reach = DISPLACEMENT * (1 + float(theta.norm())) / float(u.norm())
        if first is not None:
            g_old, moved, learning_rate, seen = first
            slope, end = float(g_old @ moved), float(g @ moved)
            rounding = RESOLUTION * float(g.norm()) * float(moved.norm()) / learning_rate**2
            curvature = (end - slope) / learning_rate**2
            rate.adopt(seen, slope / learning_rate, curvature, rounding, learning_rate)
            first, measures = None, False
        elif measures:
            seen = float(g @ w), reach, float(u.norm())
            if rate.probe == "separate":
                before = theta.clone()
                theta.add_(u, alpha=reach)
                product = (training.gradient(minibatch) - g) / reach
                theta.copy_(before)
                rounding = RESOLUTION * float(g.norm()) * float(u.norm()) / reach
                rate.adopt(seen, float(g @ u), float(product @ u), rounding)
        learning_rate = rate.q * schedule(step, steps, arguments.warm_up)
        if rate.measured > measured:
            rate.last[2] += learning_rate
        moved = learning_rate * (u - decay * theta)
        theta.add_(moved)
        if measures and rate.probe == "repeated":
            first = g, moved, learning_rate, seen
    return training.final_loss(), rate.q


def run_peer(problem, make, seed, arguments):
    training = Training(problem, seed, arguments)
    kinds = [True, False]
    groups = [[p for p in training.parameters if (p.dim() > 1) == kind] for kind in kinds]
    decays = [problem.decay, 0.0]
    optimizer = make([{"params": p, "weight_decay": d} for p, d in zip(groups, decays)], problem.beta2)
    for step in range(arguments.gradients):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step, arguments.gradients, arguments.warm_up)
        gradient = training.gradient(step)
        gradient = gradient * min(1.0, problem.clip / float(gradient.norm()))
        at = 0
        for p in training.parameters:
            p.grad = gradient[at : at + p.numel()].view_as(p)
            at += p.numel()
        optimizer.step()
    return training.final_loss(), optimizer.param_groups[0]["d"]


def prodigy(groups, beta2):
    from prodigyopt import Prodigy

    betas = (BETA1, beta2)
    return Prodigy(groups, betas=betas, safeguard_warmup=True, use_bias_correction=True)


def d_adaptation(groups, beta2):
    from dadaptation import DAdaptAdam

    return DAdaptAdam(groups, betas=(BETA1, beta2), decouple=True)


OTHERS = {"relu": Network, "layer-norm": Network, "autoencoder": Autoencoder, "teacher": Teacher}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=["digits", *OTHERS, *Text.sizes])
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--base", choices=["adamw", "momentum"], default="adamw")
    parser.add_argument("--gradients", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[40, 41, 42])
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1])
    parser.add_argument("--starts", type=float, nargs="*", default=[1e-6, 1e-4, 1e-2, 1.0])
    parser.add_argument("--probes", nargs="*", choices=["separate", "repeated"], default=["separate", "repeated"])
    parser.add_argument("--peers", nargs="*", choices=["prodigy", "d-adaptation"], default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--interval", type=int, default=50)
    parser.add_argument("--burn-in", type=int, default=20)
    parser.add_argument("--warm-up", type=float, default=0.1, help="as a share of the steps")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--full-batch", action="store_true", help="all rows in each step; not for gpt")
    parser.add_argument("--wrong-labels", type=float, default=0.0, help="as a share of the digits")
    parser.add_argument("--loss-factor", type=float, default=1.0)
    arguments = parser.parse_args()
    problem = {"digits": Digits, **OTHERS}.get(arguments.problem, Text)(arguments)
    runs = [(f"{rate:g}", "fixed", rate) for rate in arguments.rates]
    runs += [(f"{probe}, from {start:g}", probe, start) for probe in arguments.probes for start in arguments.starts]
    runs += [(peer, peer, None) for peer in arguments.peers]
    seeds = " | ".join(f"seed {seed}" for seed in arguments.seeds)
    print(f"{vars(arguments)}\n\n| learning rate | {seeds} | median | last rates |")
    print("| --- |" + " ---: |" * (len(arguments.seeds) + 2))
    for name, kind, start in runs:
        if kind in ("fixed", "separate", "repeated"):
            results = [run_ours(problem, arguments.base, Rate(kind, start, arguments.base, arguments), seed, arguments)
                       for seed in arguments.seeds]
        else:
            make = {"prodigy": prodigy, "d-adaptation": d_adaptation}[kind]
            results = [run_peer(problem, make, seed, arguments) for seed in arguments.seeds]
        losses = sorted(loss if math.isfinite(loss) else math.inf for loss, _ in results)
        columns = [f"{loss:.5f}" for loss, _ in results] + [f"{losses[len(losses) // 2]:.5f}"]
        rates = " ".join(f"{rate:.1e}" for _, rate in results)
        print(f"| {name} | {' | '.join(columns)} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
