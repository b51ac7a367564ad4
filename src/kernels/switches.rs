//! What tells one pipeline of a kernel from another: the overrides of `shaders/shared/switches.wgsl`.

use crate::config::Difference;

/// Declares the values of a switch of which one excludes the others, in the order of the WGSL.
macro_rules! exclusive {
    ($(#[$doc:meta])* $name:ident { $($value:ident $wgsl:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub(crate) enum $name { #[default] $($value),* }

        impl $name {
            /// Its values in WGSL, in order.
            pub(crate) const WGSL: &[&str] = &[$($wgsl),*];

            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$value),*];
        }
    };
}

exclusive! {
    /// The rule of the base optimizer.
    BaseRule {
        Sgd "SGD",
        Momentum "MOMENTUM",
        Nesterov "NESTEROV",
        Adam "ADAM",
        AdamW "ADAMW",
        Sophia "SOPHIA",
        Lion "LION",
    }
}

impl BaseRule {
    /// Vectors that it keeps for each parameter.
    pub(crate) fn moments(self) -> u32 {
        match self {
            Self::Sgd => 0,
            Self::Momentum | Self::Nesterov | Self::Lion => 1,
            Self::Adam | Self::AdamW | Self::Sophia => 2,
        }
    }
}

exclusive! {
    /// How an event turns N.
    RotationRule {
        None "NO_ROTATION",
        Gradient "BY_GRADIENT",
        RayleighRitz "BY_RAYLEIGH_RITZ",
    }
}

exclusive! {
    /// What a step does along N.
    TranslationRule {
        None "NO_TRANSLATION",
        Project "PROJECT",
        SaddleFree "SADDLE_FREE",
        Climb "CLIMB",
    }
}

exclusive! {
    /// Where the distance of a probe comes from.
    DisplacementRule {
        Absolute "ABSOLUTE",
        Relative "RELATIVE",
        Automatic "AUTOMATIC",
    }
}

exclusive! {
    /// Where the learning rate of a step comes from.
    RateRule {
        Fixed "FIXED",
        Curvature "CURVATURE",
        Measured "MEASURED",
    }
}

/// The values of [`Difference`] in WGSL.
pub(crate) const DIFFERENCES: &[&str] = &["FORWARD", "CENTRAL", "EXACT"];

/// The settings of one dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Switches {
    pub base: BaseRule,
    pub rotation: RotationRule,
    pub translation: TranslationRule,
    pub difference: Difference,
    pub displacement: DisplacementRule,
    pub learning_rate: RateRule,
    /// Whether the rate is measured by two steps on one minibatch.
    pub repeated: bool,
    /// Whether the step uses N.
    pub dimer: bool,
    /// Whether the dispatch moves the parameters.
    pub moves: bool,
    /// Whether the step measures nothing of its gradient.
    pub unguarded: bool,
    /// Whether the basis holds more than N, whether it holds P, and whether that of the next rotation does.
    pub has_force: bool,
    pub has_direction: bool,
    pub next_direction: bool,
    /// Whether this is the event's last rotation.
    pub last: bool,
    /// Whether the event measures along P, in one rotation.
    pub keeps_direction: bool,
    /// Whether an earlier rotation may have been enough.
    pub stops: bool,
    /// The vector of the workspace that is written.
    pub vector: u32,
    /// Whether the partials of all tiles have been added before.
    pub summed: bool,
    /// Whether the probe is at twice the distance.
    pub far: bool,
}

macro_rules! switches {
    ($($switch:ident $wgsl:literal $field:ident),* $(,)?) => {
        /// One field of [`Switches`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Switch { $($switch),* }

        impl Switch {
            pub(crate) const ALL: &[Self] = &[$(Self::$switch),*];

            /// Its name in WGSL.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$switch => $wgsl),* }
            }

            pub(crate) fn value(self, switches: &Switches) -> u32 {
                match self { $(Self::$switch => switches.$field as u32),* }
            }
        }
    };
}

switches! {
    Base "BASE" base,
    Rotation "ROTATION" rotation,
    Translation "TRANSLATION" translation,
    Difference "DIFFERENCE" difference,
    Displacement "DISPLACEMENT" displacement,
    LearningRate "LEARNING_RATE" learning_rate,
    Repeated "REPEATED" repeated,
    Dimer "DIMER" dimer,
    Moves "MOVES" moves,
    Unguarded "UNGUARDED" unguarded,
    HasForce "HAS_FORCE" has_force,
    HasDirection "HAS_DIRECTION" has_direction,
    NextDirection "NEXT_DIRECTION" next_direction,
    Last "LAST" last,
    KeepsDirection "KEEPS_DIRECTION" keeps_direction,
    Stops "STOPS" stops,
    Vector "VECTOR" vector,
    Summed "SUMMED" summed,
    Far "FAR" far,
}

impl Switch {
    /// The names of its values, where it has them; none for a number or a yes or no.
    pub(crate) fn values(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Base => Some(BaseRule::WGSL),
            Self::Rotation => Some(RotationRule::WGSL),
            Self::Translation => Some(TranslationRule::WGSL),
            Self::Difference => Some(DIFFERENCES),
            Self::Displacement => Some(DisplacementRule::WGSL),
            Self::LearningRate => Some(RateRule::WGSL),
            _ => None,
        }
    }

    /// The setting in words, as `BASE=ADAMW`, `DIMER` or `VECTOR=3`; none where it has its first value or is
    /// off, but for the base, which every step has.
    pub(crate) fn words(self, switches: &Switches) -> Option<String> {
        let (name, value) = (self.name(), self.value(switches));
        if value == 0 && self != Self::Base {
            return None;
        }
        Some(match (self.values(), self) {
            (Some(values), _) => format!("{name}={}", values[value as usize]),
            (None, Self::Vector) => format!("{name}={value}"),
            (None, _) => name.to_owned(),
        })
    }
}
