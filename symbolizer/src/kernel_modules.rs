//! Which modules the kernel has, and where: when one takes another's place, so do its functions.

use std::fs;

/// The modules that are loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelModules(Vec<(String, String)>);

impl KernelModules {
    /// As /proc/modules has them: none where that cannot be read.
    pub(crate) fn load() -> Self {
        Self::parse(&fs::read_to_string("/proc/modules").unwrap_or_default())
    }

    /// Of each line the name and the address, which is the last column but for marks of taint. Users and state, which are
    /// between them, say nothing of functions.
    fn parse(list: &str) -> Self {
        let module = |line: &str| {
            let mut columns = line.split_ascii_whitespace();
            let name = columns.next()?;
            let address = columns.find(|column| column.starts_with("0x"))?;
            Some((name.to_owned(), address.to_owned()))
        };
        Self(list.lines().filter_map(module).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another address is a change, another count of users is none.
    #[test]
    fn modules_are_told_apart_by_their_addresses() {
        let list = |users: u32, address: &str| {
            let list = format!(
                "nf_tables 376832 {users} nft_ct,nft_nat, Live {address} (OE)\nxfs 2678784 1 - Live 0xffffffffc0400000\n"
            );
            KernelModules::parse(&list)
        };
        let first = list(5, "0xffffffffc0a00000");
        assert_eq!(first.0.len(), 2);
        assert_eq!(first, list(6, "0xffffffffc0a00000"));
        assert_ne!(first, list(5, "0xffffffffc0b00000"));
        assert_eq!(KernelModules::parse("\n?\n"), KernelModules::default());
    }
}
