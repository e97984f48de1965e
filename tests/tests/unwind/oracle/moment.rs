//! What a stack is walked from.

/// One moment of a thread.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) bp: u64,
    /// From `sp` on.
    pub(super) stack: Vec<u8>,
}

impl Moment {
    /// A word of the stack, if it was kept.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.sp)?).ok()?;
        let bytes = self.stack.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().unwrap()))
    }
}
