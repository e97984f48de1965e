//! Functions of the Go runtime that call something on another stack and come back to their own.

use super::cfi::Program;
use super::code::Code;
use super::rule::{Cfa, Rule, Unsupported};

/// Such a function. Where the call is made, call frame information says what was true before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    /// Of the function.
    pub(super) address: u64,
    /// Distance from the function's begin up to which its call frame information is true.
    pub(super) from: u64,
    /// Whether its frame pointer is set up there: it stays, whatever the stack pointer is.
    pub(super) has_frame: bool,
}

impl Switch {
    /// The one in a function, if its code changes stacks.
    pub(super) fn find(address: u64, code: &Code) -> Option<Self> {
        let setup = code.behind_frame_setup();
        let from = setup.or_else(|| code.behind_stack_switch())?;
        Some(Self {
            address,
            from,
            has_frame: setup.is_some(),
        })
    }

    /// Gives `row` what is true of the function whose `program` this is, up to `end`.
    pub(super) fn rows<E>(
        self,
        end: u64,
        program: Program<'_>,
        row: &mut dyn FnMut(u64, Rule) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut before = Some(Rule::None);
        // Of one type with other takers of rows: their loop is compiled once, into one place.
        let changed: &mut dyn FnMut(u64, Rule) -> Result<(), E> = &mut |distance, rule| {
            if distance < self.from {
                before = Some(rule);
                return row(distance, rule);
            }
            if let Some(rule) = before.take()
                && distance > self.from
            {
                row(self.from, self.rule(rule))?;
            }
            row(distance, self.rule(rule))
        };
        program.rows(end, changed)?;
        match before {
            Some(rule) if self.from < end => row(self.from, self.rule(rule)),
            _ => Ok(()),
        }
    }

    /// What is true where call frame information has this rule: where that has no frame any more, it is true.
    fn rule(self, rule: Rule) -> Rule {
        match rule {
            // Go before 1.21: the frame pointer is the caller's, and where the caller called nothing tells but the runtime.
            _ if !self.has_frame => Rule::Unsupported(Unsupported::ReturnAddress),
            Rule::Frame {
                cfa: Cfa::Register { offset: 9.., .. },
                ..
            } => Rule::Switch,
            rule => rule,
        }
    }
}
