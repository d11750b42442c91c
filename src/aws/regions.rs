//! The regions of AWS, to tell a typo from a place that is out of reach, and what was never tried from what was. One that
//! is not known may be a new one: it is asked all the same.

use crate::error::{Error, Result};
use crate::facts::FACTS;

/// Whether we know the region; if not, the one that is spelled most like it.
pub fn known(region: &str) -> Result<(), &'static str> {
    let regions = &FACTS.regions.known;
    if regions.iter().any(|known| known == region) {
        return Ok(());
    }
    let like = regions.iter().min_by_key(|known| strsim::damerau_levenshtein(region, known));
    Err(like.expect("there are regions"))
}

/// Fails for a region of another partition than `aws`. Its ARNs begin otherwise, and the policies that we write would name
/// nothing there.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage).
pub fn tried(region: &str, from: &str) -> Result<()> {
    let Some(partition) = FACTS.regions.other_partition(region) else { return Ok(()) };
    Err(Error::usage(format!(
        "region {region} (from {from}) is in the partition {partition}, where fruitctl was never tried: \
         the policies that it writes name ARNs of the partition aws"
    ))
    .help(format!("choose a region of the partition aws: {}", FACTS.regions.known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_told_from_a_region() {
        assert_eq!(known("eu-west-3"), Ok(()));
        assert_eq!(known("eu-west-33"), Err("eu-west-3"));
        assert_eq!(known("us-est-1"), Err("us-east-1"));
    }

    #[test]
    fn other_partitions_are_refused() {
        for (region, partition) in [
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            let error = tried(region, "--region").unwrap_err();
            assert_eq!(error.kind, crate::error::Kind::Usage);
            let message = error.to_string();
            assert!(message.contains(&format!("partition {partition},")), "{message}");
            assert!(message.contains("eu-west-3, il-central-1"), "{message}");
        }
        assert!(tried("eu-west-3", "--region").is_ok() && tried("eu-west-9", "--region").is_ok());
    }
}
