//! What the build makes of the kernel programs in `src/c`.

#![allow(
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    unsafe_op_in_unsafe_fn
)]

pub(super) mod alone {
    include!(concat!(env!("OUT_DIR"), "/alone.skel.rs"));
}

pub(super) mod baseline {
    include!(concat!(env!("OUT_DIR"), "/baseline.skel.rs"));
}
