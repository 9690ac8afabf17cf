//! How many files the process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not for callers: listeners, the log, the write-ahead log, adapters, Google, idle upstreams.
const RESERVED: u64 = 512;

/// Raises the soft limit on open files to the hard one, and says how many connections of callers there may be: not
/// more than wanted, and so few that a quarter of the files is left for connections to upstreams, which idle callers do
/// not need.
pub(super) fn connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = if raised.is_ok() { maximum } else { current };
    let possible = possible(files);
    if possible < wanted {
        log::info!(
            "this process may open {} files, so it takes {possible} connections of callers, not {wanted} (limits.connections)",
            files.unwrap_or(u64::MAX)
        );
    }
    possible.min(wanted)
}

fn possible(files: Option<u64>) -> usize {
    let Some(files) = files else { return usize::MAX };
    // At least one: a gateway that accepts nobody would seem to work.
    usize::try_from(files.saturating_sub(RESERVED) / 4 * 3).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_upstreams() {
        assert_eq!(possible(Some(1024)), 384);
        assert_eq!(possible(Some(100)), 1);
        assert_eq!(possible(None), usize::MAX);
    }
}
