//! What a release or a region lacks, and what sizes EMR takes: refused before anything is made or paid for.

use fruitjob_interface::EngineKind;

use crate::config::{ClusterConfig, Config};
use crate::error::{Error, Result};
use crate::facts::{FACTS, Feature, Lack, Release};

/// Fails if the release cannot do here what is configured.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage), with what can.
pub fn check(config: &Config, region: &str) -> Result<()> {
    let cluster = &config.cluster;
    let Some(release) = Release::parse(&cluster.release) else {
        return Err(Error::usage(format!(
            "'{}' is no EMR release; they are called like emr-7.13.0",
            cluster.release
        ))
        .help("correct [cluster] in fruitctl.toml"));
    };
    let features = &FACTS.features;
    let always = [
        (&features.imdsv2, "cannot require IMDSv2, which fruitctl's clusters do: they would fail to start"),
        (&features.step_cancellation, "cannot cancel a running step, so a run could not be stopped"),
    ];
    for (feature, what) in always {
        if let Some(have) = feature.lacked_by(release) {
            return refusal(release, what, &have, "set release under [cluster] in fruitctl.toml", feature);
        }
    }
    if cluster.uses_fleets()
        && let Some(have) = features.allocation_strategies.lacked_by(release)
    {
        let what = "cannot choose among several instance types or Spot's pools";
        return refusal(release, what, &have, "name one type a role", &features.allocation_strategies);
    }
    if cluster.managed_scaling.is_some() {
        lacked(
            &features.managed_scaling,
            release,
            region,
            "managed scaling",
            "leave [cluster.managed_scaling] out of fruitctl.toml",
        )?;
    }
    if cluster.idle_minutes > 0 {
        let remedy = "set idle_minutes = 0 under [cluster] in fruitctl.toml; \
                      'fruitctl down' ends it, and 'fruitctl sweep' after max_hours";
        lacked(&features.auto_termination, release, region, "an end to idle clusters", remedy)?;
        look_busy(config, release)?;
    }
    check_types(cluster)?;
    check_root(cluster, release)
}

fn check_types(cluster: &ClusterConfig) -> Result<()> {
    let bounds = &FACTS.bounds.fleet_types;
    for nodes in [Some(&cluster.primary), Some(&cluster.core), cluster.task.as_ref()].into_iter().flatten() {
        let (most, of) = if nodes.spot {
            (bounds.spot, "Spot instances")
        } else {
            (bounds.on_demand, "on-demand instances")
        };
        if nodes.types.len() > most {
            return Err(Error::usage(format!(
                "{} types ({}): a fleet of {of} has {most} at most",
                nodes.types.len(),
                nodes.types.join(", ")
            ))
            .help(format!("name fewer types under [cluster] in fruitctl.toml; see {}", bounds.source)));
        }
    }
    Ok(())
}

/// Fails if EMR would take a step of ours for idleness: one that YARN does not run, and that cannot tell that it works.
fn look_busy(config: &Config, release: Release) -> Result<()> {
    let feature = &FACTS.features.busy_file;
    match feature.lacked_by(release) {
        Some(have) if config.job.engine != Some(EngineKind::Spark) => {
            let what = format!(
                "counts nothing but YARN's as work, and would end the cluster after {} minutes of a step",
                config.cluster.idle_minutes
            );
            let remedy =
                "set idle_minutes = 0 under [cluster] in fruitctl.toml, or engine = \"spark\" under [job]";
            refusal(release, &what, &have, remedy, feature)
        }
        _ => Ok(()),
    }
}

fn check_root(cluster: &ClusterConfig, release: Release) -> Result<()> {
    let bound = &FACTS.bounds.root_gb;
    let least = bound.least_of(release);
    if cluster.root_gb < least {
        return Err(Error::usage(format!(
            "root_gb is {}, and the root volume of {release} has {least} GiB at least",
            cluster.root_gb
        ))
        .help(format!("correct root_gb under [cluster] in fruitctl.toml; see {}", bound.source)));
    }
    Ok(())
}

/// Fails if a feature is not in the release, or not here.
fn lacked(feature: &Feature, release: Release, region: &str, what: &str, remedy: &str) -> Result<()> {
    match feature.lacked(release, region) {
        None => Ok(()),
        Some(Lack::Release(have)) => refusal(release, &format!("has not {what}"), &have, remedy, feature),
        Some(Lack::Region) => {
            Err(Error::usage(format!("EMR has not {what} in {region}, as of {}", FACTS.as_of))
                .help(format!("{remedy}; see {}", feature.source)))
        }
    }
}

fn refusal(release: Release, what: &str, have: &str, remedy: &str, feature: &Feature) -> Result<()> {
    Err(Error::usage(format!("{release} {what}: that needs {have}"))
        .help(format!("{remedy}; see {}", feature.source)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str, region: &str) -> Option<String> {
        let config = Config::parse(text, Path::new("f.toml")).unwrap();
        super::check(&config, region).err().map(|error| error.to_string())
    }

    #[test]
    fn what_a_release_or_a_region_lacks_is_refused() {
        for (cluster, more, region, words) in [
            ("release = \"7.13\"", "", "eu-west-3", "emr-7.13.0"),
            ("release = \"emr-6.1.0\"", "", "eu-west-3", "emr-6.2.0 and later"),
            ("release = \"emr-5.31.0\"", "", "eu-west-3", "emr-5.32.0 and later 5.x"),
            ("release = \"emr-5.27.1\"", "", "eu-west-3", "cannot cancel a running step"),
            ("release = \"emr-6.3.0\"", "", "eu-west-3", "after 30 minutes of a step: that needs"),
            ("release = \"emr-6.3.0\"", "[job]\nengine = \"auto\"\n", "eu-west-3", "engine = \"spark\""),
            ("release = \"emr-6.13.0\"", "", "eu-south-2", "that needs emr-6.14.0 and later in eu-south-2"),
            ("", "", "me-south-1", "has not an end to idle clusters in me-south-1"),
            (
                "idle_minutes = 0",
                "[cluster.managed_scaling]\nmin = 1\nmax = 2\n",
                "me-south-1",
                "has not managed scaling in me-south-1",
            ),
            ("root_gb = 12", "", "eu-west-3", "root_gb is 12, and the root volume of emr-7.13.0 has 15 GiB"),
        ] {
            let text = format!("[cluster]\n{cluster}\n{more}");
            let message = check(&text, region).unwrap_or_else(|| panic!("{text} in {region} is taken"));
            assert!(message.contains(words) && message.contains("next:"), "{text}: {message}");
        }
    }

    #[test]
    fn a_fleet_has_so_many_types() {
        let with = |count: usize, spot: bool| {
            let types: Vec<_> = (0..count).map(|n| format!("m{n}.xlarge")).collect();
            check(&format!("[cluster.task]\ntypes = {types:?}\nspot = {spot}\n"), "eu-west-3")
        };
        assert_eq!((with(5, false), with(30, true)), (None, None));
        assert!(with(6, false).unwrap().contains("a fleet of on-demand instances has 5 at most"));
        assert!(with(31, true).unwrap().contains("a fleet of Spot instances has 30 at most"));
    }

    #[test]
    fn what_it_has_is_not() {
        for (cluster, more, region) in [
            ("", "", "eu-west-3"),
            ("", "", "eu-south-2"),
            ("", "", "eu-west-9"),
            ("release = \"emr-5.36.2\"\nroot_gb = 12", "", "eu-west-3"),
            ("release = \"emr-6.3.0\"\nidle_minutes = 0", "", "eu-west-3"),
            ("release = \"emr-6.3.0\"", "[job]\nengine = \"spark\"\n", "eu-west-3"),
            ("idle_minutes = 0", "", "me-south-1"),
            ("release = \"emr-99.0.0\"", "", "eu-west-3"),
        ] {
            assert_eq!(
                check(&format!("[cluster]\n{cluster}\n{more}"), region),
                None,
                "{cluster} in {region}"
            );
        }
    }
}
