//! Profiles of a host that never was: what each owner's share and hottest function must be is known.

use crate::owner::Owner;
use crate::profile::OwnerProfile;
use crate::store::{DEFAULT_BUDGET, Store, Stretch};
use bytes::Bytes;
use pprof_proto::builder::{Line, LocationId, Mapping, ProfileBuilder};
use pprof_proto::encode::encode;
use pprof_proto::kind::PROCESS_CPU;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// One tick at 100 Hz, to have round numbers.
pub(super) const TICK: i64 = 10_000_000;
/// A name as a program on the host might choose it to attack who looks at it.
pub(super) const HOSTILE: &str = "<img src=x onerror=alert(document.domain)>";

/// Frames (`module!function@file:line`, root first) and ticks in 15 s.
type Stacks = &'static [(&'static str, i64)];

const CHECKOUT: Stacks = &[
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:457;app!checkout::handle@src/checkout.rs:88;app!checkout::price::total@src/price.rs:23;app!rust_decimal::Decimal::checked_mul@decimal.rs:1201",
        240,
    ),
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:457;app!checkout::handle@src/checkout.rs:88;app!checkout::price::total@src/price.rs:31",
        60,
    ),
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:457;app!checkout::handle@src/checkout.rs:92;app!serde_json::ser::to_vec@ser.rs:2185;app!<alloc::vec::Vec<u8> as std::io::Write>::write_all@mod.rs:412;libc!__memmove_avx_unaligned_erms",
        130,
    ),
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:457;app!checkout::handle@src/checkout.rs:92;app!serde_json::ser::to_vec@ser.rs:2190;app!serde_json::ser::format_escaped_str@ser.rs:2070",
        95,
    ),
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:460;app!mio::poll::Poll::poll@poll.rs:435;libc!epoll_wait;kernel!entry_SYSCALL_64_after_hwframe_[k];kernel!do_syscall_64_[k];kernel!__x64_sys_epoll_wait_[k];kernel!do_epoll_wait_[k];kernel!schedule_hrtimeout_range_[k]",
        45,
    ),
    (
        "app!_start;app!main@src/main.rs:41;app!tokio::runtime::scheduler::multi_thread::worker::run@worker.rs:460;app!std::net::TcpStream::write@tcp.rs:94;libc!__send;kernel!entry_SYSCALL_64_after_hwframe_[k];kernel!do_syscall_64_[k];kernel!__sys_sendto_[k];kernel!tcp_sendmsg_[k];kernel!tcp_write_xmit_[k];kernel!ip_queue_xmit_[k];kernel!__dev_queue_xmit_[k]",
        85,
    ),
    ("app![no frame pointer];libc!malloc", 25),
];
const POSTGRES: Stacks = &[
    (
        "postgres!main@main.c:197;postgres!PostmasterMain@postmaster.c:1374;postgres!PostgresMain@postgres.c:4693;postgres!exec_simple_query@postgres.c:1274;postgres!PortalRun@pquery.c:765;postgres!ExecSeqScan@nodeSeqscan.c:112;postgres!heap_getnextslot@heapam.c:1124",
        130,
    ),
    (
        "postgres!main@main.c:197;postgres!PostmasterMain@postmaster.c:1374;postgres!PostgresMain@postgres.c:4693;postgres!exec_simple_query@postgres.c:1274;postgres!PortalRun@pquery.c:765;postgres!ExecHashJoin@nodeHashjoin.c:683;postgres!ExecScanHashBucket@nodeHash.c:1972",
        70,
    ),
    (
        "postgres!main@main.c:197;postgres!PostmasterMain@postmaster.c:1374;postgres!PostgresMain@postgres.c:4693;postgres!exec_simple_query@postgres.c:1176;postgres!pg_plan_queries@postgres.c:975;postgres!standard_planner@planner.c:313",
        35,
    ),
    (
        "postgres!main@main.c:197;postgres!PostmasterMain@postmaster.c:1374;postgres!PostgresMain@postgres.c:4693;libc!pread64;kernel!entry_SYSCALL_64_after_hwframe_[k];kernel!do_syscall_64_[k];kernel!ksys_pread64_[k];kernel!ext4_file_read_iter_[k];kernel!copy_page_to_iter_[k]",
        40,
    ),
];
const NGINX: Stacks = &[
    (
        "nginx!main@nginx.c:383;nginx!ngx_master_process_cycle@ngx_process_cycle.c:119;nginx!ngx_worker_process_cycle@ngx_process_cycle.c:721;nginx!ngx_http_process_request@ngx_http_request.c:2118;libssl!SSL_read;libcrypto!aesni_ctr32_encrypt_blocks",
        60,
    ),
    (
        "nginx!main@nginx.c:383;nginx!ngx_master_process_cycle@ngx_process_cycle.c:119;nginx!ngx_worker_process_cycle@ngx_process_cycle.c:721;nginx!ngx_http_process_request@ngx_http_request.c:2118;nginx!ngx_http_gzip_body_filter@ngx_http_gzip_filter_module.c:331;libz!deflate",
        35,
    ),
];
const KERNEL: Stacks = &[
    (
        "kernel!ret_from_fork_[k];kernel!kthread_[k];kernel!worker_thread_[k];kernel!process_one_work_[k];kernel!wb_workfn_[k];kernel!ext4_writepages_[k]",
        22,
    ),
    (
        "kernel!ret_from_fork_[k];kernel!kthread_[k];kernel!smpboot_thread_fn_[k];kernel!run_ksoftirqd_[k];kernel!net_rx_action_[k]",
        18,
    ),
    ("kernel![kernel thread];kernel!rcu_gp_kthread_[k]", 5),
];
const ATTACKER: Stacks = &[(
    "evil!<img src=x onerror=alert(document.domain)>;evil!</script><script>alert(1)</script>",
    12,
)];

/// Owner's name, unit, container and stacks, the one with the most time first.
const HOST: [(&str, Option<&str>, Option<&str>, Stacks); 5] = [
    ("checkout", None, Some("3726184226f5"), CHECKOUT),
    ("postgresql", Some("postgresql.service"), None, POSTGRES),
    ("nginx", Some("nginx.service"), None, NGINX),
    ("kernel", None, None, KERNEL),
    (HOSTILE, None, None, ATTACKER),
];

/// Time of everything in one interval, nanoseconds.
pub(super) fn interval_nanos() -> i64 {
    HOST.iter().map(|(_, _, _, stacks)| nanos(stacks)).sum()
}

/// Time of the first owner in one interval, nanoseconds.
pub(super) fn checkout_nanos() -> i64 {
    nanos(CHECKOUT)
}

fn nanos(stacks: Stacks) -> i64 {
    stacks.iter().map(|(_, ticks)| ticks * TICK).sum()
}

pub(super) fn owner(name: &str) -> Owner {
    Owner::new(name.to_owned(), vec![])
}

/// A store with an interval at each of `starts` (seconds since 1970). In the first half nothing but checkout runs.
pub(super) fn store(starts: &[i64]) -> Arc<Store> {
    let store = Store::new(DEFAULT_BUDGET);
    for (at, start) in starts.iter().enumerate() {
        let owners = if at < starts.len() / 2 { 1 } else { HOST.len() };
        let profiles = HOST
            .iter()
            .take(owners)
            .map(|(name, unit, container, stacks)| {
                let labels = [("unit", unit), ("container_id", container)];
                let labels = labels
                    .into_iter()
                    .filter_map(|(label, value)| Some((label.to_owned(), (*value)?.to_owned())));
                let owner = Owner::new((*name).to_owned(), labels.collect());
                profile(owner, *start, stacks)
            });
        store.add_window(Stretch {
            start_unix_nanos: start * 1_000_000_000,
            duration: Duration::from_secs(15),
            lost: 1,
            profiles: profiles.collect(),
        });
    }
    Arc::new(store)
}

fn profile(owner: Owner, start: i64, stacks: &[(&str, i64)]) -> Arc<OwnerProfile> {
    let mut builder = builder(start);
    for (stack, ticks) in stacks {
        let stack: Vec<LocationId> = stack
            .rsplit(';')
            .map(|frame| location(&mut builder, frame))
            .collect();
        builder.sample(&stack, &[ticks * TICK], &[]);
    }
    finished(owner, start, builder)
}

pub(super) fn builder(start: i64) -> ProfileBuilder {
    ProfileBuilder::new(&PROCESS_CPU, TICK, start * 1_000_000_000, 15_000_000_000)
}

pub(super) fn finished(owner: Owner, start: i64, builder: ProfileBuilder) -> Arc<OwnerProfile> {
    let profile = builder.finish();
    let nanos: i64 = profile.sample.iter().flat_map(|sample| &sample.value).sum();
    Arc::new(OwnerProfile {
        owner: Arc::new(owner),
        start_unix_nanos: start * 1_000_000_000,
        duration: Duration::from_secs(15),
        samples: (nanos / TICK) as u64,
        cpu_nanos: nanos as u64,
        pprof: Bytes::from(encode(&profile, Vec::new()).unwrap()),
        raw_bytes: profile.encoded_len(),
    })
}

/// The frame `module!function@file:line`.
pub(super) fn location(builder: &mut ProfileBuilder, frame: &str) -> LocationId {
    let (module, rest) = frame.split_once('!').unwrap();
    let (name, place) = rest.rsplit_once('@').unwrap_or((rest, ""));
    let (file, line) = place.split_once(':').unwrap_or((place, "0"));
    let filename = match module {
        "kernel" => "[kernel.kallsyms]".to_owned(),
        "libc" => "/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
        lib if lib.starts_with("lib") => format!("/usr/lib/x86_64-linux-gnu/{lib}.so.3"),
        program => format!("/usr/bin/{program}"),
    };
    let mapping = builder.mapping(&Mapping {
        filename: &filename,
        ..Mapping::default()
    });
    let function = builder.function(name, "", file, 0);
    let line = Line {
        function,
        line: line.parse().unwrap(),
    };
    builder.location(mapping, 0, &[line])
}
