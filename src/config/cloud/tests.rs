//! What may stand in the sections about AWS, and how what may not is told.

use super::*;

#[test]
fn port_22_is_never_open_to_the_world() {
    for (text, cidr) in [
        ("203.0.113.7", "203.0.113.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("2001:DB8:0:1::7/64", "2001:db8:0:1::/64"),
    ] {
        assert_eq!(text.parse(), Ok(SshCidr::Ranges(vec![cidr.into()])));
    }
    let two = "203.0.113.7, 198.51.100.0/24".parse();
    assert_eq!(two, Ok(SshCidr::Ranges(vec!["203.0.113.7/32".into(), "198.51.100.0/24".into()])));
    assert!("203.0.113.7,0.0.0.0/0".parse::<SshCidr>().is_err() && ",".parse::<SshCidr>().is_err());
    assert_eq!("auto".parse(), Ok(SshCidr::Auto));
    for wrong in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "0.0.0.0/7", "1.2.3.4/33", "1.2.3", "home"] {
        assert!(wrong.parse::<SshCidr>().is_err(), "{wrong}");
    }
}

fn error(text: &str) -> Option<String> {
    let parsed = crate::config::Config::parse(text, std::path::Path::new("f.toml"));
    parsed.err().map(|error| error.to_string())
}

#[test]
fn sizes_are_what_emr_takes() {
    for (key, value, words) in [
        ("ebs_gb", 9, "f.toml:2:10: 9 GiB: it is from 10 to 1024"),
        ("ebs_gb", 1025, "f.toml:2:10: 1025 GiB"),
        ("root_gb", 9, "f.toml:2:11: 9 GiB: it is from 10 to 100"),
        ("root_gb", 101, "f.toml:2:11: 101 GiB"),
    ] {
        let message = error(&format!("[cluster]\n{key} = {value}\n")).unwrap();
        assert!(message.starts_with(words), "{message}");
    }
    for (key, value) in [("ebs_gb", 10), ("ebs_gb", 1024), ("root_gb", 10), ("root_gb", 100)] {
        assert_eq!(error(&format!("[cluster]\n{key} = {value}\n")), None);
    }
}

#[test]
fn a_role_is_its_name() {
    for arn in
        ["arn:aws:iam::123456789012:role/emr/nodes", "arn:aws:iam::123456789012:instance-profile/nodes"]
    {
        let message = error(&format!("[roles]\nnode = \"{arn}\"\n")).unwrap();
        assert!(message.starts_with("f.toml:2:8: ") && message.contains("write \"nodes\""), "{message}");
    }
    assert_eq!(error("[roles]\nservice = \"EMR_DefaultRole_V2\"\n"), None);
}

#[test]
fn what_is_somebody_elses_is_named_in_full() {
    let many: Vec<_> = (0..16).map(|n| format!("sg-{n}")).collect();
    for (text, words) in [
        ("[network]\nprimary_groups = [\"default\"]", "'default' is no security group's id"),
        (&*format!("[network]\nworker_groups = {many:?}"), "16 security groups, of 15 at most"),
        ("[cluster]\nimage = \"amazon-linux\"", "'amazon-linux' is no machine image's id"),
        ("[roles]\nnode_policies = [\"ReadLogs\"]", "named by its ARN"),
        ("[roles]\nnode_policies = [\"arn:aws:iam::123456789012:policy/*\"]", "named by its ARN"),
        (
            "[roles]\nnode = \"theirs\"\nnode_policies = [\"arn:aws:iam::aws:policy/A\"]",
            "'theirs' is yours: attach them",
        ),
        ("[places]\nkeys = [\"alias/ours\"]", "an alias is none"),
        ("[places]\nkeys = [\"arn:aws:kms:eu-west-3:123456789012:alias/ours\"]", "an alias is none"),
        ("[places]\nkeys = [\"arn:aws:kms:eu-west-3:123456789012:key/*\"]", "an alias is none"),
    ] {
        let message = error(&format!("{text}\n")).unwrap_or_default();
        assert!(message.starts_with("f.toml:") && message.contains(words), "{text}: {message}");
    }
    let good = "[network]\nprimary_groups = [\"sg-0123abcd\"]\n[cluster]\nimage = \"ami-0123abcd\"\n[places]\nkeys = \
                [\"arn:aws:kms:eu-west-3:123456789012:key/mrk-1a\"]\n[roles]\nnode_policies = \
                [\"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore\"]\n";
    assert_eq!(error(good), None);
}

#[test]
fn places_are_no_patterns() {
    for place in
        ["photos/in", "s3://", "s3://*", "s3://photos/*", "s3://photos/${aws:username}", "s3://a?c/x"]
    {
        let message = error(&format!("[places]\nread = [\"{place}\"]\n")).unwrap();
        assert!(message.starts_with("f.toml:2:8: ") && message.contains("no place in S3"), "{message}");
    }
    assert_eq!(error("[places]\nread = [\"s3://photos\"]\nwrite = [\"s3://our.vectors/2026/#1\"]\n"), None);
}

#[test]
fn scaling_is_between_bounds() {
    for (min, max) in [(0, 2), (3, 2), (1, 3_000_000_000_u32)] {
        let message = error(&format!("[cluster.managed_scaling]\nmin = {min}\nmax = {max}\n")).unwrap();
        assert!(message.starts_with("f.toml:1:1: managed scaling is from 1 node"), "{message}");
    }
    assert_eq!(error("[cluster.managed_scaling]\nmin = 2\nmax = 2\n"), None);
    assert!(error("[cluster.managed_scaling]\nmin = 2\nmx = 2\n").unwrap().contains("did you mean 'max'"));
}

#[test]
fn tags_are_what_aws_takes() {
    let long = "x".repeat(257);
    for (tag, words) in [
        ("\"\" = \"a\"", "its key has 0 characters"),
        ("\"aws:team\" = \"a\"", "not yours to give"),
        ("\"AWS:team\" = \"a\"", "not yours to give"),
        ("\"fruitctl:project\" = \"a\"", "not yours to give"),
        ("team = \"aws:a\"", "its value begins with aws:"),
        (&format!("{} = \"a\"", &long[..129]), "its key has 129 characters, of 128"),
        (&format!("team = \"{long}\""), "its value has 257 characters, of 256"),
        ("team = \"a;b\"", "its value has a ';'"),
        ("team = \"a\"\nTeam = \"b\"", "there twice, but for its case"),
    ] {
        let message = error(&format!("[aws.tags]\n{tag}\n")).unwrap();
        assert!(message.starts_with("f.toml:1:1: ") && message.contains(words), "{tag}: {message}");
    }
    let many = |count: u32| {
        let tags: String = (0..count).map(|n| format!("tag{n} = \"\"\n")).collect();
        error(&format!("[aws.tags]\n{tags}"))
    };
    assert_eq!(many(46), None);
    assert!(many(47).unwrap().contains("with 4 of fruitctl's own, a resource has 50 at most"));
    assert_eq!(error("[aws.tags]\n\"cost centre\" = \"Früchte 12/3 @x\"\n"), None);
}

#[test]
fn names_fit_into_names() {
    assert!(project_name("fruits-360").is_ok());
    for wrong in ["f", "Fruits", "1fruit", "fruit-", "fruit_s", "a-name-that-is-far-too-long"] {
        assert!(project_name(wrong).is_err(), "{wrong}");
    }
}
