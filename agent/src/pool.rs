//! Threads for work on what belongs to others: a file on a server that does not answer, or one made to break a parser.
//!
//! A piece of work that takes too long is given up: another thread takes the place of the one that hangs in it, so that
//! the rest goes on. One that panics is given up too.

use rustix::process::{getpriority_process, setpriority_process};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads of one pool that may hang. With so many the pool has fewer that work, and at last none.
const HANGING: usize = 16;

/// How a pool works.
pub(crate) struct Options {
    /// What its threads are called.
    pub(crate) name: &'static str,
    /// How many work at a time.
    pub(crate) threads: usize,
    /// Pieces of work that may wait.
    pub(crate) queue: usize,
    /// How long one may take.
    pub(crate) patience: Duration,
}

/// Why a piece of work was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GivenUp {
    /// Too much waits already.
    #[error("too many at once")]
    Full,
    /// It has taken too long. It may still come to an end.
    #[error("takes too long")]
    Hangs,
    /// It has panicked.
    #[error("is more than the agent can bear (a bug)")]
    Panicked,
}

type Work<J> = dyn Fn(&J) + Send + Sync;
type GiveUp<J> = dyn Fn(&J, GivenUp) + Send + Sync;

/// Threads that work on a queue. Dropped, they end with what they are at.
pub(crate) struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    options: Options,
    /// Of the thread that started the pool; one that replaces another later may have more.
    nice: i32,
    state: Mutex<State<J>>,
    /// Something was put into the queue, or the pool is closed.
    changed: Condvar,
    work: Box<Work<J>>,
    give_up: Box<GiveUp<J>>,
}

struct State<J> {
    queue: VecDeque<Arc<J>>,
    /// By the number of the thread.
    running: HashMap<u64, (Arc<J>, Instant)>,
    next: u64,
    /// Threads that are not given up.
    threads: usize,
    hanging: usize,
    closed: bool,
}

impl<J: Send + Sync + 'static> Pool<J> {
    /// Starts the threads. They do `work`, and `give_up` is told of what did not end well.
    pub(crate) fn start(
        options: Options,
        work: impl Fn(&J) + Send + Sync + 'static,
        give_up: impl Fn(&J, GivenUp) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            options,
            nice: getpriority_process(None).unwrap_or(0),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                running: HashMap::new(),
                next: 0,
                threads: 0,
                hanging: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            work: Box::new(work),
            give_up: Box::new(give_up),
        });
        let mut state = shared.lock();
        while state.threads < shared.options.threads {
            start_thread(&shared, &mut state)?;
        }
        drop(state);
        Ok(Self { shared })
    }

    /// Has a piece of work done soon.
    pub(crate) fn submit(&self, job: J) {
        let mut state = self.shared.lock();
        if state.queue.len() < self.shared.options.queue {
            state.queue.push_back(Arc::new(job));
            self.shared.changed.notify_one();
        } else {
            drop(state);
            (self.shared.give_up)(&job, GivenUp::Full);
        }
    }

    /// Gives up what takes too long, and puts new threads in the place of those that hang. To be called now and then.
    pub(crate) fn tend(&self) {
        let mut state = self.shared.lock();
        let patience = self.shared.options.patience;
        let late: Vec<_> = state
            .running
            .extract_if(|_, (_, since)| since.elapsed() > patience)
            .collect();
        state.threads -= late.len();
        state.hanging += late.len();
        while state.threads < self.shared.options.threads && state.hanging < HANGING {
            // Without a new thread the others go on; the next call tries again.
            if let Err(error) = start_thread(&self.shared, &mut state) {
                tracing::warn!("cannot start a thread: {error}");
                break;
            }
        }
        drop(state);
        for (_, (job, _)) in late {
            (self.shared.give_up)(&job, GivenUp::Hangs);
        }
    }
}

impl<J> Drop for Pool<J> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<J> Shared<J> {
    /// No one who holds it can panic half way.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, number: u64) {
        while let Some(job) = self.next(number) {
            let done = catch_unwind(AssertUnwindSafe(|| (self.work)(&job)));
            let mut state = self.lock();
            let was_given_up = state.running.remove(&number).is_none();
            if was_given_up {
                state.hanging -= 1;
                if state.threads >= self.options.threads {
                    return;
                }
                state.threads += 1;
            }
            drop(state);
            if done.is_err() && !was_given_up {
                (self.give_up)(&job, GivenUp::Panicked);
            }
        }
    }

    fn next(&self, number: u64) -> Option<Arc<J>> {
        let waited = self
            .changed
            .wait_while(self.lock(), |state| state.queue.is_empty() && !state.closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        let job = state.queue.pop_front()?;
        state
            .running
            .insert(number, (Arc::clone(&job), Instant::now()));
        Some(job)
    }
}

fn start_thread<J: Send + Sync + 'static>(
    shared: &Arc<Shared<J>>,
    state: &mut State<J>,
) -> io::Result<()> {
    let number = state.next;
    let of_thread = Arc::clone(shared);
    std::thread::Builder::new()
        .name(shared.options.name.to_owned())
        .spawn(move || {
            // A pool must not outrun the programs of the host, and to give up priority is allowed to everyone.
            let _ = setpriority_process(None, of_thread.nice);
            of_thread.run(number);
        })?;
    state.next += 1;
    state.threads += 1;
    Ok(())
}

#[cfg(test)]
impl<J> Pool<J> {
    /// Whether nothing waits and nothing is being done.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.queue.is_empty() && state.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    enum Job {
        Number(u32),
        Panic,
        Wait(Mutex<Receiver<()>>),
    }

    /// What became of work: its number, or why it was given up.
    fn pool(queue: usize) -> (Pool<Job>, Receiver<Result<u32, GivenUp>>) {
        let (say, said) = channel();
        let options = Options {
            name: "test",
            threads: 1,
            queue,
            patience: Duration::from_millis(20),
        };
        let (done, lost) = (Mutex::new(say.clone()), Mutex::new(say));
        let work = move |job: &Job| match job {
            Job::Number(number) => done.lock().unwrap().send(Ok(*number)).unwrap(),
            Job::Panic => panic!("as it should"),
            Job::Wait(end) => end.lock().unwrap().recv().unwrap_or_default(),
        };
        let give_up = move |_: &Job, why| lost.lock().unwrap().send(Err(why)).unwrap();
        (Pool::start(options, work, give_up).unwrap(), said)
    }

    /// Work that panics is told of, and the thread goes on.
    #[test]
    fn panics_cost_one_piece_of_work() {
        let (pool, said) = pool(8);
        pool.submit(Job::Panic);
        pool.submit(Job::Number(7));
        assert_eq!(said.recv().unwrap(), Err(GivenUp::Panicked));
        assert_eq!(said.recv().unwrap(), Ok(7));
    }

    /// Work that hangs is told of, and what waits behind it is done; when it ends at last, its thread is one too many.
    #[test]
    fn what_hangs_holds_nothing_up() {
        let (pool, said) = pool(8);
        let mut ends = Vec::new();
        for number in 0..3 {
            let (end, wait) = channel();
            ends.push(end);
            pool.submit(Job::Wait(Mutex::new(wait)));
            pool.submit(Job::Number(number));
            std::thread::sleep(Duration::from_millis(40));
            pool.tend();
            assert_eq!(said.recv().unwrap(), Err(GivenUp::Hangs));
            assert_eq!(said.recv().unwrap(), Ok(number));
        }
        drop(ends);
        while pool.shared.lock().hanging > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pool.shared.lock().threads, 1);
        pool.submit(Job::Number(9));
        assert_eq!(said.recv().unwrap(), Ok(9));
    }

    /// Of hanging threads there are so many and no more; work that finds none is given up, and when one is free again it goes on.
    #[test]
    fn hanging_threads_are_bounded() {
        let (pool, said) = pool(2);
        let mut ends = Vec::new();
        for _ in 0..HANGING {
            let (end, wait) = channel();
            ends.push(end);
            pool.submit(Job::Wait(Mutex::new(wait)));
            std::thread::sleep(Duration::from_millis(40));
            pool.tend();
            assert_eq!(said.recv().unwrap(), Err(GivenUp::Hangs));
        }
        assert_eq!(pool.shared.lock().threads, 0);
        for number in 0..3 {
            pool.submit(Job::Number(number));
        }
        assert_eq!(said.recv().unwrap(), Err(GivenUp::Full));
        drop(ends);
        assert_eq!(said.recv().unwrap(), Ok(0));
        assert_eq!(said.recv().unwrap(), Ok(1));
    }
}
