//! Registers and stacks of a process as the kernel hands them out, by perf_event_open(2): what `perf record --call-graph
//! dwarf` works from.

use super::moment::Moment;
use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};

/// Most that the kernel copies of a stack.
const STACK_BYTES: u32 = 65_528;
const RING_BYTES: usize = 32 << 20;
/// Bits of the sample's register mask, which say how the values are ordered, too: PERF_REG_X86_BP, _SP and _IP.
const BP: u64 = 1 << 6;
const SP: u64 = 1 << 7;
const IP: u64 = 1 << 8;

/// Captures moments of one thread.
pub(super) struct Camera(Sampler);

impl Camera {
    /// Of the thread `tid`, so many times a second of its CPU time.
    pub(super) fn on(tid: u32, hertz: u64) -> Camera {
        let builder = &mut Builder::new(Software::CPU_CLOCK);
        let event = builder
            .observe_pid(i32::try_from(tid).unwrap())
            .any_cpu()
            .exclude_kernel(false)
            .sample_frequency(hertz)
            .sample(SampleFlag::REGS_USER | SampleFlag::STACK_USER)
            .sample_regs_user(BP | SP | IP)
            .sample_stack_user(STACK_BYTES)
            .enabled(true);
        Camera(event.build().unwrap().sampled(RING_BYTES).unwrap())
    }

    /// What has been captured since.
    pub(super) fn develop(&mut self) -> Vec<Moment> {
        let mut moments = Vec::new();
        while let Some(record) = self.0.next_record() {
            moments.extend(moment(&record));
        }
        moments
    }
}

/// Nothing if it is no sample, or one without a user part.
fn moment(record: &perf_event::Record<'_>) -> Option<Moment> {
    let perf_event::data::Record::Sample(sample) = record.parse_record().ok()? else {
        return None;
    };
    let [bp, sp, ip] = sample.regs_user()?.regs.as_ref().try_into().ok()?;
    Some(Moment {
        ip,
        sp,
        bp,
        stack: sample.stack_user()?.to_vec(),
    })
}
