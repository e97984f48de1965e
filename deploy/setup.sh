#!/bin/sh
# Installs what this repository needs from the system, and only what is missing of it. `make` calls it.
#
#   deploy/setup.sh build|test|kernels|fuzz|bench
#
# `build` is what the agent is built with; the others add what the tests, those in guests, the search for hostile files, and
# the benchmarks run. The last brings servers that Debian starts (redis, nginx, postgres): not for a host that does something else.
set -eu

case ${CARGO_TARGET_DIR-$PWD} in
*[[:space:]]*)
	echo "setup: libbpf's makefiles take no space in a path: set CARGO_TARGET_DIR to a directory without one" >&2
	exit 1
	;;
esac

missing=
wanted=

# need PACKAGE COMMAND...: Debian's PACKAGE is missing when COMMAND fails. Asking for the thing itself and not for the
# package is true on every system, and of a compiler that came from elsewhere.
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

# want PACKAGE COMMAND...: the same of what can be done without.
want() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || wanted="$wanted $package"
}

has() {
	command -v "$1" >/dev/null 2>&1
}

# The same of what only root has on its PATH.
in_system() {
	(PATH=$PATH:/usr/sbin:/sbin && has "$1")
}

# A pattern that matches nothing stays as it is.
has_any_file() {
	test -e "$1"
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

# The compilers of what fixtures/ compiles beside C.
fixtures_need() {
	need g++ has c++
	need musl-tools has musl-gcc
	need golang-go has go
}

# What makes debug information that is shared, split and compressed.
spread_names_need() {
	need binutils has objcopy
	need binutils has dwp
	need dwz has dwz
	need llvm has llvm-dwp
	need xz-utils has xz
}

test_needs() {
	build_needs
	fixtures_need
	spread_names_need
	need llvm has llvm-symbolizer
	need util-linux has unshare
	# Programs whose stacks are looked at.
	need python3 test -x /usr/bin/python3
	need nodejs has node
	need openssl has openssl
	# Libraries for another machine, to make unwind tables of.
	if [ "$(uname -m)" != aarch64 ]; then
		need libstdc++6-arm64-cross test -e /usr/aarch64-linux-gnu/lib/libstdc++.so.6
	fi
	# The page is looked at in a browser, which draws no text without a font.
	need "$chromium" any_of chromium chromium-browser google-chrome
	need fonts-dejavu-core test -d /usr/share/fonts/truetype
	# Runtimes whose containers are named. The tests start them on directories of their own.
	want docker.io in_system dockerd
	want containerd in_system containerd
	want podman in_system podman
	want runc in_system runc
}

fuzz_needs() {
	build_needs
	# libFuzzer's own.
	need g++ has c++
	spread_names_need
}

kernels_needs() {
	build_needs
	fixtures_need
	need qemu-system-x86 has qemu-system-x86_64
	need busybox-static has busybox
	need cpio has cpio
}

bench_needs() {
	build_needs
	fixtures_need
	need binutils has readelf
	need util-linux has unshare
	need "$perf" perf --version
	need bpftrace has bpftrace
	# Beside whom names are given.
	want llvm has llvm-symbolizer
	# Programs that are profiled.
	want python3 test -x /usr/bin/python3
	want redis-server has redis-server
	want redis-tools has redis-benchmark
	want nginx has nginx
	want wrk has wrk
	want postgresql has_any_file /usr/lib/postgresql/*/bin/pgbench
	want openssl has openssl
	want nodejs has node
	want rustc test -x /usr/bin/rustc
	want default-jdk-headless has javac
	want golang-go has go
}

if [ -r /etc/os-release ]; then
	. /etc/os-release
fi
case " ${ID-} ${ID_LIKE-} " in
*" ubuntu "*) chromium=chromium-browser perf=linux-tools-generic ;;
*) chromium=chromium perf=linux-perf ;;
esac

case ${1-} in
build | test | kernels | fuzz | bench) "$1_needs" ;;
*)
	echo "usage: $0 build|test|kernels|fuzz|bench" >&2
	exit 2
	;;
esac

is_debian() {
	case " ${ID-} ${ID_LIKE-} " in
	*" debian "*) ;;
	*) return 1 ;;
	esac
}

# install PACKAGE...: nothing is removed for it, such as a runtime that came from elsewhere.
install() {
	echo "setup: installing $*"
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove "$@"
}

# install_runtime PACKAGE: without its services, now and with the system: Docker's would change the host's firewall.
install_runtime() {
	policy=/usr/sbin/policy-rc.d
	own_policy=
	if ! test -e "$policy"; then
		own_policy=$policy
		printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
		$sudo chmod 755 "$policy"
	fi
	status=0
	install "$1" || status=$?
	if [ -n "$own_policy" ]; then
		$sudo rm -f "$own_policy"
	fi
	if has systemctl; then
		units=$(dpkg -L "$1" 2>/dev/null |
			sed -n 's,^\(/usr\)*/lib/systemd/system/\([^@/]*\.\(service\|socket\|timer\)\)$,\2,p')
		# shellcheck disable=SC2086 # a list of units
		$sudo systemctl disable --quiet $units || true
	fi
	return "$status"
}

if [ -n "$missing" ] && ! is_debian; then
	echo "these are missing, by the names of their Debian packages:$missing" >&2
	echo "setup: install what ${PRETTY_NAME-this system} calls them, then run make again" >&2
	exit 1
fi
sudo=
if [ -n "$missing$wanted" ] && [ "$(id -u)" -ne 0 ]; then
	sudo=sudo
	if ! has sudo && [ -n "$missing" ]; then
		echo "setup: run 'apt-get install$missing' as root, then make again: there is no sudo here" >&2
		exit 1
	fi
fi
if [ -n "$missing$wanted" ] && is_debian; then
	$sudo apt-get update -q || [ -z "$missing" ]
fi
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of packages
	install $missing
fi
# One by one: another distribution may lack some.
for package in $wanted; do
	case $package in
	docker.io | containerd | podman | runc) how=install_runtime ;;
	*) how=install ;;
	esac
	is_debian && "$how" "$package" ||
		echo "setup: without $package: what needs it will be skipped" >&2
done

if ! has cargo; then
	echo "setup: there is no Rust here: install it as https://rustup.rs says, then run make again" >&2
	exit 1
fi
