//! The regions of AWS, to tell a typo from a place that is out of reach. One that is not here may be a new one: it is
//! asked all the same.

/// Those that have EMR. Source: botocore's endpoints, 2026-11.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Whether we know the region; if not, the one that is spelled most like it.
pub fn known(region: &str) -> Result<(), &'static str> {
    if REGIONS.contains(&region) {
        return Ok(());
    }
    let like = REGIONS.iter().min_by_key(|known| strsim::damerau_levenshtein(region, known));
    Err(like.expect("there are regions"))
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
}
