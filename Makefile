# Everything is built as the caller, in one profile, so that the tests and the lints reuse what the agent was built
# from; only what must be root runs as root. With CARGO_TARGET_DIR set, that takes the place of target/.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
THERMOGRAPH = $(TARGET_DIR)/release/thermograph

# Cargo hands each test program, and the benchmark, to this command; it would split an absolute path at a space.
HOST = $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
AS_ROOT = CARGO_TARGET_$(HOST)_RUNNER=deploy/as-root.sh

# Arguments for the program that is run, as in: make run ARGS='--pyroscope-url http://localhost:4040',
# the tests to run, as in: make test-kernels ARGS=linux_6_1_
# or libFuzzer's options, as in: make fuzz ARGS=-max_total_time=3600
ARGS =

.PHONY: help build run test test-kernels fuzz bench lint

help:
	@echo "make build         compile the agent: $(THERMOGRAPH)"
	@echo "make run           compile it and start 'thermograph agent' as root; ARGS=... are its arguments"
	@echo "make test          compile and run every test but the next ones, as root"
	@echo "make test-kernels  run the agent on Debian's kernels in an emulator; ARGS=... are parts of names of tests"
	@echo "make fuzz          search for files that break what reads them; ARGS=... are options of libFuzzer"
	@echo "make bench         compile and run the benchmarks, as root; ARGS=peers, walk, stock, tables, freshness, memory, symbols or steady for one of them"
	@echo "make lint          check formatting and clippy"

build:
	@deploy/setup.sh build
	cargo build --release --locked -p agent

run: build
	deploy/as-root.sh "$(THERMOGRAPH)" agent $(ARGS)

test: build
	@deploy/setup.sh test
	$(AS_ROOT) THERMOGRAPH="$$(realpath "$(THERMOGRAPH)")" cargo test --release --locked --workspace

test-kernels: build
	@deploy/setup.sh kernels
	THERMOGRAPH="$$(realpath "$(THERMOGRAPH)")" cargo test --release --locked -p tests --test kernels -- --ignored $(ARGS)

# Inputs that lead somewhere new stay here for the next run; one that breaks something ends it and is kept beside them.
FOUND = $(TARGET_DIR)/fuzz

fuzz:
	@deploy/setup.sh fuzz
	cargo run --release --locked -p fuzz --bin fuzz_seeds -- "$(FOUND)"
	RUSTC_WORKSPACE_WRAPPER="$$PWD/fuzz/instrument.sh" \
		cargo build --release --locked -p fuzz --bin fuzz_elf --bin fuzz_frames --bin fuzz_cache --bin fuzz_names --bin fuzz_jit
	set -e; for target in elf frames cache names jit; do \
		"$(TARGET_DIR)/release/fuzz_$$target" "$(FOUND)/$$target" \
			-artifact_prefix="$(FOUND)/$$target-" -timeout=10 -verbosity=0 -print_final_stats=1 \
			$(or $(ARGS),-runs=20000); \
	done

bench: build
	@deploy/setup.sh bench
	$(AS_ROOT) cargo run --release --locked -p bench -- --thermograph "$(THERMOGRAPH)" $(ARGS)

lint:
	@deploy/setup.sh test
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
