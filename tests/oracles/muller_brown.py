"""Saddles of the Mueller-Brown surface that ASE's dimer method reaches, polished by scipy; prints
muller_brown.csv.

pip install ase numpy scipy, then: python muller_brown.py > muller_brown.csv
"""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from scipy.optimize import root

HEIGHT = np.array([-200.0, -100.0, -170.0, 15.0])
XX = np.array([-1.0, -1.0, -6.5, 0.7])
XY = np.array([0.0, 0.0, 11.0, 0.6])
YY = np.array([-10.0, -10.0, -6.5, 0.7])
CX = np.array([1.0, 0.0, -0.5, -1.0])
CY = np.array([0.0, 0.5, 1.5, 1.0])


def energy_and_gradient(point):
    dx, dy = point[0] - CX, point[1] - CY
    terms = HEIGHT * np.exp(XX * dx * dx + XY * dx * dy + YY * dy * dy)
    slope = [np.sum(terms * (2 * XX * dx + XY * dy)), np.sum(terms * (XY * dx + 2 * YY * dy))]
    return terms.sum(), np.array(slope)


def hessian(point, step=1e-5):
    columns = [
        (energy_and_gradient(point + step * e)[1] - energy_and_gradient(point - step * e)[1])
        / (2 * step)
        for e in np.eye(2)
    ]
    return (np.array(columns) + np.array(columns).T) / 2


class Plane(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, slope = energy_and_gradient(self.atoms.positions[0, :2])
        forces = np.zeros((1, 3))
        forces[0, :2] = -slope
        self.results = {"energy": energy, "forces": forces}


print("# start x, start y, saddle x, saddle y, energy, lowest curvature")
for start in [(-0.70, 0.80), (-0.90, 0.50), (0.30, 0.20), (0.10, 0.40), (-0.60, 0.55), (0.40, 0.15)]:
    atoms = Atoms("H", positions=[(*start, 0.0)])
    atoms.calc = Plane()
    control = DimerControl(
        initial_eigenmode_method="gauss",
        logfile=None,
        eigenmode_logfile=None,
        dimer_separation=1e-4,
        max_num_rot=10,
        f_rot_min=0.0,
        f_rot_max=0.0,
        maximum_translation=0.02,
        trial_trans_step=0.001,
    )
    np.random.seed(0)
    dimer = MinModeAtoms(atoms, control, random_seed=0)
    mode = np.array([[0.8, 0.6, 0.0]])
    dimer.set_eigenmode = getattr(dimer, "set_eigenmode", None)
    dimer.eigenmodes = [mode]
    with MinModeTranslate(dimer, logfile=None) as search:
        search.run(fmax=0.01, steps=2000)
    reached = atoms.positions[0, :2].copy()
    polished = root(lambda p: energy_and_gradient(p)[1], reached, tol=1e-13).x
    assert np.linalg.norm(polished - reached) < 1e-3, (start, reached, polished)
    row = [*start, *polished, energy_and_gradient(polished)[0], np.linalg.eigvalsh(hessian(polished))[0]]
    print(",".join(f"{value:.12g}" for value in row))
