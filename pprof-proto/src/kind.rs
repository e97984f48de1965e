//! The kinds of profile: what their samples measure, and the name Pyroscope knows them by.

/// What the profiles of one kind measure.
///
/// Pyroscope names a profile type
/// `name:sample type:sample unit:period type:period unit`, so these texts are part of every query a user has saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileKind {
    /// The label `__name__` of a pushed series.
    pub name: &'static str,
    /// One for each value of a sample, in order.
    pub sample_types: &'static [Quantity],
    /// What a period is a length of. Empty texts where there is none: the server fails on some profiles that lack the
    /// field, and takes an empty one for the same.
    pub period_type: Quantity,
}

/// A measured quantity and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The quantity. No `-` (the server refuses it) and no `:` (nobody could query it).
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
}

/// Time on a CPU, in nanoseconds: `process_cpu:cpu:nanoseconds:cpu:nanoseconds`, which every Pyroscope view shows first.
pub const PROCESS_CPU: ProfileKind = ProfileKind {
    name: "process_cpu",
    sample_types: &[CPU_NANOSECONDS],
    period_type: CPU_NANOSECONDS,
};

const CPU_NANOSECONDS: Quantity = Quantity {
    name: "cpu",
    unit: "nanoseconds",
};
