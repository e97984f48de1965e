//! The kernel's own walk, bpf_get_stack, in programs that do nothing else.

use super::skeletons::baseline::{BaselineSkel, BaselineSkelBuilder};
use super::sums;
use crate::capture::Sums;
use anyhow::Context;
use libbpf_rs::OpenObject;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// Which part of a stack is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    User,
    Kernel,
    Both,
}

/// The loaded programs.
pub(crate) struct Baseline<'object>(BaselineSkel<'object>);

impl<'object> Baseline<'object> {
    pub(crate) fn load(storage: &'object mut MaybeUninit<OpenObject>) -> anyhow::Result<Self> {
        let open = BaselineSkelBuilder::default().open(storage)?;
        let loaded = open.load();
        Ok(Baseline(loaded.context(
            "cannot load the programs that the walk is measured against",
        )?))
    }

    pub(crate) fn program(&self, part: Part) -> BorrowedFd<'_> {
        match part {
            Part::User => self.0.progs.stack_user.as_fd(),
            Part::Kernel => self.0.progs.stack_kernel.as_fd(),
            Part::Both => self.0.progs.stack_both.as_fd(),
        }
    }

    /// What they have walked since they were loaded.
    pub(crate) fn sums(&self) -> anyhow::Result<Sums> {
        sums::read(&self.0.maps.frames)
    }
}
