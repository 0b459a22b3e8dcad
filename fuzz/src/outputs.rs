//! What generators write, for every generator of the examples and every question.

use std::sync::OnceLock;

use contentd::generator::Job;
use contentd::generator::call::{CallEnd, CallResult};

use crate::cases::{Base, bases, job};
use crate::cut;
use crate::oracle::told;

/// The first byte names generator and question, the second how the call ended; then come both streams with 0xff between.
pub fn output(data: &[u8]) {
    static BASES: OnceLock<(Vec<Base>, Job)> = OnceLock::new();
    let (bases, job) = BASES.get_or_init(|| (bases(), job()));
    let [which, end, streams @ ..] = data else { return };
    let base = &bases[usize::from(*which) % bases.len()];
    let (stdout, stderr) = cut(streams, 0xff);
    let is_truncated = end & 0x80 != 0;
    let end = match end & 0x7f {
        0x70 => CallEnd::TimedOut,
        0x71 => CallEnd::Signalled(9),
        0x72 => CallEnd::NotStarted("no such program".to_owned()),
        status => CallEnd::Exited(i32::from(status)),
    };
    let call = CallResult { end, stdout: stdout.to_vec(), stderr: stderr.to_vec(), is_truncated };
    let told = told(&base.subject, base.question, job, &call);
    let expected = base.subject.expected(base.question, job, &call);
    assert!(told == expected, "{}: taken for {told:?}, and it says {expected:?}", base.name);
}
