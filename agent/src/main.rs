//! Thermograph: where a Linux host spends its time, kept as a continuous record.

mod cli;
mod config;
mod owner;
mod page_token;
mod profile;

fn main() {
    let _cli =
        config::load(std::env::args_os(), std::env::vars_os()).unwrap_or_else(|error| error.exit());
}
