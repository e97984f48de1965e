//! The loaded programs: started, swapped window by window, and followed over CPUs that come and go.

use crate::counters::Counters;
use crate::options::{Options, config, period};
use crate::skeleton::{ThermographSkel, ThermographSkelBuilder, types};
use crate::stacks::Stacks;
use crate::ticks::Ticks;
use crate::unwinder::Unwinder;
use crate::window::{Counted, Windows};
use crate::{Error, cpus, pod, support};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject, RingBuffer, RingBufferBuilder};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of an average stack on its way: 60 words and a header.
const STACK_BYTES: u64 = 512;
/// The smallest and the largest ring for them.
const RING_BYTES: (u64, u64) = (256 << 10, 32 << 20);

/// What unwind tables may take so that all maps together take `total` bytes of kernel memory, and what each CPU beyond two needs
/// for itself. At a high frequency the others leave little, but never less than a quarter.
pub fn table_memory(total: u64, frequency: u32, window: Duration) -> Result<u64, Error> {
    let samples = samples_per_window(frequency, window)?;
    let caches = frame_caches()?.min(2);
    let others = ring_bytes(samples)
        + Windows::bytes(samples, capacity(samples))
        + Unwinder::bytes_without_tables()
        + u64::from(caches) * size_of::<types::frame_cache>() as u64;
    Ok(total.saturating_sub(others).max(total / 4))
}

/// A cgroup that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupEvent {
    /// Made.
    Created {
        /// Inode number of its directory.
        id: u64,
        /// Its path within the hierarchy.
        path: Vec<u8>,
    },
    /// Removed.
    Removed {
        /// Inode number its directory had.
        id: u64,
    },
}

/// The running programs. Dropped, they are gone.
pub struct Profiler<'obj> {
    skeleton: ThermographSkel<'obj>,
    windows: Windows,
    unwinder: Unwinder,
    ticks: Ticks,
    stack_ring: RingBuffer<'static>,
    stacks: Rc<RefCell<Stacks>>,
    cgroup_ring: RingBuffer<'static>,
    cgroup_events: Rc<RefCell<Vec<CgroupEvent>>>,
    cgroup_events_lost: u64,
    counts_full: u64,
    _links: Vec<Link>,
}

impl<'obj> Profiler<'obj> {
    /// Loads the programs into `storage` and attaches them. Sampling begins at [`Profiler::follow_cpus`].
    pub fn load(
        storage: &'obj mut MaybeUninit<OpenObject>,
        options: &Options,
    ) -> Result<Self, Error> {
        support::check()?;
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Info, log)));
        let mut open = ThermographSkelBuilder::default()
            .open(storage)
            .map_err(load_error)?;
        let samples = samples_per_window(options.frequency, options.window)?;
        let ring_bytes = ring_bytes(samples);
        open.maps
            .stack_ring
            .set_max_entries(ring_bytes as u32)
            .map_err(load_error)?;
        open.maps
            .frame_cache
            .set_max_entries(frame_caches()?)
            .map_err(load_error)?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.config = config(options, ring_bytes);
        }
        let skeleton = open.load().map_err(load_error)?;
        let windows = Windows::new(&skeleton.maps, capacity(samples))?;

        let mut links = Vec::new();
        let programs = &skeleton.progs;
        for program in [
            &programs.on_fork,
            &programs.on_exec,
            &programs.on_address_given,
            &programs.on_cgroup_mkdir,
            &programs.on_cgroup_rmdir,
        ] {
            links.push(program.attach().map_err(load_error)?);
        }
        let stacks = Rc::new(RefCell::new(Stacks::default()));
        let cgroup_events = Rc::new(RefCell::new(Vec::new()));
        Ok(Self {
            stack_ring: stack_ring(&skeleton, &stacks)?,
            cgroup_ring: cgroup_ring(&skeleton, &cgroup_events)?,
            stacks,
            cgroup_events,
            cgroup_events_lost: 0,
            counts_full: 0,
            windows,
            unwinder: Unwinder::new(&skeleton.maps, options.table_memory)?,
            ticks: Ticks::new(period(options.frequency)),
            _links: links,
            skeleton,
        })
    }

    /// Samples on the CPUs that are online now; returns those that are new since the last call.
    pub fn follow_cpus(&mut self) -> Result<BTreeSet<u32>, Error> {
        let runs = self.counters_by_cpu()?;
        self.ticks.follow(&self.skeleton.progs.on_cpu, &runs)
    }

    /// Ends the window that is being counted, begins the next one, and returns what was counted.
    pub fn swap(&mut self) -> Result<Counted, Error> {
        let number = self.windows.number();
        // The swap waits for all programs that run, and what left the maps of the walk waits for no more than that.
        self.unwinder.begin_grace();
        self.windows.swap(&self.skeleton.maps)?;
        let (samples, threads) = self.windows.drain()?;
        // Last: a record that a program of the new window has not finished hides those behind it, old ones too.
        self.read_stacks()?;
        let stacks = self.stacks.borrow_mut().finish(number);
        let counts_full = self.counters()?.counts_full;
        if counts_full > self.counts_full {
            self.windows.grow();
            tracing::warn!(
                "{} samples found the map of counts full: the next one holds {}",
                counts_full - self.counts_full,
                self.windows.capacity()
            );
            self.counts_full = counts_full;
        }
        self.unwinder.end_grace()?;
        Ok(Counted {
            samples,
            stacks,
            threads,
        })
    }

    /// The tables and lists that walks go by.
    pub fn unwinder(&mut self) -> &mut Unwinder {
        &mut self.unwinder
    }

    /// Empties the ring of stacks: whenever [`Profiler::stacks_fd`] is readable.
    pub fn read_stacks(&self) -> Result<(), Error> {
        self.stack_ring
            .consume()
            .map_err(Error::map("read the ring of stacks"))
    }

    /// Processes in which a walk met an address in no mapping that it was told of, since the last call: told of all there are
    /// now, the next walks may fare better.
    pub fn take_strays(&mut self) -> BTreeSet<u32> {
        self.stacks.borrow_mut().take_strays()
    }

    /// Cgroups that came and went since the last call, and whether some of them are missing.
    pub fn read_cgroup_events(&mut self) -> Result<(Vec<CgroupEvent>, bool), Error> {
        self.cgroup_ring
            .consume()
            .map_err(Error::map("read the ring of cgroups"))?;
        let lost = self
            .skeleton
            .maps
            .bss_data
            .as_deref()
            .map_or(0, |bss| bss.cgroup_events_lost);
        let missing = lost > self.cgroup_events_lost;
        self.cgroup_events_lost = lost;
        Ok((
            std::mem::take(&mut self.cgroup_events.borrow_mut()),
            missing,
        ))
    }

    /// What was counted and lost since the programs were loaded.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut sum = Counters {
            ticks_lost: self.ticks.lost(),
            ..Counters::default()
        };
        sum.malformed = self.stacks.borrow().malformed();
        sum.hash_collisions = self.stacks.borrow().collisions();
        for cpu in self.counters_by_cpu()? {
            sum.ticks += cpu.ticks;
            sum.idle += cpu.idle;
            sum.filtered += cpu.filtered;
            sum.counted += cpu.counted;
            sum.counts_full += cpu.counts_full;
            sum.ring_full += cpu.ring_full;
            sum.threads_full += cpu.threads_full;
            sum.hash_collisions += cpu.hash_collisions;
        }
        Ok(sum)
    }

    /// Ticks lost so far on each CPU that is sampled.
    pub fn ticks_lost_by_cpu(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.ticks.lost_by_cpu()
    }

    /// Elements that fit into each map of a window.
    pub fn capacity(&self) -> u32 {
        self.windows.capacity()
    }

    /// Readable when the ring of stacks is filling up.
    pub fn stacks_fd(&self) -> BorrowedFd<'_> {
        self.skeleton.maps.stack_ring.as_fd()
    }

    /// Readable when a cgroup came or went.
    pub fn cgroups_fd(&self) -> BorrowedFd<'_> {
        self.skeleton.maps.cgroup_ring.as_fd()
    }

    fn counters_by_cpu(&self) -> Result<Vec<types::counters>, Error> {
        let cpus = self
            .skeleton
            .maps
            .counters
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::map("read the counters"))?;
        Ok(cpus
            .iter()
            .flatten()
            .filter_map(|cpu| pod::read(cpu))
            .collect())
    }
}

/// Caches of the walk: a CPU's number says which of them is its own.
fn frame_caches() -> Result<u32, Error> {
    Ok(cpus::online()?.last().map_or(1, |last| last + 1))
}

/// Samples of a window in which every CPU is busy.
fn samples_per_window(frequency: u32, window: Duration) -> Result<u32, Error> {
    let cpus = cpus::online()?.len() as u64;
    let samples = u64::from(frequency) * window.as_millis() as u64 * cpus / 1000;
    Ok(samples.clamp(1024, 1 << 20) as u32)
}

/// Elements of each map, for so many samples a window: none shall be full.
fn capacity(samples: u32) -> u32 {
    samples.saturating_mul(2).next_power_of_two()
}

fn ring_bytes(samples: u32) -> u64 {
    (u64::from(samples) * STACK_BYTES)
        .next_power_of_two()
        .clamp(RING_BYTES.0, RING_BYTES.1)
}

fn stack_ring(
    skeleton: &ThermographSkel<'_>,
    stacks: &Rc<RefCell<Stacks>>,
) -> Result<RingBuffer<'static>, Error> {
    let stacks = Rc::clone(stacks);
    ring(&skeleton.maps.stack_ring, move |bytes| {
        stacks.borrow_mut().take_record(bytes)
    })
    .map_err(Error::map("open the ring of stacks"))
}

fn cgroup_ring(
    skeleton: &ThermographSkel<'_>,
    events: &Rc<RefCell<Vec<CgroupEvent>>>,
) -> Result<RingBuffer<'static>, Error> {
    let events = Rc::clone(events);
    let take = move |bytes: &[u8]| {
        if let Some(event) = pod::read::<types::cgroup_event>(bytes) {
            events.borrow_mut().push(match event.created {
                0 => CgroupEvent::Removed { id: event.id },
                _ => CgroupEvent::Created {
                    id: event.id,
                    path: pod::text(&event.path),
                },
            });
        }
    };
    ring(&skeleton.maps.cgroup_ring, take).map_err(Error::map("open the ring of cgroups"))
}

fn ring(
    map: &dyn MapCore,
    mut take: impl FnMut(&[u8]) + 'static,
) -> libbpf_rs::Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    builder.add(map, move |bytes| {
        take(bytes);
        0
    })?;
    builder.build()
}

fn load_error(source: libbpf_rs::Error) -> Error {
    Error::Load {
        release: support::release(),
        source,
    }
}

/// libbpf's own words, which it would print to stderr otherwise.
fn log(level: libbpf_rs::PrintLevel, message: String) {
    let message = message.trim_end();
    match level {
        libbpf_rs::PrintLevel::Debug => tracing::trace!("{message}"),
        libbpf_rs::PrintLevel::Info | libbpf_rs::PrintLevel::Warn => tracing::debug!("{message}"),
    }
}
