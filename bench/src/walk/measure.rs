//! Slices of time: in each one contestant walks the stacks of the load, one after the other, round by round, so that what
//! changes on the machine changes for all.

use super::alone::Alone;
use super::baseline::{Baseline, Part};
use super::load::Load;
use super::ticking::Ticking;
use crate::agent::{Agent, Binary};
use crate::bpf_stats::{self, Runs};
use crate::capture::Sums;
use anyhow::{Context, anyhow};
use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

/// Until the agent has the tables of what runs, and the caches hold what they will hold.
const WARM_UP: Duration = Duration::from_secs(3);
/// An agent that is there for its programs and tables alone.
const ALMOST_NEVER: u32 = 1;

/// Who walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// bpf_get_stack and nothing else.
    Kernel(Part),
    /// The agent's walk and nothing else.
    Alone(Part),
    /// The agent as it is: walk and count.
    Agent,
}

pub(crate) const CONTESTANTS: [Contestant; 6] = [
    Contestant::Kernel(Part::User),
    Contestant::Alone(Part::User),
    Contestant::Kernel(Part::Kernel),
    Contestant::Kernel(Part::Both),
    Contestant::Alone(Part::Both),
    Contestant::Agent,
];

impl Contestant {
    /// The part of the stack that it walks.
    pub(crate) fn part(self) -> Part {
        match self {
            Contestant::Kernel(part) | Contestant::Alone(part) => part,
            Contestant::Agent => Part::Both,
        }
    }
}

/// One contestant in one slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) runs: Runs,
    /// What it walked, where it says so.
    pub(crate) sums: Option<Sums>,
    /// The part of its samples that is of the load, where it says so.
    pub(crate) of_load: Option<f64>,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) hertz: u32,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
}

/// The slices of each contestant of [`CONTESTANTS`], one a round.
pub(crate) type Slices = Vec<Vec<Slice>>;

/// Lets all of them walk the stacks of `load`.
pub(crate) fn all(
    binary: &Binary,
    baseline: &Baseline<'_>,
    load: Load,
    plans: &[Plan],
) -> anyhow::Result<Vec<Slices>> {
    let _running = load.start()?;
    plans
        .iter()
        .map(|plan| rounds(binary, baseline, load, *plan))
        .collect()
}

fn rounds(
    binary: &Binary,
    baseline: &Baseline<'_>,
    load: Load,
    plan: Plan,
) -> anyhow::Result<Slices> {
    let cpus = bpf::cpus::online()?;
    let mut slices: Slices = vec![Vec::new(); CONTESTANTS.len()];
    for _ in 0..plan.rounds {
        for (contestant, slices) in CONTESTANTS.iter().zip(&mut slices) {
            let slice = match contestant {
                Contestant::Kernel(part) => of_kernel(baseline, *part, &cpus, plan)?,
                Contestant::Alone(part) => of_walk(binary, *part, &cpus, plan)?,
                Contestant::Agent => of_agent(binary, load, plan)?,
            };
            slices.push(slice);
        }
    }
    Ok(slices)
}

fn of_kernel(
    baseline: &Baseline<'_>,
    part: Part,
    cpus: &BTreeSet<u32>,
    plan: Plan,
) -> anyhow::Result<Slice> {
    let before = baseline.sums()?;
    let runs = runs_of(baseline.program(part), cpus, plan)?;
    let sums = baseline.sums()?.since(before);
    Ok(Slice {
        runs,
        sums: Some(sums),
        of_load: None,
    })
}

fn of_walk(binary: &Binary, part: Part, cpus: &BTreeSet<u32>, plan: Plan) -> anyhow::Result<Slice> {
    let agent = start(binary, ALMOST_NEVER)?;
    thread::sleep(WARM_UP);
    let mut storage = MaybeUninit::uninit();
    let alone = Alone::load(&mut storage, agent.pid())?;
    let before = alone.sums()?;
    let runs = runs_of(alone.program(part), cpus, plan)?;
    Ok(Slice {
        runs,
        sums: Some(alone.sums()?.since(before)),
        of_load: None,
    })
}

fn runs_of(program: BorrowedFd<'_>, cpus: &BTreeSet<u32>, plan: Plan) -> anyhow::Result<Runs> {
    let before = bpf_stats::runs(program);
    let ticking = Ticking::start(program, cpus, plan.hertz)?;
    thread::sleep(Duration::from_secs(plan.seconds));
    drop(ticking);
    Ok(bpf_stats::runs(program).since(before))
}

fn of_agent(binary: &Binary, load: Load, plan: Plan) -> anyhow::Result<Slice> {
    let agent = start(binary, plan.hertz)?;
    thread::sleep(WARM_UP);
    thread::scope(|scope| {
        let before = bpf_stats::sampling_runs(agent.pid());
        // It answers when it has named what it captured, which is part of neither.
        let capture = scope.spawn(|| agent.capture(plan.seconds));
        thread::sleep(Duration::from_secs(plan.seconds));
        let runs = bpf_stats::sampling_runs(agent.pid()).since(before);
        let capture = capture
            .join()
            .map_err(|_| anyhow!("the capture panicked"))??;
        let sums = capture.sums();
        let process = [load.process()];
        let of_load = capture.of(&process).map(|stack| stack.samples);
        Ok(Slice {
            runs,
            sums: Some(sums),
            of_load: Some(of_load.sum::<u64>() as f64 / sums.samples as f64),
        })
    })
}

fn start(binary: &Binary, hertz: u32) -> anyhow::Result<Agent> {
    let agent = Agent::start(binary, hertz)?;
    agent.with_context(|| format!("there is no {}: run `make build`", binary.program.display()))
}
