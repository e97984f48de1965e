//! Threads that tell the contents of files apart and build their tables.

use super::cache::Cache;
use super::steady::Steady;
use crate::pool::{self, GivenUp, Pool};
use crate::process::{MappedFile, Unopened};
use bpf::unwind::{BuildError, Identity, Limits, Table, build, identify};
use bpf::{FileId, NewPieces, NoTable, Slot};
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

/// What one file may cost. The kernel would take no larger image.
pub(super) const LIMITS: Limits = Limits {
    image_bytes: 64 << 20,
    functions: 4 << 20,
    work: 3 << 29,
};

/// What to do.
enum Job {
    /// Find out what a file holds.
    Identify(Arc<MappedFile>),
    /// Get the table of what it holds, for this slot.
    Load(Slot, Contents),
}

/// What a table is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) identity: Identity,
    /// Which of the file's pieces of 4 GiB.
    pub(super) piece: u32,
}

/// What a file holds.
#[derive(Clone)]
pub(super) struct Contents {
    pub(super) key: Key,
    file: Arc<Steady>,
}

/// What has been done.
pub(super) enum Done {
    /// What a file holds, or why there is no table of it.
    Identified(FileId, Result<Contents, NoTable>),
    /// The table for a slot, or why there is none.
    Loaded(Slot, Key, Result<Loaded, NoTable>),
    /// Programs can find these pieces now, or why not.
    Published(Arc<NewPieces>, Result<(), bpf::Error>),
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
    publisher: Sender<Arc<NewPieces>>,
}

impl Builder {
    /// Starts the threads. What they have done comes through the channel, after a call of `wake`: it is never more
    /// than what was submitted.
    pub(super) fn start(
        cache: Option<Cache>,
        wake: Arc<Wake>,
    ) -> io::Result<(Self, Receiver<Done>)> {
        let (results, done) = channel();
        let reply = Reply { results, wake };
        let lost = reply.clone();
        let publisher = start_publisher(reply.clone())?;
        let work = move |job: &Job| match job {
            Job::Identify(file) => reply.send(Done::Identified(file.id(), contents_of(file))),
            Job::Load(slot, contents) => load(*slot, contents, cache.as_ref(), &reply),
        };
        let give_up = move |job: &Job, why: GivenUp| match job {
            Job::Identify(file) => {
                complain(&file.name(), &why);
                lost.send(Done::Identified(file.id(), Err(NoTable::Unreadable)));
            }
            Job::Load(slot, contents) => {
                complain(contents.file.name(), &why);
                let key = contents.key.clone();
                lost.send(Done::Loaded(*slot, key, Err(NoTable::Unreadable)));
            }
        };
        let builder = Self {
            pool: Pool::start(OPTIONS, work, give_up)?,
            publisher,
        };
        Ok((builder, done))
    }

    /// Has a file that has been opened, or could not be, identified soon.
    pub(super) fn identify(&self, file: &Arc<MappedFile>) {
        self.pool.submit(Job::Identify(Arc::clone(file)));
    }

    /// Has a table built, or read from the cache, soon.
    pub(super) fn load(&self, slot: Slot, contents: &Contents) {
        self.pool.submit(Job::Load(slot, contents.clone()));
    }

    /// Has programs find pieces soon.
    pub(super) fn publish(&self, new: Arc<NewPieces>) {
        // It ends with the builder.
        let _ = self.publisher.send(new);
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

/// A thread of its own: it waits for the kernel, which no file can hold up, and another thread would wait as long.
fn start_publisher(reply: Reply) -> io::Result<Sender<Arc<NewPieces>>> {
    let (publisher, submitted) = channel::<Arc<NewPieces>>();
    std::thread::Builder::new()
        .name("publisher".to_owned())
        .spawn(move || {
            for new in submitted {
                let done = new.publish();
                reply.send(Done::Published(new, done));
            }
        })?;
    Ok(publisher)
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
    let name = Arc::clone(module.name());
    let identified = Steady::new(module)
        .map_err(BuildError::from)
        .and_then(|steady| Ok((identify(&steady, &LIMITS)?, steady)));
    let (identity, steady) = identified.map_err(|error| no_table(&name, &error))?;
    steady.shrink();
    let piece = file.piece();
    Ok(Contents {
        key: Key { identity, piece },
        file: Arc::new(steady),
    })
}

fn load(slot: Slot, contents: &Contents, cache: Option<&Cache>, reply: &Reply) {
    let Contents { key, file } = contents;
    let send = |loaded| reply.send(Done::Loaded(slot, key.clone(), loaded));
    if let Some(table) = cache.and_then(|cache| cache.read(key)) {
        return send(Ok(Loaded {
            table: Arc::new(table),
            built_in: None,
        }));
    }
    let begin = Instant::now();
    let built = build(&**file, key.piece, &LIMITS);
    file.shrink();
    match built {
        Ok(table) => {
            let table = Arc::new(table);
            send(Ok(Loaded {
                table: Arc::clone(&table),
                built_in: Some(begin.elapsed()),
            }));
            if let Some(cache) = cache {
                cache.write(key, &table);
            }
        }
        Err(error) => send(Err(no_table(file.name(), &error))),
    }
}

/// What a file without a table is to the walk.
fn no_table(name: &str, error: &BuildError) -> NoTable {
    complain(name, error);
    match error {
        BuildError::NotElf | BuildError::Machine => NoTable::NoRules,
        _ => NoTable::Unreadable,
    }
}

fn complain(name: &str, why: &dyn std::fmt::Display) {
    tracing::debug!("{name} has no unwind table: {why}");
}
