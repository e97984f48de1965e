#!/bin/sh
# Installs what this repository needs from the system, and only what is missing of it. `make` calls it.
#
#   deploy/setup.sh build|test|kernels|bench
#
# `build` is what the agent is built with; the others add what the tests, those in guests, and the benchmarks run.
set -eu

case ${CARGO_TARGET_DIR-$PWD} in
*[[:space:]]*)
	echo "setup: libbpf's makefiles take no space in a path: set CARGO_TARGET_DIR to a directory without one" >&2
	exit 1
	;;
esac

missing=

# need PACKAGE COMMAND...: Debian's PACKAGE is missing when COMMAND fails. Asking for the thing itself and not for the
# package is true on every system, and of a compiler that came from elsewhere.
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

has() {
	command -v "$1" >/dev/null 2>&1
}

any_of() {
	for name; do
		has "$name" && return 0
	done
	return 1
}

build_needs() {
	# The linker of Rust, and the compiler of the vendored libbpf, whose own makefiles ask pkg-config.
	need gcc has cc
	need libc6-dev test -e /usr/include/stdlib.h
	need make has make
	need pkg-config has pkg-config
	need libelf-dev pkg-config --exists libelf
	need zlib1g-dev pkg-config --exists zlib
	# The only compiler for BPF that every distribution of today packages.
	need clang has clang
}

test_needs() {
	build_needs
	need g++ has c++
	need binutils has objdump
	need util-linux has unshare
	# The page is looked at in a browser, which draws no text without a font.
	need "$chromium" any_of chromium chromium-browser google-chrome
	need fonts-dejavu-core test -d /usr/share/fonts/truetype
}

kernels_needs() {
	build_needs
	need g++ has c++
	need qemu-system-x86 has qemu-system-x86_64
	need busybox-static has busybox
	need cpio has cpio
}

bench_needs() {
	build_needs
	need g++ has c++
	need "$perf" perf --version
	need bpftrace has bpftrace
}

if [ -r /etc/os-release ]; then
	. /etc/os-release
fi
case " ${ID-} ${ID_LIKE-} " in
*" ubuntu "*) chromium=chromium-browser perf=linux-tools-generic ;;
*) chromium=chromium perf=linux-perf ;;
esac

case ${1-} in
build | test | kernels | bench) "$1_needs" ;;
*)
	echo "usage: $0 build|test|kernels|bench" >&2
	exit 2
	;;
esac

if [ -n "$missing" ]; then
	case " ${ID-} ${ID_LIKE-} " in
	*" debian "*) ;;
	*)
		echo "these are missing, by the names of their Debian packages:$missing" >&2
		echo "setup: install what ${PRETTY_NAME-this system} calls them, then run make again" >&2
		exit 1
		;;
	esac
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		if ! has sudo; then
			echo "setup: run 'apt-get install$missing' as root, then make again: there is no sudo here" >&2
			exit 1
		fi
		sudo=sudo
	fi
	echo "setup: installing$missing"
	$sudo apt-get update -q
	# shellcheck disable=SC2086 # a list of packages
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

if ! has cargo; then
	echo "setup: there is no Rust here: install it as https://rustup.rs says, then run make again" >&2
	exit 1
fi
