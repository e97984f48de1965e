//! What goes wrong with asking.

/// How the asking of one source goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceTrouble {
    /// Name of the source: `containerd`, `crio`, `docker`, `podman`, `kubernetes`.
    pub(crate) source: &'static str,
    /// How often it was asked.
    pub(crate) asked: u64,
    /// How often it knew the container.
    pub(crate) known: u64,
    /// How often it gave no sensible answer.
    pub(crate) failed: u64,
    /// The last failure in one sentence; none after an answer.
    pub(crate) last_error: Option<String>,
}
