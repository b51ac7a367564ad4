"""Makes tests/oracles/digits_hessian.csv, the lowest eigenvalue of the Hessian of the digits network
at three points, by Lanczos on torch's double-backward Hessian-vector products in f64; and
tests/oracles/digits_spectrum.csv, all of its eigenvalues in ascending order, from the dense Hessian, as the
means of ten neighbours, with the trace and the three lowest and highest before them.

The points are a formula, so that the test can make them again: element i of point k is
SCALES[k] sin(0.7 i + k). The loss is the mean cross-entropy of the first 512 images.

Run with:  pip install torch scipy  &&  python tests/oracles/digits_hessian.py
"""

import pathlib

import numpy as np
import scipy.sparse.linalg as sparse
import torch

IMAGES = 512
UNITS = [64, 64, 32, 10]
SCALES = [0.1, 0.2, 0.3]
NEIGHBOURS = 10


def main():
    torch.set_num_threads(2)
    root = pathlib.Path(__file__).parents[2]
    table = np.loadtxt(root / "examples/data/digits.csv", delimiter=",", max_rows=IMAGES)
    labels = torch.tensor(table[:, 0].astype(int))
    pixels = torch.tensor(table[:, 1:] / 16.0)
    count = sum(a * b + b for a, b in zip(UNITS, UNITS[1:]))

    def loss(theta):
        x, first = pixels, 0
        for layer, (a, b) in enumerate(zip(UNITS, UNITS[1:])):
            weight = theta[first : first + a * b].view(a, b)
            x = x @ weight + theta[first + a * b : first + a * b + b]
            first += a * b + b
            x = torch.tanh(x) if layer < 2 else x
        return torch.nn.functional.cross_entropy(x, labels)

    spectra = [f"# torch {torch.__version__}; trace, three lowest, three highest, means of {NEIGHBOURS} neighbours"]
    lines = [f"# torch {torch.__version__}; point, loss, lowest eigenvalue"]
    for k, scale in enumerate(SCALES):
        point = np.float32(scale * np.sin(0.7 * np.arange(count) + k)).astype(np.float64)
        theta = torch.tensor(point, requires_grad=True)
        value = loss(theta)
        (gradient,) = torch.autograd.grad(value, theta, create_graph=True)

        def product(vector):
            (hv,) = torch.autograd.grad(gradient @ torch.tensor(vector.ravel()), theta, retain_graph=True)
            return hv.numpy()

        operator = sparse.LinearOperator((count, count), matvec=product, dtype=np.float64)
        lowest = sparse.eigsh(operator, k=1, which="SA", tol=1e-8, return_eigenvectors=False)[0]
        lines.append(f"{k},{value.item():.12g},{lowest:.12g}")
        along = lambda vector: torch.func.jvp(torch.func.grad(loss), (theta.detach(),), (vector,))[1]
        units = torch.eye(count, dtype=theta.dtype).split(128)
        hessian = torch.cat([torch.func.vmap(along)(chunk) for chunk in units])
        found = torch.linalg.eigvalsh(hessian).numpy()
        means = found.reshape(-1, NEIGHBOURS).mean(axis=1)
        numbers = [np.trace(hessian.numpy()), *found[:3], *found[-3:], *means]
        spectra.append(",".join(f"{number:.6g}" for number in numbers))
    here = pathlib.Path(__file__)
    here.with_suffix(".csv").write_text("\n".join(lines) + "\n")
    here.with_name("digits_spectrum.csv").write_text("\n".join(spectra) + "\n")


if __name__ == "__main__":
    main()
