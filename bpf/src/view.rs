//! Maps that are written like memory: mmapable arrays.

use crate::{Error, pod};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// The memory of a map in this address space.
pub(crate) struct View {
    memory: NonNull<u8>,
    bytes: usize,
}

impl View {
    /// Of the first bytes of a mmapable array.
    pub(crate) fn of(map: &impl AsFd, bytes: usize) -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let memory = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                0,
            )
        };
        let memory = memory.map_err(|errno| {
            Error::map("map kernel memory")(libbpf_rs::Error::from_raw_os_error(
                errno.raw_os_error(),
            ))
        })?;
        Ok(Self {
            memory: NonNull::new(memory.cast()).ok_or_else(|| {
                Error::map("map kernel memory")(libbpf_rs::Error::from_raw_os_error(libc::ENOMEM))
            })?,
            bytes,
        })
    }

    /// Writes bytes that no program is reading yet. What lies beyond the end is left out.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let room = self.bytes.saturating_sub(at);
        let length = bytes.len().min(room);
        // SAFETY: the range lies within the mapping, which nobody has a reference to.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_ptr().add(at), length);
        }
    }

    /// Writes a number that programs may be reading, after all that was written before it.
    pub(crate) fn publish<T: Number>(&self, at: usize, number: T) {
        if at.is_multiple_of(size_of::<T>()) && at + size_of::<T>() <= self.bytes {
            // SAFETY: the place is aligned, lies within the mapping, and is only ever written as an atomic from here on.
            unsafe { number.store(self.memory.as_ptr().add(at)) };
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

/// A number that is written in one piece.
pub(crate) trait Number {
    /// # Safety
    /// `at` is valid for writes and aligned to the number's size.
    unsafe fn store(self, at: *mut u8);
}

impl Number for u32 {
    unsafe fn store(self, at: *mut u8) {
        use std::sync::atomic::{AtomicU32, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU32::from_ptr(at.cast()) }.store(self, Ordering::Release);
    }
}

impl Number for u64 {
    unsafe fn store(self, at: *mut u8) {
        use std::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(at.cast()) }.store(self, Ordering::Release);
    }
}

/// The bytes of structures, one after the other.
pub(crate) fn bytes_of<T: pod::Pod>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(pod::bytes(&value));
    }
    bytes
}
