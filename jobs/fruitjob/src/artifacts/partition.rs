//! Cuts a sorted listing into partitions, so that the cut depends on the listing alone and a listing that
//! changes in one place changes the partitions in that place only (content-defined chunking: a cut falls
//! after a path whose hash says so, as in Muthitacharoen et al., LBFS, SOSP 2001).

use sha2::{Digest, Sha256};

/// Images per partition, on average, for a listing of `images`: small sets have enough partitions for every
/// core, large ones partitions that a thread holds in a few megabytes. A power of two, so that it stays the
/// same while a data set grows a little.
pub fn target_len(images: usize) -> usize {
    (images / 32).next_power_of_two().clamp(32, 256)
}

/// From this many images on, [`target_len`] stays as it is.
pub const MANY: usize = 128 * 32 + 32;

/// Cuts sorted paths, given one by one, into runs of `target / 4 ..= target * 2`; the last one may be shorter.
pub struct Cutter {
    target: usize,
    len: usize,
}

impl Cutter {
    /// `target` is a power of two of at least 32.
    pub fn new(target: usize) -> Self {
        Cutter { target, len: 0 }
    }

    /// Whether a partition ends after this path, the next of the listing.
    pub fn ends_after(&mut self, path: &str) -> bool {
        self.len += 1;
        let ends = self.len >= 2 * self.target
            || (self.len >= self.target / 4 && hash(path).is_multiple_of(self.target as u64));
        if ends {
            self.len = 0;
        }
        ends
    }
}

/// A path's place in an order that has nothing to do with its name.
pub(crate) fn hash(path: &str) -> u64 {
    let digest = Sha256::digest(path.as_bytes());
    u64::from_le_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("Apple {}/{i:06}.jpg", i / 100)).collect()
    }

    fn cuts(paths: &[String], target: usize) -> Vec<&[String]> {
        let mut cutter = Cutter::new(target);
        paths.split_inclusive(|path| cutter.ends_after(path)).collect()
    }

    #[test]
    fn covers_everything_once_within_bounds() {
        let paths = paths(10_000);
        let parts = cuts(&paths, 128);
        assert_eq!(parts.concat(), paths);
        for part in &parts[..parts.len() - 1] {
            assert!((32..=256).contains(&part.len()), "{}", part.len());
        }
    }

    #[test]
    fn one_new_path_changes_at_most_a_few_partitions() {
        let before = paths(10_000);
        let mut after = before.clone();
        after.insert(5_000, "Apple 49/004999-new.jpg".into());
        let old = cuts(&before, 128);
        let kept = cuts(&after, 128).into_iter().filter(|p| old.contains(p)).count();
        assert!(old.len() - kept <= 4, "{} of {} partitions changed", old.len() - kept, old.len());
    }

    #[test]
    fn empty_and_single() {
        assert!(cuts(&[], 32).is_empty());
        assert_eq!(cuts(&paths(1), 32).len(), 1);
        assert_eq!(target_len(0), 32);
        assert_eq!(target_len(MANY - 1), 128);
        for many in [MANY, 22_688, 100_000_000] {
            assert_eq!(target_len(many), 256);
        }
    }
}
