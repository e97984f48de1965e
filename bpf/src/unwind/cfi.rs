//! Call frame instructions (DWARF 5, section 6.4.2): a small program for each function, whose state at an address tells
//! where the registers of the caller are.

use super::bytes::Bytes;
use super::expression;
use super::rule::{Rule, Unsupported};
use super::state::{Common, Expression, Place, State};

/// How deep `DW_CFA_remember_state` may nest. Compilers nest one deep.
const MOST_REMEMBERED: usize = 64;

const DW_CFA_NOP: u8 = 0x00;
const DW_CFA_SET_LOC: u8 = 0x01;
const DW_CFA_ADVANCE_LOC1: u8 = 0x02;
const DW_CFA_ADVANCE_LOC2: u8 = 0x03;
const DW_CFA_ADVANCE_LOC4: u8 = 0x04;
const DW_CFA_OFFSET_EXTENDED: u8 = 0x05;
const DW_CFA_RESTORE_EXTENDED: u8 = 0x06;
const DW_CFA_UNDEFINED: u8 = 0x07;
const DW_CFA_SAME_VALUE: u8 = 0x08;
const DW_CFA_REGISTER: u8 = 0x09;
const DW_CFA_REMEMBER_STATE: u8 = 0x0a;
const DW_CFA_RESTORE_STATE: u8 = 0x0b;
const DW_CFA_DEF_CFA: u8 = 0x0c;
const DW_CFA_DEF_CFA_REGISTER: u8 = 0x0d;
const DW_CFA_DEF_CFA_OFFSET: u8 = 0x0e;
const DW_CFA_DEF_CFA_EXPRESSION: u8 = 0x0f;
const DW_CFA_EXPRESSION: u8 = 0x10;
const DW_CFA_OFFSET_EXTENDED_SF: u8 = 0x11;
const DW_CFA_DEF_CFA_SF: u8 = 0x12;
const DW_CFA_DEF_CFA_OFFSET_SF: u8 = 0x13;
const DW_CFA_VAL_OFFSET: u8 = 0x14;
const DW_CFA_VAL_OFFSET_SF: u8 = 0x15;
const DW_CFA_VAL_EXPRESSION: u8 = 0x16;
/// How a return address is signed: the walk takes the signature off any.
const DW_CFA_AARCH64_NEGATE_RA_STATE: u8 = 0x2d;
const DW_CFA_GNU_ARGS_SIZE: u8 = 0x2e;
const DW_CFA_GNU_NEGATIVE_OFFSET_EXTENDED: u8 = 0x2f;

/// Instructions that make no sense.
#[derive(Debug)]
pub(super) struct Bad;

/// The instructions of one function.
pub(super) struct Program<'a> {
    pub(super) common: &'a Common,
    /// State after the instructions of the CIE.
    pub(super) initial: Option<&'a State>,
    pub(super) instructions: &'a [u8],
    /// Address in the file of the first instruction.
    pub(super) field: u64,
    /// Address of the function.
    pub(super) address: u64,
    /// Memory that one program leaves to the next.
    pub(super) remembered: &'a mut Vec<State>,
}

impl Program<'_> {
    /// Runs the program up to `end`, a distance from the function's begin, and gives `row` each distance from which on a
    /// rule holds; what `row` answers ends it. Instructions that make no sense leave the rest of the function
    /// [`Unsupported::BadCfi`].
    #[inline]
    pub(super) fn rows<E>(
        self,
        end: u64,
        mut row: impl FnMut(u64, Rule) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(initial) = self.initial else {
            return row(0, Rule::Unsupported(Unsupported::BadCfi));
        };
        let common = self.common;
        let mut run = Run::new(self, initial);
        let mut from = 0;
        loop {
            match run.advance() {
                Ok(Some(to)) if to < end => {
                    if to > from {
                        row(from, run.state.rule(common))?;
                    }
                    from = to;
                }
                Ok(_) => return row(from, run.state.rule(common)),
                Err(Bad) => return row(from, Rule::Unsupported(Unsupported::BadCfi)),
            }
        }
    }

    /// The state after all instructions: what those of a CIE are for.
    pub(super) fn state(self) -> Result<State, Bad> {
        let mut run = Run::new(self, &State::INITIAL);
        match run.advance()? {
            None => Ok(run.state),
            Some(_) => Err(Bad),
        }
    }
}

/// A program that is under way.
struct Run<'a> {
    program: Program<'a>,
    bytes: Bytes<'a>,
    initial: &'a State,
    state: State,
    /// Distance from the function's begin.
    location: u64,
}

impl<'a> Run<'a> {
    #[inline]
    fn new(program: Program<'a>, initial: &'a State) -> Self {
        program.remembered.clear();
        Self {
            bytes: Bytes(program.instructions),
            program,
            initial,
            state: *initial,
            location: 0,
        }
    }

    /// Runs up to where the location advances, and says where to; the state is that of the addresses before. `None`: the
    /// state is that of all addresses that are left.
    #[inline]
    fn advance(&mut self) -> Result<Option<u64>, Bad> {
        while let Some(operation) = self.bytes.u8() {
            let low = operation & 0x3f;
            match operation >> 6 {
                1 => return self.advance_by(low.into()).map(Some),
                2 => {
                    let place = self.factored_place()?;
                    self.set(low.into(), place);
                }
                3 => self.restore(low.into()),
                _ => {
                    if let Some(location) = self.extended(operation)? {
                        return Ok(Some(location));
                    }
                }
            }
        }
        Ok(None)
    }

    /// An instruction whose operands are all behind it.
    fn extended(&mut self, operation: u8) -> Result<Option<u64>, Bad> {
        match operation {
            DW_CFA_NOP | DW_CFA_AARCH64_NEGATE_RA_STATE => {}
            DW_CFA_SET_LOC => return self.set_location().map(Some),
            DW_CFA_ADVANCE_LOC1 => {
                let delta = self.bytes.u8().ok_or(Bad)?;
                return self.advance_by(delta.into()).map(Some);
            }
            DW_CFA_ADVANCE_LOC2 => {
                let delta = self.bytes.u16().ok_or(Bad)?;
                return self.advance_by(delta.into()).map(Some);
            }
            DW_CFA_ADVANCE_LOC4 => {
                let delta = self.bytes.u32().ok_or(Bad)?;
                return self.advance_by(delta.into()).map(Some);
            }
            DW_CFA_DEF_CFA => {
                self.state.cfa_register = self.number()?;
                self.state.cfa_offset = self.number()?.cast_signed();
                self.state.cfa_expression = None;
            }
            DW_CFA_DEF_CFA_SF => {
                self.state.cfa_register = self.number()?;
                self.state.cfa_offset = self.factored()?;
                self.state.cfa_expression = None;
            }
            DW_CFA_DEF_CFA_REGISTER => {
                self.state.cfa_register = self.number()?;
                self.state.cfa_expression = None;
            }
            // The standard has no meaning for these after an expression. What gcc's unwinder does is what assembly is tried
            // with: they only show when a register comes into force again.
            DW_CFA_DEF_CFA_OFFSET => self.state.cfa_offset = self.number()?.cast_signed(),
            DW_CFA_DEF_CFA_OFFSET_SF => self.state.cfa_offset = self.factored()?,
            DW_CFA_DEF_CFA_EXPRESSION => {
                let known = expression::cfa(self.block()?);
                self.state.cfa_expression =
                    Some(known.map_or(Expression::Other, Expression::Known));
            }
            DW_CFA_REMEMBER_STATE => {
                if self.program.remembered.len() == MOST_REMEMBERED {
                    return Err(Bad);
                }
                self.program.remembered.push(self.state);
            }
            DW_CFA_RESTORE_STATE => self.state = self.program.remembered.pop().ok_or(Bad)?,
            DW_CFA_GNU_ARGS_SIZE => {
                self.number()?;
            }
            _ => self.register_rule(operation)?,
        }
        Ok(None)
    }

    /// An instruction that names a register and says where it is.
    fn register_rule(&mut self, operation: u8) -> Result<(), Bad> {
        let register = self.number()?;
        let place = match operation {
            DW_CFA_RESTORE_EXTENDED => {
                self.restore(register);
                return Ok(());
            }
            DW_CFA_SAME_VALUE => Place::Unchanged,
            DW_CFA_UNDEFINED => Place::Undefined,
            DW_CFA_OFFSET_EXTENDED => self.factored_place()?,
            DW_CFA_OFFSET_EXTENDED_SF => Place::Saved(self.factored()?),
            DW_CFA_GNU_NEGATIVE_OFFSET_EXTENDED => match self.factored_place()? {
                Place::Saved(offset) => Place::Saved(offset.wrapping_neg()),
                place => place,
            },
            DW_CFA_EXPRESSION => match expression::place(self.block()?) {
                Some((register, offset)) => Place::At { register, offset },
                None => Place::Elsewhere,
            },
            DW_CFA_VAL_EXPRESSION => {
                self.block()?;
                Place::Elsewhere
            }
            DW_CFA_REGISTER => {
                self.number()?;
                Place::Elsewhere
            }
            // Itself an address in the frame.
            DW_CFA_VAL_OFFSET => match self.number()? {
                0 => Place::Cfa,
                _ => Place::Elsewhere,
            },
            DW_CFA_VAL_OFFSET_SF => match self.bytes.sleb128().ok_or(Bad)? {
                0 => Place::Cfa,
                _ => Place::Elsewhere,
            },
            _ => return Err(Bad),
        };
        self.set(register, place);
        Ok(())
    }

    #[inline]
    fn set(&mut self, register: u64, place: Place) {
        let registers = self.program.common.registers;
        if register == u64::from(registers.frame_pointer) {
            self.state.frame_pointer = place;
        } else if register == registers.rbx {
            self.state.rbx = place;
        } else if register == u64::from(registers.return_address) {
            self.state.return_address = place;
        } else if register == u64::from(registers.stack_pointer) {
            self.state.stack_pointer = place;
        }
    }

    #[inline]
    fn restore(&mut self, register: u64) {
        let registers = self.program.common.registers;
        if register == u64::from(registers.frame_pointer) {
            self.state.frame_pointer = self.initial.frame_pointer;
        } else if register == registers.rbx {
            self.state.rbx = self.initial.rbx;
        } else if register == u64::from(registers.return_address) {
            self.state.return_address = self.initial.return_address;
        } else if register == u64::from(registers.stack_pointer) {
            self.state.stack_pointer = self.initial.stack_pointer;
        }
    }

    #[inline]
    fn advance_by(&mut self, delta: u64) -> Result<u64, Bad> {
        let delta = delta.checked_mul(self.program.common.code_alignment);
        let location = delta.and_then(|delta| self.location.checked_add(delta));
        self.location = location.ok_or(Bad)?;
        Ok(self.location)
    }

    fn set_location(&mut self) -> Result<u64, Bad> {
        let program = &self.program;
        let field = program.instructions.len() - self.bytes.0.len();
        let address = self.bytes.pointer(
            program.common.address_encoding,
            program.field.wrapping_add(field as u64),
        );
        let location = address.and_then(|address| address.checked_sub(program.address));
        let location = location
            .filter(|location| *location >= self.location)
            .ok_or(Bad)?;
        self.location = location;
        Ok(location)
    }

    #[inline]
    fn number(&mut self) -> Result<u64, Bad> {
        self.bytes.uleb128().ok_or(Bad)
    }

    fn factored(&mut self) -> Result<i64, Bad> {
        let factor = self.bytes.sleb128().ok_or(Bad)?;
        Ok(factor.wrapping_mul(self.program.common.data_alignment))
    }

    #[inline]
    fn factored_place(&mut self) -> Result<Place, Bad> {
        let factor = self.number()?.cast_signed();
        Ok(Place::Saved(
            factor.wrapping_mul(self.program.common.data_alignment),
        ))
    }

    fn block(&mut self) -> Result<&'a [u8], Bad> {
        let len = usize::try_from(self.number()?).map_err(|_| Bad)?;
        self.bytes.take(len).ok_or(Bad)
    }
}
