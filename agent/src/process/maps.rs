//! Reading /proc/PID/maps: the executable lines of it.

use super::files::Hint;
use rustix::process::{getpriority_process, setpriority_process};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A longer line is no line of the kernel's: paths end at 4,096 bytes, each of which may be escaped as four.
const LINE_LIMIT: u64 = 20 << 10;

/// One executable line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
    pub(super) hint: Hint,
}

/// How long a process's mappings may take to read: a big one's take some milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// Threads that may hang.
const HANGING: usize = 16;

/// Reads on a thread of its own. The kernel holds a lock of the process's meanwhile, which may be held by a thread that
/// waits for a server that does not answer.
#[derive(Default)]
pub(super) struct Reader {
    /// Of the thread that started the first one.
    nice: Option<i32>,
    thread: Option<Thread>,
    /// By the process that each hangs in, which is not asked again meanwhile.
    hanging: Vec<(u32, JoinHandle<()>)>,
}

struct Thread {
    requests: SyncSender<u32>,
    answers: Receiver<io::Result<Vec<Line>>>,
    handle: JoinHandle<()>,
}

impl Reader {
    /// The executable mappings of a process as they are now; an error if it is gone or does not answer in time.
    pub(super) fn read(&mut self, tgid: u32) -> io::Result<Vec<Line>> {
        self.hanging.retain(|(_, thread)| !thread.is_finished());
        if self.hanging.iter().any(|(process, _)| *process == tgid) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        if thread.requests.send(tgid).is_ok()
            && let Ok(answer) = thread.answers.recv_timeout(PATIENCE)
        {
            self.thread = Some(thread);
            return answer;
        }
        self.hanging.push((tgid, thread.handle));
        Err(io::ErrorKind::TimedOut.into())
    }

    fn start(&mut self) -> io::Result<Thread> {
        if self.hanging.len() >= HANGING {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let nice = *self
            .nice
            .get_or_insert_with(|| getpriority_process(None).unwrap_or(0));
        let (requests, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name("maps".to_owned())
            .spawn(move || {
                // One that is started later is started by a thread of high priority, which is not for this work.
                let _ = setpriority_process(None, nice);
                for tgid in inbox {
                    if outbox.send(read(tgid)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Thread {
            requests,
            answers,
            handle,
        })
    }
}

fn read(tgid: u32) -> io::Result<Vec<Line>> {
    match read_file(&format!("/proc/{tgid}/maps")) {
        // A main thread that has ended shows no mappings, but the other threads still do.
        Ok(lines) if lines.is_empty() => read_of_another_thread(tgid),
        other => other,
    }
}

fn read_of_another_thread(tgid: u32) -> io::Result<Vec<Line>> {
    for thread in std::fs::read_dir(format!("/proc/{tgid}/task"))?.take(64) {
        let lines = read_file(thread?.path().join("maps").to_string_lossy().as_ref())?;
        if !lines.is_empty() {
            return Ok(lines);
        }
    }
    Ok(Vec::new())
}

fn read_file(path: &str) -> io::Result<Vec<Line>> {
    let mut reader = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut reader, LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        lines.extend(parse(line.strip_suffix(b"\n").unwrap_or(&line)));
    }
}

/// `55d0c8a00000-55d0c8a21000 r-xp 00001000 fe:00 1048602    /usr/bin/true`
fn parse(line: &[u8]) -> Option<Line> {
    let (range, rest) = field(line)?;
    let (permissions, rest) = field(rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    let (offset, rest) = field(rest)?;
    let (device, rest) = field(rest)?;
    let (inode, path) = field(rest).unwrap_or((rest, b""));
    let (start, end) = split_at_byte(range, b'-')?;
    let (major, minor) = split_at_byte(device, b':')?;
    Some(Line {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        hint: Hint::new(
            (hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?),
            std::str::from_utf8(inode).ok()?.parse().ok()?,
            &unescape(path.trim_ascii_start()),
        ),
    })
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at_byte(line, b' ')
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == byte)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The kernel writes a newline in a path as `\012`, and nothing else so.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(tail) => {
                plain.push(b'\n');
                rest = tail;
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_line_is_read_whole() {
        let line = b"7f1b2c000000-7f1b2c155000 r-xp 00026000 fe:00 1048602                    /usr/lib/a b\\012c.so (deleted)";
        let line = parse(line).unwrap();
        assert_eq!(
            (line.start, line.end, line.offset),
            (0x7f1b_2c00_0000, 0x7f1b_2c15_5000, 0x26000)
        );
        assert_eq!(line.hint.device, (0xfe, 0));
        assert_eq!(line.hint.inode, 1_048_602);
        assert_eq!(line.hint.path, b"/usr/lib/a b\nc.so");
    }

    #[test]
    fn lines_that_are_not_executable_or_not_lines_are_passed_over() {
        assert_eq!(
            parse(b"7f1b2c000000-7f1b2c155000 r--p 00026000 fe:00 1048602 /usr/lib/a.so"),
            None
        );
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"7f1b2c000000 r-xp 0 fe:00 1 x"), None);
        assert_eq!(parse(b"\xff\xfe-\xff r-xp \xff 0:0 1 x"), None);
        let anonymous = parse(b"7f1b2c000000-7f1b2c155000 rwxp 00000000 00:00 0 ").unwrap();
        assert_eq!(
            (anonymous.hint.inode, anonymous.hint.path.as_slice()),
            (0, &b""[..])
        );
    }

    #[test]
    fn this_process_maps_itself() {
        let lines = Reader::default().read(std::process::id()).unwrap();
        let here = this_process_maps_itself as *const () as u64;
        let mine = lines
            .iter()
            .find(|line| (line.start..line.end).contains(&here))
            .unwrap();
        assert!(
            mine.hint.path.starts_with(
                std::env::current_exe()
                    .unwrap()
                    .as_os_str()
                    .as_encoded_bytes()
            )
        );
    }
}
