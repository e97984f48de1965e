//! The programs: what a host runs every day, as its distribution ships it.

/// A program and what keeps it busy.
pub(crate) struct Program {
    pub(crate) label: &'static str,
    /// Names of the processes whose samples count.
    pub(crate) processes: &'static [&'static str],
    /// Commands that there must be.
    pub(crate) needs: &'static [&'static str],
    /// Runs it in an empty directory and says `: >ready` once it is busy. `$inputs` is where the fixed inputs are.
    pub(crate) script: &'static str,
    pub(crate) when: When,
}

/// Which part of its life is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Some time after it has become busy.
    Steady,
    /// All of it, from its first instruction.
    FromItsStart,
}

use When::{FromItsStart, Steady};

pub(crate) const PROGRAMS: [Program; 16] = [
    Program {
        label: "python3",
        processes: &["python3"],
        needs: &["/usr/bin/python3"],
        script: ": >ready; exec /usr/bin/python3 $inputs/work.py",
        when: Steady,
    },
    Program {
        label: "redis-server",
        processes: &["redis-server"],
        needs: &["redis-server", "redis-benchmark"],
        script: "
            redis-server --port 0 --unixsocket redis.sock --save '' &
            until redis-cli -s redis.sock ping; do sleep 0.1; done
            : >ready
            exec redis-benchmark -s redis.sock -q -l -r 100000 -t set,get,incr,lpush,lrange_100,zadd,mset",
        when: Steady,
    },
    Program {
        label: "nginx",
        processes: &["nginx"],
        needs: &["nginx", "wrk"],
        script: "
            seq 10000 >page.txt
            echo \"daemon off; user root; worker_processes 1; pid $PWD/pid; error_log stderr; events {} http { access_log off;
                gzip on; gzip_types text/plain; default_type text/plain; client_body_temp_path $PWD; proxy_temp_path $PWD;
                fastcgi_temp_path $PWD; uwsgi_temp_path $PWD; scgi_temp_path $PWD; root $PWD;
                server { listen 127.0.0.1:4942; } }\" >nginx.conf
            nginx -p $PWD -c $PWD/nginx.conf &
            sleep 0.5
            : >ready
            exec wrk -t 1 -c 20 -d 24h -H 'Accept-Encoding: gzip' http://127.0.0.1:4942/page.txt",
        when: Steady,
    },
    Program {
        label: "postgres",
        processes: &["postgres"],
        needs: &["/usr/lib/postgresql/*/bin/postgres", "/usr/lib/postgresql/*/bin/pgbench"],
        script: "
            for bin in /usr/lib/postgresql/*/bin; do :; done
            chown nobody .
            exec setpriv --reuid=nobody --regid=nogroup --clear-groups sh -e -c '
                $0/initdb -D data -A trust
                $0/postgres -D data -k $PWD -h \"\" &
                until $0/pg_isready -h $PWD; do sleep 0.1; done
                $0/pgbench -h $PWD -i -s 5 postgres
                : >ready
                exec $0/pgbench -h $PWD -c 4 -T 86400 postgres' $bin",
        when: Steady,
    },
    Program {
        label: "openssl",
        processes: &["openssl"],
        needs: &["openssl"],
        script: "
            : >ready
            while openssl speed -seconds 1 rsa2048 ecdsap256 sha256 sha512 aes-128-cbc; do
                openssl speed -seconds 1 -evp aes-256-gcm; openssl speed -seconds 1 -evp chacha20-poly1305
            done",
        when: Steady,
    },
    Program {
        label: "node",
        processes: &["node"],
        needs: &["node"],
        script: ": >ready; exec node $inputs/work.js",
        when: Steady,
    },
    Program {
        label: "gcc",
        processes: &["cc1plus"],
        needs: &["g++"],
        script: ": >ready; while g++ -std=c++17 -O2 -c $inputs/compile.cpp; do :; done",
        when: Steady,
    },
    Program {
        label: "clang",
        processes: &["clang++", "clang"],
        needs: &["clang++"],
        script: ": >ready; while clang++ -std=c++17 -O2 -c $inputs/compile.cpp; do :; done",
        when: Steady,
    },
    Program {
        label: "rustc, Debian's",
        processes: &["rustc"],
        needs: &["/usr/bin/rustc"],
        script: ": >ready; while /usr/bin/rustc --edition 2021 -O --crate-type rlib $inputs/compile.rs; do :; done",
        when: Steady,
    },
    Program {
        label: "rustc, rustup's",
        processes: &["rustc"],
        needs: &["rustup"],
        script: "
            rustc=$(rustup which rustc)
            : >ready
            while $rustc --edition 2021 -O --crate-type rlib $inputs/compile.rs; do :; done",
        when: Steady,
    },
    Program {
        label: "java, frame pointers",
        processes: &["java"],
        needs: &["java", "javac"],
        script: ": >ready; exec java -XX:+PreserveFramePointer $inputs/Work.java",
        when: Steady,
    },
    Program {
        label: "java, as it comes",
        processes: &["java"],
        needs: &["java", "javac"],
        script: ": >ready; exec java $inputs/Work.java",
        when: Steady,
    },
    Program {
        label: "go, building",
        processes: &["compile", "link", "go", "asm"],
        needs: &["go"],
        script: "
            export GOCACHE=$PWD/cache GOFLAGS=-mod=mod GO111MODULE=off
            : >ready
            while go build -a -o built cmd/gofmt; do :; done",
        when: Steady,
    },
    Program {
        label: "cargo build, as it starts",
        processes: &["cargo", "rustc", "build-script-bu", "cc", "collect2", "ld", "cc1", "as"],
        needs: &["cargo"],
        script: "
            : >ready
            while :; do
                cargo build --release --locked --offline -p pprof-proto --manifest-path $inputs/../../Cargo.toml --target-dir target
                rm -r target
            done",
        when: FromItsStart,
    },
    Program {
        label: "short processes, the first ever",
        processes: &["short"],
        needs: &[],
        script: ": >ready; $short 0.3",
        when: FromItsStart,
    },
    Program {
        label: "200 short processes of 0.3 s",
        processes: &["short"],
        needs: &[],
        script: ": >ready; for i in $(seq 100); do $short 0.3 & $short 0.3; wait; done",
        when: FromItsStart,
    },
];
