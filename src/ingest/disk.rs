//! Back-pressure by the disk: below the reserve nothing more is taken, until twice as much is free.

use std::path::Path;

/// Remembers on which side of the reserve the disk is.
#[derive(Debug)]
pub(super) struct DiskGate {
    reserve_bytes: u64,
    is_low: bool,
}

impl DiskGate {
    pub(super) fn new(reserve_bytes: u64) -> Self {
        Self {
            reserve_bytes,
            is_low: false,
        }
    }

    /// Why nothing may be taken with this much free, if nothing may.
    pub(super) fn judge(&mut self, free_bytes: u64) -> Option<String> {
        let needed = if self.is_low {
            self.reserve_bytes.saturating_mul(2)
        } else {
            self.reserve_bytes
        };
        self.is_low = free_bytes < needed;
        self.is_low.then(|| {
            format!(
                "the disk has {} MiB free and {} are needed; free some, or lower ingest.disk_reserve_bytes",
                free_bytes >> 20,
                needed.div_ceil(1 << 20)
            )
        })
    }
}

/// Bytes free for us on the disk that holds this folder.
pub(super) fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_stops_below_the_reserve_and_goes_on_at_twice_the_reserve() {
        let mut gate = DiskGate::new(100);
        assert!(gate.judge(100).is_none());
        assert!(gate.judge(99).is_some());
        assert!(gate.judge(150).is_some());
        assert!(gate.judge(200).is_none());
        assert!(gate.judge(150).is_none());
    }

    #[test]
    fn no_reserve_never_stops_anything() {
        let mut gate = DiskGate::new(0);
        assert!(gate.judge(0).is_none());
    }
}
