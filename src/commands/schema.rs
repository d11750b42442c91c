//! `fruitctl schema`: the JSON Schema of what fruitctl reads and of what it writes for programs.

use fruitjob_interface::Event;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::cli::{SchemaArgs, SchemaOf};
use crate::error::Result;
use crate::run::summary::Summary;
use crate::{config, ui};

/// Prints it.
pub fn run(args: &SchemaArgs) -> Result<()> {
    ui::json(&schema(args.of));
    Ok(())
}

fn schema(of: SchemaOf) -> Schema {
    fn of_type<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
    }
    match of {
        SchemaOf::Config => config::schema(),
        SchemaOf::Events => of_type::<Event>(),
        SchemaOf::RunSummary => of_type::<Summary>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is published is what we write.
    #[test]
    fn the_published_schemas_are_ours() {
        for (of, published, name) in [
            (SchemaOf::Config, include_str!("../../docs/schema/config-1.json"), "config"),
            (SchemaOf::Events, include_str!("../../docs/schema/events-1.json"), "events"),
            (SchemaOf::RunSummary, include_str!("../../docs/schema/run-summary-1.json"), "run-summary"),
        ] {
            let ours = serde_json::to_string_pretty(&schema(of)).unwrap();
            assert_eq!(published.trim(), ours, "type: fruitctl schema {name} > docs/schema/{name}-1.json");
        }
    }
}
