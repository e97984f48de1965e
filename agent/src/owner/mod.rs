//! Whom a process belongs to: the container, the unit or the executable its profile is labelled by.
//!
//! ```text
//! cgroup id of the sample ─► Cgroups (id -> path) ─► CgroupOwner ─┐
//!                                       executable of the process ┼─► Identity ─┐
//!              its environment and command line ─► Declaration ───┘             ├─► Owners ─► Owner
//!                             what runtimes know of the container, rules ───────┘
//! ```
//!
//! An identity is what can be told when a window ends; an owner has what the container runtimes say later, too.

mod cgroup_owner;
mod cgroups;
mod container;
mod declaration;
mod hierarchy;
mod identity;
mod image;
mod label;
mod labels;
mod owners;
mod rule;
mod script;
mod template;
mod unit;

pub(crate) use cgroup_owner::CgroupOwner;
pub(crate) use cgroups::Cgroups;
pub(crate) use container::{Container, Maker, Runtime};
pub(crate) use declaration::{Declaration, Declared};
pub(crate) use hierarchy::{CgroupMount, Hierarchy};
pub(crate) use identity::{Identity, Program, executable_name};
pub(crate) use label::label_text;
pub(crate) use labels::LabelConfig;
pub(crate) use owners::{Decision, OwnerCounts, Owners, Patience};
pub(crate) use rule::Rule;

/// Whom a profile is labelled by: a container or unit, or an executable, and the service it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Name a person looks for; never empty.
    pub(crate) service_name: String,
    /// The other labels: sorted, each name once, no value empty.
    labels: Vec<(String, String)>,
}

impl Owner {
    /// One with these labels beside its name. Of a name that comes twice the first counts.
    pub(crate) fn new(service_name: String, mut labels: Vec<(String, String)>) -> Self {
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, first| later.0 == first.0);
        Self {
            service_name,
            labels,
        }
    }

    /// All that are not worth a series of their own.
    pub(crate) fn other() -> Self {
        Self::new("other".to_owned(), Vec::new())
    }

    /// Its labels, name and value, each at most once. `node` is among them only where it is not the host's name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let others = self.labels.iter();
        [("service_name", self.service_name.as_str())]
            .into_iter()
            .chain(others.map(|(name, value)| (name.as_str(), value.as_str())))
    }
}
