//! The list of the kernel's symbols, read into as little memory as its functions need.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;

/// A kernel with all its modules has 10 MB.
const LARGEST_LIST: u64 = 256 << 20;
/// Index of the kernel itself among the modules.
pub(crate) const CORE: u16 = 0;

/// The start of a function, or of a gap.
#[derive(Clone, Copy)]
pub(crate) struct Symbol {
    pub(crate) start: u64,
    /// Position in `names`. An empty name is a gap: code of which nothing is known.
    pub(crate) name: u32,
    pub(crate) module: u16,
}

/// The list as it was read.
pub(crate) struct List {
    /// In the order of the list; of neighbours with one address only the first.
    pub(crate) symbols: Vec<Symbol>,
    /// Each name followed by a zero byte.
    pub(crate) names: String,
    /// The address of `_stext`.
    pub(crate) base: Option<u64>,
    /// Names of mappings; the first is the kernel's.
    pub(crate) modules: Vec<Arc<str>>,
    /// Whether there are symbols and all their addresses are 0.
    pub(crate) hidden: bool,
}

impl List {
    pub(crate) fn read(list: impl BufRead) -> io::Result<Self> {
        let mut result = Self {
            symbols: Vec::new(),
            // Position 0 is the empty name.
            names: String::from("\0"),
            base: None,
            modules: vec!["[kernel.kallsyms]".into()],
            hidden: false,
        };
        let mut module_indices = HashMap::new();
        let mut seen = false;
        let mut list = list.take(LARGEST_LIST);
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line)? > 0 {
            if let Some((address, kind, name, module)) =
                std::str::from_utf8(&line).ok().and_then(parse_line)
            {
                result.hidden = address == 0 && (result.hidden || !seen);
                seen = true;
                if address != 0 && matches!(kind, "t" | "T" | "w" | "W") {
                    let module = result.module_index(module, &mut module_indices);
                    result.push(address, name, module);
                }
            }
            line.clear();
        }
        Ok(result)
    }

    fn push(&mut self, start: u64, name: &str, module: u16) {
        if module == CORE && name == "_stext" {
            self.base = Some(start);
        }
        // The kernel is listed in order, so this finds nearly all second names of an address.
        if self.symbols.last().is_some_and(|last| last.start == start) {
            return;
        }
        // These mark the end of code, and what follows them is none.
        let ends_code = module == CORE && matches!(name, "_etext" | "_einittext");
        let name = if ends_code {
            Some(0)
        } else {
            self.intern(name)
        };
        self.symbols.extend(name.map(|name| Symbol {
            start,
            name,
            module,
        }));
    }

    /// The position of a name. One that the name before ends in shares its bytes: the padding in front of `x` is listed as `__pfx_x`,
    /// so that saves nearly half of all names.
    fn intern(&mut self, name: &str) -> Option<u32> {
        let end = self.names.len() - 1;
        if self.names.get(..end)?.ends_with(name) {
            return u32::try_from(end - name.len()).ok();
        }
        let position = u32::try_from(self.names.len()).ok()?;
        self.names.push_str(name);
        self.names.push('\0');
        Some(position)
    }

    fn module_index(&mut self, module: Option<&str>, indices: &mut HashMap<String, u16>) -> u16 {
        let Some(module) = module else { return CORE };
        if let Some(&index) = indices.get(module) {
            return index;
        }
        let Ok(index) = u16::try_from(self.modules.len()) else {
            return CORE;
        };
        self.modules.push(module.into());
        indices.insert(module.to_owned(), index);
        index
    }
}

/// `address type name [module]`, the last part with its brackets and only for what is not the kernel's own.
fn parse_line(line: &str) -> Option<(u64, &str, &str, Option<&str>)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((address, words.next()?, words.next()?, words.next()))
}
