//! Back-pressure by the disk: below a bound nothing more is written, until twice as much is free. The ingest pauses first,
//! the learner's checkpoints at half of its bound; what answers queries writes nothing.

use std::path::Path;

/// Remembers on which side of the reserve the disk is.
#[derive(Debug)]
pub struct DiskGate {
    reserve_bytes: u64,
    is_low: bool,
}

impl DiskGate {
    /// Of the ingest: pauses below the reserve.
    pub fn of_ingest(disk_reserve_bytes: u64) -> Self {
        Self::new(disk_reserve_bytes)
    }

    /// Of the learner's checkpoints: the ingest has paused long before.
    pub fn of_checkpoints(disk_reserve_bytes: u64) -> Self {
        Self::new(disk_reserve_bytes / 2)
    }

    fn new(reserve_bytes: u64) -> Self {
        Self {
            reserve_bytes,
            is_low: false,
        }
    }

    /// Why nothing may be written with this much free, if nothing may.
    pub fn judge(&mut self, free_bytes: u64) -> Option<String> {
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
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
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
    fn checkpoints_pause_after_the_ingest_and_go_on_before_it() {
        let (mut ingest, mut checkpoints) = (DiskGate::of_ingest(100), DiskGate::of_checkpoints(100));
        let mut judge = |free| (ingest.judge(free).is_none(), checkpoints.judge(free).is_none());
        assert_eq!(judge(100), (true, true));
        assert_eq!(judge(60), (false, true));
        assert_eq!(judge(49), (false, false));
        assert_eq!(judge(99), (false, false));
        assert_eq!(judge(100), (false, true));
        assert_eq!(judge(200), (true, true));
    }

    #[test]
    fn no_reserve_never_stops_anything() {
        let mut gate = DiskGate::new(0);
        assert!(gate.judge(0).is_none());
    }
}
