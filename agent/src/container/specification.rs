//! What is of use in the OCI specification of a container, which every runtime hands to runc.

use serde::Deserialize;

/// A container's specification.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Specification {
    pub(super) process: Process,
}

/// What it starts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    /// `NAME=value` each.
    pub(super) env: Vec<String>,
}
