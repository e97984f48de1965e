//! What llvm-symbolizer says of addresses: it shares no code with us.

use std::path::Path;
use std::process::Command;

use crate::support::answers_of;
use serde_json::Value;

/// One function at one place, as a symbolizer prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// As the linker knows it.
    pub(crate) name: String,
    /// Empty if it is not known.
    pub(crate) file: String,
    /// 0 if it is not known.
    pub(crate) line: u32,
}

/// The frames at ELF addresses of `program`, innermost first: one answer for each address, none where nothing is known.
pub(crate) fn llvm_symbolizer(program: &Path, addresses: &[u64]) -> Vec<Vec<Said>> {
    let mut tool = Command::new("llvm-symbolizer");
    tool.args(["--output-style=JSON", "--functions=linkage"])
        .args(["--inlines", "--no-demangle"])
        .arg("--obj")
        .arg(program);
    let text = answers_of(&mut tool, addresses);
    let answers: Vec<Vec<Said>> = text.lines().map(answer).collect();
    assert_eq!(answers.len(), addresses.len(), "{}", program.display());
    answers
}

fn answer(line: &str) -> Vec<Said> {
    let answer: Value = serde_json::from_str(line).unwrap();
    assert!(answer.get("Error").is_none(), "{line}");
    let said = |frame: &Value| Said {
        name: frame["FunctionName"].as_str().unwrap().to_owned(),
        file: frame["FileName"].as_str().unwrap().to_owned(),
        line: u32::try_from(frame["Line"].as_u64().unwrap()).unwrap(),
    };
    let frames = answer["Symbol"].as_array().unwrap().iter().map(said);
    frames.filter(|frame| !frame.name.is_empty()).collect()
}
