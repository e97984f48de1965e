//! The command line: what can be asked of `thermograph`, and how its help teaches it.

mod check;
pub(crate) mod value;

pub(crate) use check::{Output, Target, is_page_token};
pub(crate) use value::{LabelKeys, ServerUrls};

use crate::config::Tables;
use crate::secret::Secret;
use clap::{
    ArgAction, Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser, value_parser,
};
use reqwest::Url;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

const ABOUT: &str = "Shows where a Linux host spends its CPU time: samples the stacks of every process, names them, \
and groups them by container, systemd service or executable.";

const EXAMPLES: &str = "\
Examples:
  thermograph agent                  watch this host on http://127.0.0.1:4041
  thermograph record -p 1234         profile one process into a file
  thermograph record -- make -j4     profile a command and all it starts
  thermograph unwind /bin/ls         show how stacks through a program are walked
  thermograph doctor                 tell what is missing on this host

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; `record -- CMD` exits as CMD does.";

const AGENT_HELP: &str = "\
Every setting can also come from the environment (--push-interval as THERMOGRAPH_PUSH_INTERVAL) and from the file given by \
--config (push_interval = \"15s\"). A flag counts more than the environment, the environment more than the file; an empty \
variable counts as not set, and a name that does not exist is an error.

The --pyroscope flags give one server. Further ones, their certificates, headers and files of tokens are tables [[destination]] of \
the file: docs/configuration.md shows them.

Writes unwind tables, and debug files from --debuginfod-url, to the cache directory; to the data directory what a server does not take now, and a page token, the latter \
only when it listens beyond loopback without --page-token.

Examples:
  thermograph agent
  thermograph agent -F 19 --pyroscope-url https://profiles.example.com
  THERMOGRAPH_PYROSCOPE_BEARER_TOKEN=... thermograph agent --config /etc/thermograph.toml
  curl 'http://127.0.0.1:4041/api/profile?seconds=10&pid=1234' -o x.pb.gz

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage or configuration.";

const RECORD_HELP: &str = "\
Writes one file when the time is over, on Ctrl-C, or when the process or command ends: gzip'd pprof (for `go tool pprof`, \
speedscope, Grafana) or folded stacks (a line `comm;root;...;leaf count` each, for flamegraph.pl). Environment and \
configuration file are the agent's, they do not count here.

Examples:
  thermograph record -d 10s                      the whole host
  thermograph record -p 1234 -F 499              one process, more often
  thermograph record -o build.pb.gz -- make -j4  a command and all it starts
  thermograph record -p 1234 --format folded -o - | flamegraph.pl > x.svg

Exit codes: 0 done, 1 failed, 2 wrong usage; with -- CMD that of CMD, 128 + N if signal N ended it.";

const UNWIND_HELP: &str = "\
A row is what the walk does from its address on, up to the next row: how it finds the canonical frame address (CFA, the \
caller's stack pointer), where the caller's frame pointer is (rbp, on aarch64 x29), and where the return address is, in \
the spelling of `readelf --debug-dump=frames-interp`:

  0000000000001136 rsp+16 c-16 c-8
                      CFA = rsp + 16; rbp is saved at CFA - 16, the return address at CFA - 8
  u                   not saved: as it was
  exp                 a DWARF expression, one of the few that compilers write
  plt                 a stub of the procedure linkage table
  signal              a signal frame: the kernel saved all registers in it
  switch              a frame pointer step that may lead to another stack (Go)
  end                 the entry of a program or thread; also where nothing is known from
                      here on, so that the walk tries a frame pointer step
  unsupported:REASON  the file says more than the walk can do: cfa-expression,
                      cfa-register, return-address, frame-pointer, too-many-rules, bad-cfi

Neighbours that are equal are one row, and so is padding of up to 15 bytes with the function before it. Addresses are the \
file's own (ELF addresses), as `readelf`, `objdump` and `nm` show them.

Examples:
  thermograph unwind /lib/x86_64-linux-gnu/libc.so.6 | less
  thermograph unwind --stats target/release/server

Exit codes: 0 done, 1 failed, 2 wrong usage.";

const DOCTOR_HELP: &str = "\
Takes the settings of `agent`, from the same places, tries what an agent with these would need, and samples itself for a \
moment. Writes nothing but unwind tables. A line each:

  ok       all of it works
  limited  the agent runs, but something will be missing from what it shows
  missing  the agent does not run like this

Examples:
  sudo thermograph doctor
  sudo thermograph doctor --config /etc/thermograph.toml

Exit codes: 0 an agent would run, 1 it would not, 2 wrong usage or configuration.";

/// Place in the help behind what is a command's own.
const LAST: usize = 900;

/// The command line as given, completed by environment, configuration file and defaults.
#[derive(Debug, Parser)]
#[command(name = "thermograph", version, about = ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// How much is logged.
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the host: serve the page, and push to Pyroscope if told where
    #[command(after_help = AGENT_HELP)]
    Agent(Box<AgentArgs>),
    /// Profile the host, a process or a command into a file
    Record(RecordArgs),
    /// Show how stacks through a program or library are walked
    Unwind(UnwindArgs),
    /// Tell what an agent could do on this host, what is missing, and what to do about it
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Box<AgentArgs>),
    /// Read symbols for the agent that has started this; not for people
    #[command(name = WORKER, hide = true)]
    Worker,
}

/// What the agent starts itself with for a worker.
pub(crate) const WORKER: &str = "worker";

/// Log level, counted from `info`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Verbosity {
    /// Log more to stderr; twice for everything
    #[arg(short, long, global = true, display_order = LAST, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log only warnings and errors to stderr; twice for errors only
    #[arg(short, long, global = true, display_order = LAST, action = ArgAction::Count)]
    quiet: u8,
}

impl Verbosity {
    /// Least important level that is logged.
    pub(crate) fn level(self) -> LevelFilter {
        match (self.verbose, self.quiet) {
            (0, 0) => LevelFilter::INFO,
            (0, 1) => LevelFilter::WARN,
            (0, _) => LevelFilter::ERROR,
            (1, _) => LevelFilter::DEBUG,
            (_, _) => LevelFilter::TRACE,
        }
    }
}

/// `thermograph agent`. Field, flag, variable and key of a setting have one name.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Address and port of the page; beyond loopback the page asks for a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4041", value_parser = value::listen_address)]
    pub(crate) listen: SocketAddr,

    /// Token that opens the page beyond loopback, at least 16 letters, digits or -._~ [default: made and kept in the data
    /// directory]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<Secret>,

    /// Samples per second and CPU; 99 and not 100, so as not to beat in step with timers
    #[arg(short = 'F', long, value_name = "HZ", default_value = "99", value_parser = value::frequency())]
    pub(crate) frequency: u32,

    /// Count the idle task too: time in which a CPU had nothing to do
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true, action = ArgAction::Set,
          value_parser = BoolishValueParser::new())]
    pub(crate) idle: bool,

    /// Name of this host, the label `node` [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// Directory of what outlives the agent: profiles still to be pushed, the page's token
    #[arg(long, value_name = "DIR", default_value = "/var/lib/thermograph")]
    pub(crate) data_dir: PathBuf,

    /// How stacks are walked.
    #[command(flatten)]
    pub(crate) unwind: WalkArgs,

    /// How functions get their names.
    #[command(flatten)]
    pub(crate) naming: NamingArgs,

    /// debuginfod servers to fetch missing debug files from, several with spaces between [default: none, nothing leaves the
    /// host]
    #[arg(long, value_name = "URLS", value_parser = value::UrlParser(value::server_urls))]
    pub(crate) debuginfod_url: Option<ServerUrls>,

    /// Where container runtimes are asked for the names of containers.
    #[command(flatten)]
    pub(crate) runtimes: RuntimeArgs,

    /// Whose profiles are, and how many there are.
    #[command(flatten)]
    pub(crate) owners: OwnerArgs,

    /// Pyroscope server to push to [default: none, nothing leaves the host]
    #[arg(long, value_name = "URL", value_parser = value::UrlParser(value::server_url))]
    pub(crate) pyroscope_url: Option<Url>,

    /// Time between pushes, a multiple of 5s; 15s is the smallest step Grafana draws
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = value::push_interval)]
    pub(crate) push_interval: Duration,

    /// User for HTTP basic authentication
    #[arg(long, value_name = "USER")]
    pub(crate) pyroscope_basic_auth_user: Option<String>,

    /// Password of that user; every user of this host sees flags, so better from the environment or the file
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) pyroscope_basic_auth_password: Option<Secret>,

    /// Token for HTTP bearer authentication; better from the environment or the file
    #[arg(long, value_name = "TOKEN")]
    pub(crate) pyroscope_bearer_token: Option<Secret>,

    /// Tenant of a server for several, the header X-Scope-OrgID
    #[arg(long, value_name = "TENANT", value_parser = value::tenant_id)]
    pub(crate) pyroscope_tenant_id: Option<String>,

    /// Bytes of profiles a second that a server is sent, before compression; a default server takes 4MiB of all its hosts
    #[arg(long, value_name = "SIZE", default_value = "3.5MiB", value_parser = value::push_rate)]
    pub(crate) push_rate: usize,

    /// Bytes at once; a default server takes 2MiB
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = value::push_rate)]
    pub(crate) push_burst: usize,

    /// Disk for what a server does not take now, for each; the oldest goes first, 0 keeps nothing
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = value::spool_size)]
    pub(crate) spool_size: u64,

    /// What only the configuration file can say.
    #[arg(skip)]
    pub(crate) tables: Tables,
}

/// Whose profiles are, and how many there are.
#[derive(Args, Clone, Debug)]
pub(crate) struct OwnerArgs {
    /// Labels of pods that profiles carry too, as app.kubernetes.io/part-of,team
    #[arg(long, value_name = "NAMES", default_value = "", hide_default_value = true, value_parser = value::label_keys)]
    pub(crate) pod_labels: LabelKeys,

    /// Annotations of pods that profiles carry as labels
    #[arg(long, value_name = "NAMES", default_value = "", hide_default_value = true, value_parser = value::label_keys)]
    pub(crate) pod_annotations: LabelKeys,

    /// Owners within an hour; what is new beyond is one, `other`
    #[arg(long, value_name = "N", default_value = "500", value_parser = value::max_owners())]
    pub(crate) max_owners: u64,

    /// Owners with less than this part of all CPU time of an interval are one, `other`, as 0.1%
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = value::share)]
    pub(crate) min_share: f64,
}

/// Where container runtimes are asked for the names of containers.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RuntimeArgs {
    /// Socket of containerd [default: /run/containerd/containerd.sock, or the one of k3s]
    #[arg(long, value_name = "PATH")]
    pub(crate) containerd_socket: Option<PathBuf>,

    /// Socket of CRI-O [default: /run/crio/crio.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) crio_socket: Option<PathBuf>,

    /// Socket of Docker [default: /run/docker.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) docker_socket: Option<PathBuf>,

    /// Socket of podman's service [default: /run/podman/podman.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) podman_socket: Option<PathBuf>,
}

/// What the walk of stacks may take, and where its tables are kept.
#[derive(Args, Clone, Debug)]
pub(crate) struct WalkArgs {
    /// Kernel memory for walking stacks, MiB: what is sampled most has its unwind tables there
    #[arg(long, value_name = "MIB", default_value = "48", value_parser = value::unwind_memory())]
    pub(crate) unwind_memory: u64,

    /// Directory of unwind tables, and of debug files that were fetched, which can be deleted at any time
    #[arg(long, value_name = "DIR", default_value = "/var/cache/thermograph")]
    pub(crate) cache_dir: PathBuf,
}

/// How functions get their names.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct NamingArgs {
    /// Who names functions
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Symbols::Local)]
    pub(crate) symbols: Symbols,
}

/// `thermograph record`.
#[derive(Args, Debug)]
#[command(after_help = RECORD_HELP, override_usage = "thermograph record [OPTIONS] [-p PID | -- CMD [ARGS]...]")]
pub(crate) struct RecordArgs {
    /// Process to profile, all its threads
    #[arg(short, long, conflicts_with = "cmd", value_parser = value_parser!(u32).range(1..=4_194_304))]
    pub(crate) pid: Option<u32>,

    /// Length of the recording [default: 30s, or until CMD ends]
    #[arg(short, long, value_name = "TIME", value_parser = value::recording_length)]
    pub(crate) duration: Option<Duration>,

    /// Samples per second and CPU
    #[arg(short = 'F', long, value_name = "HZ", default_value = "99", value_parser = value::frequency())]
    pub(crate) frequency: u32,

    /// File to write, - for stdout [default: thermograph-PID.pb.gz, -CMD.pb.gz or -host.pb.gz, or .folded]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Pprof)]
    pub(crate) format: Format,

    /// How stacks are walked.
    #[command(flatten)]
    pub(crate) unwind: WalkArgs,

    /// How functions get their names.
    #[command(flatten)]
    pub(crate) naming: NamingArgs,

    /// Command to start and profile, with its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) cmd: Vec<OsString>,
}

/// `thermograph unwind`.
#[derive(Args, Debug)]
#[command(after_help = UNWIND_HELP)]
pub(crate) struct UnwindArgs {
    /// Program or shared library, an ELF file for x86-64 or aarch64
    pub(crate) file: PathBuf,

    /// Print no rows but how many there are, of how many different rules, their size and the time it took to make them
    #[arg(long)]
    pub(crate) stats: bool,
}

/// Who names functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Symbols {
    /// Thermograph, from the files on this host
    Local,
    /// A reader that has the files: profiles carry addresses and build ids; only what has no build id, and the kernel, is named here
    None,
}

/// Format of a recording: gzip'd pprof, or one line `comm;root;...;leaf count` a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Pprof,
    Folded,
}
