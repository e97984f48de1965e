//! The few registers a walk needs, by their DWARF numbers.

use object::elf;

/// What differs between machines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) machine: Machine,
    pub(super) stack_pointer: u8,
    pub(super) frame_pointer: u8,
    /// The column of the return address: a register of its own on aarch64, none on x86-64.
    pub(super) return_address: u8,
    /// General registers are those below.
    pub(super) general: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// rsp, rbp; the return address has the number of rip.
pub(super) static X86_64: Registers = Registers {
    machine: Machine::X86_64,
    stack_pointer: 7,
    frame_pointer: 6,
    return_address: 16,
    general: 16,
};

/// sp, x29, x30.
pub(super) static AARCH64: Registers = Registers {
    machine: Machine::Aarch64,
    stack_pointer: 31,
    frame_pointer: 29,
    return_address: 30,
    general: 32,
};

impl Registers {
    pub(super) fn of(machine: elf::Machine) -> Option<&'static Self> {
        match machine {
            elf::EM_X86_64 => Some(&X86_64),
            elf::EM_AARCH64 => Some(&AARCH64),
            _ => None,
        }
    }
}
