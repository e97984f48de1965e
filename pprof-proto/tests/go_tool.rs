//! Profiles read by `go tool pprof`, the tool the format belongs to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{PERIOD, builder};
use pprof_proto::builder::{LabelValue, Line, Mapping};
use pprof_proto::encode::encode;
use pprof_proto::pprof::Profile;

/// What `go tool pprof` prints of `profile`, or nothing where there is no Go.
fn go_tool_pprof(test: &str, profile: &Profile, arguments: &[&str]) -> Option<String> {
    let go = ["/usr/local/go/bin/go", "go"].into_iter().find(|go| {
        Command::new(go)
            .arg("version")
            .output()
            .is_ok_and(|output| output.status.success())
    });
    let Some(go) = go else {
        eprintln!("SKIPPED: {test}: there is no Go on this machine");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("profile.pb.gz");
    encode(profile, std::fs::File::create(&file).unwrap()).unwrap();
    Some(run(go, home.path(), &file, arguments))
}

fn run(go: &str, home: &Path, file: &Path, arguments: &[&str]) -> String {
    let output = Command::new(go)
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(file)
        .env("PPROF_TMPDIR", home)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn profile() -> Profile {
    let mut builder = builder();
    let program = builder.mapping(&Mapping {
        filename: "/bin/program",
        build_id: "beef",
        memory_start: 0x1000,
        memory_limit: 0x9000,
        file_offset: 0x1000,
    });
    let library = builder.mapping(&Mapping {
        filename: "/lib/libfoo.so",
        build_id: "",
        memory_start: 0x4000,
        memory_limit: 0x5000,
        file_offset: 0,
    });
    let main = builder.function("main", "", "main.c", 3);
    let hot = builder.function("hot(int)", "_Z3hoti", "hot.cc", 10);
    let inlined = builder.function("inlined", "", "hot.h", 1);
    let root = builder.location(
        program,
        0x1111,
        &[Line {
            function: main,
            line: 5,
        }],
    );
    let leaf = builder.location(
        program,
        0x2222,
        &[
            Line {
                function: inlined,
                line: 2,
            },
            Line {
                function: hot,
                line: 12,
            },
        ],
    );
    let nameless = builder.location(library, 0x4444, &[]);
    let labels = [
        ("comm", LabelValue::Text("program")),
        ("pid", LabelValue::Number(77)),
    ];
    builder.sample(&[leaf, root], &[75 * PERIOD], &labels);
    builder.sample(&[nameless, root], &[25 * PERIOD], &labels);
    builder.finish()
}

/// `-top` finds the functions, the inlined one as the leaf, and their shares.
#[test]
fn top_shows_the_shares() {
    let Some(top) = go_tool_pprof("top_shows_the_shares", &profile(), &["-top", "-unit=ns"]) else {
        return;
    };
    assert!(top.contains("File: program"), "{top}");
    assert!(
        top.contains("Type: cpu") && top.contains("Duration: 15s"),
        "{top}"
    );
    let row = |name: &str| -> Vec<String> {
        let line = top
            .lines()
            .find(|line| line.split_whitespace().nth(5) == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {top}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(row("inlined")[0..2], ["757575750ns", "75.00%"]);
    assert_eq!(row("hot(int)")[3..5], ["757575750ns", "75.00%"]);
    assert_eq!(row("libfoo.so+0x4444")[0..2], ["252525250ns", "25.00%"]);
    assert_eq!(row("main")[3..5], ["1010101000ns", "100%"]);
}

/// `-raw` prints every part as it was put in: types, labels, stacks, lines, mappings with their flags.
#[test]
fn raw_shows_every_part() {
    let Some(raw) = go_tool_pprof("raw_shows_every_part", &profile(), &["-raw"]) else {
        return;
    };
    let squeezed: Vec<String> = raw
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "thermograph src/main.rs",
        "PeriodType: cpu nanoseconds",
        "Period: 10101010",
        "cpu/nanoseconds",
        "757575750: 2 1",
        "252525250: 3 1",
        "comm:[program]",
        "pid:[77]",
        "1: 0x1111 M=1 main main.c:5:0 s=3",
        "2: 0x2222 M=1 inlined hot.h:2:0 s=1",
        "hot(int) hot.cc:12:0 s=10(_Z3hoti)",
        "3: 0x4444 M=2 libfoo.so+0x4444 :0:0 s=0",
        "1: 0x1000/0x9000/0x1000 /bin/program beef [FN][FL][LN][IN]",
        "2: 0x4000/0x5000/0x0 /lib/libfoo.so [FN]",
    ] {
        assert!(
            squeezed.iter().any(|printed| printed.contains(line)),
            "no {line:?} in\n{raw}"
        );
    }
}
