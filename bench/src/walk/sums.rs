//! What kernel programs that only walk say they have walked: `struct frames` of `frames.h`.

use crate::capture::Sums;
use anyhow::bail;
use libbpf_rs::{MapCore, MapFlags};

/// Samples, user and kernel frames, summed over CPUs.
pub(crate) fn read(map: &impl MapCore) -> anyhow::Result<Sums> {
    let mut sums = Sums::default();
    let cpus = map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?;
    for cpu in cpus.iter().flatten() {
        let (words, _) = cpu.as_chunks::<8>();
        let [samples, user, kernel] = *words else {
            bail!("the sums of a CPU are {} bytes", cpu.len());
        };
        sums.samples += u64::from_ne_bytes(samples);
        sums.user_frames += u64::from_ne_bytes(user);
        sums.kernel_frames += u64::from_ne_bytes(kernel);
    }
    Ok(sums)
}
