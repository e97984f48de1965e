//! Threads that tell the contents of files apart and build their tables.

use super::identity::{Identity, identify};
use super::steady::Steady;
use crate::pool::{self, GivenUp, Pool};
use crate::process::{MappedFile, Unopened};
use bpf::unwind::{BuildError, Limits, Table, build};
use bpf::{FileId, NoTable, Slot};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const OPTIONS: pool::Options = pool::Options {
    name: "builder",
    threads: 2,
    queue: 16_384,
    // The largest programs take a second.
    patience: Duration::from_secs(20),
};

/// What to do.
enum Job {
    /// Find out what a file holds.
    Identify(Arc<MappedFile>),
    /// Get the table of what it holds, for this slot.
    Load(Slot, Contents),
}

/// What a file holds.
#[derive(Clone)]
pub(super) struct Contents {
    pub(super) identity: Identity,
    /// Of the file, which of its pieces of 4 GiB.
    piece: u32,
    file: Arc<Steady>,
}

/// What has been done.
pub(super) enum Done {
    /// What a file holds, or why there is no table of it.
    Identified(FileId, Result<Contents, NoTable>),
    /// The table for a slot, or why there is none.
    Loaded(Slot, Identity, Result<Loaded, NoTable>),
}

/// A table that is ready for the kernel.
pub(super) struct Loaded {
    pub(super) table: Arc<Table>,
    /// How long it took to build; nothing if it was in the cache.
    pub(super) built_in: Option<Duration>,
}

/// Tells the owner of the tables that there is something to take.
pub(crate) type Wake = dyn Fn() + Send + Sync;

/// The threads, which may be shared by those who submit.
pub(super) struct Builder {
    pool: Pool<Job>,
}

impl Builder {
    /// Starts the threads. What they have done comes through the channel, after a call of `wake`: it is never more
    /// than what was submitted.
    pub(super) fn start(wake: Arc<Wake>) -> io::Result<(Self, Receiver<Done>)> {
        let (results, done) = channel();
        let reply = Reply { results, wake };
        let lost = reply.clone();
        let work = move |job: &Job| match job {
            Job::Identify(file) => reply.send(Done::Identified(file.id(), contents_of(file))),
            Job::Load(slot, contents) => load(*slot, contents, &reply),
        };
        let give_up = move |job: &Job, why: GivenUp| match job {
            Job::Identify(file) => {
                complain(&file.name(), &why);
                lost.send(Done::Identified(file.id(), Err(NoTable::Unreadable)));
            }
            Job::Load(slot, contents) => {
                complain(contents.file.name(), &why);
                let identity = contents.identity.clone();
                lost.send(Done::Loaded(*slot, identity, Err(NoTable::Unreadable)));
            }
        };
        let pool = Pool::start(OPTIONS, work, give_up)?;
        Ok((Self { pool }, done))
    }

    /// Has a file that has been opened, or could not be, identified soon.
    pub(super) fn identify(&self, file: &Arc<MappedFile>) {
        self.pool.submit(Job::Identify(Arc::clone(file)));
    }

    /// Has a table built, or read from the cache, soon.
    pub(super) fn load(&self, slot: Slot, contents: &Contents) {
        self.pool.submit(Job::Load(slot, contents.clone()));
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

#[derive(Clone)]
struct Reply {
    results: Sender<Done>,
    wake: Arc<Wake>,
}

impl Reply {
    fn send(&self, done: Done) {
        // Whoever asked may be gone.
        let _ = self.results.send(done);
        (self.wake)();
    }
}

fn contents_of(file: &MappedFile) -> Result<Contents, NoTable> {
    let module = file.module(Duration::ZERO).map_err(|why| match why {
        Unopened::NotElf(_) => NoTable::NoRules,
        Unopened::Failed(_) => NoTable::Unreadable,
    })?;
    let (steady, piece) = (Steady::new(module), file.piece());
    let identity = identify(&steady, piece).map_err(|error| no_table(&steady, &error))?;
    steady.shrink();
    Ok(Contents {
        identity,
        piece,
        file: Arc::new(steady),
    })
}

fn load(slot: Slot, contents: &Contents, reply: &Reply) {
    let identity = &contents.identity;
    let send = |loaded| reply.send(Done::Loaded(slot, identity.clone(), loaded));
    let begin = Instant::now();
    let built = build(&*contents.file, contents.piece, &Limits::default());
    contents.file.shrink();
    match built {
        Ok(table) => {
            let table = Arc::new(table);
            send(Ok(Loaded {
                table: Arc::clone(&table),
                built_in: Some(begin.elapsed()),
            }));
        }
        Err(error) => send(Err(no_table(&contents.file, &error))),
    }
}

/// What a file without a table is to the walk.
fn no_table(file: &Steady, error: &BuildError) -> NoTable {
    complain(file.name(), error);
    match error {
        BuildError::NotElf | BuildError::Machine => NoTable::NoRules,
        _ => NoTable::Unreadable,
    }
}

fn complain(name: &str, why: &dyn std::fmt::Display) {
    tracing::debug!("{name} has no unwind table: {why}");
}
