//! Asks the worker, and decides what becomes of it and of the file when it does not answer.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::answer::Answer;
use super::child::{At, Killed, Launch, Worker};
use super::message::{LARGEST, Request};
use super::refusals::{Refusals, Refused};
use super::share::{Share, Window};
use super::socket::MOST_FILES;
use crate::elf_names::{FileError, FileFailure, Frames, MOST_FAULTY, MOST_REPORTED};
use crate::module::Module;
use crate::names::Names;

/// How long a worker is kept that nobody asks, or that is large.
const KEPT: Duration = Duration::from_secs(60);
/// A worker that has more memory is large: what made it grow is rarely asked about again. Where it is, as the debug information of a C library that
/// all programs of a host have, reading it again takes some 50 ms, which may not be every few seconds.
const LARGE: u64 = 40 << 20;
/// For what is asked before a first window begins.
const TIME: Duration = Duration::from_secs(4);
/// How long it is not tried again to start a worker that could not be started.
const PAUSE: Duration = Duration::from_secs(60);

/// What a worker did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerFault {
    /// It did not answer in time, and was killed.
    #[error("hung")]
    Hung,
    /// It ended.
    #[error("died")]
    Died,
    /// It answered something that is no answer, and was killed.
    #[error("answered nonsense")]
    Lied,
}

/// What became of workers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Workers that were started.
    pub started: u64,
    /// Workers that hung.
    pub hung: u64,
    /// Workers that died while they were asked something.
    pub died: u64,
    /// Workers that answered nonsense.
    pub lied: u64,
    /// Workers that could not be started.
    pub not_started: u64,
    /// Workers that were killed and are still there, because they wait for a file system that does not answer.
    pub stuck: u64,
    /// Places whose names did not come in time, or would have taken too much memory.
    pub late_names: u64,
    /// Places of which only the symbol's name came in time: they stay without lines.
    pub late_lines: u64,
}

/// The asking end.
pub(crate) struct Client {
    launch: Launch,
    worker: Option<Worker>,
    killed: Killed,
    /// Not before then another worker is tried.
    pause: Option<Instant>,
    start_error: Option<io::Error>,
    window: Window,
    refusals: Refusals,
    /// Files whose faults were reported: another worker finds them anew.
    reported: LruCache<u64, ()>,
    failures: Vec<FileFailure>,
    /// Files of which a worker has said that they would have lines if there were a debug file.
    without_lines: LruCache<u64, ()>,
    stats: WorkerStats,
}

impl Client {
    /// Starts nothing yet.
    pub(crate) fn new(launch: Launch) -> Self {
        Self {
            launch,
            worker: None,
            killed: Killed::default(),
            pause: None,
            start_error: None,
            window: Window::begin(TIME),
            refusals: Refusals::new(),
            reported: LruCache::new(MOST_FAULTY),
            failures: Vec::new(),
            without_lines: LruCache::new(MOST_FAULTY),
            stats: WorkerStats::default(),
        }
    }

    /// A new window has time and memory of its own. A worker that nobody asked for a while ends, and one that has been large for a while.
    pub(crate) fn begin_window(&mut self, time: Duration) {
        self.window = Window::begin(time);
        self.killed.reap();
        let is_idle = |worker: &Worker| worker.used.elapsed() > KEPT;
        let is_large = |worker: &Worker| worker.resident > LARGE && worker.started.elapsed() > KEPT;
        let is_over = |worker: &mut Worker| worker.is_gone() || is_idle(worker) || is_large(worker);
        if let Some(worker) = self.worker.take_if(is_over) {
            self.killed.kill(worker, None);
        }
    }

    /// The frames at ELF addresses, one answer for each; none for those that could not be asked about now.
    pub(crate) fn find(
        &mut self,
        module: &Module,
        addresses: &[u64],
        names: &mut Names,
    ) -> Vec<Option<Frames>> {
        let of_file = self.refusals.of(module.number(), Instant::now());
        let remote = module.remote();
        // The next worker would wait there, too.
        let of_others = remote.and_then(|remote| self.killed.refused(remote));
        let refused = of_file.max(of_others);
        if addresses.is_empty() || refused == Some(Refused::All) {
            return vec![None; addresses.len()];
        }
        let share = self.window.share();
        let Some(share) = share.filter(|_| self.start()) else {
            self.stats.late_names += addresses.len() as u64;
            return vec![None; addresses.len()];
        };
        let request = Request {
            module: module.number(),
            length: module.length(),
            path: module.roots().path().as_os_str().as_bytes().to_vec(),
            lines: refused.is_none(),
            has_debug_file: module.has_given_debug_file(),
            budget: share.bytes,
            addresses: addresses.to_vec(),
        };
        let mut answer = Answer::to(addresses.len(), share.bytes);
        let outcome = self.ask(module, &request, &share, &mut answer, names);
        self.window.spend(answer.cost);
        match outcome {
            Ok(()) if answer.lacks_debug_info => {
                self.without_lines.put(module.number(), ());
            }
            Ok(()) => {
                self.without_lines.pop(&module.number());
            }
            Err(fault) => self.blame(module, fault, &answer),
        }
        for fault in answer.faults {
            self.report(module, fault);
        }
        self.stats.late_names += answer.found.iter().filter(|found| found.is_none()).count() as u64;
        answer.found
    }

    /// Whether the last worker that was asked about a file has found no lines, for want of a debug file.
    pub(crate) fn lacks_debug_info(&mut self, module: &Module) -> bool {
        self.without_lines.get(&module.number()).is_some()
    }

    /// What was said of it before does not count any more.
    pub(crate) fn has_debug_file_now(&mut self, module: &Module) {
        self.without_lines.pop(&module.number());
    }

    /// The files found wanting since the last call, at most 1024 of them, each once.
    pub(crate) fn take_failures(&mut self) -> Vec<FileFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Why the last worker could not be started, once.
    pub(crate) fn take_start_error(&mut self) -> Option<io::Error> {
        self.start_error.take()
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        WorkerStats {
            stuck: self.killed.len() as u64,
            ..self.stats
        }
    }

    /// Whether there is a worker, by now.
    fn start(&mut self) -> bool {
        if let Some(worker) = self.worker.take_if(Worker::is_gone) {
            self.killed.kill(worker, None);
        }
        let is_paused = self.pause.is_some_and(|pause| Instant::now() < pause);
        if self.worker.is_some() || is_paused || self.killed.are_too_many() {
            return self.worker.is_some();
        }
        match Worker::start(&self.launch) {
            Ok(worker) => {
                self.stats.started += 1;
                self.worker = Some(worker);
            }
            Err(error) => {
                self.stats.not_started += 1;
                self.start_error = Some(error);
                self.pause = Some(Instant::now() + PAUSE);
            }
        }
        self.worker.is_some()
    }

    fn ask(
        &mut self,
        module: &Module,
        request: &Request,
        share: &Share,
        answer: &mut Answer,
        names: &mut Names,
    ) -> Result<(), WorkerFault> {
        let worker = self.worker.as_mut().ok_or(WorkerFault::Died)?;
        let message = postcard::to_allocvec(request).map_err(|_| WorkerFault::Lied)?;
        let directories = module.roots().directories().iter();
        let files = std::iter::once(module.file().as_fd())
            .chain(module.given_debug_file().map(|file| file.as_fd()))
            .chain(directories.map(|directory| directory.as_fd()));
        let files: Vec<_> = files.take(MOST_FILES).collect();
        let sent = worker.send(&message, &files);
        sent.map_err(|_| WorkerFault::Died)?;
        let mut buffer = Box::new([0; LARGEST]);
        while answer.end.is_none() {
            let message =
                worker
                    .receive(&mut buffer, share.deadline)
                    .map_err(|error| match error.kind() {
                        io::ErrorKind::TimedOut => WorkerFault::Hung,
                        io::ErrorKind::InvalidData => WorkerFault::Lied,
                        _ => WorkerFault::Died,
                    })?;
            let taken = answer.take(message, names);
            taken.map_err(|_| WorkerFault::Lied)?;
        }
        worker.used = Instant::now();
        worker.resident = answer.end.unwrap_or_default();
        Ok(())
    }

    /// The worker did nothing else meanwhile, so it was this file.
    fn blame(&mut self, module: &Module, fault: WorkerFault, answer: &Answer) {
        let refused = match answer.has_symbols {
            true => Refused::Lines,
            false => Refused::All,
        };
        if let Some(worker) = self.worker.take() {
            let at = module.remote().map(|remote| At { remote, refused });
            self.killed.kill(worker, at);
        }
        match fault {
            WorkerFault::Hung => self.stats.hung += 1,
            WorkerFault::Died => self.stats.died += 1,
            WorkerFault::Lied => self.stats.lied += 1,
        }
        if answer.has_symbols {
            self.stats.late_lines += answer.found.len() as u64;
        }
        self.refusals
            .refuse(module.number(), refused, Instant::now());
        self.report(module, FileError::Worker(fault));
    }

    /// What another worker finds again is reported once; what becomes of one, each time.
    fn report(&mut self, module: &Module, error: FileError) {
        let is_known = self.reported.put(module.number(), ()).is_some();
        if is_known && !matches!(error, FileError::Worker(_)) {
            return;
        }
        if self.failures.len() < MOST_REPORTED {
            self.failures.push(FileFailure {
                module: module.name().clone(),
                error,
            });
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.killed.kill(worker, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that was not asked anything for a minute is ended when the next window begins, and not before; so is one that has been there
    /// for a minute and is large.
    #[test]
    fn idle_and_large_workers_are_ended() {
        let mut client = Client::new(Launch {
            program: "/bin/sleep".into(),
            arguments: vec!["1000".into()],
        });
        let now = Instant::now();
        let long_ago = now - KEPT;
        for (started, used, resident, is_ended) in [
            (now, now, LARGE + 1, false),
            (long_ago, now, LARGE, false),
            (long_ago, now, LARGE + 1, true),
            (long_ago, long_ago, LARGE, true),
        ] {
            assert!(client.start());
            let worker = client.worker.as_mut().unwrap();
            (worker.started, worker.used, worker.resident) = (started, used, resident);
            client.begin_window(TIME);
            assert_eq!(client.worker.is_none(), is_ended);
            if let Some(worker) = client.worker.take() {
                client.killed.kill(worker, None);
            }
        }
        client.begin_window(TIME);
        let begin = Instant::now();
        while client.stats().stuck > 0 {
            assert!(begin.elapsed() < Duration::from_secs(10));
            client.begin_window(TIME);
        }
        assert_eq!(client.stats().started, 4);
    }
}
