//! A file system of one file, in this process, that stops answering or fails when it is told to: like a server that is gone.
//! By the kernel's own protocol (include/uapi/linux/fuse.h), of which it speaks what reading a file needs.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;

/// How reads are answered.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With what is asked for.
    Bytes,
    /// Not at all.
    Never,
    /// With an error.
    Error,
}

/// The file system, until this is dropped: what waits for it then gets an error.
#[derive(Debug)]
pub struct FileSystem {
    directory: TempDir,
    mode: Arc<AtomicU8>,
    /// The kernel's end of all that is asked.
    device: Option<Arc<File>>,
}

const FILE: u64 = 2;
/// Reads go past the page cache, so that a process cannot even be killed while it waits for one.
const FOPEN_DIRECT_IO: u64 = 1;
/// What is in the page cache stays there when the file is opened again.
const FOPEN_KEEP_CACHE: u64 = 2;

impl FileSystem {
    /// A file of these bytes. With `direct` they are asked for each time that they are read.
    pub fn mount(bytes: Vec<u8>, direct: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .unwrap();
        let target = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).unwrap();
        let kind = c"fuse".as_ptr();
        // SAFETY: all are strings of C that live until it returns.
        let result = unsafe {
            libc::mount(
                kind,
                target.as_ptr(),
                kind,
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        let device = Arc::new(device);
        let mode = Arc::new(AtomicU8::new(Mode::Bytes as u8));
        let server = Server {
            device: Arc::downgrade(&device),
            mode: Arc::clone(&mode),
            bytes,
            direct,
        };
        std::thread::spawn(move || server.run());
        Self {
            directory,
            mode,
            device: Some(device),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    /// Has reads answered in another way from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let target = CString::new(self.directory.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: it is a string of C. With force all that waits is answered with an error.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
        drop(self.device.take());
    }
}

struct Server {
    device: std::sync::Weak<File>,
    mode: Arc<AtomicU8>,
    bytes: Vec<u8>,
    direct: bool,
}

impl Server {
    fn run(&self) {
        let mut request = vec![0; 1 << 20];
        while let Some(device) = self.device.upgrade() {
            // It ends with the connection.
            let Ok(length) = (&*device).read(&mut request) else {
                return;
            };
            let number = |at: usize, size: usize| {
                let mut bytes = [0; 8];
                bytes[..size].copy_from_slice(&request[at..at + size]);
                u64::from_le_bytes(bytes)
            };
            // struct fuse_in_header: len, opcode, unique, nodeid, ...; 40 bytes.
            let (code, unique, node) = (number(4, 4), number(8, 8), number(16, 8));
            let answer = match code {
                // FUSE_LOOKUP, for any name: struct fuse_entry_out.
                1 => Ok([words(&[FILE, 0, 3600, 3600, 0]), self.attributes(FILE)].concat()),
                // FUSE_FORGET, FUSE_INTERRUPT and FUSE_BATCH_FORGET have no answer.
                2 | 36 | 42 => continue,
                // FUSE_GETATTR: struct fuse_attr_out.
                3 => Ok([words(&[3600, 0]), self.attributes(node)].concat()),
                // FUSE_OPEN: struct fuse_open_out.
                14 => {
                    let flags = if self.direct {
                        FOPEN_DIRECT_IO
                    } else {
                        FOPEN_KEEP_CACHE
                    };
                    Ok(words(&[0, flags]))
                }
                // FUSE_READ: struct fuse_read_in is fh, offset, size, ...
                15 => match self.mode.load(Ordering::SeqCst) {
                    mode if mode == Mode::Never as u8 => continue,
                    mode if mode == Mode::Error as u8 => Err(libc::EIO),
                    _ => {
                        let start = (number(48, 8) as usize).min(self.bytes.len());
                        let end = (start + number(56, 4) as usize).min(self.bytes.len());
                        Ok(self.bytes[start..end].to_vec())
                    }
                },
                // FUSE_RELEASE
                18 => Ok(Vec::new()),
                // FUSE_INIT: struct fuse_init_out, 64 bytes: version 7.31, nothing special.
                26 => Ok([words(&[7 | 31 << 32, 1 << 17, 0, 1 << 17]), vec![0; 32]].concat()),
                _ => Err(libc::ENOSYS),
            };
            assert!(length >= 40);
            let (error, body) = match answer {
                Ok(body) => (0, body),
                Err(error) => (-error, Vec::new()),
            };
            // struct fuse_out_header: len, error, unique.
            let mut reply = (16 + body.len() as u32).to_le_bytes().to_vec();
            reply.extend(error.to_le_bytes());
            reply.extend(unique.to_le_bytes());
            reply.extend(body);
            // Whoever asked may have been killed.
            let _ = (&*device).write_all(&reply);
        }
    }

    /// struct fuse_attr, 88 bytes.
    fn attributes(&self, node: u64) -> Vec<u8> {
        let (size, mode) = match node {
            FILE => (self.bytes.len() as u64, 0o100_755),
            _ => (0, 0o040_755),
        };
        // ino, size, blocks, three times; then in halves: their nanoseconds and the mode, links and owners, device and size
        // of blocks, flags.
        words(&[
            node,
            size,
            size.div_ceil(512),
            0,
            0,
            0,
            0,
            mode << 32,
            1,
            0,
            4096,
        ])
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
