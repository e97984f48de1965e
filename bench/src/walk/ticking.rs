//! A kernel program that runs at so many times a second of each CPU's time, as the agent's does.

use anyhow::{Context, ensure};
use perf_event::events::Software;
use perf_event::{Builder, Counter};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The events that run it; it runs until this is dropped.
pub(crate) struct Ticking {
    _events: Vec<Counter>,
}

impl Ticking {
    /// Runs `program`, of type perf_event, whoever loaded it.
    pub(crate) fn start(
        program: BorrowedFd<'_>,
        cpus: &BTreeSet<u32>,
        hertz: u32,
    ) -> anyhow::Result<Ticking> {
        let event = |cpu: &u32| event(program, *cpu, hertz);
        let events = cpus.iter().map(event).collect::<anyhow::Result<_>>()?;
        Ok(Ticking { _events: events })
    }
}

fn event(program: BorrowedFd<'_>, cpu: u32, hertz: u32) -> anyhow::Result<Counter> {
    let mut event = Builder::new(Software::CPU_CLOCK)
        .any_pid()
        .one_cpu(cpu as usize)
        .exclude_kernel(false)
        .exclude_hv(false)
        .sample_period(bpf::period(hertz))
        .build()
        .with_context(|| format!("cannot open a clock event on CPU {cpu}"))?;
    // SAFETY: both descriptors are open for as long as the call takes.
    let answer = unsafe {
        perf_event_open_sys::ioctls::SET_BPF(event.as_raw_fd(), program.as_raw_fd() as u32)
    };
    ensure!(
        answer == 0,
        "cannot run a program on a clock event: {}",
        std::io::Error::last_os_error()
    );
    event.enable()?;
    Ok(event)
}
