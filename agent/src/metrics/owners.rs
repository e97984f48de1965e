//! What became of the question whose profiles are.

use super::{counter, counters_by, gauge};
use crate::owner::OwnerCounts;
use crate::sampling::Status;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;

pub(super) fn owners(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
    counts: &OwnerCounts,
) -> fmt::Result {
    let help = "Cgroups whose path never became known: their processes go by their executables.";
    counter(
        encoder,
        "thermograph_cgroups_unknown",
        help,
        status.cgroups_unknown,
    )?;
    let help = "Programs whose environment and command line could not be read, mostly because they had ended: they go by their \
                container, unit or executable.";
    let undeclared = status.trouble.undeclared;
    counter(encoder, "thermograph_programs_unread", help, undeclared)?;
    let help = "Owners whose profiles wait for a container runtime's answer.";
    let name = "thermograph_identities_waiting";
    gauge(encoder, name, help, counts.waiting)?;
    let help = "Owners that go by their cgroups, because no container runtime knows the container or none has answered in time.";
    let fallen_back = [("unknown", counts.unknown), ("late", counts.late)];
    let name = "thermograph_identities_fallen_back";
    counters_by(encoder, name, help, "reason", fallen_back)?;
    let help = "Owners of the last hour that have profiles of their own.";
    gauge(encoder, "thermograph_owners", help, counts.placed)?;
    let help = "Owners of an interval that were folded into one, because there was no place for more or they had too little CPU time.";
    let folded = [
        ("max_owners", counts.folded_surplus),
        ("min_share", counts.folded_small),
    ];
    let name = "thermograph_owners_folded";
    counters_by(encoder, name, help, "reason", folded)?;
    let help = "Labels of owners that there was no room for.";
    let name = "thermograph_labels_dropped";
    counter(encoder, name, help, counts.labels_dropped)?;
    let help = "Samples that a rule of the configuration has dropped.";
    let name = "thermograph_samples_dropped";
    counter(encoder, name, help, counts.samples_dropped)
}
