//! The result for one load at one frequency as a table in Markdown.

use super::baseline::Part;
use super::load::Load;
use super::measure::{CONTESTANTS, Contestant, Slice, Slices};
use crate::capture::Sums;
use crate::spread::Spread;
use std::fmt::Write;

/// What the columns mean.
pub(crate) const LEGEND: &str = "\
Time is the kernel's own, of the program that takes a sample, and holds two readings of a clock. Frames are those of the same \
turn. bpf_get_stack follows frame pointers, into \
nowhere where code keeps none, and stops at 127 frames. \
The last column is the time of a sample by that of bpf_get_stack on the same part, round by round.\n";

/// One row a contestant.
pub(crate) fn markdown(load: Load, hertz: u32, slices: &Slices) -> String {
    let of_load = of(slices, Contestant::Agent)
        .iter()
        .filter_map(|slice| slice.of_load);
    let mut text = format!(
        "### {}, {hertz} Hz ({} % of the samples are of it)\n\n",
        load.label(),
        Spread::of(of_load.map(|share| share * 100.0)).text(0)
    );
    text.push_str(
        "| walk | us a sample | frames, user | frames, kernel | ns a frame | by bpf_get_stack |\n",
    );
    text.push_str("|---|--:|--:|--:|--:|--:|\n");
    for (contestant, own) in CONTESTANTS.iter().zip(slices) {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} |",
            label(*contestant),
            cells(
                *contestant,
                own,
                of(slices, Contestant::Kernel(contestant.part()))
            )
        );
    }
    text
}

fn label(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Kernel(Part::User) => "bpf_get_stack, user",
        Contestant::Kernel(Part::Kernel) => "bpf_get_stack, kernel",
        Contestant::Kernel(Part::Both) => "bpf_get_stack, both",
        Contestant::Alone(Part::User) => "walk alone, user",
        Contestant::Alone(_) => "walk alone, both",
        Contestant::Agent => "agent: walk and count, both",
    }
}

fn of(slices: &Slices, contestant: Contestant) -> &[Slice] {
    let mut both = CONTESTANTS.iter().zip(slices);
    both.find(|(other, _)| **other == contestant)
        .map_or(&[], |(_, slices)| slices)
}

fn cells(contestant: Contestant, own: &[Slice], kernel: &[Slice]) -> String {
    let nanos = |slice: &Slice| slice.runs.nanos as f64 / slice.runs.count as f64;
    let per_sample = |slice: &Slice, frames: fn(&Sums) -> u64| {
        let sums = slice.sums.unwrap_or_default();
        frames(&sums) as f64 / sums.samples as f64
    };
    let (with_user, with_kernel) = match contestant.part() {
        Part::User => (1.0, 0.0),
        Part::Kernel => (0.0, 1.0),
        Part::Both => (1.0, 1.0),
    };
    let user = |slice: &Slice| with_user * per_sample(slice, |sums| sums.user_frames);
    let kernel_frames = |slice: &Slice| with_kernel * per_sample(slice, |sums| sums.kernel_frames);
    let ratio = match contestant {
        Contestant::Kernel(_) => String::new(),
        _ => {
            let ratios = own.iter().zip(kernel);
            Spread::of(ratios.map(|(own, kernel)| nanos(own) / nanos(kernel))).text(2)
        }
    };
    [
        Spread::of(own.iter().map(|slice| nanos(slice) / 1e3)).text(2),
        Spread::of(own.iter().map(user)).median_text(1),
        Spread::of(own.iter().map(kernel_frames)).median_text(1),
        Spread::of(
            own.iter()
                .map(|own| nanos(own) / (user(own) + kernel_frames(own))),
        )
        .text(0),
        ratio,
    ]
    .join(" | ")
}
