//! Recorded lines of /proc/PID/cgroup, one or more for each layout; ids and uids as they were.

use super::super::container::Runtime;
use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What a line must say, in the order of [`describe`].
type Expected<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// Path in a line of /proc/PID/cgroup: `4:memory:/docker/...`; it may itself hold colons.
fn path(line: &str) -> &[u8] {
    line.splitn(3, ':').nth(2).expect("three fields").as_bytes()
}

/// Container as `engine id` (`? id` if the engine is not told) or its name, pod uid, unit label.
fn describe(line: &str) -> (Option<String>, Option<String>, Option<String>) {
    let Some(owner) = CgroupOwner::of_path(path(line)) else {
        return (None, None, None);
    };
    let container = owner.container.map(|container| match container {
        Container::Oci { id, maker } => {
            let user = maker
                .user
                .map_or(String::new(), |user| format!(" of {user}"));
            format!("{} {id}{user}", maker.runtime.map_or("?", Runtime::name))
        }
        Container::Machine { name } => name,
    });
    (
        container,
        owner.pod_uid,
        owner.unit.map(|unit| unit.label()),
    )
}

fn check(cases: &[(&str, &str, Expected<'_>)]) {
    for (layout, line, (container, pod, unit)) in cases {
        let (is_container, is_pod, is_unit) = describe(line);
        assert_eq!(
            (
                is_container.as_deref(),
                is_pod.as_deref(),
                is_unit.as_deref()
            ),
            (*container, *pod, *unit),
            "{layout}: {line}"
        );
    }
}

/// Docker, podman, containerd without Kubernetes: both cgroup versions, both drivers.
#[test]
fn engines() {
    check(&[
        (
            "Docker, cgroupfs, v1",
            "4:memory:/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860",
            (
                Some("docker 3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"),
                None,
                None,
            ),
        ),
        (
            "Docker, systemd, v1",
            "8:memory:/system.slice/docker-9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d.scope",
            (
                Some("docker 9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d"),
                None,
                None,
            ),
        ),
        (
            "Docker, systemd, v2",
            "0::/system.slice/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope",
            (
                Some("docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411"),
                None,
                None,
            ),
        ),
        (
            "Docker, rootless, v2",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope",
            (
                Some(
                    "docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411 of 1000",
                ),
                None,
                None,
            ),
        ),
        (
            "Docker, cgroupfs with --cgroup-parent, v1",
            "4:memory:/4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970",
            (
                Some("? 4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"),
                None,
                None,
            ),
        ),
        (
            "Docker's daemon itself",
            "0::/system.slice/docker.service",
            (None, None, Some("docker.service")),
        ),
        (
            "ECS task, v1",
            "8:memory:/ecs/haissam-ecs-classic/5a0d5ceddf6c44c1928d367a815d890f/38fac3e99302b3622be089dd41e7ccf38aff368a86cc339972075136ee2710ce",
            (
                Some("? 38fac3e99302b3622be089dd41e7ccf38aff368a86cc339972075136ee2710ce"),
                None,
                None,
            ),
        ),
        (
            "podman, cgroupfs, v1",
            "4:memory:/libpod_parent/libpod-00b78ede55a4d847e53ddfe1e4c1b5498db0175ab22339705883f6b0dc136734",
            (
                Some("podman 00b78ede55a4d847e53ddfe1e4c1b5498db0175ab22339705883f6b0dc136734"),
                None,
                None,
            ),
        ),
        (
            "podman's monitor, cgroupfs, v1",
            "4:memory:/libpod_parent/conmon",
            (None, None, None),
        ),
        (
            "podman, systemd, v2, crun (which adds /container)",
            "0::/machine.slice/libpod-5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3.scope/container",
            (
                Some("podman 5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3"),
                None,
                None,
            ),
        ),
        (
            "podman's monitor, systemd, v2",
            "0::/machine.slice/libpod-conmon-5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3.scope",
            (None, None, None),
        ),
        (
            "podman, rootless, v2",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3.scope/container",
            (
                Some(
                    "podman 5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3 of 1000",
                ),
                None,
                None,
            ),
        ),
        (
            "rootless, and below it what a user calls the sessions of another: they are his own",
            "0::/user.slice/user-1000.slice/user@1000.service/user@0.service/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope",
            (
                Some(
                    "docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411 of 1000",
                ),
                None,
                None,
            ),
        ),
        (
            "rootless, and in it what a user calls another container: it is his own",
            "0::/user.slice/user-1000.slice/user@1000.service/docker-3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860.scope/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope",
            (
                Some(
                    "docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411 of 1000",
                ),
                None,
                None,
            ),
        ),
        (
            "what a service calls the sessions of a user",
            "0::/system.slice/web.service/user@1000.service/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope",
            (
                Some("docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411"),
                None,
                None,
            ),
        ),
        (
            "sessions in a container",
            "0::/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860/user@0.service/libpod-5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3.scope",
            (
                Some("podman 5d476e3704141d03c898fa0d7f81e688c2c64caa5d66fa2b50433ea884b6fdf3"),
                None,
                None,
            ),
        ),
        (
            "podman pod, systemd, v2: the pod's slice has an id too",
            "0::/machine.slice/machine-libpod_pod_ddf44d54b520f0b4469fcd01c3155ca49e6911dc2175471eb3a7b789187a7a89.slice/libpod-1dadda571b14eefb3158a15d0fff7e0089f9dd92f922679ed0116cccdfe8bb0f.scope/container",
            (
                Some("podman 1dadda571b14eefb3158a15d0fff7e0089f9dd92f922679ed0116cccdfe8bb0f"),
                None,
                None,
            ),
        ),
        (
            "podman quadlet (--cgroups=split), v2",
            "0::/system.slice/quadlet-minimal.service/libpod-payload-91c57c2ae87a8d57123bbb3083b3e158b911c4fd485da131f636f83f979b092c",
            (
                Some("podman 91c57c2ae87a8d57123bbb3083b3e158b911c4fd485da131f636f83f979b092c"),
                None,
                Some("quadlet-minimal.service"),
            ),
        ),
        (
            "a quadlet's monitor",
            "0::/system.slice/quadlet-minimal.service/runtime",
            (None, None, Some("quadlet-minimal.service")),
        ),
        (
            "nerdctl, cgroupfs, v1",
            "4:memory:/default/0e768f8db752fcd648adb264498daa1d8f31562320e881d6a9ec593d24b1f779",
            (
                Some("? 0e768f8db752fcd648adb264498daa1d8f31562320e881d6a9ec593d24b1f779"),
                None,
                None,
            ),
        ),
        (
            "nerdctl, systemd, v2",
            "0::/system.slice/nerdctl-0e768f8db752fcd648adb264498daa1d8f31562320e881d6a9ec593d24b1f779.scope",
            (
                Some("containerd 0e768f8db752fcd648adb264498daa1d8f31562320e881d6a9ec593d24b1f779"),
                None,
                None,
            ),
        ),
    ]);
}

/// Kubernetes with containerd, CRI-O and Docker: every class of service, both drivers, both versions, pods made by hand.
#[test]
fn kubernetes() {
    check(&[
        (
            "containerd or Docker, cgroupfs, v1, best effort",
            "9:memory:/kubepods/besteffort/pod3d274242-8ee0-11e9-a8a6-1e68d864ef1a/3e74d3fd9db4c9dd921ae05c2502fb984d0cde1b36e581b13f79c639da4518a1",
            (
                Some("? 3e74d3fd9db4c9dd921ae05c2502fb984d0cde1b36e581b13f79c639da4518a1"),
                Some("3d274242-8ee0-11e9-a8a6-1e68d864ef1a"),
                None,
            ),
        ),
        (
            "the same, guaranteed: no class in the path",
            "9:memory:/kubepods/podc101fead-5fa2-4525-97af-5894973b336e/2b7a2f7fb72575bb50a46d68cceaf43a12a597184714cb33af2f6420f5314293",
            (
                Some("? 2b7a2f7fb72575bb50a46d68cceaf43a12a597184714cb33af2f6420f5314293"),
                Some("c101fead-5fa2-4525-97af-5894973b336e"),
                None,
            ),
        ),
        (
            "containerd, cgroupfs, static pod: its uid is a hash",
            "9:memory:/kubepods/burstable/pod89f4f2cb511c3b0b7e5272cff5ec37bf/823b5a6d9aaa8da5c0ecda3e7cbcd6729673437965dc600ffcb0a2651960f945",
            (
                Some("? 823b5a6d9aaa8da5c0ecda3e7cbcd6729673437965dc600ffcb0a2651960f945"),
                Some("89f4f2cb511c3b0b7e5272cff5ec37bf"),
                None,
            ),
        ),
        (
            "containerd, systemd, v2",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2fc932ce_fdcc_454b_97bd_aadfdeb4c340.slice/cri-containerd-aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9.scope",
            (
                Some("containerd aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9"),
                Some("2fc932ce-fdcc-454b-97bd-aadfdeb4c340"),
                None,
            ),
        ),
        (
            "containerd, systemd, v1, guaranteed",
            "5:memory:/kubepods.slice/kubepods-pod2fc932ce_fdcc_454b_97bd_aadfdeb4c340.slice/cri-containerd-aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9.scope",
            (
                Some("containerd aaefb9d8feed2d453b543f6d928cede7a4dbefa6a0ae7c9b990dd234c56e93b9"),
                Some("2fc932ce-fdcc-454b-97bd-aadfdeb4c340"),
                None,
            ),
        ),
        (
            "containerd on cgroupfs under a kubelet on systemd, v1: containers below the engine's own service",
            "1:name=systemd:/system.slice/containerd.service/kubepods-burstable-pod36b6d6be73b1065af369b3985edafa09.slice:cri-containerd:79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e",
            (
                Some("containerd 79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e"),
                Some("36b6d6be73b1065af369b3985edafa09"),
                None,
            ),
        ),
        (
            "CRI-O, systemd, v1",
            "1:name=systemd:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod90d81341_92de_11e7_8cf2_507b9d4141fa.slice/crio-2227daf62df6694645fee5df53c1f91271546a9560e8600a525690ae252b7f63.scope",
            (
                Some("crio 2227daf62df6694645fee5df53c1f91271546a9560e8600a525690ae252b7f63"),
                Some("90d81341-92de-11e7-8cf2-507b9d4141fa"),
                None,
            ),
        ),
        (
            "CRI-O, systemd, v2, crun (which adds /container)",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2ca4a155_3599_498d_bb9d_4446693fa3ea.slice/crio-358607a37e7ada357032e7f5729c9ae6a3efdb7962acbcbe47ff6a3c5506cb1c.scope/container",
            (
                Some("crio 358607a37e7ada357032e7f5729c9ae6a3efdb7962acbcbe47ff6a3c5506cb1c"),
                Some("2ca4a155-3599-498d-bb9d-4446693fa3ea"),
                None,
            ),
        ),
        (
            "CRI-O, cgroupfs, v1",
            "4:memory:/kubepods/burstable/pod58662905-8ccc-11e7-a695-c85b76cda386/crio-1659f887a192f3515dd9b91a41d274abf29ca49de3d2330869131b2d93b45b94",
            (
                Some("crio 1659f887a192f3515dd9b91a41d274abf29ca49de3d2330869131b2d93b45b94"),
                Some("58662905-8ccc-11e7-a695-c85b76cda386"),
                None,
            ),
        ),
        (
            "CRI-O's monitor: in the pod's slice, in no container",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod207aaad1_659f_4db8_88e0_46e0cdcc3004.slice/crio-conmon-32da98c8522068be05a7510a3eddb09cad6ed2f03286180d0e931d0d0b6224a6.scope",
            (None, None, None),
        ),
        (
            "Docker, systemd, v1",
            "4:memory:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod90d81341_92de_11e7_8cf2_507b9d4141fa.slice/docker-2227daf62df6694645fee5df53c1f91271546a9560e8600a525690ae252b7f63.scope",
            (
                Some("docker 2227daf62df6694645fee5df53c1f91271546a9560e8600a525690ae252b7f63"),
                Some("90d81341-92de-11e7-8cf2-507b9d4141fa"),
                None,
            ),
        ),
        (
            "Docker with mixed drivers, v1",
            "11:memory:/system.slice/docker.service/BestEffort.slice/BestEffort-pod0d33f94b_ab1a_11e6_9e1a_68f7281d8004.slice/0c34bcd7d02f321d0df7aa6ea703285b02abebc9096c5128c14091fc43ea1f3b",
            (
                Some("? 0c34bcd7d02f321d0df7aa6ea703285b02abebc9096c5128c14091fc43ea1f3b"),
                Some("0d33f94b-ab1a-11e6-9e1a-68f7281d8004"),
                None,
            ),
        ),
        (
            "the kubelet",
            "0::/system.slice/kubelet.service",
            (None, None, Some("kubelet.service")),
        ),
    ]);
}

/// Containers in containers: the innermost; the pod around it stays known.
#[test]
fn nested_containers() {
    check(&[
        (
            "kind, v2: a pod in a node in Docker",
            "0::/system.slice/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice/cri-containerd-d7dfb4a21fe1703a8537e60d5af248af729315d187b24a538102d14874c8117d.scope",
            (
                Some("containerd d7dfb4a21fe1703a8537e60d5af248af729315d187b24a538102d14874c8117d"),
                Some("1e597579-417e-482f-bf65-5fe170c3aebd"),
                None,
            ),
        ),
        (
            "kind, v2: the node's own kubelet",
            "0::/system.slice/docker-cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411.scope/kubelet.slice/kubelet.service",
            (
                Some("docker cde7c2bab394630a42d73dc610b9c57415dced996106665d427f6d0566594411"),
                None,
                Some("kubelet.service"),
            ),
        ),
        (
            "minikube with CRI-O in Docker, v1",
            "4:memory:/docker/d6701ec289c56e4391acb11d07474b3139466857a305490575508a8b7a9fcf22/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2ca4a155_3599_498d_bb9d_4446693fa3ea.slice/crio-0ba8ac17e4e7a31fb82279503552fe94e64bab4745bf6fd2ff231e7c8ca8bed0.scope",
            (
                Some("crio 0ba8ac17e4e7a31fb82279503552fe94e64bab4745bf6fd2ff231e7c8ca8bed0"),
                Some("2ca4a155-3599-498d-bb9d-4446693fa3ea"),
                None,
            ),
        ),
        (
            "Docker in Docker in a pod, v1",
            "4:memory:/kubepods/burstable/podc101fead-5fa2-4525-97af-5894973b336e/2b7a2f7fb72575bb50a46d68cceaf43a12a597184714cb33af2f6420f5314293/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860",
            (
                Some("docker 3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"),
                Some("c101fead-5fa2-4525-97af-5894973b336e"),
                None,
            ),
        ),
        (
            "systemd in Docker: its manager and a service of it",
            "0::/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860/init.scope",
            (
                Some("docker 3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"),
                None,
                None,
            ),
        ),
        (
            "",
            "0::/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860/system.slice/nginx.service",
            (
                Some("docker 3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"),
                None,
                Some("nginx.service"),
            ),
        ),
        (
            "runc below a container, not a container's id",
            "1:name=systemd:/docker/051e2ee0bce99116029a13df4a9e943137f19f957f38ac02d6bad96f9b700f76/not_hex",
            (
                Some("docker 051e2ee0bce99116029a13df4a9e943137f19f957f38ac02d6bad96f9b700f76"),
                None,
                None,
            ),
        ),
    ]);
}

/// LXC and systemd-machined: known by name, their services not taken for the host's.
#[test]
fn machines() {
    check(&[
        (
            "LXC 4.0, v1",
            "2:memory:/lxc.payload/example/init.scope",
            (Some("example"), None, None),
        ),
        (
            "LXC 5, LXD, Incus, v2",
            "0::/lxc.payload.web1/system.slice/nginx.service",
            (Some("web1"), None, Some("nginx.service")),
        ),
        ("LXC's monitor", "0::/lxc.monitor.web1", (None, None, None)),
        (
            "LXC 3, v1",
            "3:memory:/lxc/deloittedigi/system.slice/php7.1-fpm.service",
            (Some("deloittedigi"), None, Some("php7.1-fpm.service")),
        ),
        (
            "Proxmox, v2",
            "0::/lxc/101/ns/init.scope",
            (Some("101"), None, None),
        ),
        (
            "Docker in LXC",
            "0::/lxc.payload.ci/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860",
            (
                Some("docker 3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860"),
                None,
                None,
            ),
        ),
        (
            "systemd-nspawn by machinectl: a service of the host",
            "0::/machine.slice/systemd-nspawn@debian.service/payload/system.slice/cron.service",
            (None, None, Some("systemd-nspawn@debian.service")),
        ),
        (
            "systemd-nspawn by hand",
            r"0::/machine.slice/machine-my\x2dbox.scope/payload/system.slice/cron.service",
            (Some("my-box"), None, Some("cron.service")),
        ),
        (
            "libvirt",
            r"0::/machine.slice/machine-qemu\x2d1\x2dwindows.scope/libvirt/emulator",
            (Some("qemu-1-windows"), None, None),
        ),
    ]);
}

/// systemd on the host: services own, and slices that are made for something; sessions, managers, scopes and systemd's own slices do not.
#[test]
fn systemd() {
    check(&[
        (
            "service",
            "0::/system.slice/nginx.service",
            (None, None, Some("nginx.service")),
        ),
        (
            "v1",
            "4:memory:/system.slice/ssh.service",
            (None, None, Some("ssh.service")),
        ),
        (
            "instance",
            "0::/system.slice/system-getty.slice/getty@tty1.service",
            (None, None, Some("getty@tty1.service")),
        ),
        (
            "escaped",
            r"0::/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-1A2B.service",
            (
                None,
                None,
                Some("systemd-fsck@dev-disk-by-uuid-1A2B.service"),
            ),
        ),
        (
            "group of its own",
            "0::/system.slice/systemd-udevd.service/udev",
            (None, None, Some("systemd-udevd.service")),
        ),
        (
            "service in a service",
            "0::/system.slice/ci.service/app/sshd.service",
            (None, None, Some("ci.service")),
        ),
        (
            "user's service",
            "0::/user.slice/user-1000.slice/user@1000.service/session.slice/org.gnome.Shell@wayland.service",
            (
                None,
                None,
                Some("user@1000.service/org.gnome.Shell@wayland.service"),
            ),
        ),
        (
            "not a user's manager",
            "0::/user.slice/user-1000.slice/user-runtime-dir@1000.service",
            (None, None, Some("user-runtime-dir@1000.service")),
        ),
        (
            "user's manager",
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
            (None, None, None),
        ),
        (
            "its bare group",
            "0::/user.slice/user-1000.slice/user@1000.service",
            (None, None, None),
        ),
        (
            "user's application",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-123.scope",
            (None, None, None),
        ),
        (
            "session",
            "0::/user.slice/user-1000.slice/session-67.scope",
            (None, None, None),
        ),
        (
            "group below a session",
            "9:memory:/user.slice/user-1000.slice/session-67.scope/test",
            (None, None, None),
        ),
        ("init", "0::/init.scope", (None, None, None)),
        ("slice", "0::/system.slice", (None, None, None)),
        (
            "slice of its own",
            "0::/batch.slice",
            (None, None, Some("batch.slice")),
        ),
        (
            "scope in it",
            "0::/batch.slice/batch-night.slice/run-r5d4a5b7ee6bb4f0fb3a1bdd6d6e6a9ae.scope",
            (None, None, Some("batch-night.slice")),
        ),
        (
            "service in it",
            "0::/batch.slice/report.service",
            (None, None, Some("report.service")),
        ),
        (
            "virtual machine of Proxmox",
            "0::/qemu.slice/100.scope",
            (None, None, Some("qemu.slice")),
        ),
        (
            "a user's own slice",
            "0::/user.slice/user-1000.slice/user@1000.service/batch.slice/run-u1.scope",
            (None, None, None),
        ),
        (
            "monitor in a pod of a kubelet with a slice of its own",
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod207aaad1_659f_4db8_88e0_46e0cdcc3004.slice/crio-conmon-32da98c8522068be05a7510a3eddb09cad6ed2f03286180d0e931d0d0b6224a6.scope",
            (None, None, None),
        ),
        ("root", "0::/", (None, None, None)),
        (
            "outside a private namespace",
            "0::/../../system.slice/nginx.service",
            (None, None, Some("nginx.service")),
        ),
        (
            "removed",
            "0::/user.slice/user-0.slice/session-3.scope (deleted)",
            (None, None, None),
        ),
    ]);
}

/// What is nearly an id or a uid is none.
#[test]
fn near_misses() {
    let id = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
    for path in [
        format!("/docker/{}", &id[1..]),
        format!("/docker/a{id}"),
        format!("/docker/{}", id.to_uppercase()),
        format!("/docker/{id}.slice"),
        format!("/system.slice/var-lib-docker-containers-{id}-mounts-shm.mount"),
        "/lxc.payload.".to_owned(),
        "/machine.slice/machine-.scope".to_owned(),
        "/lxc.payload.\u{1}\n".to_owned(),
    ] {
        assert_eq!(CgroupOwner::of_path(path.as_bytes()), None, "{path}");
    }
    let not_a_pod =
        CgroupOwner::of_path(format!("/podcast/pod3d274242-8ee0-11e9-a8a6/{id}").as_bytes())
            .unwrap();
    assert_eq!(not_a_pod.pod_uid, None);
}

/// Paths built of pieces of real ones, with bytes overwritten at random: no panic, bounded text, no control characters.
#[test]
fn random_paths() {
    let mut random = StdRng::seed_from_u64(3);
    let pieces: [&[u8]; 12] = [
        b"/",
        b"docker-",
        b".scope",
        b".service",
        b"user@1000.service",
        b"lxc.payload.",
        b"machine.slice/machine-",
        b"\\x2d",
        b"3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860",
        b"-pod3d274242_8ee0_11e9_a8a6_1e68d864ef1a",
        b":cri-containerd:",
        b"_",
    ];
    let fits = |text: &str| text.len() <= 300 && !text.contains(char::is_control);
    for _ in 0..20_000 {
        let mut path: Vec<u8> = Vec::new();
        for _ in 0..random.random_range(0..40) {
            path.extend_from_slice(pieces[random.random_range(0..pieces.len())]);
            if random.random_bool(0.2) {
                path.push(random.random());
            }
        }
        let Some(owner) = CgroupOwner::of_path(&path) else {
            continue;
        };
        match &owner.container {
            Some(Container::Oci { id, .. }) => assert!(id.len() == 64 && id.is_ascii()),
            Some(Container::Machine { name }) => assert!(fits(name) && !name.is_empty()),
            None => {}
        }
        if let Some(unit) = &owner.unit {
            assert!(fits(&unit.name) && unit.manager.as_deref().is_none_or(fits));
        }
    }
}
