"""The spectrum that the crate finds, beside PyTorch, SciPy and PyHessian: both ends, trace and density of the Hessian of
the digits network, before and after training.

    cargo run --release --example spectrum -- --json target/spectrum.json
    pip install torch scipy pyhessian
    python benches/peers/spectrum.py target/spectrum.json

Checks the crate's numbers: three eigenvalues at each end within 1 % of the largest |eigenvalue| of SciPy's `eigsh` on
exact products in f64, and each within the error that it was given with, but for the rounding of f32; the trace within
three standard errors of the exact one; the density within 2 % of the largest |eigenvalue|, in the first Wasserstein
distance, of all eigenvalues of the dense Hessian. Prints what PyHessian finds of the same, and with how many products:
each goes backward through the graph of a gradient, and each of the crate's costs a gradient. `--no-dense` leaves out the
dense Hessian, which takes minutes.
"""

import argparse
import importlib
import json
import pathlib
import warnings

import numpy as np
import scipy.sparse.linalg
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

UNITS = [64, 64, 32, 10]


class Problem:
    """The network at one point, in f64 or f32, and its products."""

    def __init__(self, report, look, dtype):
        self.pixels = torch.tensor(report["pixels"], dtype=dtype).reshape(-1, UNITS[0])
        self.labels = torch.tensor(report["labels"])
        layers = []
        values = torch.tensor(look["params"], dtype=dtype)
        for inputs, outputs in zip(UNITS, UNITS[1:]):
            layer = nn.Linear(inputs, outputs, dtype=dtype)
            weight, bias, values = values.split(
                [inputs * outputs, outputs, len(values) - (inputs + 1) * outputs])
            layer.weight.data, layer.bias.data = weight.reshape(inputs, outputs).T.contiguous(), bias
            layers += [layer, nn.Tanh()]
        self.module = nn.Sequential(*layers[:-1])
        self.parameters = list(self.module.parameters())
        self.products = 0

    def loss(self):
        return F.cross_entropy(self.module(self.pixels), self.labels)

    def product(self, vector):
        self.products += 1
        gradient = torch.autograd.grad(self.loss(), self.parameters, create_graph=True)
        flat = torch.cat([g.reshape(-1) for g in gradient])
        product = torch.autograd.grad(flat @ torch.as_tensor(vector.reshape(-1)), self.parameters)
        return torch.cat([p.reshape(-1) for p in product]).numpy()

    def dense(self):
        """All of the Hessian, by products along many unit vectors at once."""
        named = dict(self.module.named_parameters())
        shapes = [p.shape for p in self.parameters]

        def loss(flat):
            parts = flat.split([shape.numel() for shape in shapes])
            values = {name: part.reshape(shape) for name, part, shape in zip(named, parts, shapes)}
            return F.cross_entropy(torch.func.functional_call(self.module, values, self.pixels), self.labels)

        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        along = lambda vector: torch.func.jvp(torch.func.grad(loss), (flat,), (vector,))[1]
        units = torch.eye(len(flat), dtype=flat.dtype)
        return torch.cat([torch.func.vmap(along)(chunk) for chunk in units.split(128)])


def symmetric_eig(matrix, eigenvectors):
    """What PyHessian calls as `torch.eig`, which PyTorch no longer has."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def peer(report, look, vectors, steps):
    """What PyHessian finds in f32, each with the number of its products."""
    torch.eig = symmetric_eig
    library = importlib.import_module("pyhessian.hessian")
    product, products = library.hessian_vector_product, 0

    def counted(*arguments):
        nonlocal products
        products += 1
        return product(*arguments)

    problem = Problem(report, look, torch.float32)
    data = problem.pixels, problem.labels
    found = library.hessian(problem.module, F.cross_entropy, data=data, cuda=False)
    library.hessian_vector_product = counted
    results = []
    for run in [
        lambda: found.eigenvalues(maxIter=200, tol=1e-3, top_n=3)[0],
        lambda: found.trace(maxIter=vectors, tol=0),
        lambda: found.density(iter=steps, n_v=vectors),
    ]:
        products = 0
        results.append((run(), products))
    library.hessian_vector_product = product
    return results


def distance(eigenvalues, weights, truth):
    return scipy.stats.wasserstein_distance(eigenvalues, truth, np.clip(weights, 0, None))


def compare(report, look, arguments):
    problem = Problem(report, look, torch.float64)
    size = sum(p.numel() for p in problem.parameters)
    operator = scipy.sparse.linalg.LinearOperator((size, size), problem.product, dtype=np.float64)
    eigsh = lambda which: np.sort(scipy.sparse.linalg.eigsh(operator, k=3, which=which, return_eigenvectors=False))
    truth = np.concatenate([eigsh("SA"), eigsh("LA")])
    of_scipy = problem.products
    largest = np.abs(truth).max()
    lowest, highest = look["ends"][:3], look["ends"][-3:]
    found = np.array(lowest + highest)
    off = np.abs(found[:, 0] - truth)
    # The gradients of f32 are off by some 1e-6 of the largest curvature each way.
    is_right = (off <= 0.01 * largest).all() and (off <= found[:, 1] + 1e-5 * largest).all()
    print(f"\n## {look['name']}\n")
    print("| eigenvalue | eigsh, f64 | crate | error that it says | error |\n| --- | ---: | ---: | ---: | ---: |")
    for name, true, (value, error), difference in zip(["lowest", "", "", "", "", "highest"], truth, found, off):
        print(f"| {name} | {true:.6f} | {value:.6f} | {error:.6f} | {difference:.6f} |")
    nodes = np.array(look["nodes"])
    value, error = look["trace"]
    top, trace, density = peer(report, look, arguments.vectors, arguments.steps)
    print("\n| | crate | PyHessian |\n| --- | ---: | ---: |")
    crate, other = (", ".join(f"{x:.5f}" for x in values) for values in (found[:2:-1, 0], top[0]))
    print(f"| three highest | {crate} | {other} |")
    print(f"| products for them | {look['gradients'][0]:.0f}, and the three lowest | {top[1]} |")
    deviation = np.std(trace[0], ddof=1) / np.sqrt(len(trace[0]))
    print(f"| trace | {value:.4f} ± {error:.4f} | {np.mean(trace[0]):.4f} ± {deviation:.4f} |")
    print(f"| products for trace and density | {look['gradients'][1]:.0f} | {trace[1] + density[1]} |")
    if arguments.no_dense:
        return is_right
    dense = problem.dense()
    all_of_them = torch.linalg.eigvalsh(dense).numpy()
    exact = float(torch.trace(dense))
    is_right &= abs(value - exact) <= 3 * error
    mine = distance(nodes[:, 0], nodes[:, 1], all_of_them) / largest
    theirs = distance(*(np.concatenate(part) for part in density[0]), all_of_them) / largest
    is_right &= mine <= 0.02
    print(f"| Wasserstein distance to all eigenvalues, of the largest | {100 * mine:.3f} % | {100 * theirs:.3f} % |")
    print(f"\nExact trace {exact:.4f}: {abs(value - exact) / error:.2f} standard errors from the crate's, "
          f"{abs(np.mean(trace[0]) - exact) / deviation:.2f} from PyHessian's. eigsh took {of_scipy} products.")
    return is_right


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--vectors", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--no-dense", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="Using backward")
    report = json.loads(arguments.report.read_text())
    results = [compare(report, look, arguments) for look in report["looks"]]
    print("\nThe crate's numbers are " + ("as good as promised." if all(results) else "NOT as good as promised."))
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
