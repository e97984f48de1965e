//! Which code lay where in each process at each time, so that an address becomes a place in a file.

mod code_names;
mod code_sources;
mod declarations;
mod file;
mod files;
mod inspector;
mod mappings;
mod maps;
mod opener;
mod processes;
mod program;
mod publication;
mod publisher;
mod repair;
mod roots;
mod run_time;

pub(crate) use file::{MappedFile, Unopened};
pub(crate) use files::Files;
#[cfg(test)]
pub(crate) use mappings::Mapping;
pub(crate) use mappings::Mappings;
pub(crate) use opener::Settled;
pub(crate) use processes::{Processes, Trouble};
pub(crate) use publisher::PublishDelays;

/// The process that a thread belongs to; nothing if there is none of this id. /proc has a directory for each thread too,
/// though it does not list them.
pub(crate) fn tgid_of(tid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    let mut lines = status.split(|byte| *byte == b'\n');
    let tgid = lines.find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(tgid).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread's id leads to its process, and no process's to nothing.
    #[test]
    fn threads_belong_to_their_process() {
        let this = std::process::id();
        assert_eq!(tgid_of(this), Some(this));
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (say, said) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            wait.recv().unwrap_err();
        });
        let tid = said.recv().unwrap().unsigned_abs();
        assert_ne!(tid, this);
        assert_eq!(tgid_of(tid), Some(this));
        drop(done);
        thread.join().unwrap();
        assert_eq!(tgid_of(5_000_000), None);
    }
}
