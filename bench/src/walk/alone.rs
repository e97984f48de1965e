//! The agent's walk in programs that do nothing else, by the tables and lists of mappings of a running agent.

use super::baseline::Part;
use super::skeletons::alone::{AloneSkel, AloneSkelBuilder};
use super::sums;
use crate::bpf_stats;
use crate::capture::Sums;
use anyhow::Context;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, OpenObject};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// The loaded programs.
pub(crate) struct Alone<'object>(AloneSkel<'object>);

impl<'object> Alone<'object> {
    /// Loads them with the maps of the agent that has the process id `agent`.
    pub(crate) fn load(
        storage: &'object mut MaybeUninit<OpenObject>,
        agent: u32,
    ) -> anyhow::Result<Self> {
        let mut open = AloneSkelBuilder::default().open(storage)?;
        let held = bpf_stats::maps(agent);
        let of_agent = |name: &str| {
            let mut held = held.iter();
            held.find(|map| map.name() == name)
                .with_context(|| format!("the agent has no map {name}"))
        };
        let maps = &mut open.maps;
        for (map, name) in [
            (&mut maps.pieces, "pieces"),
            (&mut maps.tables, "tables"),
            (&mut maps.published, "published"),
            (&mut maps.processes, "processes"),
            (&mut maps.frame_cache, "frame_cache"),
        ] {
            let theirs: &MapHandle = of_agent(name)?;
            map.reuse_fd(theirs.as_fd())?;
        }
        let loaded = open.load();
        Ok(Alone(
            loaded.context("cannot load the programs that walk alone")?,
        ))
    }

    pub(crate) fn program(&self, part: Part) -> BorrowedFd<'_> {
        match part {
            Part::User => self.0.progs.walk_user_alone.as_fd(),
            Part::Kernel | Part::Both => self.0.progs.walk_both_alone.as_fd(),
        }
    }

    /// What they have walked since they were loaded.
    pub(crate) fn sums(&self) -> anyhow::Result<Sums> {
        sums::read(&self.0.maps.frames)
    }
}
