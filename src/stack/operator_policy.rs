//! The policy that the person or the CI role running fruitctl needs: rendered from a template, and tested by running
//! `up`, `status` and `down` under exactly it.

use serde_json::{Value, json};

use super::names::Names;
use super::resources::roles;
use crate::aws::s3_uri::S3Uri;
use crate::bundle;
use crate::config::Config;

/// The policy document.
pub fn operator(names: &Names, config: &Config) -> Value {
    let bucket = config.bucket.name.clone().unwrap_or_else(|| names.bucket());
    let service = config.roles.service.clone().unwrap_or_else(|| names.service_role());
    let node = config.roles.node.clone().unwrap_or_else(|| names.node_role());
    let mut document = roles::render(
        bundle::OPERATOR,
        names,
        &[("bucket", &bucket), ("service_role", &service), ("node_role", &node)],
    );
    // Roles of somebody else's making are looked at and handed on, never changed.
    let arn = |kind: &str, name: String| format!("arn:aws:iam::{}:{kind}/{name}", names.account);
    let roles: Vec<String> = [
        config.roles.service.is_none().then(|| arn("role", names.service_role())),
        config.roles.node.is_none().then(|| arn("role", names.node_role())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let statements = document["Statement"].as_array_mut().expect("the template has statements");
    statements.retain(|s| match s["Sid"].as_str() {
        Some("MakeRoles") => !roles.is_empty(),
        Some("MakeProfile") => config.roles.node.is_none(),
        _ => true,
    });
    for statement in statements.iter_mut() {
        match statement["Sid"].as_str() {
            Some("MakeRoles") => statement["Resource"] = json!(roles),
            // Ours are among those of our names.
            Some("LookAtRoles") => statement["Resource"].as_array_mut().expect("a list").retain(|arn| {
                let arn = arn.as_str().unwrap_or_default();
                arn.ends_with('*') || !arn.contains(&format!("/fruitctl-{}-{}-", names.project, names.region))
            }),
            _ => {}
        }
    }
    // Images go up to input, and results are looked at in output, wherever they are.
    let places = [
        (&config.job.input, "Input", &["s3:GetObject", "s3:PutObject"][..]),
        (&config.job.output, "Output", &["s3:GetObject"]),
    ];
    for (place, sid, actions) in places {
        if let Some(at) = place.as_deref().and_then(S3Uri::parse).filter(|at| at.bucket != bucket) {
            statements.extend(roles::access(&at.bucket, &at.key, sid, actions));
        }
    }
    document
}
