"""Makes tests/oracles/lobpcg.csv: the Ritz values of scipy's LOBPCG for the lowest eigenvalue of a
1-D Dirichlet Laplacian of 200 points, and the vector that it started from.

Run with:  pip install scipy  &&  python tests/oracles/lobpcg.py
"""

import pathlib
import warnings

import numpy as np
import scipy
from scipy.sparse.linalg import LaplacianNd, lobpcg

SIZE = 200
ITERATIONS = 15


def main():
    warnings.simplefilter("ignore")
    matrix = LaplacianNd((SIZE,), boundary_conditions="dirichlet", dtype=np.float64).tosparse()
    start = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32).astype(np.float64)
    result = lobpcg(
        matrix, start[:, None], largest=False, maxiter=ITERATIONS, tol=1e-12, retLambdaHistory=True
    )
    history = [float(np.ravel(value)[0]) for value in result[2]][:ITERATIONS]
    lines = [f"# scipy {scipy.__version__}; Ritz values, then the start"]
    lines.append(",".join(f"{value:.12g}" for value in history))
    lines.append(",".join(f"{value:.9g}" for value in start))
    pathlib.Path(__file__).with_suffix(".csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
