//! Thermograph: where a Linux host spends its time, kept as a continuous record.

mod owner;
mod profile;

fn main() {}
