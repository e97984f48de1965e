//! Reading the kernel programs' structures from the bytes of maps and rings.

use crate::skeleton::types;
use std::mem::size_of;
use std::{ptr, slice};

/// # Safety
/// The type is `repr(C)`, and any bytes make a valid value of it.
pub(crate) unsafe trait Pod: Copy {}

// SAFETY: structures of integers and arrays of integers, generated from the C declarations with `repr(C)`.
unsafe impl Pod for types::count_key {}
// SAFETY: as above.
unsafe impl Pod for types::count {}
// SAFETY: as above.
unsafe impl Pod for types::thread_key {}
// SAFETY: as above.
unsafe impl Pod for types::thread_names {}
// SAFETY: as above.
unsafe impl Pod for types::counters {}
// SAFETY: as above.
unsafe impl Pod for types::window_state {}
// SAFETY: as above.
unsafe impl Pod for types::cgroup_event {}
// SAFETY: as above.
unsafe impl Pod for types::process_state {}
// SAFETY: as above.
unsafe impl Pod for types::published {}
// SAFETY: as above.
unsafe impl Pod for types::mapping {}
// SAFETY: as above.
unsafe impl Pod for types::table {}
// SAFETY: as above.
unsafe impl Pod for types::rule {}

/// The value that `bytes` begin with, or nothing where they are too few.
pub(crate) fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, any alignment is read, and T takes any bytes.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

/// The bytes of a value without padding.
pub(crate) fn bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: the value is initialized, borrowed as long as the result, and the structures passed have no padding.
    unsafe { slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// A C string in a fixed array, up to its end or its zero.
pub(crate) fn text<const N: usize>(array: &[i8; N]) -> Vec<u8> {
    array
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| c.cast_unsigned())
        .collect()
}
