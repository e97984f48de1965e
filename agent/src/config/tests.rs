//! Layers and errors, with arguments and environment given explicitly.

mod tables;

use super::*;
use crate::cli::{AgentArgs, Output, Target};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::io::Write;
use std::time::Duration;
use tempfile::NamedTempFile;

fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<Cli, clap::Error> {
    let args = std::iter::once("thermograph")
        .chain(args.iter().copied())
        .map(OsString::from);
    load(
        args,
        environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn agent(args: &[&str], environment: &[(&str, &str)]) -> AgentArgs {
    let args: Vec<&str> = std::iter::once("agent")
        .chain(args.iter().copied())
        .collect();
    match run(&args, environment)
        .unwrap_or_else(|error| panic!("{error}"))
        .command
    {
        Command::Agent(agent) => *agent,
        other => panic!("not agent: {other:?}"),
    }
}

/// The sentence, without clap's `error: `; checks that it is one line and makes exit code 2.
fn error(args: &[&str], environment: &[(&str, &str)]) -> String {
    let error = run(args, environment).expect_err("must fail");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text.trim_end()
        .strip_prefix("error: ")
        .expect("begins with error:")
        .to_owned()
}

fn file(content: impl AsRef<[u8]>) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_ref()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

/// With nothing given: the documented defaults, and nothing is pushed.
#[test]
fn defaults() {
    let agent = agent(&[], &[]);
    assert_eq!(agent.listen.to_string(), "127.0.0.1:4041");
    assert_eq!(
        (agent.frequency, agent.push_interval, agent.idle),
        (99, Duration::from_secs(15), false)
    );
    assert_eq!(agent.data_dir, Path::new("/var/lib/thermograph"));
    assert!(agent.pyroscope_url.is_none() && agent.page_token.is_none() && agent.config.is_none());
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(agent.node_name(), hostname.trim());
}

/// Flag before environment before file before default, for one setting in all four.
#[test]
fn layers() {
    let (_file, path) = file("frequency = 19\n");
    let config = format!("--config={path}");
    assert_eq!(agent(&[], &[]).frequency, 99);
    assert_eq!(agent(&[&config], &[]).frequency, 19);
    assert_eq!(
        agent(&[&config], &[("THERMOGRAPH_FREQUENCY", "49")]).frequency,
        49
    );
    assert_eq!(
        agent(&[&config, "-F", "199"], &[("THERMOGRAPH_FREQUENCY", "49")]).frequency,
        199
    );
    // The file may itself be named by the environment; a flag wins here too.
    assert_eq!(agent(&[], &[("THERMOGRAPH_CONFIG", &path)]).frequency, 19);
    assert_eq!(
        agent(&[&config], &[("THERMOGRAPH_CONFIG", "/does/not/exist")]).frequency,
        19
    );
    // A variable that is set to nothing is not set.
    assert_eq!(agent(&[], &[("THERMOGRAPH_FREQUENCY", "")]).frequency, 99);
}

/// Every setting of the agent can be given in all three places and arrives the same.
#[test]
fn every_setting_everywhere() {
    let all = [
        ("listen", "0.0.0.0:80"),
        ("page_token", "0123456789abcdef"),
        ("frequency", "49"),
        ("idle", "true"),
        ("node", "n1"),
        ("data_dir", "/d"),
        ("unwind_memory", "64"),
        ("cache_dir", "/c"),
        ("symbols", "none"),
        ("containerd_socket", "/c.sock"),
        ("crio_socket", "/o.sock"),
        ("docker_socket", "/d.sock"),
        ("podman_socket", "/p.sock"),
        ("pod_labels", "team,app.kubernetes.io/part-of"),
        ("pod_annotations", "owner"),
        ("max_owners", "100"),
        ("min_share", "0.1%"),
        ("pyroscope_url", "http://p:4040/x"),
        ("push_interval", "1m"),
        ("pyroscope_basic_auth_user", "u"),
        ("pyroscope_basic_auth_password", "p w"),
        ("pyroscope_tenant_id", "t"),
        ("push_rate", "1MiB"),
        ("push_burst", "0.5MiB"),
        ("spool_size", "2GiB"),
    ];
    let flags: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("--{}={value}", name.replace('_', "-")))
        .collect();
    let flags = agent(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let variables: Vec<(String, &str)> = all
        .iter()
        .map(|(name, value)| (variable_of(name), *value))
        .collect();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let (_file, path) = file(
        all.map(|(name, value)| format!("{name} = {value:?}\n"))
            .concat(),
    );
    let mut from_file = agent(&["--config", &path], &[]);
    from_file.config = None;
    assert_eq!(
        format!("{flags:?}"),
        format!("{:?}", agent(&[], &variables))
    );
    assert_eq!(format!("{flags:?}"), format!("{from_file:?}"));
    assert_eq!(
        flags
            .pyroscope_basic_auth_password
            .as_ref()
            .unwrap()
            .reveal(),
        "p w"
    );
    assert_eq!(flags.node_name(), "n1");
    let names: Vec<String> = Settings::of(&mut Cli::command()).names;
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !all.iter().any(|(known, _)| known == name))
        .collect();
    assert_eq!(missing, ["config", "pyroscope_bearer_token"]);
}

/// TOML's own kinds of values, where a person would use them.
#[test]
fn file_values() {
    let (_file, path) =
        file("# comment\nfrequency = 0x13\npush_interval = 30\nidle = true\n\"node\" = '''n'''\n");
    let from_file = agent(&["--config", &path], &[]);
    assert_eq!(
        (
            from_file.frequency,
            from_file.push_interval.as_secs(),
            from_file.idle
        ),
        (19, 30, true)
    );
    assert_eq!(from_file.node_name(), "n");
    assert!(!agent(&["--config", &path, "--idle=false"], &[]).idle);
    assert!(agent(&["--idle"], &[]).idle && agent(&[], &[("THERMOGRAPH_IDLE", "1")]).idle);
}

/// A name that does not exist is an error that knows what was meant, and where it stands.
#[test]
fn unknown_names() {
    for (variable, meant) in [
        ("THERMOGRAPH_FREQENCY", "THERMOGRAPH_FREQUENCY"),
        ("THERMOGRAPH_PYROSCOPE", "THERMOGRAPH_PYROSCOPE_URL"),
        ("THERMOGRAPH_push_interval", "THERMOGRAPH_PUSH_INTERVAL"),
        ("THERMOGRAPH_DATA-DIR", "THERMOGRAPH_DATA_DIR"),
        ("THERMOGRAPH_CONFIGFILE", "THERMOGRAPH_CONFIG"),
    ] {
        let said = error(&["agent"], &[(variable, "1")]);
        assert_eq!(
            said,
            format!("environment variable {variable} is not known: did you mean {meant}?")
        );
    }
    for (key, meant) in [
        ("pyroscope-url", "pyroscope_url"),
        ("freqency", "frequency"),
        ("interval", "push_interval"),
        ("tenant_id", "pyroscope_tenant_id"),
        ("PAGETOKEN", "page_token"),
    ] {
        let (_file, path) = file(format!("idle = false\n\n{key} = 'x'\n"));
        let said = error(&["agent", "--config", &path], &[]);
        assert_eq!(
            said,
            format!("{path}:3: key {key:?} is not known: did you mean {meant}?")
        );
    }
    // A file can't name a file, and is not told to.
    let (_file, path) = file("config = 'x'\n");
    assert!(!error(&["agent", "--config", &path], &[]).contains("mean config?"));
    let (_file, path) = file("[pyroscope]\nurl = 'http://a'\n");
    assert!(
        error(&["agent", "--config", &path], &[])
            .ends_with(":1: key \"pyroscope\" is not known: did you mean pyroscope_url?")
    );
}

/// A bad value says where it came from, even where a better one hides it.
#[test]
fn bad_values() {
    let said = error(&["agent", "-F99"], &[("THERMOGRAPH_FREQUENCY", "0")]);
    assert_eq!(
        said,
        "environment variable THERMOGRAPH_FREQUENCY: invalid value '0' for '--frequency <HZ>': 0 is not in 1..=10000"
    );
    let (_file, path) = file("\npush_interval = '7s'\n");
    let said = error(&["agent", "--config", &path], &[]);
    assert_eq!(
        said,
        format!(
            "{path}:2: invalid value '7s' for '--push-interval <TIME>': write a multiple of 5s, from 5s to 10m"
        )
    );
    for content in [
        "listen = [1]",
        "listen = 1979-05-27",
        "listen = {a = 1}",
        "frequency = 99999999999999999999",
    ] {
        let (_file, path) = file(content);
        assert!(
            error(&["agent", "--config", &path], &[]).contains(":1: key "),
            "{content}"
        );
    }
    for content in [
        "frequency = -1",
        "frequency = 99.5",
        "frequency = inf",
        "frequency = true",
        "idle = 'maybe'",
        "listen = ''",
    ] {
        let (_file, path) = file(content);
        assert!(
            error(&["agent", "--config", &path], &[]).contains(":1: "),
            "{content}"
        );
    }
}

/// Every way in which a file can't be read is one sentence with its name.
#[test]
fn unreadable_files() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let (_latin1, latin1) = file(b"node = '\xe4'");
    let (_large, large) = file(vec![b'#'; (1 << 20) + 1]);
    let (_broken, broken) = file("idle = false\nnode = 'a\n");
    let (_twice, twice) = file("node = 'a'\nnode = 'b'\n");
    for (path, why) in [
        (missing.to_str().unwrap(), "No such file"),
        (directory.path().to_str().unwrap(), "not a regular file"),
        ("/dev/null", "not a regular file"),
        (&latin1, "not UTF-8"),
        (&large, "larger than 1 MiB"),
        (&broken, ":2: not valid TOML: "),
        (&twice, ":2: not valid TOML: duplicate key"),
    ] {
        let said = error(&["agent", "--config", path], &[]);
        assert!(said.contains(path) && said.contains(why), "{said}");
    }
}

/// Random bytes and broken pieces of a good file: an answer each time, never a panic.
#[test]
fn random_files() {
    let mut random = StdRng::seed_from_u64(4);
    let good = b"frequency = 19\nnode = \"a\"\n[x]\ny = [1, {z = 2}]\n";
    let (mut file, path) = file("");
    for _ in 0..300 {
        let mut content = good.to_vec();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..content.len());
            content[at] = random.random();
        }
        content.truncate(random.random_range(0..=content.len()));
        file.as_file_mut().set_len(0).unwrap();
        std::io::Seek::rewind(file.as_file_mut()).unwrap();
        file.write_all(&content).unwrap();
        let _ = run(&["agent", "--config", &path], &[]);
    }
}

/// Settings that do not fit together; what is secret is not repeated.
#[test]
fn settings_that_exclude_each_other() {
    let url = ["agent", "--pyroscope-url=http://a"];
    for (variables, says) in [
        (
            &[("THERMOGRAPH_PYROSCOPE_BASIC_AUTH_USER", "u")][..],
            "need each other",
        ),
        (
            &[("THERMOGRAPH_PYROSCOPE_BASIC_AUTH_PASSWORD", "sesame")],
            "need each other",
        ),
        (
            &[
                ("THERMOGRAPH_PYROSCOPE_BASIC_AUTH_USER", "u"),
                ("THERMOGRAPH_PYROSCOPE_BASIC_AUTH_PASSWORD", "sesame"),
                ("THERMOGRAPH_PYROSCOPE_BEARER_TOKEN", "sesame"),
            ],
            "exclude each other",
        ),
        (
            &[("THERMOGRAPH_PYROSCOPE_BEARER_TOKEN", "open sesame")],
            "pyroscope_bearer_token is empty or has blanks",
        ),
        (
            &[("THERMOGRAPH_PAGE_TOKEN", "sesame")],
            "page_token is too short",
        ),
        (
            &[("THERMOGRAPH_PAGE_TOKEN", "sesame open; Path=/")],
            "unfit characters",
        ),
    ] {
        let said = error(&url, variables);
        assert!(said.contains(says) && !said.contains("sesame"), "{said}");
    }
    assert!(error(&["agent", "--pyroscope-tenant-id=t"], &[]).contains("give pyroscope_url too"));
    let shown = format!(
        "{:?}",
        agent(
            &url[1..],
            &[("THERMOGRAPH_PYROSCOPE_BEARER_TOKEN", "sesame")]
        )
    );
    assert!(
        shown.contains("[hidden]") && !shown.contains("sesame"),
        "{shown}"
    );
}

/// Help comes before any complaint, teaches, and shows neither values nor secrets.
#[test]
fn help() {
    let environment = [
        ("THERMOGRAPH_PYROSCOPE_BEARER_TOKEN", "sesame"),
        ("THERMOGRAPH_NONSENSE", "1"),
    ];
    for (args, teaches) in [
        (&["--help"][..], "Exit codes: 0 done"),
        (&["agent", "--help"], "THERMOGRAPH_PUSH_INTERVAL"),
        (&["agent", "-h"], "--pyroscope-url <URL>"),
        (
            &["record", "--help"],
            "record [OPTIONS] [-p PID | -- CMD [ARGS]...]",
        ),
    ] {
        let help = run(args, &environment).expect_err("help");
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
        let help = help.to_string();
        assert!(help.contains(teaches) && !help.contains("sesame"), "{help}");
    }
    assert_eq!(
        run(&["--version"], &[]).expect_err("version").kind(),
        ErrorKind::DisplayVersion
    );
}

/// clap's own check of the definitions: no clash of names, no dangling reference.
#[test]
fn definitions_are_sound() {
    Cli::command().debug_assert();
}

/// `record`: its targets, its default length and file for each, and that arguments of CMD stay CMD's.
#[test]
fn record() {
    let record = |args: &[&str]| {
        let args: Vec<&str> = std::iter::once("record")
            .chain(args.iter().copied())
            .collect();
        // The environment is the agent's alone.
        match run(&args, &[("THERMOGRAPH_FREQUENCY", "0")])
            .unwrap()
            .command
        {
            Command::Record(record) => record,
            other => panic!("not record: {other:?}"),
        }
    };
    let file = |name: &str| Ok(Output::File(name.into()));
    let host = record(&[]);
    assert_eq!(
        (host.target(), host.length(), host.frequency),
        (Target::Host, Some(Duration::from_secs(30)), 99)
    );
    assert_eq!(host.output(true), file("thermograph-host.pb.gz"));
    let process = record(&["-p", "12", "-d", "500ms", "-F499", "--format", "folded"]);
    assert_eq!(
        (process.target(), process.length()),
        (Target::Process(12), Some(Duration::from_millis(500)))
    );
    assert_eq!(
        (process.frequency, process.output(true)),
        (499, file("thermograph-12.folded"))
    );
    let command = record(&["-d", "5", "--", "/bin/ls -la", "-p", "--help", "--", "-d"]);
    let expected = ["/bin/ls -la", "-p", "--help", "--", "-d"].map(OsString::from);
    assert_eq!(
        (command.target(), command.length()),
        (Target::Command(&expected), Some(Duration::from_secs(5)))
    );
    assert_eq!(command.output(true), file("thermograph-ls_-la.pb.gz"));
    assert_eq!(record(&["--", "true"]).length(), None);
    assert_eq!(record(&["-o", "x", "--", "true"]).output(true), file("x"));
    assert_eq!(record(&["-o", "-"]).output(false), Ok(Output::Stdout));
    assert!(record(&["-o", "-"]).output(true).is_err());
    assert_eq!(
        record(&["-o", "-", "--format", "folded"]).output(true),
        Ok(Output::Stdout)
    );
    for wrong in [
        &["-p", "1", "--", "ls"][..],
        &["-p", "0"],
        &["-p", "-1"],
        &["-d", "0"],
        &["-d", "25h"],
        &["ls"],
        &["-F", "0"],
    ] {
        let args: Vec<&str> = std::iter::once("record")
            .chain(wrong.iter().copied())
            .collect();
        assert_eq!(
            run(&args, &[]).expect_err("must fail").exit_code(),
            2,
            "{wrong:?}"
        );
    }
}

/// -v and -q anywhere, counted, and not both.
#[test]
fn verbosity() {
    let level = |args: &[&str]| run(args, &[]).unwrap().verbosity.level().to_string();
    assert_eq!(level(&["agent"]), "info");
    assert_eq!(level(&["-v", "record"]), "debug");
    assert_eq!(level(&["record", "-vv"]), "trace");
    assert_eq!(level(&["agent", "-q"]), "warn");
    assert_eq!(level(&["-qq", "agent"]), "error");
    assert!(run(&["-q", "-v", "agent"], &[]).is_err());
}
