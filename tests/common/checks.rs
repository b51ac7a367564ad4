//! Every kernel against the f64 reference: the checks of the test suite, whose comparisons a report collects.

use std::pin::Pin;

use dimer::{Gpu, Tuning};

use crate::common::{self, Report};
use crate::every_length::{
    check_alternating, check_automatic_displacements, check_learning_rates, check_modes,
    check_regions, check_rotations, check_sums_over_minibatches,
};
use crate::kernels_match_reference::{check_rotate, check_translate};

/// Lengths of the vectors, for a check that takes some seconds.
pub const SHORT_LENGTHS: [usize; 4] = [1, 65, 1023, 4099];

type Run = for<'a> fn(&'a Gpu, &'a [usize]) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One check.
pub struct Check {
    pub name: &'static str,
    /// Whose results it compares: names of files in `shaders/`.
    pub kernels: &'static [&'static str],
    run: Run,
}

pub const CHECKS: [Check; 10] = [
    Check {
        name: "rotation by gradient",
        kernels: &["step/gram", "step/rotate"],
        run: |gpu, lengths| Box::pin(check_rotate(gpu, lengths)),
    },
    Check {
        name: "the same, sums added up first",
        kernels: &["step/sum_tiles"],
        run: |gpu, lengths| Box::pin(rotate_by_one_sum(gpu, lengths)),
    },
    Check {
        name: "update of every base optimizer",
        kernels: &["step/translate", "step/count", "step/rotate_translate"],
        run: |gpu, lengths| Box::pin(check_translate(gpu, lengths)),
    },
    Check {
        name: "rotation by Rayleigh–Ritz",
        kernels: &[
            "probe/norm",
            "probe/displace",
            "probe/opposite",
            "lobpcg/hessian_product",
            "lobpcg/basis_gram",
            "lobpcg/ritz",
            "lobpcg/update_basis",
            "lobpcg/place_probe",
            "metric/norm",
            "metric/place_probe",
            "metric/scale_product",
        ],
        run: |gpu, lengths| Box::pin(check_rotations(gpu, lengths)),
    },
    Check {
        name: "alternating evaluations",
        kernels: &["alternating/gram", "alternating/turn", "alternating/update"],
        run: |gpu, lengths| Box::pin(check_alternating(gpu, lengths)),
    },
    Check {
        name: "automatic displacement",
        kernels: &["probe/calibrate"],
        run: |gpu, lengths| Box::pin(check_automatic_displacements(gpu, lengths)),
    },
    Check {
        name: "learning rate from curvature",
        kernels: &[
            "rate/update_products",
            "rate/keep_update",
            "rate/place_probe",
            "rate/probe_products",
            "rate/step_products",
            "rate/keep_slope",
            "rate/measure",
        ],
        run: |gpu, lengths| Box::pin(check_learning_rates(gpu, lengths)),
    },
    Check {
        name: "a dimer for each tensor",
        kernels: &[
            "regions/displace",
            "regions/gram",
            "regions/sum_pieces",
            "regions/sum_single_pieces",
            "regions/norm",
            "regions/outcomes",
            "regions/combine_regions",
            "regions/update",
            "regions/rotate",
        ],
        run: |gpu, lengths| Box::pin(check_regions(gpu, lengths)),
    },
    Check {
        name: "several modes at once",
        kernels: &[
            "modes/first_distance",
            "modes/search_distance",
            "modes/overlaps",
            "modes/coefficients",
            "modes/orthogonalize",
            "modes/place_probe",
            "modes/hessian_product",
            "modes/opposite_product",
            "modes/gram",
            "modes/sum_entries",
            "modes/ritz",
            "modes/combine",
            "modes/residuals",
            "modes/outcome",
        ],
        run: |gpu, lengths| Box::pin(check_modes(gpu, lengths)),
    },
    Check {
        name: "sum over minibatches",
        kernels: &["objective/accumulate"],
        run: |gpu, lengths| Box::pin(check_sums_over_minibatches(gpu, lengths)),
    },
];

impl Check {
    /// What its comparisons found.
    pub async fn report(&self, gpu: &Gpu, lengths: &[usize]) -> Report {
        common::begin_report();
        (self.run)(gpu, lengths).await;
        common::end_report()
    }
}

/// All partial sums are added in a dispatch of their own.
async fn rotate_by_one_sum(gpu: &Gpu, lengths: &[usize]) {
    let tuning = Tuning { reread_tiles: 0, ..*gpu.tuning() };
    check_rotate(&gpu.with_tuning(tuning).expect("a tuning"), lengths).await;
}
