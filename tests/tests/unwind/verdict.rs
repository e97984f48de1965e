//! What a stack is worth, beside what is known of its program.

use fixtures::unwind::{Case, Frame};
use tests::machine::say;
use tests::stacks::{Stack, Stacks};

/// What a stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// One that the program has, by its index; or, with none, one on the way to it: both from the entry on.
    True(Option<usize>),
    /// The process without the program: its start and its end, or no user part at all, which is said then.
    Aside,
    /// The upper part of one that the program has, below which a frame says why there is no more.
    Cut,
    /// Any other. There must be none.
    Wrong,
}

/// A stack as the cases know stacks: the kernel's frames left out, and what was inlined.
fn frames(stack: &Stack) -> Vec<Frame<'_>> {
    let user = stack
        .frames
        .iter()
        .filter(|frame| !frame.is_kernel() && !frame.is_inlined);
    user.map(|frame| Frame {
        name: &frame.name,
        module: &frame.module,
    })
    .collect()
}

/// Whether there is a function of the program in it, other than `main`. Go's runtime is in its stacks, and alone in those of goroutines that
/// begin or end.
pub(crate) fn own_of(case: &Case, stack: &Stack) -> bool {
    let names = stack.frames.iter().map(|frame| frame.name.as_str());
    names
        .filter(|name| *name != "[jit]" && !name.starts_with("runtime."))
        .any(|name| case.functions().any(|own| own == name))
}

fn verdict(case: &Case, stack: &Stack) -> Verdict {
    let frames = frames(stack);
    if let Some(index) = case.recognize(&frames) {
        return Verdict::True(Some(index));
    }
    if case.begins_with(&frames) {
        return Verdict::True(None);
    }
    match frames.split_first() {
        None => Verdict::Aside,
        // Why there is no user part; a stack that has one says how it ended.
        Some((first, [])) if first.is_remark() && !is_cut(stack) => Verdict::Aside,
        // Frame pointers skip frames: no more is said than that they were gone by.
        Some((first, _)) if first.name.starts_with("[frame pointers only") => Verdict::Cut,
        Some((first, rest)) if first.is_remark() && is_piece(case, rest) => Verdict::Cut,
        _ if own_of(case, stack) => Verdict::Wrong,
        _ => Verdict::Aside,
    }
}

/// Whether this is what a stack that is cut shows: perhaps an address in no mapping, which it was cut at, and a piece of the program's.
fn is_piece(case: &Case, frames: &[Frame<'_>]) -> bool {
    let frames = match frames.split_first() {
        Some((first, rest)) if first.name.starts_with("[unknown 0x") => rest,
        _ => frames,
    };
    frames.is_empty() || case.has_piece(frames)
}

/// The stacks of one program, sorted by what they are worth.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    case: &'a Case,
    all: Stacks,
    exact: Stacks,
    aside: Stacks,
    cut: Stacks,
    wrong: Stacks,
}

impl<'a> Judged<'a> {
    /// Holds some stacks against what is known of their program, and says what came of it.
    pub(crate) fn of(case: &'a Case, stacks: Stacks) -> Judged<'a> {
        let only = |wanted: fn(Verdict) -> bool| stacks.only(|stack| wanted(verdict(case, stack)));
        let judged = Judged {
            case,
            exact: only(|verdict| matches!(verdict, Verdict::True(_))),
            aside: only(|verdict| verdict == Verdict::Aside),
            cut: only(|verdict| verdict == Verdict::Cut),
            wrong: only(|verdict| verdict == Verdict::Wrong),
            all: stacks,
        };
        let [all, exact, cut, wrong, aside] = [
            &judged.all,
            &judged.exact,
            &judged.cut,
            &judged.wrong,
            &judged.aside,
        ]
        .map(Stacks::samples);
        say(&format!(
            "{:14} {all:6} samples: {exact:6} exact, {cut} cut, {wrong} wrong; {aside} aside",
            case.name
        ));
        judged
    }

    /// Samples of the program itself, without the start of its process and its end.
    pub(crate) fn inside(&self) -> i64 {
        self.all.samples() - self.aside.samples()
    }

    /// Samples that show it from the entry on, every frame as it is.
    pub(crate) fn exact(&self) -> i64 {
        self.exact.samples()
    }

    /// What is wrong with it: too few samples; stacks that are wrong; less of them exact than `asked`, in parts of the whole, 0
    /// to 1, without counting the start of the process and its end.
    pub(crate) fn faults(&self, least_samples: f64, asked: f64) -> Vec<String> {
        let name = self.case.name;
        let mut faults = Vec::new();
        if (self.all.samples() as f64) < least_samples {
            faults.push(format!(
                "{name}: {} samples, not {least_samples}",
                self.all.samples()
            ));
        }
        if self.wrong.samples()
            > may_be_wrong(self.case).map_or(0, |part| allowed(part, self.all.samples()))
        {
            faults.push(format!(
                "{name}: these are wrong:\n{}",
                self.wrong.listing()
            ));
        }
        if self.cut.samples() > allowed(1.0 - asked, self.inside()) {
            faults.push(format!("{name}: too many are cut:\n{}", self.cut.listing()));
        }
        faults
    }

    /// What is wrong with it as a program that does little but what is known: the start and the end are at most 1 %.
    pub(crate) fn faults_aside(&self) -> Vec<String> {
        let is_much = self.aside.samples() > allowed(0.01, self.all.samples());
        let fault = || {
            format!(
                "{}: not of the program:\n{}",
                self.case.name,
                self.aside.listing()
            )
        };
        is_much.then(fault).into_iter().collect()
    }

    /// What is wrong with the parts of the time that its stacks have.
    pub(crate) fn faults_in_shares(&self) -> Vec<String> {
        let share = |index| {
            self.all
                .share(|stack| verdict(self.case, stack) == Verdict::True(Some(index)))
        };
        let stacks = self.case.stacks.iter().enumerate();
        let faults = stacks.filter(|(index, known)| share(*index) < known.at_least);
        faults
            .map(|(index, known)| {
                format!(
                    "{}: {} is the share of {:?}",
                    self.case.name,
                    share(index),
                    known
                )
            })
            .collect()
    }
}

/// The part of the stacks of a case that may be wrong, because nobody can know better; of the others, none.
fn may_be_wrong(case: &Case) -> Option<f64> {
    match case.name {
        // Where the unwinder of exceptions has written over the return addresses of its own frames already.
        "exceptions" => Some(0.005),
        _ => None,
    }
}

/// Fails the test with all that is wrong.
pub(crate) fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Where there are few samples, so many of them may be anything but wrong.
const LEFT_TO_CHANCE: i64 = 3;

/// How many of some samples may be of a part of them, 0 to 1: as many as refute by three standard deviations that it is no more.
pub(crate) fn allowed(part: f64, samples: i64) -> i64 {
    let mean = part * samples as f64;
    LEFT_TO_CHANCE.max((mean + 3.0 * mean.sqrt()) as i64)
}

/// How remarks on stacks that are not whole begin.
const CUT: [&str; 3] = ["[stack", "[frame pointers only", "[mappings unknown"];

/// Whether a stack says at its root why it is not whole.
pub(crate) fn is_cut(stack: &Stack) -> bool {
    stack
        .frames
        .first()
        .is_some_and(|frame| CUT.iter().any(|begin| frame.name.starts_with(begin)))
}
