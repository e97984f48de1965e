//! The walk by tables on the real kernel: this program is built without frame pointers, so nothing but its rules can
//! show its stacks. These tests need root.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use bpf::unwind::{Limits, Table, build};
use bpf::{
    CgroupController, CgroupSource, Counted, FileId, Filter, List, NoTable, OpenObject, Options,
    Outcome, Place, Profiler, Published, Slot, UnwindMapping, Unwinder, Word,
};
use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio, id};
use std::rc::Rc;
use std::time::Duration;

fn load(storage: &mut MaybeUninit<OpenObject>, filter: Filter, table_memory: u64) -> Profiler<'_> {
    let options = Options {
        frequency: 499,
        window: Duration::from_secs(5),
        idle: false,
        filter,
        cgroups: CgroupSource {
            controller: CgroupController::None,
            hierarchy: 0,
        },
        seed: 7,
        table_memory,
    };
    let mut profiler = Profiler::load(storage, &options).unwrap();
    profiler.follow_cpus().unwrap();
    profiler
}

/// A process as the walk is to see it.
struct Known {
    mappings: Vec<UnwindMapping>,
    slots: HashMap<String, Slot>,
    list: Rc<List>,
}

impl Known {
    /// Reads its executable mappings and puts the tables of their files into the kernel.
    fn of(tgid: u32, profiler: &mut Profiler<'_>) -> Self {
        let maps = std::fs::read_to_string(format!("/proc/{tgid}/maps")).unwrap();
        let mut mappings = Vec::new();
        let mut slots = HashMap::new();
        for line in maps.lines() {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let path = fields.get(5).copied().unwrap_or_default();
            if !fields[1].contains('x') || !path.starts_with('/') {
                continue;
            }
            let slot = *slots.entry(path.to_owned()).or_insert_with(|| {
                let slot = profiler.unwinder().reserve().unwrap();
                assert!(install(profiler.unwinder(), slot, &table(path)));
                slot
            });
            let (start, end) = fields[0].split_once('-').unwrap();
            mappings.push(UnwindMapping {
                start: hex(start),
                end: hex(end),
                offset: hex(fields[2]) as u32,
                // Numbers of files are the agent's: any that differ do here.
                file: FileId::new(slots.len() as u32),
                table: Some(slot),
            });
        }
        let list = profiler.unwinder().list(&mappings).unwrap().unwrap();
        let published = profiler.unwinder().publish(tgid, 0..=u64::MAX, 0, &list);
        assert_eq!(published.unwrap(), Published::Yes);
        Self {
            mappings,
            slots,
            list,
        }
    }

    /// The address that a word stands for.
    fn address(&self, word: Word) -> Option<u64> {
        let Place::File { file, offset } = word.place() else {
            return None;
        };
        self.mappings.iter().find_map(|mapping| {
            let address = mapping.start + u64::from(offset.checked_sub(mapping.offset)?);
            (mapping.file == Some(file) && address < mapping.end).then_some(address)
        })
    }
}

fn table(path: &str) -> Table {
    build(&File::open(path).unwrap(), 0, &Limits::default()).unwrap()
}

/// Path of this program.
fn this_program() -> String {
    std::env::current_exe()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn hex(digits: &str) -> u64 {
    u64::from_str_radix(digits, 16).unwrap()
}

#[inline(never)]
fn outer(time: Duration) -> u64 {
    black_box(middle(time)) + 1
}

#[inline(never)]
fn middle(time: Duration) -> u64 {
    black_box(inner(time)) + 1
}

/// Spins for so much CPU time, with the clock looked at rarely: the samples lie in here.
#[inline(never)]
fn inner(time: Duration) -> u64 {
    let end = cpu_time() + time;
    let mut sum = 0u64;
    while cpu_time() < end {
        for i in 0..1_000_000u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
    sum
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn stacks(counted: &Counted) -> impl Iterator<Item = (u64, &[Word])> {
    let stacks = &counted.stacks;
    let samples = counted.samples.iter();
    samples.map(move |sample| (sample.events, &*stacks[&sample.stack]))
}

/// Samples whose leaf lies in `inner`, and of them those that go on through `middle` and `outer` to a thread's entry.
fn exact(counted: &Counted, known: &Known) -> (u64, u64) {
    let chain = [inner, middle, outer].map(|function| function as *const () as u64);
    let is_in = |word: &Word, function: u64| {
        let address = known.address(*word);
        address.is_some_and(|address| (function..function + 0x400).contains(&address))
    };
    let (mut all, mut good) = (0, 0);
    for (events, words) in stacks(counted) {
        if !is_in(&words[0], chain[0]) {
            continue;
        }
        all += events;
        let root = words.last().unwrap().place();
        let in_order = words.len() > 4 && words.iter().zip(chain).all(|(w, f)| is_in(w, f));
        good += if in_order && root == Place::Outcome(Outcome::Entry) {
            events
        } else {
            0
        };
    }
    (all, good)
}

/// Code without frame pointers is walked from its leaf to the thread's entry.
#[test]
fn a_thread_is_walked_to_its_entry() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()), 16 << 20);
    let known = Known::of(id(), &mut profiler);
    profiler.swap().unwrap();
    outer(Duration::from_secs(1));
    let counted = profiler.swap().unwrap();
    let (all, good) = exact(&counted, &known);
    assert!(all > 200, "{all} samples in the leaf");
    assert_eq!(good, all, "{:#?}", counted.stacks);
}

/// Where a table is missing, frame pointers stand in, and the root says whose table it was; with the table back, walks
/// are whole again.
#[test]
fn a_missing_table_is_named() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()), 16 << 20);
    let known = Known::of(id(), &mut profiler);
    let slot = known.slots[&this_program()];
    let mapping = known
        .mappings
        .iter()
        .find(|mapping| mapping.table == Some(slot));
    let file = mapping.unwrap().file.unwrap();

    profiler.unwinder().mark(slot, NoTable::OverBudget);
    profiler.swap().unwrap();
    outer(Duration::from_millis(300));
    let counted = profiler.swap().unwrap();
    let (all, whole) = exact(&counted, &known);
    // What the walk found while its rule was remembered is still right.
    let named = stacks(&counted).filter(|(_, words)| {
        words.last().unwrap().place() == Place::Outcome(Outcome::TableOverBudget(file))
    });
    let named = named.map(|(events, _)| events).sum::<u64>();
    assert!(
        all > 50 && named > 0 && named + whole >= all,
        "{named} + {whole} of {all}"
    );

    assert!(install(profiler.unwinder(), slot, &table(&this_program())));
    profiler.swap().unwrap();
    outer(Duration::from_millis(300));
    let (all, good) = exact(&profiler.swap().unwrap(), &known);
    assert!(all > 50 && good == all, "{good} of {all}");
}

/// Puts a table into the kernel and waits until walks use it; false if there is no room.
fn install(unwinder: &mut Unwinder, slot: Slot, table: &Table) -> bool {
    if !unwinder.put(slot, table).unwrap() {
        return false;
    }
    if let Some(new) = unwinder.new_pieces().unwrap() {
        new.publish().unwrap();
        unwinder.pieces_published(&new);
    }
    assert_eq!(unwinder.ready(), [slot]);
    true
}

/// Tables take no more than their budget: what does not fit is refused and says so, and what leaves makes room.
#[test]
fn the_budget_is_kept() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()), 1 << 20);
    let table = table(&this_program());
    let unwinder = profiler.unwinder();
    let first = unwinder.reserve().unwrap();
    assert!(install(unwinder, first, &table));
    while {
        let slot = unwinder.reserve().unwrap();
        install(unwinder, slot, &table)
    } {}
    let memory = unwinder.memory();
    assert!(
        memory.tables <= memory.budget && memory.images <= memory.tables,
        "{memory:?}"
    );

    unwinder.release(first);
    let again = unwinder.reserve().unwrap();
    assert!(
        !install(unwinder, again, &table),
        "a walk may still read what left"
    );
    profiler.swap().unwrap();
    assert!(install(profiler.unwinder(), again, &table));
}

/// A child has its parent's list from its first instruction on, and a list of records that are too old is refused.
#[test]
fn a_fork_has_the_list_of_its_parent() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::DescendantsOf(id()), 16 << 20);
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let mut shell = Command::new("sh")
        .args(["-c", &format!("read go; ({busy}); read end")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Until its libraries are mapped.
    std::thread::sleep(Duration::from_millis(300));
    let known = Known::of(shell.id(), &mut profiler);
    // Its records were read only until it began, or it is to be another program, that begins later.
    for program in [0..=1, u64::MAX..=u64::MAX] {
        let published = profiler
            .unwinder()
            .publish(shell.id(), program, 0, &known.list);
        assert_eq!(published.unwrap(), Published::NotYet);
    }

    let mut input = shell.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    drop(input);
    shell.wait().unwrap();
    let gone = profiler
        .unwinder()
        .publish(shell.id(), 0..=u64::MAX, 0, &known.list);
    assert_eq!(gone.unwrap(), Published::Gone);
    let counted = profiler.swap().unwrap();
    let (mut all, mut whole) = (0, 0);
    for sample in counted
        .samples
        .iter()
        .filter(|sample| sample.thread.tgid != shell.id())
    {
        let root = counted.stacks[&sample.stack].last().unwrap().place();
        all += sample.events;
        whole += sample.events * u64::from(root == Place::Outcome(Outcome::Entry));
    }
    assert!(all > 20 && whole * 100 >= all * 95, "{whole} of {all}");
}

/// Processes with very many mappings do not take the memory that lists of the others need.
#[test]
fn long_lists_leave_room_for_short_ones() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()), 16 << 20);
    let mappings: Vec<UnwindMapping> = (1..=bpf::LONGEST_LIST as u64)
        .map(|page| UnwindMapping {
            start: page << 12,
            end: (page + 1) << 12,
            offset: 0,
            file: None,
            table: None,
        })
        .collect();
    let unwinder = profiler.unwinder();
    let mut long = Vec::new();
    while let Some(list) = unwinder.list(&mappings).unwrap() {
        long.push(list);
    }
    let mut short = Vec::new();
    while let Some(list) = unwinder.list(&mappings[..100]).unwrap() {
        short.push(list);
    }
    let bytes = |lists: &[Rc<List>]| lists.iter().map(|list| list.bytes()).sum::<u64>();
    let (long_bytes, short_bytes) = (bytes(&long), bytes(&short));
    assert!(
        long_bytes > 0 && short_bytes > long_bytes / 2,
        "{long_bytes} {short_bytes}"
    );

    // What is given back can be had again.
    drop(long);
    unwinder.reclaim().unwrap();
    assert!(unwinder.list(&mappings).unwrap().is_some());
}
