//! Which code lay where in each process at each time, so that an address becomes a place in a file.

mod file;
mod files;
mod mappings;
mod maps;
mod opener;
mod processes;

pub(crate) use file::MappedFile;
pub(crate) use files::Files;
#[cfg(test)]
pub(crate) use mappings::Mapping;
pub(crate) use mappings::Mappings;
pub(crate) use processes::{Processes, Trouble};
