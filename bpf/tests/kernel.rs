//! The programs on the real kernel. These tests need root.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use bpf::sideband::Event;
use bpf::{
    CgroupController, CgroupSource, Counted, Filter, OpenObject, Options, Outcome, Place, Profiler,
    Sideband,
};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::process::{Command, id};
use std::time::{Duration, Instant};

const FREQUENCY: u32 = 499;

fn load(storage: &mut MaybeUninit<OpenObject>, filter: Filter) -> Profiler<'_> {
    let options = Options {
        frequency: FREQUENCY,
        window: Duration::from_secs(5),
        idle: false,
        filter,
        cgroups: CgroupSource {
            controller: CgroupController::None,
            hierarchy: 0,
        },
        seed: 0x1234_5678_9abc_def0,
        table_memory: 16 << 20,
    };
    let mut profiler = Profiler::load(storage, &options).unwrap();
    profiler.follow_cpus().unwrap();
    profiler
}

/// Keeps this thread busy for that much of its own CPU time.
fn burn(time: Duration) {
    let cpu_time = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let begin = cpu_time();
    loop {
        let now = cpu_time();
        let nanos = (now.tv_sec - begin.tv_sec) * 1_000_000_000 + (now.tv_nsec - begin.tv_nsec);
        if nanos as u128 >= time.as_nanos() {
            return;
        }
    }
}

fn events(counted: &Counted) -> u64 {
    counted.samples.iter().map(|sample| sample.events).sum()
}

/// Every sample has a stack that ends in an outcome and a thread with a name, and a filter lets nobody else through.
#[test]
fn a_busy_process_is_counted_with_stacks_and_names() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()));
    burn(Duration::from_secs(1));
    let counted = profiler.swap().unwrap();
    // On a busy machine ticks get lost, and are known to be.
    profiler.follow_cpus().unwrap();
    let lost = profiler.counters().unwrap().ticks_lost * bpf::period(FREQUENCY);
    let counted_nanos = counted
        .samples
        .iter()
        .map(|sample| sample.amount)
        .sum::<u64>();
    let seconds = (counted_nanos + lost) as f64 / 1e9;
    assert!(
        (0.95..2.0).contains(&seconds),
        "one second of CPU time was burnt, {seconds} counted or known to be lost"
    );
    for sample in &counted.samples {
        assert_eq!(sample.thread.tgid, id());
        assert!(!counted.threads[&sample.thread].process.is_empty());
        let root = counted.stacks[&sample.stack].last().unwrap().place();
        assert!(matches!(root, Place::Outcome(_)), "{root:?}");
    }
    assert!(profiler.counters().unwrap().counted >= events(&counted));
}

/// What was counted before a swap is drained with it, what comes after is not, and nothing is counted twice.
#[test]
fn windows_take_turns_and_lose_nothing() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()));
    let mut drained = 0;
    for _ in 0..6 {
        burn(Duration::from_millis(100));
        let counted = profiler.swap().unwrap();
        assert!(
            counted
                .samples
                .iter()
                .all(|sample| counted.stacks.contains_key(&sample.stack))
        );
        drained += events(&counted);
    }
    // Other threads of this test run still count between the last drain and the reading of the counters.
    drained += events(&profiler.swap().unwrap());
    let counters = profiler.counters().unwrap();
    assert!(
        counters.counted - drained < 50,
        "{counters:?}, {drained} drained"
    );
    assert_eq!(
        counters.counts_full + counters.ring_full + counters.hash_collisions + counters.malformed,
        0
    );
}

/// A thread that lives in system calls shows kernel addresses above user addresses.
#[test]
fn time_in_the_kernel_has_both_parts() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Process(id()));
    let begin = Instant::now();
    let mut buffer = vec![0u8; 1 << 20];
    while begin.elapsed() < Duration::from_millis(500) {
        std::fs::File::open("/dev/urandom")
            .unwrap()
            .read_exact(&mut buffer)
            .unwrap();
    }
    let counted = profiler.swap().unwrap();
    let both = counted.samples.iter().filter(|sample| {
        let words = &counted.stacks[&sample.stack];
        matches!(words[0].place(), Place::Kernel(_))
            && words
                .iter()
                .any(|word| matches!(word.place(), Place::Unresolved(_)))
    });
    assert!(both.count() > 0);
}

/// The programs that children exec and their descendants are counted, and nobody else.
#[test]
fn descendants_are_followed_from_exec_on() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::DescendantsOf(id()));
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let mut root = Command::new("sh")
        .args(["-c", &format!("({busy}); exit 0")])
        .spawn()
        .unwrap();
    assert!(root.wait().unwrap().success());
    let counted = profiler.swap().unwrap();
    let children = counted
        .samples
        .iter()
        .filter(|sample| sample.thread.tgid != root.id());
    assert!(children.count() > 0, "the subshell was busy");
    assert!(
        counted
            .samples
            .iter()
            .all(|sample| sample.thread.tgid != id()),
        "this test is no descendant"
    );
    assert!(
        counted
            .samples
            .iter()
            .all(|sample| sample.thread.generation != 0),
        "each began while it was watched"
    );
}

/// Kernel threads and others without user stacks say so.
#[test]
fn a_stack_without_a_user_part_says_why() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage, Filter::Everything);
    let begin = Instant::now();
    let mut kernel_threads = 0;
    // Something makes a kernel thread run: writing files does.
    while kernel_threads == 0 && begin.elapsed() < Duration::from_secs(20) {
        let file = tempfile();
        std::fs::write(&file, vec![1u8; 4 << 20]).unwrap();
        std::fs::File::open(&file).unwrap().sync_all().unwrap();
        std::fs::remove_file(&file).unwrap();
        let counted = profiler.swap().unwrap();
        for sample in &counted.samples {
            let words = &counted.stacks[&sample.stack];
            let user = words
                .iter()
                .any(|word| matches!(word.place(), Place::Unresolved(_)));
            if words.last().unwrap().place() == Place::Outcome(Outcome::KernelThread) {
                assert!(!user && counted.threads[&sample.thread].is_kernel);
                kernel_threads += sample.events;
            }
        }
    }
    assert!(kernel_threads > 0);
}

fn tempfile() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("thermograph-kernel-test-{}", id()))
}

/// An exec and the mappings of its program are told in the order they happened, and before the process ends.
#[test]
fn the_sideband_tells_of_a_program_from_exec_to_exit() {
    let mut sideband = Sideband::default();
    sideband.subscribe(&bpf::cpus::online().unwrap()).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let told = sideband.read().records;
    assert!(told.windows(2).all(|pair| pair[0].time <= pair[1].time));
    let position =
        |wanted: &dyn Fn(&Event) -> bool| told.iter().position(|record| wanted(&record.event));
    let fork = position(&|event| matches!(event, Event::Fork { child: c, .. } if *c == child.id()))
        .unwrap();
    let exec =
        position(&|event| matches!(event, Event::Exec { tgid } if *tgid == child.id())).unwrap();
    let exit =
        position(&|event| matches!(event, Event::Exit { tgid } if *tgid == child.id())).unwrap();
    let libc = position(&|event| match event {
        Event::Mmap(mmap) => {
            mmap.tgid == child.id() && mmap.path.windows(5).any(|part| part == b"libc.")
        }
        _ => false,
    })
    .unwrap();
    assert!(fork < exec && exec < libc && libc < exit);
}

/// BPF programs that come are told of, and so are those that go.
#[test]
fn the_sideband_tells_of_bpf_programs() {
    let mut sideband = Sideband::default();
    sideband.subscribe(&bpf::cpus::online().unwrap()).unwrap();
    let mut told = || {
        let records = sideband.read().records;
        let news = |record: &bpf::sideband::Record| matches!(record.event, Event::KernelCode);
        records.iter().any(news)
    };
    told();
    let mut storage = MaybeUninit::uninit();
    let profiler = load(&mut storage, Filter::Everything);
    assert!(told());
    while told() {}
    drop(profiler);
    // The kernel frees them when no CPU can be in them any more.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !told() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}
