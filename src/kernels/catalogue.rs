//! The one list of kernels: each in the file of its name, with what it binds.
//!
//! Every WGSL file says at its head which files of `shaders/shared` it builds on; the source of a kernel is
//! its file, those files, and the files that they build on in turn. Some names there stand for a choice
//! between files, which [`Choices`] makes.

use std::collections::BTreeSet;

use super::bindings::Bindings;
use super::choices::Choices;
use super::switches::Switch;

macro_rules! kernels {
    ($($kernel:ident $file:literal $bindings:ident),* $(,)?) => {
        /// A fused kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Kernel { $($kernel),* }

        impl Kernel {
            #[cfg(not(target_family = "wasm"))]
            pub(crate) const ALL: &[Self] = &[$(Self::$kernel),*];

            /// Its file in `shaders/`, without the ending.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kernel => $file),* }
            }

            /// What it binds.
            pub(crate) const fn bindings(self) -> Bindings {
                match self { $(Self::$kernel => Bindings::$bindings),* }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$kernel => include_str!(concat!("../../shaders/", $file, ".wgsl"))),*
                }
            }
        }
    };
}

kernels! {
    Gram "step/gram" Vectors,
    Translate "step/translate" Vectors,
    RotateTranslate "step/rotate_translate" Vectors,
    Rotate "step/rotate" Vectors,
    Count "step/count" Vectors,
    SumTiles "step/sum_tiles" Scalars,
    Norm "probe/norm" Probe,
    Displace "probe/displace" Probe,
    Opposite "probe/opposite" Probe,
    Calibrate "probe/calibrate" Probe,
    HessianProduct "lobpcg/hessian_product" Basis,
    BasisGram "lobpcg/basis_gram" Basis,
    Ritz "lobpcg/ritz" Basis,
    UpdateBasis "lobpcg/update_basis" Basis,
    PlaceProbe "lobpcg/place_probe" Basis,
    AlternatingGram "alternating/gram" Alternating,
    AlternatingTurn "alternating/turn" Alternating,
    AlternatingUpdate "alternating/update" Alternating,
    RegionDisplace "regions/displace" RegionProbe,
    RegionGram "regions/gram" RegionVectors,
    SumPieces "regions/sum_pieces" RegionVectors,
    SumSinglePieces "regions/sum_single_pieces" RegionVectors,
    RegionNorm "regions/norm" RegionVectors,
    RegionOutcomes "regions/outcomes" RegionVectors,
    CombineRegions "regions/combine_regions" RegionVectors,
    RegionUpdate "regions/update" RegionVectors,
    RegionRotate "regions/rotate" RegionVectors,
    UpdateProducts "rate/update_products" Update,
    KeepUpdate "rate/keep_update" Scalars,
    PlaceRateProbe "rate/place_probe" UpdateProbe,
    ProbeProducts "rate/probe_products" Pair,
    StepProducts "rate/step_products" Repeat,
    KeepSlope "rate/keep_slope" Scalars,
    MeasureRate "rate/measure" Scalars,
    MetricNorm "metric/norm" Metric,
    MetricPlaceProbe "metric/place_probe" Metric,
    ScaleProduct "metric/scale_product" Metric,
    ModeFirstDistance "modes/first_distance" Modes,
    ModeSearchDistance "modes/search_distance" Modes,
    ModeOverlaps "modes/overlaps" Modes,
    ModeCoefficients "modes/coefficients" Modes,
    ModeOrthogonalize "modes/orthogonalize" Modes,
    ModePlaceProbe "modes/place_probe" Modes,
    ModeHessianProduct "modes/hessian_product" Modes,
    ModeOppositeProduct "modes/opposite_product" Modes,
    ModeGram "modes/gram" Modes,
    ModeSumEntries "modes/sum_entries" Modes,
    ModeRitz "modes/ritz" Modes,
    ModeCombine "modes/combine" Modes,
    ModeResiduals "modes/residuals" Modes,
    ModeOutcome "modes/outcome" Modes,
}

macro_rules! shared {
    ($($file:literal),* $(,)?) => {
        /// The files of `shaders/shared`, by their names.
        pub(crate) const SHARED: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../../shaders/shared/", $file, ".wgsl")))),*];
    };
}

shared! {
    "arithmetic",
    "base",
    "basis_bindings",
    "basis_sums",
    "bias_correction",
    "broadcast_update",
    "curvature_statistics",
    "dimer_vectors",
    "dimer_vectors_none",
    "direction",
    "displacement_norms",
    "element_pass",
    "entry",
    "entry_subgroup",
    "estimate",
    "first_moment",
    "gradients",
    "guard",
    "hash",
    "learning_rate",
    "metric",
    "metric_bindings",
    "mode",
    "mode_pass",
    "mode_sums",
    "modes_bindings",
    "moments_none",
    "moments_one",
    "moments_two",
    "outcome",
    "pair_bindings",
    "partial",
    "probe_bindings",
    "probe_distance",
    "products",
    "products_pass",
    "record",
    "reduction",
    "region_outcome",
    "region_pass",
    "regions",
    "repeat_bindings",
    "rotation",
    "run",
    "scalars",
    "scaled",
    "second_moment",
    "step_bindings",
    "stored_bf16",
    "stored_f32",
    "streams",
    "switches",
    "threads",
    "threads_subgroup",
    "tile_bounds",
    "tile_sums",
    "translation",
    "turn",
    "types",
    "update",
    "update_bindings",
    "update_direction",
    "update_probe_bindings",
    "vector_bindings",
    "vector_numbers",
    "workspace",
}

/// The marker before the names of the files that a file builds on.
const BUILDS_ON: &str = "// builds on: ";

/// The names at the head of a file.
pub(crate) fn builds_on(text: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(BUILDS_ON));
    lines.flat_map(|names| names.split(", "))
}

/// The files of one kernel: what tells its shader module from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub kernel: Kernel,
    /// Those of `shaders/shared`, in alphabetical order; WGSL itself needs no order.
    shared: BTreeSet<&'static str>,
}

impl Source {
    pub(crate) fn new(kernel: Kernel, choices: Choices) -> Self {
        let mut shared = BTreeSet::new();
        let mut open: Vec<&'static str> = builds_on(kernel.text()).collect();
        while let Some(name) = open.pop() {
            let file = choices.file(name);
            if shared.insert(file) {
                open.extend(builds_on(shared_text(file)));
            }
        }
        Self { kernel, shared }
    }

    /// Its files of `shaders/shared`.
    #[cfg(test)]
    pub(crate) fn files(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.shared.clone().into_iter()
    }

    /// The WGSL of the whole module.
    pub(crate) fn wgsl(&self) -> String {
        let shared: String = self.shared.iter().copied().map(shared_text).collect();
        shared + self.kernel.text()
    }

    /// The file with what the entry point runs: the kernel's own, or a frame of `shaders/shared`.
    #[cfg(test)]
    pub(crate) fn entry_text(&self) -> &'static str {
        let texts = self.shared.iter().copied().map(shared_text).chain([self.kernel.text()]);
        let is_entry = |text: &&str| text.contains("fn kernel(thread") || text.contains("@compute");
        let is_frame = |text: &&str| !text.contains("    kernel(Thread(");
        texts.into_iter().filter(is_frame).find(is_entry).unwrap()
    }

    /// The switches that any of its files uses: only these tell its pipelines apart.
    pub(crate) fn switches(&self) -> Vec<Switch> {
        let texts = || {
            let declares = |file: &&&str| **file != "switches";
            let shared = self.shared.iter().filter(declares).copied().map(shared_text);
            shared.chain([self.kernel.text()])
        };
        let uses = |switch: &Switch| texts().any(|text| has_word(text, switch.name()));
        Switch::ALL.iter().copied().filter(uses).collect()
    }
}

/// A checksum of all WGSL: what was measured with these kernels does not hold for others.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn fingerprint() -> u32 {
    let mut sum = crc32fast::Hasher::new();
    let texts = Kernel::ALL.iter().map(|kernel| kernel.text());
    texts.chain(SHARED.iter().map(|(_, text)| *text)).for_each(|text| sum.update(text.as_bytes()));
    sum.finalize()
}

fn shared_text(file: &str) -> &'static str {
    let found = SHARED.iter().find(|(name, _)| *name == file);
    found.unwrap_or_else(|| panic!("shaders/shared has no {file}.wgsl")).1
}

/// Whether `text`, comments aside, has `word`.
fn has_word(text: &str, word: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.flat_map(|line| line.split(move |c| !is_part(c))).any(|found| found == word)
}
