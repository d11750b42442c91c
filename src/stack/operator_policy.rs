//! The policies of those who run fruitctl, and the boundary of the roles that it makes: rendered from templates, and
//! tested by running the commands under exactly them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::names::Names;
use super::resources::{bucket, roles};
use crate::aws::s3_uri::S3Uri;
use crate::bundle;
use crate::config::Config;

/// Characters of a managed policy at most, white space not counted; a role's inline policies may have 10,240.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.
pub const LONGEST: usize = 6_144;

/// What `run`, `upload`, `prune` and all commands that only look need.
pub fn run(names: &Names, config: &Config) -> Value {
    let mut document = fill(bundle::RUN_POLICY, names, config);
    let own = bucket::Spec::new(names, &config.bucket).name;
    let ours = format!("/fruitctl-{}-{}-", names.project, names.region);
    let statements = statements(&mut document);
    if config.cluster.image.is_none() {
        for statement in statements.iter_mut().filter(|s| s["Sid"] == "LookAround") {
            statement["Action"]
                .as_array_mut()
                .expect("a list")
                .retain(|action| action != "ec2:DescribeImages");
        }
    }
    for statement in statements.iter_mut().filter(|s| s["Sid"] == "LookAtRoles") {
        // Roles of our names are looked at by a pattern, so that `down` finds those that were made before [roles] was set.
        statement["Resource"].as_array_mut().expect("a list").retain(|arn| {
            let arn = arn.as_str().unwrap_or_default();
            arn.ends_with('*') || !arn.contains(&ours)
        });
    }
    // Images go up to input, and are deleted there (upload --delete); results are looked at in output, and what no run asks
    // for again is deleted there (prune); wherever they are.
    let places = [
        (&config.job.input, "Input", &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"][..]),
        (&config.job.output, "Output", &["s3:GetObject", "s3:DeleteObject"]),
    ];
    for (place, sid, actions) in places {
        if let Some(at) = place.as_deref().and_then(S3Uri::parse).filter(|at| at.bucket != own) {
            statements.extend(roles::access(&at.bucket, &at.key, sid, actions));
        }
    }
    // Where runs are told to go by options.
    let (read, write) = (&config.places.read, &config.places.write);
    let read = read.iter().map(|uri| (uri, "Read", &["s3:GetObject"][..]));
    let write = write.iter().map(|uri| (uri, "Write", &["s3:GetObject", "s3:DeleteObject"][..]));
    for (number, (uri, sid, actions)) in read.chain(write).enumerate() {
        if let Some(at) = S3Uri::parse(uri).filter(|at| at.bucket != own) {
            statements.extend(roles::access(&at.bucket, &at.key, &format!("{sid}{number}"), actions));
        }
    }
    statements.extend(roles::keys(names, config));
    number(statements);
    document
}

/// What `up` and `down` need beside [`run`].
pub fn setup(names: &Names, config: &Config) -> Value {
    let mut document = fill(bundle::SETUP_POLICY, names, config);
    // Roles of somebody else's making are looked at and handed on, never changed.
    let arn = |name: String| format!("arn:aws:iam::{}:role/{name}", names.account);
    let made: Vec<String> = [
        config.roles.service.is_none().then(|| arn(names.service_role())),
        config.roles.node.is_none().then(|| arn(names.node_role())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let statements = statements(&mut document);
    statements.retain(|s| match s["Sid"].as_str() {
        Some("MakeRoles" | "ChangeRoles" | "SeeBoundary") => !made.is_empty(),
        Some("MakeProfile" | "PutRoleIntoProfile") => config.roles.node.is_none(),
        Some("AttachPolicies") => config.roles.node.is_none() && !config.roles.node_policies.is_empty(),
        _ => true,
    });
    for statement in statements.iter_mut() {
        match statement["Sid"].as_str() {
            Some("MakeRoles" | "ChangeRoles") => statement["Resource"] = json!(made),
            // Those that are configured, and no others.
            Some("AttachPolicies") => {
                statement["Condition"]["ArnEquals"] = json!({ "iam:PolicyARN": config.roles.node_policies });
            }
            _ => {}
        }
    }
    document
}

/// Both, in one document.
pub fn all(names: &Names, config: &Config) -> Value {
    let (mut document, mut more) = (run(names, config), setup(names, config));
    statements(&mut document).append(statements(&mut more));
    document
}

/// What `sweep --project` needs.
pub fn sweep(names: &Names, config: &Config) -> Value {
    fill(bundle::SWEEP_POLICY, names, config)
}

/// What no role of the project may exceed: what the service role and the node role may do, in fewer words.
pub fn boundary(names: &Names, config: &Config) -> Value {
    let mut document = fill(bundle::BOUNDARY, names, config);
    let bucket = bucket::Spec::new(names, &config.bucket);
    let service = roles::Spec::service(names, config);
    let node = roles::Spec::node(names, config, &bucket);
    // What the template has in fewer words.
    let shortened = ["Look", "List", "Read", "Write", "Delete"];
    let all = service.statements().chain(node.statements());
    let rest = all.filter(|s| !shortened.contains(&s["Sid"].as_str().unwrap_or_default()));
    statements(&mut document).extend(rest.cloned());
    number(statements(&mut document));
    document
}

/// Gives statements of one name numbers, for no two of a document may have the same.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html>.
fn number(statements: &mut [Value]) {
    let mut seen = BTreeMap::<String, u32>::new();
    for statement in statements {
        let Some(name) = statement["Sid"].as_str().map(str::to_owned) else { continue };
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            statement["Sid"] = json!(format!("{name}{count}"));
        }
    }
}

/// The characters of a document that IAM counts.
pub fn length(document: &Value) -> usize {
    document.to_string().chars().filter(|c| !c.is_whitespace()).count()
}

fn fill(template: &str, names: &Names, config: &Config) -> Value {
    let bucket = config.bucket.name.clone().unwrap_or_else(|| names.bucket());
    let service = config.roles.service.clone().unwrap_or_else(|| names.service_role());
    let node = config.roles.node.clone().unwrap_or_else(|| names.node_role());
    let more = [
        ("bucket", bucket.as_str()),
        ("service_role", &service),
        ("node_role", &node),
        ("boundary", &roles::boundary(names, config)),
    ];
    roles::render(template, names, &more)
}

fn statements(document: &mut Value) -> &mut Vec<Value> {
    document["Statement"].as_array_mut().expect("the templates have statements")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::aws::Tags;

    /// The longest names: of the project and its region, of three buckets, of two keys, and of a policy of nodes.
    #[test]
    fn each_policy_fits_a_managed_one() {
        let [input, output, model] = ["i", "o", "m"].map(|c| c.repeat(63));
        let text = format!(
            "[bucket]\nname = \"{}\"\nkms_key = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\n[job]\ninput = \
             \"s3://{input}/photos/Training\"\noutput = \"s3://{output}/vectors/nightly\"\nmodel = \
             \"s3://{model}/models/mobilenet.onnx\"\n[cluster]\nimage = \"ami-0123456789abcdef0\"\n[places]\nkeys = \
             [\"arn:aws:kms:ap-southeast-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab\"]\n[roles]\nnode_policies \
             = [\"arn:aws:iam::123456789012:policy/{}\"]\n",
            "b".repeat(63),
            "p".repeat(128)
        );
        let config = Config::parse(&text, Path::new("f.toml")).unwrap();
        let names = Names {
            project: "a".repeat(20),
            region: "ap-southeast-1".into(),
            account: "123456789012".into(),
            more_tags: Tags::new(),
        };
        for (name, policy) in [
            ("run", run(&names, &config)),
            ("setup", setup(&names, &config)),
            ("sweep", sweep(&names, &config)),
            ("boundary", boundary(&names, &config)),
        ] {
            let names: Vec<_> =
                policy["Statement"].as_array().unwrap().iter().map(|s| s["Sid"].as_str()).collect();
            assert!(
                names.iter().all(|name| names.iter().filter(|n| *n == name).count() == 1),
                "{name}: {names:?}"
            );
            let length = length(&policy);
            println!("{name}: {length}");
            assert!(length <= LONGEST, "{name}: {length}");
        }
        // As one inline policy of a role.
        assert!(length(&all(&names, &config)) <= 10_240);
    }
}
