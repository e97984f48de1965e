//! What the first instructions of a few known functions of x86-64 say about their frames.

use super::elf::Elf;
use super::error::BuildError;
use super::metered::Metered;
use super::source::Source;
use std::ops::Range;

/// Of each function so much is looked at: `runtime.clone` has 162 bytes, Go's functions that change stacks have 240.
const LOOKED_AT: usize = 256;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
const PUSH_RBP: [u8; 1] = [0x55];
const MOV_RSP_RBP: [u8; 3] = [0x48, 0x89, 0xe5];
/// rbx, rbp, r12 to r15.
const SIX_PUSHES: [u8; 10] = [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57];

/// The first bytes of a function.
pub(super) struct Code {
    bytes: Vec<u8>,
}

impl Code {
    /// Reads those of the function at an address; none if that is not in the file.
    pub(super) fn read(
        file: &Metered<'_, impl Source + ?Sized>,
        elf: &Elf,
        address: u64,
    ) -> Result<Self, BuildError> {
        let mut bytes = Vec::new();
        if let Some((offset, left)) = elf.place(address) {
            bytes.resize(LOOKED_AT.min(usize::try_from(left).unwrap_or(LOOKED_AT)), 0);
            let read = file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
        }
        Ok(Self { bytes })
    }

    /// The distance behind the six pushes that it begins with, if it does.
    pub(super) fn behind_six_pushes(&self) -> Option<u64> {
        self.bytes
            .starts_with(&SIX_PUSHES)
            .then_some(SIX_PUSHES.len() as u64)
    }

    /// The distance behind what sets up its frame pointer. Go's compiler and assembler push it since 1.21; before, they made
    /// room for all of the frame first.
    pub(super) fn behind_frame_setup(&self) -> Option<u64> {
        let pushed = self.bytes.strip_prefix(&PUSH_RBP);
        let rest = match pushed {
            Some(rest) => rest.strip_prefix(&MOV_RSP_RBP),
            None => {
                // sub $n, %rsp; mov %rbp, n(%rsp); lea n(%rsp), %rbp: each with a number of one byte or of four.
                let rest = behind(&self.bytes, &[0x48, 0x83, 0xec], &[0x48, 0x81, 0xec])?;
                let rest = behind(rest, &[0x48, 0x89, 0x6c, 0x24], &[0x48, 0x89, 0xac, 0x24])?;
                behind(rest, &[0x48, 0x8d, 0x6c, 0x24], &[0x48, 0x8d, 0xac, 0x24])
            }
        }?;
        Some((self.bytes.len() - rest.len()) as u64)
    }

    /// The distance behind the first instruction that gives rsp a new value: `mov` from memory or from a register.
    pub(super) fn behind_stack_switch(&self) -> Option<u64> {
        let switch = self.bytes.windows(3).position(|bytes| match *bytes {
            [0x48 | 0x49, 0x8b, operands] => operands >> 3 & 7 == 4,
            [0x48 | 0x4c, 0x89, operands] => operands >> 6 == 3 && operands & 7 == 4,
            _ => false,
        })?;
        let length = match *self.bytes.get(switch..)? {
            // A base register, and for rsp and r12 a byte that says so, then the displacement that the upper bits tell of.
            [_, 0x8b, operands, ..] => {
                let displacement = match operands >> 6 {
                    1 => 1,
                    2 => 4,
                    _ => 0,
                };
                let is_memory = operands >> 6 != 3;
                3 + u64::from(is_memory && operands & 7 == 4) + displacement
            }
            _ => 3,
        };
        Some(switch as u64 + length)
    }

    /// Where it calls through r8 to r15 behind its system call: in the thread, if it makes one.
    pub(super) fn call_in_thread(&self) -> Option<Range<u64>> {
        const CALL_BYTES: u64 = 3;
        let bytes = &self.bytes;
        let syscall = bytes
            .windows(SYSCALL.len())
            .position(|bytes| bytes == SYSCALL)?;
        let call = bytes
            .get(syscall..)?
            .windows(CALL_BYTES as usize)
            .position(|bytes| matches!(bytes, [0x41, 0xff, 0xd0..=0xd7]))?;
        let call = (syscall + call) as u64;
        Some(call..call + CALL_BYTES)
    }
}

/// What follows an instruction with a number of one byte, or of four.
fn behind<'a>(bytes: &'a [u8], with_byte: &[u8], with_four: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = bytes.strip_prefix(with_byte) {
        return rest.get(1..);
    }
    bytes.strip_prefix(with_four)?.get(4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Code {
        Code {
            bytes: bytes.to_vec(),
        }
    }

    /// What Go 1.26 and Go 1.19 begin functions with that have a frame, and 1.19 one that has none.
    #[test]
    fn frames_of_go() {
        let setup = |bytes: &[u8]| code(bytes).behind_frame_setup();
        assert_eq!(setup(b"\x55\x48\x89\xe5\x48\x8b\x7c\x24\x10"), Some(4));
        let short = b"\x48\x83\xec\x20\x48\x89\x6c\x24\x18\x48\x8d\x6c\x24\x18\x64";
        assert_eq!(setup(short), Some(14));
        let long =
            b"\x48\x81\xec\x88\0\0\0\x48\x89\xac\x24\x80\0\0\0\x48\x8d\xac\x24\x80\0\0\0\x90";
        assert_eq!(setup(long), Some(23));
        assert_eq!(setup(b"\x48\x8b\x7c\x24\x08\x64\x48\x8b\x04\x25"), None);
        assert_eq!(setup(b"\x55\x48\x89"), None);
        assert_eq!(setup(&short[..12]), None);
        assert_eq!(setup(b""), None);
    }

    /// The ways in which Go loads another stack pointer, by the assembler; not what else is done with rsp.
    #[test]
    fn switches_of_go() {
        let switch = |bytes: &[u8]| code(bytes).behind_stack_switch();
        // mov 56(%rbx), %rsp; mov 56(%r14), %rsp; mov %rbx, %rsp; mov (%rdx), %rsp; mov 8(%rsp), %rsp; mov 512(%r12), %rsp
        assert_eq!(switch(b"\x90\x48\x8b\x63\x38\x48"), Some(5));
        assert_eq!(switch(b"\x49\x8b\x66\x38\x50"), Some(4));
        assert_eq!(switch(b"\x48\x89\xdc\x48"), Some(3));
        assert_eq!(switch(b"\x48\x8b\x22\x48"), Some(3));
        assert_eq!(switch(b"\x48\x8b\x64\x24\x08"), Some(5));
        assert_eq!(switch(b"\x49\x8b\xa4\x24\0\x02\0\0"), Some(8));
        // mov %rsp, %rbp; mov (%rsp), %rax; lea 8(%rsp), %rax; sub $16, %rsp; mov %rax, 8(%rsp); mov 48(%rdi), %rbx
        for other in [
            b"\x48\x89\xe5\x90\x90",
            b"\x48\x8b\x04\x24\x90",
            b"\x48\x8d\x44\x24\x08",
            b"\x48\x83\xec\x10\x90",
            b"\x48\x89\x44\x24\x08",
            b"\x48\x8b\x5f\x30\x90",
        ] {
            assert_eq!(switch(other), None, "{other:x?}");
        }
    }
}
