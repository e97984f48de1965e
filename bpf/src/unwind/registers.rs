//! The few registers a walk needs, by their DWARF numbers.

use object::elf;

/// What differs between machines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) machine: Machine,
    pub(super) stack_pointer: u8,
    pub(super) frame_pointer: u8,
    /// x86-64's third register that frames are found by; none elsewhere.
    pub(super) rbx: u64,
    /// The column of the return address: a register of its own on aarch64, none on x86-64.
    pub(super) return_address: u8,
    /// General registers are those below.
    pub(super) general: u8,
}

/// A machine whose stacks can be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64, also called AMD64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Machine {
    /// The assembler's name of a general register, by its DWARF number.
    pub fn register_name(self, number: u8) -> Option<&'static str> {
        let names: &[_] = match self {
            Self::X86_64 => &[
                "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11",
                "r12", "r13", "r14", "r15",
            ],
            Self::Aarch64 => &[
                "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
                "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24",
                "x25", "x26", "x27", "x28", "x29", "x30", "sp",
            ],
        };
        names.get(usize::from(number)).copied()
    }
}

/// rsp, rbp; the return address has the number of rip.
pub(super) static X86_64: Registers = Registers {
    machine: Machine::X86_64,
    stack_pointer: 7,
    frame_pointer: 6,
    rbx: 3,
    return_address: 16,
    general: 16,
};

/// sp, x29, x30.
pub(super) static AARCH64: Registers = Registers {
    machine: Machine::Aarch64,
    stack_pointer: 31,
    frame_pointer: 29,
    rbx: u64::MAX,
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
