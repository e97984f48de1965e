//! Stacks of programs of which nothing is known beforehand, held against framehop's walks through them: of the same stacks,
//! where a program is held in the middle of its work; and of those that it is sampled with, of which no two are the same.

mod captured;
mod code;
mod interrupted;
mod moment;
mod same;
mod sampled;
