//! The codes the program ends with. They are part of its interface and don't change.

use crate::verdict::Summary;

/// All that was asserted holds.
pub const OK: u8 = 0;

/// Something asserted doesn't hold, or the evidence was inconclusive.
pub const FAILED: u8 = 1;

/// Wrong use: arguments, or files that are wrong. Nothing was built.
pub const USAGE: u8 = 2;

/// The host can't: every case that was to run was skipped for what the host lacks. The message names it and the remedy.
pub const HOST: u8 = 3;

/// The harness itself erred.
pub const HARNESS: u8 = 4;

/// Interrupted (Ctrl-C): 128 and SIGINT's number, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Told to end (SIGTERM): 128 and its number.
pub const TERMINATED: u8 = 143;

/// Nobody read the output to its end (`underlay … | head`): 128 and SIGPIPE's number.
pub const UNREAD: u8 = 141;

/// The code of a finished run.
///
/// An error of the harness comes first, since it casts doubt on all else; then what doesn't hold. A run that skipped
/// some cases and passed the others is a pass; one in which nothing ran at all is not.
pub fn of_run(summary: &Summary) -> u8 {
    if summary.error > 0 {
        HARNESS
    } else if summary.fail + summary.inconclusive > 0 {
        FAILED
    } else if summary.pass == 0 && summary.skip > 0 {
        HOST
    } else {
        OK
    }
}
