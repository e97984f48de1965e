//! How many files this program may have open: each one that is mapped on the host costs a descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The limit this program was started with. A command gets it back: there are programs that fail with descriptors beyond
/// 1,024.
pub(crate) struct Inherited(Rlimit);

impl Inherited {
    /// To be had by a command that is still to be started.
    pub(crate) fn give_to(&self, command: &mut Command) {
        let Self(limit) = *self;
        // SAFETY: between fork and exec there is one system call, which takes nothing but two numbers.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
    }
}

/// Takes as many descriptors as this process may have.
pub(crate) fn raise_limit() -> Inherited {
    let inherited = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: inherited.maximum,
        ..inherited
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::debug!("cannot raise the limit of open files: {error}");
    }
    Inherited(inherited)
}
