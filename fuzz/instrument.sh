#!/bin/sh
# Compiles the crates of this workspace, for which cargo calls it (RUSTC_WORKSPACE_WRAPPER), with what libFuzzer looks at:
# LLVM's counters of edges and its reports of comparisons. What overflows is to be found as well.
case " $* " in
# It runs here and now, without libFuzzer.
*" --crate-name build_script_"*) exec "$@" ;;
# Cargo asks what the compiler is.
*" --crate-name ___ "* | *" -vV "*) exec "$@" ;;
esac
exec "$@" -C overflow-checks=on -C debug-assertions=on -C passes=sancov-module \
	-C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
	-C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares
