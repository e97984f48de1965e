//! Unwind tables: built once for each distinct content that is mapped, kept on disk, and lent to the walk in the kernel within
//! a budget.

mod builder;
mod cache;
mod content;
mod counts;
mod steady;
mod tables;

pub(crate) use cache::Cache;
pub(crate) use counts::TableCounts;
pub(crate) use tables::Tables;
