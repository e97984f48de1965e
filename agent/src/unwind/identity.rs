//! INTERIM until bpf::unwind::identify is there.

use bpf::unwind::{BuildError, Source};

/// What a table is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity([u8; 32]);

pub(crate) fn identify(source: &impl Source, piece: u32) -> Result<Identity, BuildError> {
    let mut bytes = vec![0; 1 << 20];
    let mut hash = blake3::Hasher::new();
    hash.update(&piece.to_le_bytes());
    for chunk in 0..64u64 {
        let n = source.read_at(&mut bytes, chunk << 20)?;
        hash.update(&bytes[..n]);
        if n < bytes.len() {
            break;
        }
    }
    Ok(Identity(*hash.finalize().as_bytes()))
}
