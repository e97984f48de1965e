//! Windows: two sets of maps that take turns. The programs fill one while the other is drained.

use crate::skeleton::{ThermographMaps, types};
use crate::{Error, Word, pod};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

/// Elements fetched by one system call. A bucket is never split over two calls, and none is ever this full.
const BATCH: u32 = 4096;
/// Times a map is drained until it is empty.
const TRIES: u32 = 3;

/// What one thread did with one stack during a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The thread.
    pub thread: Thread,
    /// Id of the cgroup it was in.
    pub cgroup: u64,
    /// Key into [`Counted::stacks`].
    pub stack: u64,
    /// How often it was seen.
    pub events: u64,
    /// Nanoseconds of CPU time that stands for.
    pub amount: u64,
}

/// A thread of one program: an exec makes it another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thread {
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// CLOCK_MONOTONIC nanoseconds of the fork or exec that began the program; 0: before the agent.
    pub generation: u64,
}

/// What a thread was called when it was last sampled in a window. Any bytes but zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ThreadNames {
    /// The thread's own name.
    pub thread: Vec<u8>,
    /// Its process's name.
    pub process: Vec<u8>,
    /// File name of the executable; empty for a kernel thread.
    pub exe: Vec<u8>,
    /// A thread of the kernel's.
    pub is_kernel: bool,
}

/// All that was counted in one window.
#[derive(Debug, Default)]
pub struct Counted {
    /// By thread, cgroup and stack.
    pub samples: Vec<Sample>,
    /// Bodies of the stacks, leaf first. One that was lost on its way is missing.
    pub stacks: HashMap<u64, Box<[Word]>>,
    /// Names of the threads.
    pub threads: HashMap<Thread, ThreadNames>,
}

/// One set of maps.
struct Set {
    counts: MapHandle,
    threads: MapHandle,
    capacity: u32,
}

pub(crate) struct Windows {
    sets: [Set; 2],
    current: u32,
    number: u32,
    /// Capacity that a set gets at its next turn.
    wanted: u32,
}

impl Windows {
    /// Gives both sets maps of `capacity` elements each.
    pub(crate) fn new(maps: &ThermographMaps<'_>, capacity: u32) -> Result<Self, Error> {
        let sets = [Set::new(capacity)?, Set::new(capacity)?];
        for (index, set) in (0u32..).zip(&sets) {
            set.publish(maps, index)?;
        }
        Ok(Self {
            sets,
            current: 0,
            number: 0,
            wanted: capacity,
        })
    }

    /// Bytes of kernel memory that both sets take with so many samples in each: buckets (a pointer and a lock), and elements, which
    /// the kernel keeps behind a header of 48 bytes. Threads are few.
    pub(crate) fn bytes(samples: u32, capacity: u32) -> u64 {
        let element = |key: usize, value: usize| (48 + key + value).next_power_of_two() as u64;
        let count = element(size_of::<types::count_key>(), size_of::<types::count>());
        2 * (2 * 16 * u64::from(capacity) + count * u64::from(samples))
    }

    /// Elements that fit into each map of a set.
    pub(crate) fn capacity(&self) -> u32 {
        self.wanted
    }

    /// Number of the window that is being counted.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Asks for sets of twice the size: a map was full.
    pub(crate) fn grow(&mut self) {
        self.wanted = self.wanted.saturating_mul(2).min(1 << 22);
    }

    /// Begins the next window in the other set, which has been drained. When this returns nobody writes to the old one.
    pub(crate) fn swap(&mut self, maps: &ThermographMaps<'_>) -> Result<(), Error> {
        let next = 1 - self.current;
        let set = &mut self.sets[next as usize];
        if set.capacity < self.wanted {
            *set = Set::new(self.wanted)?;
            set.publish(maps, next)?;
        }
        let number = self.number.wrapping_add(1);
        let zero = 0u32.to_ne_bytes();
        let slot = if next == 0 {
            &maps.window_0
        } else {
            &maps.window_1
        };
        let state = types::window_state { set: next, number };
        slot.update(&zero, pod::bytes(&state), MapFlags::ANY)
            .map_err(Error::map("number a window"))?;
        let fd = slot.as_fd().as_raw_fd().to_ne_bytes();
        maps.current_window
            .update(&zero, &fd, MapFlags::ANY)
            .map_err(Error::map("begin a window"))?;
        self.current = next;
        self.number = number;
        Ok(())
    }

    /// Empties the set whose turn is over.
    pub(crate) fn drain(&self) -> Result<(Vec<Sample>, HashMap<Thread, ThreadNames>), Error> {
        let set = &self.sets[1 - self.current as usize];
        let mut samples = Vec::new();
        drain(&set.counts, |key: types::count_key, value: types::count| {
            samples.push(Sample {
                thread: Thread {
                    tgid: key.tgid,
                    tid: key.tid,
                    generation: key.generation,
                },
                cgroup: key.cgroup,
                stack: key.stack,
                events: value.events,
                amount: value.amount,
            });
        })?;
        let mut threads = HashMap::new();
        drain(
            &set.threads,
            |key: types::thread_key, value: types::thread_names| {
                let names = ThreadNames {
                    thread: pod::text(&value.comm),
                    process: pod::text(&value.process),
                    exe: pod::text(&value.exe),
                    is_kernel: value.is_kernel != 0,
                };
                threads.insert(
                    Thread {
                        tgid: key.tgid,
                        tid: key.tid,
                        generation: key.generation,
                    },
                    names,
                );
            },
        )?;
        Ok((samples, threads))
    }
}

impl Set {
    fn new(capacity: u32) -> Result<Self, Error> {
        Ok(Self {
            counts: hash::<types::count_key, types::count>("counts", capacity)?,
            threads: hash::<types::thread_key, types::thread_names>("threads", capacity)?,
            capacity,
        })
    }

    fn publish(&self, maps: &ThermographMaps<'_>, index: u32) -> Result<(), Error> {
        for (outer, inner) in [(&maps.counts, &self.counts), (&maps.threads, &self.threads)] {
            let fd = inner.as_fd().as_raw_fd().to_ne_bytes();
            outer
                .update(&index.to_ne_bytes(), &fd, MapFlags::ANY)
                .map_err(Error::map("put a map into its set"))?;
        }
        Ok(())
    }
}

fn hash<K, V>(name: &str, capacity: u32) -> Result<MapHandle, Error> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as u64,
        // Memory follows what is counted; only the buckets are there from the start.
        map_flags: libbpf_rs::libbpf_sys::BPF_F_NO_PREALLOC,
        ..Default::default()
    };
    MapHandle::create(
        MapType::Hash,
        Some(name),
        size_of::<K>() as u32,
        size_of::<V>() as u32,
        capacity,
        &options,
    )
    .map_err(Error::map("create a map"))
}

/// Hands every element to `each` and deletes it.
fn drain<K: pod::Pod, V: pod::Pod>(
    map: &MapHandle,
    mut each: impl FnMut(K, V),
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let batches = map
            .lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY)
            .map_err(Error::map("drain a map"))?;
        for (key, value) in batches {
            if let (Some(key), Some(value)) = (pod::read(&key), pod::read(&value)) {
                each(key, value);
            }
        }
        // The iterator ends at an error (the kernel had no memory for a batch) as it does at the end.
        if map.keys().next().is_none() {
            return Ok(());
        }
    }
    Err(Error::Undrained)
}
