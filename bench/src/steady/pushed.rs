//! What was pushed: read only after the measurement, which it must not disturb.

use anyhow::Context;
use pprof_proto::pprof::Profile;
use pprof_proto::push::PushRequest;
use prost::Message;

/// A profile larger than this is a failure of its own.
const LARGEST: usize = 16 << 20;

/// Sums over requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushed {
    pub(super) requests: u64,
    /// Of their bodies.
    pub(super) bytes: u64,
    /// CPU time in their profiles, nanoseconds.
    pub(super) cpu_nanos: u64,
    /// Distinct stacks of each profile.
    pub(super) stacks: u64,
    /// Frames of these stacks that are places in code.
    pub(super) frames: u64,
    /// Those with the name of a function.
    pub(super) named: u64,
}

impl Pushed {
    /// Reads the bodies of requests.
    pub(super) fn read(bodies: &[Vec<u8>]) -> anyhow::Result<Pushed> {
        let mut sums = Pushed::default();
        for body in bodies {
            sums.requests += 1;
            sums.bytes += body.len() as u64;
            let request = PushRequest::decode(&**body)?;
            for sample in request.series.iter().flat_map(|series| &series.samples) {
                let profile = pprof_proto::encode::decode(&sample.raw_profile, LARGEST)?;
                sums.add(&profile)
                    .context("a profile was pushed that refers to what it does not define")?;
            }
        }
        Ok(sums)
    }

    fn add(&mut self, profile: &Profile) -> Option<()> {
        for sample in &profile.sample {
            self.stacks += 1;
            self.cpu_nanos += sample.value.first()?.unsigned_abs();
            for id in &sample.location_id {
                let name = name(profile, *id)?;
                // Words on how the walk ended are no places.
                let is_place = name == "[jit]" || !name.starts_with('[');
                self.frames += u64::from(is_place);
                self.named += u64::from(is_place && name != "[jit]" && !name.contains("+0x"));
            }
        }
        Some(())
    }
}

/// The innermost function at a location. The agent numbers all entries from 1.
fn name(profile: &Profile, location: u64) -> Option<&str> {
    let at = |id: u64| usize::try_from(id.checked_sub(1)?).ok();
    let line = profile.location.get(at(location)?)?.line.first()?;
    let function = profile.function.get(at(line.function_id)?)?;
    let name = usize::try_from(function.name).ok()?;
    profile.string_table.get(name).map(String::as_str)
}
