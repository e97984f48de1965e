use super::*;
use bpf::{CgroupController, CgroupSource, Filter, OpenObject, Options, Profiler};
use std::mem::MaybeUninit;
use std::time::Duration;

/// Beyond the number of slots there are.
const MANY: u32 = 10_000;

fn load(storage: &mut MaybeUninit<OpenObject>) -> Profiler<'_> {
    let options = Options {
        frequency: 99,
        window: Duration::from_secs(5),
        idle: false,
        filter: Filter::Everything,
        cgroups: CgroupSource {
            controller: CgroupController::None,
            hierarchy: 0,
        },
        seed: 7,
        table_memory: 4 << 20,
    };
    Profiler::load(storage, &options).unwrap()
}

fn tables(unwinder: &mut Unwinder) -> Tables {
    let delays = Histogram::new([1.0]);
    Tables::start(None, Arc::new(|| {}), unwinder, delays).unwrap()
}

fn file(number: u32) -> FileId {
    FileId::new(number).unwrap()
}

/// Slots of files that nobody maps any more are used again, however many files there were: by one that had found none, too,
/// and what it holds has not been forgotten. Needs root.
#[test]
fn slots_are_given_back() {
    let mut storage = MaybeUninit::uninit();
    let mut profiler = load(&mut storage);
    let unwinder = profiler.unwinder();
    let mut tables = tables(unwinder);
    for number in 0..MANY {
        tables.slot(unwinder, file(number));
    }
    assert_eq!(tables.slot(unwinder, file(MANY)), tables.overflow);
    tables.identified(unwinder, file(MANY), Err(NoTable::NoRules));
    assert!(tables.take_done(unwinder).is_empty());
    assert_eq!(tables.slot(unwinder, file(MANY)), tables.overflow);
    assert!(tables.counts().without_slot > 1);
    tables.forget(unwinder, &(0..MANY).map(file).collect::<Vec<_>>());
    // A list that is still to be dropped may name them.
    assert_eq!(tables.slot(unwinder, file(MANY)), tables.overflow);
    unwinder.reclaim().unwrap();
    assert_eq!(tables.take_done(unwinder), [file(MANY)]);
    let slot = tables.slot(unwinder, file(MANY)).unwrap();
    assert_ne!(Some(slot), tables.overflow);
    let state = tables.contents[&slot].state;
    assert_eq!(state, State::Missing(NoTable::NoRules));
    assert_eq!(tables.counts().without_slot, 0);
}
